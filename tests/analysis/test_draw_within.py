"""Tests of the figures of single populations by the contents of the axes: points, lines, labels and scales."""

from __future__ import annotations

import numpy as np
import pytest
from populations import make_results
from test_curves import with_histories
from test_quantities import quickstart, results_of

from designspace.analysis.best_values import scatter
from designspace.analysis.curves import epoch_ranks, learning_curves
from designspace.analysis.figures.canvas import new_axes, new_grid
from designspace.analysis.figures.curves import draw_curves, draw_epoch_ranks
from designspace.analysis.figures.importance import draw_importance
from designspace.analysis.figures.networks import draw_fit_errors, draw_mean_line, draw_staircases
from designspace.analysis.figures.rendering import rendered, svg_text
from designspace.analysis.figures.scatter import draw_cost, draw_map, draw_pareto, draw_scatter
from designspace.analysis.figures.search import draw_search
from designspace.analysis.figures.trends import draw_trend
from designspace.analysis.importance import importance
from designspace.analysis.lines import fit_population, mean_line
from designspace.analysis.networks import best_and_worst
from designspace.analysis.planes import plane
from designspace.analysis.results import Results
from designspace.analysis.search import search_curve
from designspace.analysis.tradeoffs import cost_fit, pareto
from designspace.analysis.trends import trend

NAMES = ("AnyNetXA", "AnyNetXE", "RegNetX")


@pytest.fixture
def axes():
    return new_axes()[1]


def points(axes, index=0):
    return np.asarray(axes.collections[index].get_offsets())


def lines_at(axes, marker):
    """Return x and y of the first line with a marker."""
    lines = [line for line in axes.get_lines() if line.get_marker() == marker]
    return [np.asarray(lines[0].get_xdata()), np.asarray(lines[0].get_ydata())] if lines else None


def test_a_scatter_shows_every_network_once(axes):
    # 30 to 33 are close together, 60 is far above, and two trials failed.
    results = results_of({"d1": [1, 2, 3, 4, 5, 6, 7]}, errors=[30, 31, 32, 33, 60], failed=[("diverged", "")] * 2)
    drawn = scatter(results, "d1")
    draw_scatter(axes, drawn)
    assert points(axes).tolist() == [[1, 30], [2, 31], [3, 32], [4, 33]]
    assert lines_at(axes, "^")[0].tolist() == [5]
    assert lines_at(axes, "|")[0].tolist() == [6, 7]
    assert lines_at(axes, "|")[1].tolist() == [1, 1]  # the upper edge
    assert axes.get_title(loc="left").replace("\n", " ").endswith("2 failed (|), 1 above")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("depth d1, blocks", "error (top-1, %)")


def test_a_scatter_shows_the_best_value(axes):
    drawn = scatter(quickstart("AnyNetXA"), "d")
    draw_scatter(axes, drawn)
    (shade,) = [patch for patch in axes.patches if patch.get_width() > 0]
    assert shade.get_x() == drawn.best_value.low
    assert shade.get_x() + shade.get_width() == drawn.best_value.high
    medians = [line for line in axes.get_lines() if line.get_color() == "black" and line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in medians] == [drawn.best_value.median]
    assert f"best value {drawn.best_value.median:g} (95%" in axes.get_title(loc="left")


@pytest.mark.parametrize(
    ("name", "column", "scale"),
    [
        ("w1", [8, 64, 128], "log"),
        ("w1", [100, 110, 120], "linear"),  # too narrow for a logarithmic axis
        ("w1", [0, 64, 128], "linear"),  # zero has no logarithm
        ("d1", [1, 8, 16], "linear"),
        ("flops", [1e6, 2e6, 9e6], "log"),
    ],
)
def test_axes_are_logarithmic_if_quantity_and_values_allow(axes, name, column, scale):
    draw_scatter(axes, scatter(results_of({name: column}), name))
    assert axes.get_xscale() == scale


def test_large_numbers_have_unit_prefixes(axes):
    draw_scatter(axes, scatter(results_of({"flops": [800_000, 1_000_000, 1_200_000]}), "flops"))
    axes.figure.canvas.draw()
    assert "1M" in [tick.get_text() for tick in axes.get_xticklabels()]


