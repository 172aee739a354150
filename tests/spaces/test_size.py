import itertools
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import GOLDEN, golden

from designspace.networks.blocks.widths import compatible_widths, widths_for_cardinality
from designspace.networks.regnet import RegNetParameters
from designspace.spaces import catalog, size
from designspace.spaces.axes import choice, uniform
from designspace.spaces.constraints import ORDERS, Band, Order, StageRange
from designspace.spaces.parameters import AnyNetAxes, RegNetAxes, named_axes
from designspace.spaces.space import DesignSpace
from designspace.spaces.template import Template

TABLE_1 = {case["space"]: case for case in golden("space_sizes.json")}
AFTER_ADJUST = json.loads((GOLDEN / "space_sizes.json").read_text())["after_adjust"]
ANYNETS = [f"AnyNetX{letter}" for letter in "ABCDE"]


@pytest.mark.parametrize("name", ANYNETS)
def test_settings_equal_table_1_with_ties_included(name):
    assert size.settings(catalog.space(name)) == TABLE_1[name]["exact"]
    assert size.settings(catalog.space(name, radix=[0, 1, 2], flops=(1, 2))) == 3 * TABLE_1[name]["exact"]


@pytest.mark.parametrize("name", [*ANYNETS, "RegNetX"])
def test_paper_size_equals_the_published_number(name):
    case = TABLE_1[name if name in TABLE_1 else "RegNet"]
    paper_size = size.paper_size(catalog.space(name))
    assert paper_size == pytest.approx(case.get("paper_formula_value", case["exact"]), rel=1e-12)
    assert paper_size == pytest.approx(float(case["paper"]), rel=0.03)


@pytest.mark.parametrize("name", ["AnyNetXA", "AnyNetXB", "AnyNetXC"])
def test_distinct_networks_equal_those_counted_with_pycls(name):
    assert size.distinct_networks(catalog.space(name)) == AFTER_ADJUST[f"{name}_distinct_after_adjust"]


def test_networks_of_several_shared_group_widths_count_once():
    """The sum over b and g counts a network once per g that is cut to the same width; the union counts it once."""
    numbers = AFTER_ADJUST["distinct_adjusted_widths_groups_for_each_b_g"].values()
    summed = 16**4 * sum(number**4 for number in numbers)
    assert summed - size.distinct_networks(catalog.space("AnyNetXC")) == 16**4 * 4659


def test_distinct_networks_of_d_and_e_are_pinned():
    """The numbers were computed by this program and by one that visits every pair of state and stage."""
    sizes = {name: size.distinct_networks(catalog.space(name)) for name in ("AnyNetXD", "AnyNetXE")}
    assert sizes == {"AnyNetXD": 7_088_294_592_512, "AnyNetXE": 419_223_477_792}


def test_large_regnet_space_has_settings_but_no_count_of_networks():
    regnet = catalog.space("RegNetX")
    assert size.settings(regnet) == 63 * 32 * 2481 * 1501 * 3 * 6
    assert size.distinct_networks(regnet) is None


def enumerated(space):
    """Count the settings and the distinct networks of a small AnyNet space by enumerating all settings."""
    k, axes = space.num_stages, named_axes(space.axes)
    names = list(axes)
    grids = [list(itertools.product(axis.values.tolist(), repeat=k)) for axis in axes.values()]
    checks = {
        "shared": lambda a, b: a == b,
        "non_decreasing": lambda a, b: a <= b,
        "non_increasing": lambda a, b: a >= b,
    }
    for order in (c for c in space.constraints if isinstance(c, Order)):
        i, check = names.index(order.parameter), checks[order.order]
        grids[i] = [values for values in grids[i] if all(map(check, values, values[1:]))]
    for limit in (c for c in space.constraints if isinstance(c, StageRange)):
        i, stage = names.index(limit.parameter), limit.stage - 1
        grids[i] = [values for values in grids[i] if limit.low <= values[stage] <= limit.high]
    networks, count = set(), 0
    for radix in space.radix.values.tolist():
        for depths, widths, ratios, groups in itertools.product(*grids):
            count += 1
            drawn_stages = zip(widths, ratios, groups, strict=True)
            if "group_width" in axes:
                realised = [compatible_widths(w, b, g) for w, b, g in drawn_stages]
            else:
                realised = [widths_for_cardinality(w, b, c, radix) for w, b, c in drawn_stages]
            if all(group % max(1, radix) == 0 for _, group in realised):
                networks.add((radix, depths, ratios, tuple(realised)))
    return count, len(networks)


def axis_of(values, most):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True).map(choice)


ORDER = st.sampled_from([None, *ORDERS])


