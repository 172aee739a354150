from __future__ import annotations

import csv
import hashlib
import re
import subprocess
import sys
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from populations import make_results

from designspace.analysis.comparison import compare_all
from designspace.analysis.edf import edf
from designspace.analysis.figures import (
    draw_edf,
    drawing,
    edf_caption,
    edf_numbers,
    error_limits,
    finish,
    new_axes,
    svg_text,
)
from designspace.support.errors import RunError

NAMES = ("AnyNetXA", "AnyNetXE", "RegNetX")


def population(mean, n=30):
    return np.random.default_rng(int(mean)).normal(mean, 2, n)


@pytest.fixture
def edfs():
    return {name: edf(population(mean)) for name, mean in zip(NAMES, (49, 43, 41), strict=True)}


def legend_texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves_are_steps_from_probability_0_at_the_left_end(edfs):
    _, axes = new_axes()
    draw_edf(axes, edfs, bands=False)
    for line, curve in zip(axes.get_lines(), edfs.values(), strict=True):
        assert line.get_drawstyle() == "steps-post"
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert (x[0], y[0], y[-1]) == (axes.get_xlim()[0], 0, 1)
        assert x[-1] >= axes.get_xlim()[1]
        np.testing.assert_array_equal(x[1:-1], curve.errors)
        np.testing.assert_array_equal(y[1:-1], curve.probabilities)


def test_equal_errors_are_one_step():
    _, axes = new_axes()
    curve = edf([30.0, 20.0, 30.0, 30.0, 20.0])
    draw_edf(axes, {"A": curve})
    heights = {tuple(line.get_ydata()[1:-1]) for line in axes.get_lines()}
    band = curve.band()
    assert heights == {(y[0], y[-1]) for y in (curve.probabilities, band.lower, band.upper)}
    for line in axes.get_lines():
        np.testing.assert_array_equal(line.get_xdata()[1:-1], [20, 30])


def test_axes_have_units_and_the_legend_has_the_papers_columns(edfs):
    _, axes = new_axes()
    draw_edf(axes, edfs)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("error (top-1, %)", "cumulative probability")
    assert re.sub(" +", " ", axes.get_legend().get_title().get_text()) == " n | min | mean"
    for text, (name, curve) in zip(legend_texts(axes), edfs.items(), strict=True):
        assert re.sub(" +", " ", text) == f"{name} {curve.n} | {curve.min:.1f} | {curve.mean:.1f}"


def test_35_curves_differ_in_colour_or_line_style_and_neighbours_in_both():
    _, axes = new_axes()
    draw_edf(axes, {str(i): edf([float(i)]) for i in range(35)}, bands=False)
    styles = [(line.get_color(), str(line._unscaled_dash_pattern)) for line in axes.get_lines()]
    assert len(set(styles)) == 35
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(styles))


def test_failed_trials_do_not_stretch_the_axis(edfs):
    limits = error_limits(list(edfs.values()), 90.0)
    failing = edfs | {"AnyNetXA": edf([*edfs["AnyNetXA"].errors, *[90.0] * 40]), "Hopeless": edf([90.0] * 3)}
    assert error_limits(list(failing.values()), 90.0) == limits
    _, axes = new_axes()
    draw_edf(axes, failing, chance_error=90.0, notes=["AnyNetXA: 70 of 80 trials finished, 40 of them failed."])
    assert " ".join(axes.get_title(loc="left").split()) == (
        "Right of the axis: 40 of 70 networks of AnyNetXA, 3 of 3 networks of Hopeless. "
        "AnyNetXA: 70 of 80 trials finished, 40 of them failed."
    )


def test_limits_contain_even_errors_and_cut_a_long_tail():
    even = np.linspace(30, 50, 20)
    low, high = error_limits([edf(even)])
    assert low < 30
    assert high > 50
    assert error_limits([edf([*even, 89.0])])[1] < 89
    assert error_limits([edf([90.0] * 4)], 90.0) == (89, 91)  # all networks failed
    assert error_limits([edf([0.0, 0.0])])[0] == 0
    assert error_limits([]) == (0, 100)


