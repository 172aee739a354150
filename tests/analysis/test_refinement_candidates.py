"""Candidates for refinements: from the space and the parameters alone, with members that the refined space contains."""

import dataclasses

import numpy as np
import pytest
from refined_populations import SPACE, results_of, table_of

from designspace.analysis.refinement.candidates import candidates
from designspace.analysis.refinement.changes import Line, Narrowing, apply, apply_all
from designspace.analysis.refinement.population import RefinedPopulation
from designspace.spaces import catalog
from designspace.spaces.axes import choice, log_uniform, uniform
from designspace.spaces.constraints import Order, StageRange
from designspace.spaces.description import space_from_dict
from designspace.spaces.parameters import REGNET_COLUMNS
from designspace.support.errors import InputError


def population_of(space, n=40, seed=0):
    errors = np.random.default_rng(seed).normal(40, 2, n)
    return RefinedPopulation.of(results_of(space, errors, seed), space)


SPACES = {
    "A": SPACE,
    "D": catalog.space("AnyNetXD", flops=(360e6, 400e6)),
    "AnyNeSt": catalog.space("AnyNeSt", flops=(1e9, 1.3e9), radix=[0, 1, 2, 4]),
    "ResNeXt-B": catalog.space("ResNeXt-B", flops=(1e9, 4e9)),
    "MBConv": catalog.space("MBConv", flops=(1e8, 2e9), kernel_size=[3, 5, 7]),
    "RegNetX": catalog.space("RegNetX", flops=(360e6, 400e6)),
}


@pytest.mark.parametrize("name", SPACES)
def test_members_are_the_networks_that_the_refined_space_contains(name):
    space = SPACES[name]
    population = population_of(space)
    networks = population.networks()
    tested = [candidate for candidate in candidates(population) if not isinstance(candidate.change, Line)]
    assert len(tested) > 20
    families = {candidate.family: candidate for candidate in tested}.values()  # one of each, and some more
    step = 40 if name == "RegNetX" else 9  # whether a line gives a network takes long to find out
    for candidate in dict.fromkeys((*families, *tested[::step])):
        child = apply(space, candidate.change)
        contained = np.array([bool(child.contains(network)) for network in networks[:12]])
        members = candidate.members[:12]
        if (
            name == "RegNetX" and candidate.family in REGNET_COLUMNS
        ):  # of several lines that give a network, the one that was drawn counts
            assert not (members & ~contained).any(), candidate.name
        else:
            assert members.tolist() == contained.tolist(), candidate.name


def test_networks_of_a_refined_space_are_in_the_parent():
    tested = {candidate.name: candidate for candidate in candidates(population_of(SPACE, 100))}
    for name in ("width_non_decreasing", "depth_non_increasing", "bottleneck_ratio_shared", "group_width_shared"):
        child = apply(SPACE, tested[name].change)
        assert space_from_dict(child.to_dict()) == child
        assert all(SPACE.contains(network) and child.contains(network) for network in child.sample(5))


def test_candidates_do_not_depend_on_errors_or_on_the_order_of_rows():
    errors = np.random.default_rng(0).normal(40, 2, 60)
    first = results_of(SPACE, errors)
    shuffled = first.table.sample(frac=1, random_state=1).reset_index(drop=True)
    others = (dataclasses.replace(first, table=shuffled), results_of(SPACE, errors[::-1]))
    expected = candidates(RefinedPopulation.of(first, SPACE))
    for results in others:
        found = candidates(RefinedPopulation.of(results, SPACE))
        assert [candidate.name for candidate in found] == [candidate.name for candidate in expected]
        assert all(np.array_equal(a.score, b.score) for a, b in zip(found, expected, strict=True))


def test_what_the_space_has_already_is_no_candidate():
    names = {candidate.name for candidate in candidates(population_of(SPACES["D"], 60))}
    assert "width_non_decreasing" not in names
    assert "width_non_increasing" not in names
    assert "bottleneck_ratio_shared" not in names
    assert "bottleneck_ratio_1" in names
    assert "depth_non_decreasing" in names


def test_radix_and_own_parameters_are_candidates():
    names = {candidate.name for candidate in candidates(population_of(SPACES["AnyNeSt"], 60))}
    assert {"radix_0", "radix_at_least_1"} <= names
    names = {candidate.name for candidate in candidates(population_of(SPACES["MBConv"], 100))}
    assert {"kernel_size_shared", "kernel_size_non_decreasing", "kernel_size1_3"} <= names


def test_parameters_of_a_line_are_candidates():
    names = {candidate.name for candidate in candidates(population_of(SPACES["RegNetX"], 100))}
    assert any(name.startswith("w_m_at_most_") for name in names)
    assert any(name.startswith("depth_at_least_") for name in names)
    assert {"bottleneck_ratio_1", "group_width_at_most_8"} <= names
    assert "quantised_line" not in names


def test_a_quantised_line_leads_to_a_regnet():
    child = apply(SPACE, Line())
    regnet = catalog.space("RegNetX", flops=(360e6, 400e6))
    assert child.axes.w_m == regnet.axes.w_m
    assert child.constraints == SPACE.constraints
    assert len(child.sample(3)) == 3
    table = table_of(regnet, 40)
    assert {"w1", "d1"} <= set(table.columns)


@pytest.mark.parametrize(
    ("axis", "low", "high", "expected"),
    [
        (uniform(1, 9, 2), 2, 7, uniform(3, 7, 2)),
        (log_uniform(8, 64, 8), 16, 40, log_uniform(16, 40, 8)),
        (choice([1, 2, 2, 4]), 2, 4, choice([2, 2, 4])),
        (choice(["relu", "silu"]), "silu", "silu", choice(["silu"])),
    ],
)
def test_a_narrower_axis_is_the_axis_conditioned_on_the_range(axis, low, high, expected):
    narrow = axis.within(low, high)
    assert narrow == expected
    kept = np.isin(axis.values, narrow.values)
    np.testing.assert_allclose(narrow.probabilities, axis.probabilities[kept] / axis.probabilities[kept].sum())


def test_changes_that_contradict_each_other_are_rejected():
    changes = [Narrowing("width", 8, 64), StageRange("width", 4, 512, 1024)]
    with pytest.raises(InputError, match="the accepted proposals contradict each other"):
        apply_all(SPACE, changes, "child")
    both = apply_all(SPACE, [Narrowing("width", 8, 64), Narrowing("width", 32, 512)], "child")
    assert both.axes.width == log_uniform(32, 64, 8)
    line = apply_all(SPACE, [Line(), Order("width", "non_decreasing"), Narrowing("bottleneck_ratio", 1, 1)], "line")
    assert line.axes.bottleneck_ratio == choice([1])