def test_a_map_colours_by_rank_and_marks_failures(axes):
    results = results_of({"d1": [1, 2, 3, 4]}, errors=[33, 31, 32], failed=[("diverged", "")])
    draw_map(axes, plane(results, "d1", "flops"))
    assert points(axes)[:, 0].tolist() == [1, 3, 2]  # the best is drawn last, on top
    assert axes.collections[0].get_array().tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert points(axes, 1)[:, 0].tolist() == [4]
    assert points(axes, 2)[:, 0].tolist() == [2]  # the ring
    colour_bar = axes.figure.axes[1]
    assert [tick.get_text() for tick in colour_bar.get_yticklabels()] == ["best", "median", "worst"]


def test_search_curves_are_shaded_means(axes):
    curves = [search_curve(quickstart(name)) for name in NAMES]
    draw_search(axes, curves, deviations=2)
    for curve in curves:
        (line,) = [line for line in axes.get_lines() if str(line.get_label()).startswith(curve.name)]
        np.testing.assert_array_equal(line.get_ydata(), curve.mean)
        edges = [line.get_ydata() for line in axes.get_lines() if line.get_alpha() == 0.45]
        assert any(np.allclose(edge, curve.mean - 2 * curve.deviation) for edge in edges)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [f"{name}, n = 24" for name in NAMES]
    assert axes.get_xscale() == "log"


def test_staircases_have_a_step_per_stage(axes):
    stairs = best_and_worst(quickstart("RegNetX"), 2, fits=True).best
    draw_staircases(axes, stairs)
    steps = [line for line in axes.get_lines() if line.get_drawstyle() == "steps-post"]
    assert len(steps) == 4  # two networks and their fits
    np.testing.assert_array_equal(steps[0].get_ydata(), stairs[0].block_widths)
    np.testing.assert_array_equal(steps[1].get_ydata(), stairs[0].table()["fit"])
    straight = [line for line in axes.get_lines() if line.get_linewidth() == 0.7]
    assert straight[0].get_ydata()[:2] == pytest.approx([stairs[0].line[0], stairs[0].line[0] + stairs[0].line[1]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [stair.label for stair in stairs]
    assert axes.get_ylim()[0] == 0


def test_the_mean_line_is_drawn_over_its_networks(axes):
    line = mean_line(quickstart("AnyNetXE"), 5)
    draw_mean_line(axes, line, log=True)
    assert len(axes.get_lines()) == 6
    np.testing.assert_allclose(axes.get_lines()[-1].get_ydata()[:3], line.slope * np.array([1, 2, 3]))
    assert axes.get_yscale() == "log"


def test_fit_errors_are_drawn_against_the_error(axes):
    results = make_results("A", [30, 31], failed=[("diverged", "")])
    fits = fit_population(results)
    draw_fit_errors(axes, [fits])
    assert points(axes).tolist() == [[30, fits.e_fit[0]], [31, fits.e_fit[1]]]
    assert lines_at(axes, "_")[1].tolist() == [fits.e_fit[2]]


def test_a_front_is_drawn_over_its_networks(axes):
    results = results_of({"params": [100, 200, 300, 400]}, errors=[33, 30, 32, 31], failed=[])
    draw_pareto(axes, [pareto(results, "params")])
    (front,) = [line for line in axes.get_lines() if line.get_drawstyle() == "steps-post"]
    assert (front.get_xdata().tolist(), front.get_ydata().tolist()) == ([100, 200], [33, 30])
    assert points(axes).tolist() == [[300, 32], [400, 31]]
    assert axes.get_xlabel() == "parameters"


def test_a_cost_is_drawn_with_its_fit_and_correlation(axes):
    fit = cost_fit(quickstart("AnyNetXA"), "activations")
    draw_cost(axes, [fit])
    assert len(points(axes)) == 24
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), fit.line_y)
    (label,) = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"r = {fit.r:.2f}" in label
    assert fit.formula in label


