"""Results that are measured by another metric than the top-1 error: directions, words, values of guessing."""

import dataclasses

import numpy as np
import pytest

from designspace.analysis import Results
from designspace.analysis.comparison import compare, compare_all
from designspace.analysis.comparison import comparison_table as numbers_of
from designspace.analysis.difference import difference
from designspace.analysis.edf import edf
from designspace.analysis.figures import edf_caption, edf_numbers
from designspace.analysis.figures.canvas import new_axes
from designspace.analysis.figures.edf import draw_edf
from designspace.analysis.margins import within_margins
from designspace.analysis.overview import pareto_figure, search_figure
from designspace.analysis.paired import compare_paired
from designspace.analysis.populations import Populations
from designspace.analysis.preconditions.failures import possible_results
from designspace.analysis.reading import merge
from designspace.analysis.report_data import trial_data
from designspace.analysis.shrunken import noise_sentences
from designspace.analysis.source import Source
from designspace.analysis.tables import best_table, comparison_table, notes, space_table, summarize
from designspace.support.errors import InputError
from designspace.trials.metric import Metric

RECALL = Metric("macro recall", "", "higher", 0.1, 0, 1)
LOSS = Metric("cross-entropy", "nats", "lower", 2.3, 0)
RANDOM = np.random.default_rng(0)
LOW, HIGH = RANDOM.uniform(0.5, 0.7, 40), RANDOM.uniform(0.65, 0.85, 40)
FLOPS = RANDOM.uniform(1e6, 2e6, 40)


def results(name, values, metric=RECALL, **columns):
    """Return results of a population; NaN is a network that diverged."""
    columns = {"flops": FLOPS[: len(values)], "params": FLOPS[: len(values)], **columns}
    return Results.from_errors(name, values, 10, columns, metric)


def mirrored(name, values):
    """Return results whose error is what lacks to a recall of 1, to compare with those of the recall."""
    metric = Metric("lack of recall", "", "lower", 0.9, 0, 1)
    return results(name, 1 - np.asarray(values), metric)


def test_higher_values_are_better_everywhere():
    run = results("A", [0.5, 0.9, np.nan, 0.7])
    assert run.counts.failed == 1
    assert run.errors().tolist() == [-0.5, -0.9, -0.1, -0.7]
    assert run.best(3)["final_error"].tolist() == [0.9, 0.7, 0.5]
    assert (run.guess, run.chance_error) == (0.1, -0.1)
    assert (
        repr(run) == "Results('A': 4 of 4 trials finished, 1 of them failed; macro recall 0.500 to 0.900, mean 0.700)"
    )


def test_a_comparison_has_the_numbers_of_the_reflected_one():
    pair = compare(results("A", LOW), results("B", HIGH))
    reflected = compare(mirrored("A", LOW), mirrored("B", HIGH))
    assert pair.better == reflected.better == "B"
    assert (pair.ks_p, pair.dominance) == (reflected.ks_p, reflected.dominance)
    assert pair.effect_p == pytest.approx(reflected.effect_p)
    assert pair.own_means[0] == pytest.approx(LOW.mean() - HIGH.mean())
    assert pair.own_means[1] < pair.own_means[0] < pair.own_means[2]
    assert pair.own_medians[0] == pytest.approx(np.median(LOW) - np.median(HIGH))
    assert "B is better than A: a random network from B has a higher macro recall than one from A" in pair.sentence()
    assert numbers_of([pair])["mean_difference"][0] == pair.own_means[0]
    assert comparison_table([pair]).rows[0][6] == f"{LOW.mean() - HIGH.mean():+.3f}"
    undecided = compare(results("A", LOW[:6]), results("B", LOW[6:12]))
    assert undecided.better is None
    mean = LOW[:6].mean() - LOW[6:12].mean()
    assert f"The means differ by {mean:+.3f} points" in undecided.sentence()


def test_the_figure_of_an_edf_shows_the_values_of_the_metric():
    runs = [results("A", LOW), results("B", HIGH)]
    curves = Populations.of(runs).edfs()
    caption = edf_caption(curves, compare_all(runs))
    assert caption.startswith(
        "Macro recall EDF: the fraction of each population whose macro recall is at least that on"
    )
    assert "By mean macro recall the order is B, A, the best first." in caption
    assert "Significant at 5%: B before A." in caption
    numbers = edf_numbers(curves)
    assert numbers["error"].max() == HIGH.max()
    figure, ax = new_axes()
    draw_edf(ax, curves, chance_error=runs[0].chance_error)
    figure.canvas.draw()
    assert ax.get_xlabel() == "macro recall"
    ticks = [float(text.get_text()) for text in ax.get_xticklabels()]
    assert ticks == sorted(ticks, reverse=True)  # the best values are on the left
    assert all(0 < tick <= 1 for tick in ticks)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"{HIGH.max():.2f} | {HIGH.mean():.2f}" in legend[1]


def test_the_axis_ends_at_the_best_possible_value():
    perfect = edf([-1.0, -1.0, -0.5], metric=RECALL)
    _, ax = new_axes()
    draw_edf(ax, {"A": perfect})
    assert ax.get_xlim()[0] == -1


