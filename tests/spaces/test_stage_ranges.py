"""Ranges of single stages: constraints of the kind ``range``."""

import numpy as np
import pytest

from designspace.spaces import catalog
from designspace.spaces.constraints import Order, StageRange
from designspace.spaces.description import space_from_dict
from designspace.support.errors import InputError

PARENT = catalog.space("AnyNetXA", flops=(3e8, 5e8))


@pytest.mark.parametrize("order", [None, Order("depth", "non_decreasing")])
def test_a_ranged_space_is_its_parent_conditioned_on_the_range(order):
    parent = PARENT.refine(*([order] if order else []))
    child = parent.refine(StageRange("depth", 3, 2, 6))
    population = parent.sample(800)
    assert all(bool(child.contains(network)) == (2 <= network.stages[2].depth <= 6) for network in population[:60])
    members = [network for network in population if 2 <= network.stages[2].depth <= 6]
    drawn = child.sample(800, seed=1)
    assert all(child.contains(network) and parent.contains(network) for network in drawn[:20])
    for depth in range(2, 7):
        of_parent = np.array([network.stages[2].depth == depth for network in members])
        of_child = drawn.columns["d3"] == depth
        error = (0.25 * (1 / of_parent.size + 1 / of_child.size)) ** 0.5
        assert abs(of_parent.mean() - of_child.mean()) < 4 * error


def test_a_range_holds_for_the_drawn_value():
    """A stage of width 8 with b = 1 has g <= 8, whatever was drawn."""
    child = PARENT.refine(StageRange("group_width", 1, 32, 32))
    narrow = [network for network in child.sample(200) if network.stages[0].group_width < 32]
    assert narrow
    assert all(child.contains(network) for network in narrow)


def test_a_network_outside_a_range_is_told_why():
    child = PARENT.refine(StageRange("width", 4, 512, 1024))
    network = next(network for network in PARENT.sample(50) if network.stages[3].width < 500)
    (reason,) = child.contains(network).reasons
    assert reason.startswith("width of stage 4 outside 512 to 1024 (the network has ")


def test_a_ranged_space_survives_a_round_trip_through_its_description():
    child = PARENT.refine(StageRange("width", 4, 512, 1024), Order("width", "non_decreasing"))
    assert space_from_dict(child.to_dict()) == child


@pytest.mark.parametrize(
    ("space", "arguments", "message"),
    [
        (PARENT, ("width", 5, 8, 64), "a range needs a stage from 1 to 4, not 5"),
        (PARENT, ("width", 1, 9, 15), "no value of width is from 9 to 15"),
        (PARENT, ("widths", 1, 8, 64), "widths cannot have a range.*choose from: depth, width"),
        (PARENT, ("width", 0, 8, 64), "stage must be a whole number >= 1, not 0"),
        (PARENT, ("width", 1, 64, 8), "a range of width needs low <= high, not 64 to 8"),
        (catalog.space("RegNetX"), ("depth", 1, 1, 4), "a RegNet's stages follow from its line"),
    ],
)
def test_impossible_ranges_are_rejected(space, arguments, message):
    with pytest.raises(InputError, match=message):
        space.refine(StageRange(*arguments))
