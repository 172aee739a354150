"""Representations at a prompt and in notebooks, and public names under tab completion."""

import inspect
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import designspace as ds
from designspace.analysis import Results, compare
from designspace.analysis.edf import edf
from designspace.spaces import AnyNetAxes, DesignSpace, choice, uniform
from designspace.support import notebook
from designspace.support.errors import InputError


@pytest.fixture(scope="module")
def space():
    return ds.space("RegNetX", stem="cifar", resolution=28, in_channels=1, num_classes=10, flops=[2e6, 3.5e6])


@pytest.fixture(scope="module")
def population(space):
    return space.sample(n=12)


def make_results():
    return Results.from_errors("mine", [20.0, 30.0, float("nan")], 10)


def test_representations_fit_a_screen(space, population):
    other = Results.from_errors("other", [25.0, 35.0], 10)
    shown = [space, space.axes, space.axes.w_a, population, population[0], population[:2], ds.space("AnyNeSt").axes]
    curve = edf(np.arange(1, 100.0))
    shown += [make_results(), compare(make_results(), other), curve, curve.band(), ds.Recipe(), ds.Recipe(epochs=3)]
    for value in shown:
        assert len(repr(value)) < 500
        assert "\n" not in repr(value)
        assert f"{value}" == str(value)
    assert repr(space) == ("DesignSpace('RegNetX': 4 stages, 7 axes, 1 constraint; images of 1 x 28 x 28, 10 classes)")
    assert repr(population).startswith("Population(12 networks of RegNetX, seed 0; 2.0")
    assert repr(ds.Recipe(epochs=3)) == "Recipe(epochs=3)"
    assert repr(make_results()) == (
        "Results('mine': 3 of 3 trials finished, 1 of them failed; error 20.00% to 30.00%, mean 25.00%)"
    )


def test_html_is_balanced_and_escaped():
    class Balanced(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            assert tag != "script"
            self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    name = "<script>alert(1)<b>"
    axes = AnyNetAxes(uniform(1, 3), uniform(8, 32, 8), choice([1]), choice([8]))
    space = DesignSpace(name, axes)
    results = Results.from_errors(name, [20.0, 30.0], 10, {"id": ["<script>", "b"]})
    others = [space.sample(3), space.sample(1)[0], compare(results, make_results()), edf([1.0, 2.0])]
    for value in (space, results, *others):
        parser = Balanced()
        parser.feed(value._repr_html_())
        assert not parser.open


def test_a_population_becomes_a_table(population):
    frame = population.to_frame()
    assert frame.index.name == "id"
    assert frame.index.tolist() == list(population.ids)
    assert list(frame.columns) == population.column_names()
    assert (frame["flops"].dtype, frame["w_m"].dtype) == (np.dtype("int64"), np.dtype("float64"))
    frame["flops"] = 0
    assert population.columns["flops"].min() > 0  # the population is unchanged


def test_a_population_can_be_indexed_and_sliced(population):
    assert population[:3].ids == population.ids[:3]
    assert population[-1] == population[11] == population[np.int64(11)] == list(population)[-1]
    assert [network.id for network in population[[0, 5]]] == [population.ids[0], population.ids[5]]
    large = population[population.columns["flops"] > 2.5e6]
    assert 0 < len(large) < 12
    assert large[0].id == large.ids[0]
    assert len(population[:0]) == 0
    assert "0 networks" in repr(population[:0])
    with pytest.raises(IndexError):
        population[12]


def test_public_names_are_listed_before_they_are_imported():
    code = (
        "import designspace, sys; print(dir(designspace)); print('torch' in sys.modules, 'pandas' in sys.modules)\n"
        "import designspace.spaces; assert {'DesignSpace', 'choice', 'Band'} <= set(dir(designspace.spaces))\n"
        "assert {'Network', 'Stage', 'catalog'} <= set(dir(designspace.networks)); designspace.trials.Recipe"
    )
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"'{name}'" in out for name in ds.__all__)
    assert out.endswith("False False\n")
    for name in dir(ds):
        assert getattr(ds, name) is not None
    with pytest.raises(AttributeError, match="module 'designspace' has no attribute 'plot'; choose from: AnyNet, "):
        ds.plot  # noqa: B018


def test_the_docstring_of_the_recipe_explains_its_fields():
    for name in ds.Recipe().to_dict():
        assert f"\n    {name}: " in inspect.getdoc(ds.Recipe)


@pytest.mark.parametrize("errors", [[20, None, 25], np.array([20, np.nan, 25]), pd.Series([20.0, None, 25])])
def test_a_figure_of_errors_is_shown_as_svg(errors):
    figure = ds.plot_edf({"mine": errors, "other": (21, 22)})
    assert figure._repr_svg_().startswith("<?xml")
    assert figure.axes[0].get_title(loc="left") == "mine: 1 of 3 errors are missing and left out."
    assert ds.plot_edf(make_results())._repr_svg_()


def test_an_edf_can_be_drawn_into_given_axes():
    from matplotlib.figure import Figure

    left, right = Figure().subplots(1, 2)
    assert ds.plot_edf({"a": [1, 2], "b": make_results()}, ax=left, bands=False) is left
    assert len(left.lines) == 2
    assert not right.lines


@pytest.mark.parametrize(
    ("errors_by_name", "message"),
    [
        ([1, 2], r"errors by the name of their space, such as plot_edf\(\{'mine': \[24.1, 22.8\]\}\), not int"),
        ({"a": ["x"]}, "a: errors must be numbers in percent"),
        ({"a": []}, "a: errors must be a list of at least one number"),
        ({}, "no run was given; give at least one run to analyse"),
        (None, "not NoneType"),
    ],
)
def test_values_that_are_not_errors_are_rejected(errors_by_name, message):
    with pytest.raises(InputError, match=message):
        ds.plot_edf(errors_by_name)


def test_results_without_a_run_folder_have_no_networks_to_load():
    best = make_results().best(2)
    assert isinstance(best, pd.DataFrame)
    with pytest.raises(InputError, match="mine was not read from a run folder"):
        best.load()
    with pytest.raises(InputError, match="rank must be a whole number from 1 to 2, not 3"):
        best.load(3)
    with pytest.raises(InputError, match="no trial is done"):
        Results.from_errors("none", [float("nan")], 10).best().load()


def test_the_bar_is_used_only_in_notebooks(capsys):
    assert not notebook.in_notebook()
    notebook.NotebookBar("epochs", 3).update(1, "loss < 1")  # outside a notebook IPython writes a line
    assert "HTML" in capsys.readouterr().out
