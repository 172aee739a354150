"""Limits on counted quantities: sizes with units, and spaces whose memory is limited."""

import numpy as np
import pytest

from designspace.networks.memory import memory
from designspace.spaces import catalog, limits
from designspace.spaces.constraints import Band, Cap
from designspace.spaces.custom import read_custom_space
from designspace.spaces.description import space_from_dict
from designspace.support.errors import InputError

SMALL = {"resolution": 32, "num_classes": 10, "stem": "cifar"}


@pytest.mark.parametrize(
    ("size", "high"),
    [
        ("320KB", 320_000),
        ("320 kB", 320_000),
        ("1.5MB", 1_500_000),
        ("2GB", 2_000_000_000),
        ("320KiB", 327_680),
        ("1.5MiB", 1_572_864),
        ("2GiB", 1 << 31),
        ("12B", 12),
        (3e5, 300_000),
        (np.int64(7), 7),
    ],
)
def test_a_size_is_an_upper_limit(size, high):
    assert limits.bands({"peak_memory": size}) == {"peak_memory": Band("peak_memory", 0, high)}
    assert limits.bands({"peak_memory": [5, size]}) == {"peak_memory": Band("peak_memory", 5, high)}


@pytest.mark.parametrize(
    ("quantity", "limit", "message"),
    [
        ("peak_memory", "320XB", "must be a size such as 320KB or 1.5MiB, or .lowest, highest."),
        ("weight_bytes", [1, 2, 3], "weight_bytes must be a size such as 320KB"),
        ("training_memory", ["1KB", "x"], "must be a size such as"),
        ("peak_memory", "-1KB", "must be a size such as"),
        ("peak_memory", -1, "must be a number >= 0"),
        ("peak_memory", ["2MB", "1MB"], "a peak_memory band needs 0 <= low <= high"),
        ("flops", [1, "many"], r"flops must be \[lowest, highest\], such as \[2e6,4e6\]"),
        ("flops", "320KB", r"flops must be \[lowest, highest\], such as \[2e6,4e6\]"),
    ],
)
def test_other_limits_are_refused(quantity, limit, message):
    with pytest.raises(InputError, match=message):
        limits.bands({quantity: limit})


def test_limits_bind_and_say_what_they_reject():
    space = catalog.space("AnyNetXA", **SMALL, peak_memory="300KB", weight_bytes=["20KB", "1MB"], training_memory=2e6)
    population = space.sample(40)
    for quantity, low, high in (("peak_memory", 0, 3e5), ("weight_bytes", 2e4, 1e6), ("training_memory", 0, 2e6)):
        column = population.quantity(quantity)
        assert low <= column.min() <= column.max() <= high
        assert any(reason.startswith(quantity) and count for reason, count in population.rejected.items())
    assert set(population.columns) == {*space.column_names(), "flops", "params", "activations", "draws"}
    assert all(space.contains(network) for network in population[:5])


def test_a_limit_conditions_the_space():
    """The limited population holds the networks of the free one that fit, in the same order."""
    free = catalog.space("AnyNetXB", **SMALL).sample(300)
    limited = catalog.space("AnyNetXB", **SMALL, peak_memory="500KB").sample(20)
    fit = [free.ids[i] for i in np.flatnonzero(free.quantity("peak_memory") <= 5e5)]
    assert list(limited.ids) == fit[:20]


def test_membership_names_the_memory():
    space = catalog.space("AnyNetXA", **SMALL, peak_memory="100KB")
    network = catalog.space("AnyNetXA", **SMALL).sample(1)[0]
    actual = memory(network, 32).peak_memory
    assert str(space.contains(network)) == f"peak_memory above 100 kB (it has {actual:,} B)"


def test_caps_limit_any_quantity_by_flops():
    space = catalog.space("AnyNetXA", **SMALL).refine(Cap("peak_memory", 1e5, 5e-3, 1), Band("flops", 1e6, 1e8))
    population = space.sample(20)
    assert (population.quantity("peak_memory") <= 1e5 + 5e-3 * population.columns["flops"]).all()


def test_limits_are_kept_in_files(tmp_path):
    space = catalog.space("RegNetX", **SMALL, peak_memory=["100KB", "1MB"])
    assert space_from_dict(space.to_dict()) == space
    file = tmp_path / "mine.yaml"
    file.write_text(catalog.space("AnyNetXA", **SMALL).files()["space.yaml"])
    custom = read_custom_space(file, {"training_memory": "3MB", "params": None}, {})
    assert [(limit.quantity, limit.low, limit.high) for limit in custom.constraints] == [("training_memory", 0, 3e6)]


def test_regime_auto_takes_limits_on_memory():
    space = catalog.space("RegNetX", resolution=32, stem="cifar", regime="auto", flops=[5e6, 9e6], peak_memory="400KB")
    assert space.sample(5).quantity("peak_memory").max() <= 4e5


def test_quantities_of_a_part_and_unknown_ones():
    population = catalog.space("AnyNetXA", **SMALL).sample(10)
    part = population[[3, 5]]
    assert part.quantity("training_memory").tolist() == population.quantity("training_memory")[[3, 5]].tolist()
    assert part.quantity("flops") is part.columns["flops"]
    with pytest.raises(InputError, match="unknown counted quantity 'latency'"):
        population.quantity("latency")
