import dataclasses

import pytest

from designspace.networks import catalog as published
from designspace.networks.network import Network, Stage, Stem
from designspace.spaces import catalog
from designspace.spaces.axes import choice, powers_of_two

RESNESTS = [f"resnest{depth}" for depth in (50, 101, 200, 269)] + published.names("resnest50_fast_*")


@pytest.mark.parametrize("radix", [None, [0, 1, 2, 4]], ids=["default", "radix"])
@pytest.mark.parametrize("name", catalog.NAMES)
def test_drawn_networks_are_members(name, radix):
    if radix and (name in catalog._OF_BLOCKS or (name in catalog._NDS and catalog._NDS[name][3] == (1,))):
        radix = None  # blocks without bottleneck have no radix
    space = catalog.space(name, radix=radix, flops=(1e8, 1e10))
    for network in space.sample(12, seed=2):
        assert space.contains(network), str(space.contains(network))


@pytest.mark.parametrize(("child", "parent"), [("B", "A"), ("C", "B"), ("D", "C"), ("E", "D")])
def test_refinement_is_a_subset_of_its_parent(child, parent):
    flops = (360e6, 400e6)
    inner, outer = (catalog.space(f"AnyNetX{letter}", flops=flops) for letter in (child, parent))
    assert all(outer.contains(network) for network in inner.sample(30))
    assert not all(inner.contains(network) for network in outer.sample(30))


@pytest.mark.parametrize("name", RESNESTS)
def test_the_published_resnests_are_members_of_anynest(name):
    membership = catalog.space("AnyNeSt").contains(published.get(name))
    assert membership, str(membership)


@pytest.mark.parametrize("name", published.names("regnet[xy]_*f"))
def test_the_published_regnets_are_members_of_their_spaces(name):
    """The axes are widened to contain the published initial widths and group widths."""
    space = catalog.space("RegNetX" if name[6] == "x" else "RegNetY")
    network = published.get(name)
    axes = dataclasses.replace(
        space.axes,
        w_0=choice(range(8, 328, 8)),
        group_width=choice(range(8, 264, 8)),
    )
    membership = dataclasses.replace(space, axes=axes).contains(network)
    assert membership, str(membership)


def network(*stages, **fields):
    return Network(Stem(), tuple(Stage(*stage) for stage in stages), **fields)


GOOD = [(1, 16, 2, 1, 8), (1, 32, 2, 1, 8), (2, 64, 2, 1, 8), (2, 64, 2, 1, 8)]


def changed(stage, **fields):
    """Return the network of GOOD with one stage changed."""
    stages = [Stage(*values) for values in GOOD]
    stages[stage] = dataclasses.replace(stages[stage], **fields)
    return Network(Stem(), tuple(stages))


@pytest.mark.parametrize(
    ("candidate", "reasons"),
    [
        (network(*GOOD), []),
        (network(*GOOD[:3]), ["the space has 4 stages, the network 3"]),
        (network(*GOOD, num_classes=10), ["the space has num_classes 1000, the network 10"]),
        (network(*GOOD, se_ratio=0.25), ["the space has se_ratio 0.0, the network 0.25"]),
        (network(*GOOD, radix=2), ["radix 2 is not among [0]"]),
        (changed(1, depth=17), ["stage 2: depth 17 is not on the axis of depths"]),
        (changed(3, bottleneck_ratio=8), ["stage 4: bottleneck ratio 8 is not among [1, 2, 4]"]),
        (changed(2, width=2048), ["stage 3: no drawn width and groups give width 2048 with group width 8"]),
        (
            changed(1, width=8),
            ["width must be non-decreasing from stage to stage, but the network has w = 16, 8, 64, 64"],
        ),
        (changed(1, depth=3), ["depth must be non-decreasing from stage to stage, but the network has d = 1, 3, 2, 2"]),
        (changed(2, group_width=16), ["group_width must be shared from stage to stage"]),
        (changed(2, bottleneck_ratio=2), ["bottleneck_ratio must be shared from stage to stage"]),
    ],
)
def test_reasons_name_the_failed_constraint_and_the_stage(candidate, reasons):
    membership = catalog.space("AnyNetXE").contains(candidate)
    assert bool(membership) == (not reasons)
    assert len(membership.reasons) == len(reasons), str(membership)
    for actual, expected in zip(membership.reasons, reasons, strict=True):
        assert actual.startswith(expected)


def test_narrow_stage_may_have_a_smaller_group_width_than_drawn():
    """All stages share g = 32, and the first stage is only 8 wide."""
    narrow = network((1, 8, 2, 1, 8), (1, 64, 2, 1, 32), (1, 64, 2, 1, 32), (1, 64, 2, 1, 32))
    assert catalog.space("AnyNetXE").contains(narrow)


def test_bands_are_checked():
    space = catalog.space("AnyNetXE", flops=(360e6, 400e6))
    (reason,) = space.contains(network(*GOOD)).reasons
    assert reason.startswith("flops outside 360 M to 400 M (it has ")


def test_regnet_that_no_line_gives_is_not_a_member():
    (reason,) = catalog.space("RegNetX").contains(network(*GOOD)).reasons
    assert reason == "no w_0, w_a and w_m on the axes give the stages 1 x 16, 1 x 32, 2 x 64, 2 x 64"


def test_drawn_network_with_cardinality_is_a_member():
    space = catalog.space("ResNeXt-B")
    space = dataclasses.replace(space, axes=dataclasses.replace(space.axes, cardinality=powers_of_two(1, 2)))
    assert space.contains(space.sample(1)[0])