@given(
    stages=st.integers(1, 3),
    width=axis_of([8, 16, 24, 32, 40, 64], 3),
    ratio=axis_of([0.5, 1, 2, 4], 2),
    group=axis_of([1, 2, 4, 8, 16, 32], 3),
    depth=axis_of([1, 2, 5], 1),
    radix=axis_of([0, 1, 2, 4], 3),
    kind=st.sampled_from(["group_width", "cardinality"]),
    orders=st.tuples(ORDER, ORDER, ORDER, ORDER),
)
@settings(max_examples=120, deadline=None)
def test_counts_of_small_spaces_equal_an_enumeration(stages, width, ratio, group, depth, radix, kind, orders):
    named = zip(("depth", "width", "bottleneck_ratio", kind), orders, strict=True)
    constraints = [Order(parameter, order) for parameter, order in named if order]
    axes = AnyNetAxes(depth, width, ratio, **{kind: group})
    space = DesignSpace("small", axes, Template(strides=(2,) * stages), radix).refine(*constraints)
    if size.settings(space) > 20_000:
        return
    assert (size.settings(space), size.distinct_networks(space)) == enumerated(space)


@given(
    width=axis_of([8, 16, 24, 32, 40, 64], 3),
    group=axis_of([1, 2, 8, 32], 3),
    depth=axis_of([1, 2, 5], 3),
    orders=st.tuples(ORDER, ORDER, ORDER),
    ranges=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(0, 2), st.integers(0, 2)), max_size=3),
)
@settings(max_examples=80, deadline=None)
def test_counts_with_ranges_of_stages_equal_an_enumeration(width, group, depth, orders, ranges):
    named = {"depth": depth, "width": width, "group_width": group}
    constraints = [Order(parameter, order) for parameter, order in zip(named, orders, strict=True) if order]
    for parameter, stage, *ends in ranges:
        name, values = list(named.items())[parameter]
        low, high = sorted(values.values[min(end, len(values) - 1)] for end in ends)
        constraints.append(StageRange(name, stage, low, high))
    axes = AnyNetAxes(depth, width, choice([1, 2]), group)
    space = DesignSpace("small", axes, Template(strides=(2, 2))).refine(*constraints)
    assert (size.settings(space), size.distinct_networks(space)) == enumerated(space)


@pytest.mark.parametrize("order", ORDERS)
def test_counts_of_ordered_depths_equal_an_enumeration(order):
    axes = AnyNetAxes(choice([1, 2, 3]), choice([8, 12]), choice([1]), choice([4, 8]))
    space = DesignSpace("small", axes, Template(strides=(2, 2))).refine(Order("depth", order))
    assert (size.settings(space), size.distinct_networks(space)) == enumerated(space)


def test_counts_of_small_regnets_equal_an_enumeration():
    axes = RegNetAxes(
        uniform(1, 9), choice([8, 16]), choice([4, 8.5]), choice([1.5, 2, 3]), choice([1, 2]), choice([4, 8, 16])
    )
    space = DesignSpace("small", axes, Template(strides=(2, 2, 2)), choice([0, 2, 8])).refine(Band("flops", 1, 2))
    assert size.settings(space) == 9 * 2 * 2 * 3 * 2 * 3 * 3
    names = ("depth", "w_0", "w_a", "w_m", "bottleneck_ratio", "group_width")
    networks = set()
    for values in itertools.product(*(getattr(axes, name).values.tolist() for name in names)):
        stages = RegNetParameters(*values).stages()
        levels = round(math.log(1 + values[2] * (values[0] - 1) / values[1]) / math.log(values[3])) + 1
        if len(stages) == levels == 3:
            networks |= {(r, stages) for r in (0, 2, 8) if all(s.group_width % max(1, r) == 0 for s in stages)}
    assert size.distinct_networks(space) == len(networks) > 0


def test_regnet_space_without_enough_stages_has_no_networks():
    axes = RegNetAxes(*(choice([value]) for value in (2, 8, 8, 2, 1, 8)))
    assert size.distinct_networks(DesignSpace("none", axes)) == 0


def test_regnets_with_slope_equal_to_initial_width_are_counted():
    """Networks with different w_0 begin with different widths, so the counts of each w_0 add up."""

    def distinct(w_0, w_a):
        axes = RegNetAxes(choice([4, 6, 9]), w_0, w_a, choice([1.8, 2.0, 2.5]), choice([1]), choice([8]))
        return size.distinct_networks(DesignSpace("R", axes))

    counts = [distinct(choice([value]), choice([value])) for value in (8, 16, 24)]
    assert distinct(choice([8, 16, 24]), None) == sum(counts) > 3