def test_names_are_shown_literally():
    """A dollar sign does not begin a formula, and a leading underscore does not hide a line from the legend."""
    _, axes = new_axes()
    draw_edf(axes, {"_a$^{$": edf([1.0]), "b$": edf([2.0])}, notes=[r"c$\frac$"])
    assert [text.split()[0] for text in legend_texts(axes)] == [r"_a\$^{\$", r"b\$"]
    svg_text(axes.figure)  # would raise if a formula were parsed


def test_long_names_are_cut_in_the_middle_in_the_legend():
    _, axes = new_axes()
    draw_edf(axes, {f"{'long_' * 20}{end}": edf([1.0]) for end in "ab"})
    assert [text.split()[0] for text in legend_texts(axes)] == [f"long_long_lon…ng_long_long_{end}" for end in "ab"]


def test_a_single_network_and_none_can_be_drawn(tmp_path):
    for edfs in ({"A": edf([30.0])}, {}):
        figure, axes = new_axes()
        draw_edf(axes, edfs)
        finish("edf", "EDF", figure, edf_numbers(edfs), "Caption.", []).write(tmp_path)
    assert [text.get_text() for text in axes.texts] == ["no trial has finished"]


def test_files_have_the_same_bytes_whatever_the_users_settings(edfs, tmp_path):
    def hashes(folder):
        figure, axes = new_axes()
        draw_edf(axes, edfs)
        written = finish("edf.v1", "EDF", figure, edf_numbers(edfs), "Caption.", []).write(folder)
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in written]

    first = hashes(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        f"edf.v1.{kind}" for kind in ("csv", "pdf", "png", "svg")
    ]
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        before = dict(mpl.rcParams)
        assert hashes(tmp_path / "b") == first
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("points", "pixels"), [(drawing.MAX_VECTOR_POINTS, 0), (drawing.MAX_VECTOR_POINTS + 1, 1)])
def test_many_points_are_drawn_as_pixels(points, pixels):
    figure, axes = new_axes()
    values = np.linspace(0, 1, points)
    axes.scatter(values, values)
    axes.plot(values, 1 - values, marker="o", linestyle="none")
    axes.plot(values, values**2)  # a line without markers is one element, however long
    drawing.rasterise(figure)
    svg = svg_text(figure)
    assert svg.count("<image") == pixels  # matplotlib draws neighbours into one
    assert (svg.count("<use") > points) == (pixels == 0)


def test_a_figure_that_cannot_be_written_raises(edfs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        finish("edf", "EDF", new_axes()[0], edf_numbers(edfs), "Caption.", []).write(tmp_path / "file")


def test_pyplot_is_not_imported():
    code = (
        "import sys; from designspace.analysis.edf import edf; from designspace.analysis.figures import *\n"
        "figure, axes = new_axes(); draw_edf(axes, {'A': edf([1.0])}); svg_text(figure)\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_curves_can_be_drawn_again_from_the_written_numbers(edfs, tmp_path):
    finish("edf", "EDF", new_axes()[0], edf_numbers(edfs, level=0.1), "Caption.", []).write(tmp_path, ["csv"])
    with (tmp_path / "edf.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["space", "error", "probability", "lower", "upper"]
    for name, curve in edfs.items():
        rows_of_space = [row for row in rows if row["space"] == name]
        band = curve.band(0.1)
        for column, values in (
            ("error", curve.errors),
            ("probability", curve.probabilities),
            ("lower", band.lower),
            ("upper", band.upper),
        ):
            assert [float(row[column]) for row in rows_of_space] == values.tolist()


def test_the_caption_states_sizes_order_and_undecided_pairs():
    runs = [make_results(name, population(mean)) for name, mean in (("A", 49), ("B", 41), ("C", 41))]
    edfs = {run.name: edf(run.errors()) for run in runs}
    caption = edf_caption(edfs, compare_all(runs))
    assert "(A n = 30, B n = 30, C n = 30)" in caption
    assert "By mean error the order is B, C, A, the best first." in caption
    assert "Significant at 5%: B before A, C before A." in caption
    assert caption.endswith("The order is not significant at 5% for B and C.")
    assert "order" not in edf_caption({"A": edfs["A"]}, ())
    assert edf_caption({}, ()) == "EDF: no trial has finished yet."