def test_tables_and_notes_have_the_words_and_values_of_the_metric():
    run = results("A", [0.5, 0.9, np.nan, 0.7])
    table = space_table([summarize(run)])
    assert table.header[5:8] == ("max macro recall", "mean macro recall", "median macro recall")
    assert table.rows[0][5:8] == ("0.900", "0.550", "0.600")
    assert best_table(run).header[1:3] == ("macro recall", "best epoch")
    assert best_table(run).rows[0][1] == "0.900"
    assert "A: 1 of 4 trials failed, counted at chance level (chance level is 0.1)." in notes([run])


def test_the_data_of_a_report_are_those_of_the_metric():
    data = trial_data([results("A", [0.5, 0.9, np.nan, 0.7])])
    assert data["metric"] == {
        "key": "score", "name": "macro recall", "unit": "", "digits": 3, "reaches": "at least", "sign": -1,
    }  # fmt: skip
    column = next(column for column in data["columns"] if column["key"] == "score")
    assert column["values"] == [0.5, 0.9, None, 0.7]
    assert column["help"] == "macro recall of the last epoch"
    assert data["chance"] == -0.1
    assert trial_data([results("A", [50.0, 60.0], None)])["metric"]["key"] == "error"


def test_figures_against_complexity_and_of_searches_are_of_the_metric():
    run = results("A", LOW)
    front = pareto_figure([run])
    assert front.numbers.query("cost == 'flops' and on_front")["error"].max() == LOW.max()
    assert front.title == "Macro recall against cost"
    search = search_figure([run])
    assert search.numbers["mean"].iloc[-1] == pytest.approx(LOW.max())
    assert search.figure.axes[0].get_ylabel() == "macro recall of the best"


def test_networks_under_two_recipes_are_compared_in_the_values_of_the_metric():
    first, second = results("A", LOW, id=np.arange(40)), results("B", LOW + 0.1, id=np.arange(40))
    paired = compare_paired(first, second)
    assert "Mean macro recall under A minus that under B: -0.100 points" in paired.sentence()
    assert paired.table()["error_a"].tolist() == LOW.tolist()


def test_a_margin_is_a_loss_of_the_metric():
    runs = [results("A", LOW), results("B", LOW + 0.01)]
    (tested,) = within_margins(runs, compare_all(runs), 0.05)
    assert tested.a_not_worse
    assert "A and B are equal within 0.05 points (means -0.010 apart" in tested.sentence()
    (strict,) = within_margins(runs, compare_all(runs), 0.005)
    assert not strict.a_not_worse


def test_the_difference_of_edfs_names_the_metric():
    gap = difference(edf(-LOW, metric=RECALL), edf(-HIGH, metric=RECALL))
    assert gap.dominance == "B"
    assert gap.table()["error"].min() == LOW.min()
    value = -gap.smallest[1]
    assert f"at a macro recall of {value:.2f}" in gap.sentence("A", "B")


def test_repeated_trainings_are_described_in_the_values_of_the_metric():
    means, noise = np.repeat(LOW[:6], 3), np.tile([-0.02, 0.0, 0.02], 6)
    run = results(
        "A", means + noise, id=np.repeat(np.arange(6), 3), trial=np.arange(18).astype(str), seed=np.tile([0, 1, 2], 6)
    )
    spread, best = noise_sentences(run)
    assert "A: values of macro recall vary by 0.020 points" in spread
    assert f"the best network is {LOW[:6].argmax()}: its expected macro recall with new seeds is 0.6" in best


def test_trials_left_out_are_bounded_by_guesses_and_the_best_value():
    run = results("A", [*LOW[:20], *[np.nan] * 20], status=["done"] * 20 + ["failed"] * 20)
    large = np.where(np.arange(40) < 20, 1e6, 1e9)
    table = run.table.assign(reason=["" if x == "done" else "out of memory" for x in run.table["status"]], flops=large)
    run = dataclasses.replace(run, table=table)
    assert run.counted().sum() == 20
    _, at_chance, at_best = possible_results(run, -0.9)
    assert at_chance.table["final_error"].iloc[-1] == 0.1
    assert at_best.table["final_error"].iloc[-1] == 0.9


@pytest.mark.parametrize(
    ("metric", "value", "message"),
    [
        (RECALL, 1.5, "is done, so final_error must be from 0 to 1, not 1.5"),
        (LOSS, -0.5, "is done, so final_error must be from 0 nats, not -0.5"),
        (dataclasses.replace(LOSS, low=None), np.inf, "must be a finite number, not inf"),
    ],
)
def test_impossible_values_are_errors(metric, value, message):
    with pytest.raises(InputError, match=message):
        results("A", [0.5, value], metric)
    assert results("A", [0.5, 3.0], LOSS).errors().tolist() == [0.5, 3.0]


def test_runs_with_different_metrics_are_not_compared():
    runs = [results("A", LOW), results("B", LOW, LOSS)]
    with pytest.raises(
        InputError, match=r"different metrics \(A macro recall, B cross-entropy \(nats\)\): compare them"
    ):
        compare_all(runs)
    sources = [Source(run.name, run.table, 10, metric=run.metric) for run in runs]
    with pytest.raises(InputError, match="measured by different metrics cannot be merged"):
        merge(sources)
    other_guess = dataclasses.replace(RECALL, guess=0.2)
    with pytest.raises(InputError, match=r"other values of guessing \(chance level: A 0.1, B 0.2\)"):
        compare_all([results("A", LOW), results("B", LOW, other_guess)])