def test_a_trend_is_an_area_over_regimes_and_bars_over_a_chain():
    figure, grid = new_grid(1, 2)
    regimes = [results_of({"d1": [1, 5, 9], "flops": [f, f, f]}) for f in (1e6, 4e6)]
    regimes[1] = Results.from_table("B", regimes[1].table.drop(columns="run"), 10)
    over_flops, chain = trend(regimes, "d1"), trend(regimes, "d1", x=None)
    draw_trend(grid[0, 0], over_flops)
    draw_trend(grid[0, 1], chain)
    line = grid[0, 0].get_lines()[0]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1e6, 4e6], over_flops.median.tolist())
    assert grid[0, 0].get_xscale() == "log"
    assert [text.get_text() for text in grid[0, 1].get_xticklabels()] == ["A", "B"]
    bars = grid[0, 1].collections[0].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == [[1, 9], [1, 9]]
    assert svg_text(figure)


def test_learning_curves_mark_their_least_error(axes):
    results = with_histories([[50, 30, 40, 35], [60, 50, 45, 44], [70, 60, 60, 60]])
    curves = learning_curves(results)
    draw_curves(axes, curves)
    marked = [line for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marked] == [(2, 30), (4, 44), (2, 60)]
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert low < 29 < 70 < high  # the least training error and the greatest test error
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "best, 35.0%",
        "median, 44.0%",
        "worst, 60.0%",
    ]


def test_learning_curves_below_one_percent_and_at_zero_are_visible():
    figure, grid = new_grid(1, 2)
    draw_curves(grid[0, 0], learning_curves(with_histories([[3.0, 1.5]])))
    assert grid[0, 0].get_ylim()[0] < 0.5
    draw_curves(grid[0, 1], learning_curves(with_histories([[3.0, 1.0]])))  # the training error is 0
    assert grid[0, 1].get_yscale() == "linear"
    assert svg_text(figure)


def test_rank_correlations_are_drawn_by_epoch(axes):
    ranks = epoch_ranks(with_histories([[50.0, 30, 30], [40.0, 33, 31], [60.0, 32, 32], [55, 35, 33], [52, 36, 34]]))
    draw_epoch_ranks(axes, [ranks])
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), ranks.correlation)
    assert axes.get_legend().get_texts()[0].get_text() == "A, n = 5"


def test_importances_are_bars_with_the_first_on_top(axes):
    importances = importance(quickstart("RegNetX"), repeats=2)
    draw_importance(axes, importances, most=4)
    assert [bar.get_width() for bar in axes.patches] == [
        parameter.importance for parameter in importances.parameters[:4]
    ]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        parameter.quantity.name for parameter in importances.parameters[:4]
    ]
    assert axes.yaxis_inverted()
    assert lines_at(axes, "D")[0].tolist() == [parameter.share for parameter in importances.parameters[:4]]
    title = axes.get_title(loc="left")
    assert "first 4 of 6" in title
    assert f"R² = {importances.r_squared:.2f}" in title
    assert ("explains almost nothing" in title) == (not importances.explains)


def test_populations_without_finished_trials_have_empty_axes():
    figure, grid = new_grid(2, 2)
    empty = make_results("A", [], waiting=3)
    draw_scatter(grid[0, 0], scatter(empty, "d1"))
    draw_map(grid[0, 1], plane(empty, "d1", "d2"))
    draw_staircases(grid[1, 0], [])
    draw_search(grid[1, 1], [])
    draw_fit_errors(grid[1, 1], [])
    assert [text.get_text() for text in grid[0, 0].texts] == ["no trial has finished"]
    assert rendered(figure, "png")


def test_drawing_is_reproducible_and_names_are_not_formulas():
    texts = []
    for _ in range(2):
        figure, grid = new_grid(1, 3)
        results = make_results("a$b_{", [30, 31, 32], failed=[("diverged", "")])
        draw_scatter(grid[0, 0], scatter(results, "flops"))
        draw_search(grid[0, 1], [search_curve(results)])
        draw_fit_errors(grid[0, 2], [fit_population(results)])
        texts.append(svg_text(figure))
    assert texts[0] == texts[1]
