from __future__ import annotations

import numpy as np
import pytest
from populations import make_results

from designspace.analysis.comparison import compare_all
from designspace.analysis.difference import difference
from designspace.analysis.edf import edf
from designspace.analysis.effects import best_of_k
from designspace.analysis.figures import new_axes, svg_text
from designspace.analysis.figures.compare import draw_best_of_k, draw_difference, draw_effects, draw_paired
from designspace.analysis.paired import compare_paired

NAMES = ("AnyNetXA $a$", "RegNetX")


@pytest.fixture
def errors():
    rng = np.random.default_rng(0)
    return rng.normal(44, 3, 60), rng.normal(42, 2, 50)


def has_line(ax, x, y):
    """Return whether a line goes through these points."""
    lines = (np.asarray(line.get_xydata()) for line in ax.lines)
    points = np.column_stack([x, y])
    return any(line.shape == points.shape and np.allclose(line, points) for line in lines)


def title(ax):
    return ax.get_title(loc="left")


def test_the_difference_is_drawn_as_computed(errors):
    gap = difference(edf(errors[0]), edf([*errors[1], 90.0]))
    figure, ax = new_axes()
    draw_difference(ax, gap, NAMES)
    steps = [np.asarray(line.get_xydata()) for line in ax.lines]
    for column in (gap.values, gap.lower, gap.upper):
        inner = np.column_stack([gap.errors, column])
        assert any(np.allclose(line[1:-1], inner) for line in steps if len(line) == len(inner) + 2)
    assert ax.get_xlim()[1] < 80  # the failed network does not stretch the axis, and is noted
    assert "1 of 111 distinct errors right of the axis" in title(ax)
    assert [text.get_text() for text in ax.texts] == [r"AnyNetXA \$a\$ is ahead", "RegNetX is ahead"]
    assert svg_text(figure) == svg_text(figure)
    figure, ax = new_axes()
    draw_difference(ax, gap, NAMES, limits=(40, 45))
    assert ax.get_xlim() == (40, 45)


def test_the_best_of_k_is_drawn_against_k(errors):
    curve = best_of_k(*errors, 2 ** np.arange(8))
    figure, ax = new_axes()
    draw_best_of_k(ax, curve, NAMES)
    assert has_line(ax, curve.k, curve.probability)
    assert ax.get_xscale() == "log"
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[64, 128]]
    assert "hollow: with replacement" in title(ax)
    assert len(svg_text(figure)) > 1000


def test_paired_networks_are_drawn_with_failed_ones_at_the_edge(errors):
    few = make_results("10 epochs", errors[0], failed=[("diverged", "")])
    many = make_results("50 epochs", [*(errors[0] - 8), 33.0])
    paired = compare_paired(few, many)
    figure, ax = new_axes()
    draw_paired(ax, paired)
    done, failed = (np.asarray(points.get_offsets()) for points in ax.collections)
    np.testing.assert_allclose(done, np.column_stack([paired.errors_a, paired.errors_b])[:-1])
    assert failed[0, 1] == 33
    assert failed[0, 0] < ax.get_xlim()[1] < 60
    assert ax.get_legend() is not None
    assert title(ax).startswith(f"n = 61; Spearman {paired.spearman.value:.2f} (")
    assert len(svg_text(figure)) > 1000


def test_effects_have_one_row_per_pair_with_the_first_on_top(errors):
    runs = [make_results(name, values) for name, values in zip("AB", errors, strict=True)] + [
        make_results("C", errors[0])
    ]
    pairs = compare_all(runs)
    figure, ax = new_axes()
    draw_effects(ax, pairs)
    for row, pair in enumerate(pairs):
        assert has_line(ax, [pair.effect_low, pair.effect_high], [row, row])
        assert has_line(ax, [pair.effect], [row])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["A\n: B", "A\n: C", "B\n: C"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [line.get_marker() for line in ax.lines if line.get_marker() in "so"] == ["s", "o", "s"]
    assert len(svg_text(figure)) > 1000


def test_single_networks_can_be_drawn():
    a, b = make_results("A", [40.0]), make_results("B", [40.0])
    for draw in (
        lambda ax: draw_difference(ax, difference(edf([40.0]), edf([40.0])), ("A", "B")),
        lambda ax: draw_best_of_k(ax, best_of_k([40.0], [40.0], 1), ("A", "B")),
        lambda ax: draw_paired(ax, compare_paired(a, b)),
        lambda ax: draw_effects(ax, compare_all([a, b])),
        lambda ax: draw_effects(ax, ()),
    ):
        figure, ax = new_axes()
        draw(ax)
        assert "<svg" in svg_text(figure)
    assert ax.texts[0].get_text() == "there is no pair to compare"


def test_a_recipe_under_which_all_failed_can_be_drawn():
    failed = make_results("A", [], failed=[("diverged", "")] * 3)
    figure, ax = new_axes()
    draw_paired(ax, compare_paired(failed, make_results("B", [30.0, 31, 32])))
    assert len(ax.collections[1].get_offsets()) == 3
    assert "<svg" in svg_text(figure)
