"""Custom space files: their contents, their completion by options, and errors."""

import copy
import resource
import subprocess
import sys

import numpy as np
import pytest
import yaml

from designspace.networks.complexity import complexity
from designspace.spaces.axes import Axis, choice, log_uniform, powers_of_two, uniform
from designspace.spaces.custom import read_custom_space
from designspace.spaces.description import space_from_dict
from designspace.spaces.parameters import AnyNetAxes
from designspace.spaces.population_files import read_population
from designspace.support.errors import InputError, RunError

MINE = {
    "name": "Mine",
    "family": "anynet",
    "axes": {
        "depth": {"kind": "uniform", "low": 1, "high": 4},
        "width": {"kind": "log_uniform", "low": 16, "high": 128, "step": 16},
        "bottleneck_ratio": {"kind": "choice", "values": [1, 2]},
        "group_width": {"kind": "choice", "values": [8, 16]},
    },
}


def description_with(**changes):
    """Return MINE with other values, by keys joined with two underscores."""
    fields = copy.deepcopy(MINE)
    for key, value in changes.items():
        *parents, last = key.split("__")
        mapping = fields
        for name in parents:
            mapping = mapping.setdefault(name, {})
        mapping[last] = value
    return fields


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"axes__width": {"kind": "choice", "values": [-16, 32]}},
            "width takes whole numbers from 1 to 1048576, not -16",
        ),
        ({"axes__width": {"kind": "choice", "values": [0, 32]}}, "not 0"),
        ({"axes__width": {"kind": "choice", "values": [16.5, 32]}}, "not 16.5"),
        ({"axes__depth__low": 0}, "depth takes whole numbers from 1"),
        ({"axes__depth__high": 60_000}, "depth takes whole numbers from 1 to 10000, not 60000"),
        ({"axes__depth__high": 10**9}, "1.00e.9 values; an axis has at most 100,000"),
        ({"axes__depth__high": float("inf")}, "axes.depth: high must be a number, not inf"),
        ({"axes__depth__high": float("nan")}, "high must be a number, not nan"),
        ({"axes__depth__high": 10**400}, "high must be a number"),
        ({"axes__depth__high": "4"}, "high must be a number, not '4'"),
        ({"axes__depth__step": 0}, "step must be above 0"),
        ({"axes__depth__step": -1}, "step must be above 0"),
        ({"axes__depth__low": 5}, "low <= high"),
        ({"axes__depth": {"kind": "uniform", "low": 1, "hihg": 4}}, "unknown key 'hihg'; did you mean 'high'"),
        ({"axes__depth": {"kind": "uniform", "low": 1}}, "axes.depth: uniform axis: high is missing"),
        ({"axes__depth": {"kind": ["x"]}}, "unknown kind of axis"),
        ({"axes__depth": [1, 2]}, "axes.depth: an axis must be a mapping"),
        ({"axes__group_width__values": [True, 8]}, "each of values must be a number, not True"),
        ({"axes__group_width__values": ["8"]}, "each of values must be a number, not '8'"),
        ({"axes__group_width__values": [[8]]}, "each of values must be a number"),
        ({"axes__group_width__values": []}, "at least one value"),
        ({"axes__group_width__values": "8"}, "values must be a list of numbers"),
        ({"axes__group_width__values": [0, 8]}, "group_width takes whole numbers"),
        ({"axes__bottleneck_ratio__values": [0]}, "bottleneck_ratio takes numbers"),
        ({"axes__bottleneck_ratio__values": [-1]}, "bottleneck_ratio takes numbers"),
        ({"axes__dept": 1}, "axes: unknown key 'dept'; did you mean 'depth'"),
        ({"constraints": {"kind": "non_decreasing"}}, "constraints must be a list"),
        (
            {"constraints": [{"kind": "band", "quantity": "flops"}]},
            "constraints, number 1: band constraint: low is missing",
        ),
        ({"constraints": [{"kind": "band", "quantity": "flops", "low": "x", "high": 1}]}, "must be a number"),
        ({"constraints": [{"kind": "rising", "parameter": "width"}]}, "unknown kind of constraint"),
        ({"template": {"strides": [2] * 60_000}}, "strides must be a list"),
        ({"template": {"resolution": -1}}, "template: resolution must be a whole number >= 1"),
        ({"template": {"resolutoin": 32}}, "unknown key 'resolutoin'; did you mean 'resolution'"),
        ({"template": {"stem": "cifar"}}, "template.stem must be a mapping with kind, width"),
        ({"template": {"se_ratio": True}}, "se_ratio must be a number"),
        ({"name": "../up"}, "name must be text"),
        ({"name": "a/b"}, "name must be text"),
        ({"name": ""}, "name must be text"),
        ({"name": 2024}, "in quotes"),
        ({"family": "cnn"}, "unknown family 'cnn'"),
        ({"axes__width__high": 2**20, "axes__depth__high": 10_000}, "its largest networks may cost .* multiply-adds"),
    ],
)
def test_invalid_descriptions_are_rejected(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        space_from_dict(description_with(**changes))
    assert len(str(caught.value)) < 400
    assert "__init__" not in str(caught.value)


@pytest.mark.parametrize("fields", [None, [], "x", 1, {}, {"name": "x"}, {1: 2}])
def test_values_that_are_not_a_description_are_rejected(fields):
    with pytest.raises(InputError, match="a space"):
        space_from_dict(fields)


@pytest.mark.parametrize(
    "make",
    [
        lambda: uniform(1, 1e9),
        lambda: uniform(1, float("inf")),
        lambda: log_uniform(1, 10**400),
        lambda: uniform(1, 4, step=-1),
        lambda: choice([True]),
        lambda: choice(range(10**9)),
        lambda: powers_of_two(0, 8),
        lambda: powers_of_two(1, 2**400),
        lambda: Axis("choice", (16.5,)),
        lambda: AnyNetAxes(uniform(0, 4), uniform(8, 64, 8), choice([1]), choice([8])),
        lambda: AnyNetAxes([1, 2], uniform(8, 64, 8), choice([1]), choice([8])),
        lambda: AnyNetAxes(uniform(1, 4), choice([16.5]), choice([1]), choice([8])),
    ],
)
def test_invalid_axes_in_python_are_rejected(make):
    with pytest.raises(InputError):
        make()


def test_hostile_file_takes_neither_time_nor_memory(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(description_with(axes__depth__high=10**9)))
    code = (
        "from pathlib import Path; from designspace.spaces.custom import read_custom_space; "
        "read_custom_space(Path('mine.yaml'), {}, {})"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )
    assert "an axis has at most 100,000" in finished.stderr


def write_description(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(description_with(**changes)))
    return path


SHAPE = {"resolution": 32, "num_classes": 10, "in_channels": 1}


def test_missing_values_are_added(tmp_path):
    space = read_custom_space(
        write_description(tmp_path), SHAPE, {"stem": "cifar", "stem_width": 16, "flops": [2e6, 9e9]}
    )
    template = space.template
    assert (template.resolution, template.num_classes, template.in_channels) == (32, 10, 1)
    assert (template.stem.kind, template.stem.width) == ("cifar", 16)
    assert [(c.quantity, c.low, c.high) for c in space.constraints] == [("flops", 2e6, 9e9)]
    assert read_custom_space(write_description(tmp_path), {}, {}) == space_from_dict(MINE)


def test_file_overrides_defaults(tmp_path):
    band = {"kind": "band", "quantity": "flops", "low": 1, "high": 2}
    path = write_description(tmp_path, template={"stem": {"kind": "deep", "width": 64}}, constraints=[band])
    space = read_custom_space(path, SHAPE, {"stem": "cifar", "stem_width": 16, "flops": [2e6, 9e9]})
    assert (space.template.stem.kind, space.template.stem.width) == ("deep", 64)
    assert [(c.low, c.high) for c in space.constraints] == [(1, 2)]


@pytest.mark.parametrize(
    ("changes", "required", "message"),
    [
        (
            {"template": {"resolution": 64}},
            {"resolution": 32},
            "resolution is set to 32, but the file has template.resolution: 64",
        ),
        ({"template": {"stem": {"kind": "deep"}}}, {"stem": "cifar"}, "template.stem.kind: 'deep'"),
        ({}, {"block": "V"}, "set it in the file, as template.block"),
        ({}, {"law": "pycls"}, "set it in the file, as law of each log_uniform axis"),
        ({}, {"group_width": [8]}, "set it in the file, as axes.group_width"),
        ({}, {"stages": 3}, "stages is set to 3"),
        ({}, {"flops": 3}, r"flops must be \[lowest, highest\]"),
        ({"radix": {"kind": "choice", "values": [2]}}, {"radix": 4}, "radix is set to 4"),
        (
            {"constraints": [{"kind": "band", "quantity": "flops", "low": 1, "high": 2}]},
            {"flops": [3, 4]},
            r"flops is set to \[3, 4\], but the file has constraints: \[1, 2\]",
        ),
    ],
)
def test_conflicts_are_reported(tmp_path, changes, required, message):
    with pytest.raises(InputError, match=message):
        read_custom_space(write_description(tmp_path, **changes), required, {})


def test_equal_values_do_not_conflict(tmp_path):
    path = write_description(tmp_path, template={"resolution": 32}, radix={"kind": "choice", "values": [2]})
    space = read_custom_space(path, {"resolution": 32, "radix": [2], "stages": 4, "params": [1e5, 1e9]}, {})
    assert space.template.resolution == 32
    assert space.radix.values.tolist() == [2]


def test_error_names_a_file_that_is_not_yaml(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: [1")
    with pytest.raises(InputError, match=r"mine\.yaml: line 1"):
        read_custom_space(tmp_path / "mine.yaml", {}, {})
    with pytest.raises(RunError, match="No such file"):
        read_custom_space(tmp_path / "none.yaml", {}, {})


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.75, 0.123, 1.2, 1.5])
@pytest.mark.parametrize("groups", ["group_width", "cardinality"])
def test_bottlenecks_of_any_ratio_can_be_built(ratio, groups, tmp_path):
    fields = description_with(axes__bottleneck_ratio__values=[ratio, 1])
    del fields["axes"]["group_width"]
    fields["axes"][groups] = {"kind": "choice", "values": [1, 8, 16]}
    space = space_from_dict(fields)
    population = space.sample(40)
    population.write(tmp_path)
    assert read_population(tmp_path) == population
    for i, network in enumerate(population):
        assert space.contains(network)
        assert network.id == population.ids[i]
        assert tuple(complexity(network)) == tuple(population.columns[q][i] for q in ("flops", "params", "activations"))
        for stage in network.stages:
            assert stage.inner_width % stage.group_width == 0
    widths = np.concatenate([population.columns[f"w{i}"] for i in range(1, 5)])
    assert widths.max() < 128 * 1.3
