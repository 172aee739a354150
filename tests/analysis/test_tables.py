from __future__ import annotations

import pandas as pd
from populations import make_results, make_table

from designspace.analysis.comparison import compare_all
from designspace.analysis.figures.drawing import progress
from designspace.analysis.results import Results
from designspace.analysis.tables import (
    best_table,
    comparison_table,
    failure_table,
    notes,
    space_table,
    summarize,
)

FAILED = [("error", "KeyError: 'w'"), ("diverged", "loss is nan"), ("diverged", ""), ("diverged", "x" * 900)]


def test_a_run_is_summarised_in_one_row():
    run = make_results("A", [30, 20, 25], failed=FAILED[1:2], waiting=2)
    summary = summarize(run)
    assert (summary.min_error, summary.mean_error, summary.median_error) == (20, 41.25, 27.5)
    assert ({cost.name: median for cost, median in summary.medians.items()}["flops"], summary.train_s) == (
        4_000_002.5,
        180,
    )
    assert summarize(run.with_failures("exclude")).mean_error == 25
    table = space_table([summary, summarize(make_results("None", [], waiting=1))])
    assert table.rows[0][:8] == ("A", "6", "3", "1", "2", "20.00", "41.25", "27.50")
    assert table.rows[1] == ("None", "1", "0", "0", "1", "-", "-", "-", "4.00 M", "5.00 k", "3.00 k", "0 s")
    assert {len(row) for row in table.rows} == {len(table.header)}


def test_best_networks_have_their_stages():
    table = best_table(make_results("A", [30, 20, 25], failed=FAILED), count=2)
    assert [row[0] for row in table.rows] == ["a00000000001", "a00000000002"]
    assert table.rows[0][1:8] == (
        "20.00",
        "19.75",
        "1, 2, 7, 12",
        "32, 64, 160, 384",
        "1, 1, 1, 1",
        "16, 16, 16, 16",
        "0",
    )
    assert len(table.header) == len(table.rows[0])


def test_failures_are_ordered_by_frequency_with_examples():
    table = failure_table([make_results("A", [30], failed=FAILED), make_results("B", [30])])
    assert [row[:3] for row in table.rows] == [("A", "diverged", "3"), ("A", "error", "1")]
    first, second, third = table.rows[0][3].split("\n")
    assert (first, second) == ("a00000000002: loss is nan", "a00000000003: nothing recorded")
    assert len(third) < 350
    assert failure_table([make_results("B", [30])]).rows == ()


def test_comparisons_have_one_row_per_pair():
    runs = [make_results(name, errors) for name, errors in (("A", [1, 2, 3]), ("B", [4, 5, 6]), ("C", [4, 5, 6]))]
    table = comparison_table(compare_all(runs))
    assert [row[:5] for row in table.rows] == [
        ("A", "B", "3", "3", "1.00"),
        ("A", "C", "3", "3", "1.00"),
        ("B", "C", "3", "3", "0.50"),
    ]
    assert table.rows[0][5:8] == ("0.29 to 1.00", "-3.00", "-5.27 to -0.73")
    assert table.header[5:8] == ("its interval", "mean A - mean B", "its interval")
    row = comparison_table(compare_all([make_results("A", [1]), make_results("B", [2])])).rows[0]
    assert (row[5], row[7], row[9]) == ("0.00 to 1.00", "-", "-")
    assert len(table.header) == len(table.rows[0])


def test_notes_warn_of_failed_unfinished_and_unequal_trials():
    finished = make_results("B", [30])
    assert notes([finished]) == progress([finished]) == ()
    unfinished = make_results("A", [30], failed=FAILED, running=1, epochs=5)
    assert progress([finished, unfinished]) == (
        "A: 5 of 6 trials finished, 4 of them failed, 3 of these counted at chance level and 1 left out.",
    )
    assert notes([unfinished, finished]) == (
        "A: 4 of 6 trials failed, 3 of these counted at chance level and 1 left out (chance level is 90%).",
        "A: 1 of 6 trials is unfinished and left out, so its EDF may change.",
    )
    table = pd.concat([make_table([30], epochs=5, tag="b"), make_table([31], epochs=10)])
    assert notes([Results.from_table("A", table, 10)]) == (
        "Not all networks were trained for the same number of epochs, so errors are not comparable. Epochs: A 5, 10.",
    )
    assert notes([unfinished.with_failures("exclude")])[0] == "A: 4 of 6 trials failed, left out."
