import numpy as np
import pytest

from designspace.networks import catalog as networks
from designspace.networks.complexity import complexity
from designspace.spaces import catalog
from designspace.spaces.description import space_from_dict
from designspace.spaces.drawing import draw_block
from designspace.spaces.parameters import RegNetAxes
from designspace.spaces.regime import REGIMES, auto_regnet_axes, typical_costs
from designspace.spaces.streams import Streams
from designspace.spaces.template import Template
from designspace.support.errors import InputError

SMALL = {"stem": "cifar", "stem_width": 16, "num_classes": 10, "resolution": 32}
BUDGETS = (0.2e9, 0.4e9, 0.8e9, 1.6e9, 3.2e9, 6.4e9, 12e9, 16e9, 32e9)
DRAWS = 16_384


def around(flops):
    return (0.95 * flops, 1.05 * flops)


def acceptance_rate(name, flops, **fields):
    """Return the share of draws within +-5% of a budget."""
    space = catalog.space(name, flops=around(flops), regime="auto", **fields)
    return len(draw_block(space, Streams(0), DRAWS).rows) / DRAWS


@pytest.mark.parametrize("flops", BUDGETS)
@pytest.mark.parametrize("name", ["AnyNetXA", "AnyNetXD", "AnyNetXE", "RegNetX", "RegNetY"])
def test_one_percent_of_draws_is_in_a_narrow_band(name, flops):
    assert acceptance_rate(name, flops) >= 0.01


@pytest.mark.parametrize("flops", [3e6, 10e6, 40e6])
@pytest.mark.parametrize("name", ["AnyNetXA", "AnyNetXE", "RegNetX"])
def test_one_percent_of_draws_is_in_a_narrow_band_for_small_images(name, flops):
    assert acceptance_rate(name, flops, **SMALL) >= 0.01


@pytest.mark.parametrize("stages", [2, 3, 5])
@pytest.mark.parametrize("flops", [0.4e9, 8e9])
def test_one_percent_of_draws_is_in_a_narrow_band_for_other_numbers_of_stages(stages, flops):
    assert acceptance_rate("RegNetX", flops, stages=stages) >= 0.01


def test_wide_band_gets_the_ranges_of_all_its_budgets():
    narrow = [auto_regnet_axes(around(flops)) for flops in (0.4e9, 3.2e9)]
    wide = auto_regnet_axes((0.95 * 0.4e9, 1.05 * 3.2e9))
    for name in ("w_0", "w_a", "group_width"):
        axis = getattr(wide, name)
        assert axis.grid[0] == getattr(narrow[0], name).grid[0]
        assert axis.grid[-1] == getattr(narrow[1], name).grid[-1]


@pytest.mark.parametrize("family", ["regnetx", "regnety"])
def test_the_published_regnets_are_within_the_ranges_of_their_budgets(family):
    """All values are on the grid except for w_a, whose grid is coarser than the published digits."""
    for network in (name for name in networks.names(f"{family}_*") if not name.endswith("_tv")):
        row = networks._TABLE[network]
        flops = complexity(row.network()).flops
        template = Template(se_ratio=0.25 if family == "regnety" else 0.0)
        axes = auto_regnet_axes(around(flops), template)
        values = {name: getattr(row, name) for name in ("depth", "w_0", "w_a", "w_m", "group_width")}
        values["bottleneck_ratio"] = 1
        for name, value in values.items():
            axis = getattr(axes, name)
            assert axis.grid[0] <= value <= axis.grid[-1], (network, name)
        for name in ("depth", "w_0", "w_m", "group_width"):
            assert values[name] in getattr(axes, name).values


def test_anynet_keeps_the_ranges_of_the_paper_at_its_budget():
    paper, auto = (catalog.space("AnyNetXA", flops=(360e6, 440e6), regime=regime).axes for regime in REGIMES)
    assert auto.depth == paper.depth
    assert auto.bottleneck_ratio == paper.bottleneck_ratio
    assert auto.group_width == paper.group_width
    assert auto.width.grid[0] == paper.width.grid[0]
    assert auto.width.grid[-1] == pytest.approx(1024, rel=0.05)


def test_cost_of_the_typical_network_grows_with_its_width():
    for template in (Template(), Template(strides=(1, 2)), Template(strides=(2,) * 6, resolution=32)):
        widths, costs = typical_costs(template)
        assert len(widths) == len(costs)
        assert np.all(np.diff(costs) > 0)


def test_axes_are_pinned():
    """A change here changes the populations of regime=auto."""
    space = catalog.space("RegNetX", flops=(3.04e9, 3.36e9), regime="auto")
    bounds = {name: tuple(map(float, getattr(space.axes, name).bounds)) for name in ("depth", "w_0", "w_a", "w_m")}
    assert bounds == {
        "depth": (12, 28, 1),
        "w_0": (48, 144, 8),
        "w_a": (20.8, 159.6, 0.1),
        "w_m": (2, 3, 0.001),
    }
    assert space.sample(2).ids == ("75e040e4d771", "c1ae8006119a")
    assert space_from_dict(space.to_dict()) == space


def test_regime_of_the_paper_is_the_default():
    band = (360e6, 400e6)
    assert catalog.space("RegNetX", flops=band) == catalog.space("RegNetX", flops=band, regime="paper")
    assert isinstance(catalog.space("RegNetY", flops=band, regime="auto").axes, RegNetAxes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"regime": "best"}, "unknown regime 'best'; choose from: paper, auto"),
        ({"flops": None}, "regime=auto needs a budget: give flops=\\[lowest, highest\\]"),
        (
            {"flops": (1e6, 2e6)},
            "within 13,457,920 to .* for this stem, stages and resolution, not 1,000,000.0 to 2,0",
        ),
        ({"flops": (4e8, float("inf"))}, "needs a band of flops with both ends"),
        ({"flops": (1e15, 2e15)}, "needs a band of flops with both ends"),
        ({"flops": [1]}, "flops must be \\[lowest, highest\\]"),
        ({"stages": 1}, "works for 2 to 8 stages, not 1"),
        ({"stages": 30}, "works for 2 to 8 stages, not 30"),
    ],
)
@pytest.mark.parametrize("name", ["AnyNetXB", "RegNetX"])
def test_invalid_regimes_are_rejected(name, fields, message):
    with pytest.raises(InputError, match=message):
        catalog.space(name, **{"flops": (360e6, 400e6), "regime": "auto", **fields})
