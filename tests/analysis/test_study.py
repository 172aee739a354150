from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from populations import golden_errors, make_results, make_table

from designspace import analyze as command
from designspace.analysis import Results, analyze
from designspace.cli.command_line import CommandLine
from designspace.cli.options import fill
from designspace.support.errors import InputError

KINDS = ("csv", "svg")
PEERS = Path(__file__).parents[1] / "fixtures" / "peers"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_analyze_writes_figures_numbers_and_report(tmp_path):
    runs = [
        make_results("A", [40.0 + i for i in range(12)]),
        make_results("B", [30.0 + i / 9 for i in range(12)], tag="b"),
    ]
    analysis = analyze(runs, tmp_path / "new", {"commit": "abc"})
    further = [
        f"figures/{name}.{kind}" for name in ("effects", "networks", "pairs", "pareto", "search") for kind in KINDS
    ]
    edf = [f"figures/edf.{kind}" for kind in (*KINDS, "pdf", "png")]
    assert set(contents(tmp_path / "new")) == {"report.html", *edf, *further}
    assert all(path.is_file() for path in (analysis.report, *analysis.figures))
    assert analysis.sentences == tuple(pair.sentence() for pair in analysis.comparisons)
    assert analysis.comparisons[0].better == "B"
    assert [row[0] for row in analysis.spaces.rows] == ["A", "B"]
    assert analysis.notes == ()
    assert analysis.failed.rows == ()


def test_the_same_inputs_give_the_same_bytes_in_another_process_and_on_one_core(tmp_path):
    for name, shift in (("A", 0.0), ("B", 3.0)):
        make_table([40.0 + shift + i for i in range(9)], waiting=1).to_csv(tmp_path / f"{name}.csv", index=False)
    code = (
        "import sys; from pathlib import Path; from designspace.analysis import *\n"
        "runs = [Results.from_table(n, read_table(Path(sys.argv[1], n + '.csv')), 10) for n in 'AB']\n"
        "analyze(runs, Path(sys.argv[2]), {'commit': 'abc'})\n"
        "assert not {'torch', 'hydra', 'submitit', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    for out, cores in (("one", {}), ("two", {"SLURM_CPUS_PER_TASK": "1"})):
        arguments = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / out)]
        subprocess.run(arguments, check=True, env={**os.environ, **cores})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize(
    ("errors", "others", "counted"),
    [
        ([40.0], {}, 1),
        ([40.0, 50.0], {"running": 1, "waiting": 4}, 2),
        ([], {"failed": [("diverged", "nan")] * 3}, 3),
        ([], {"waiting": 3}, 0),
    ],
    ids=["one network", "half done", "all failed", "nothing done"],
)
@pytest.mark.parametrize("alone", [True, False])
def test_runs_of_any_state_can_be_analysed(tmp_path, errors, others, counted, alone):
    run = make_results("A", errors, **others)
    runs = [run] if alone else [run, make_results("B", [30.0, 31.0])]
    analysis = analyze(runs, tmp_path, {})
    assert (analysis.edfs["A"].n if counted else "A" not in analysis.edfs) == (counted or True)
    assert len(analysis.comparisons) == (0 if alone or not counted else 1)
    if not counted:
        assert analysis.sentences == ("A: no trial counts yet (0 of 3 trials finished).",)


def test_the_report_states_how_failed_trials_count(tmp_path):
    run = make_results("A", [40.0], failed=[("diverged", "nan")])
    counted, left_out = (analyze([run.with_failures(rule)], tmp_path / rule, {}) for rule in ("chance", "exclude"))
    assert (counted.summaries[0].mean_error, left_out.summaries[0].mean_error) == (65, 40)
    assert "Failed trials count at chance level" in counted.report.read_text(encoding="utf-8")
    assert "Failed trials do not count" in left_out.report.read_text(encoding="utf-8")


def test_incompatible_runs_are_refused(tmp_path):
    a = make_results("A", [40.0])
    for runs, message in (
        ([], "no run"),
        ([a, a], "two runs have the name 'A'"),
        ([a, Results.from_table("B", make_table([40.0]), 100)], "different numbers of classes"),
    ):
        with pytest.raises(InputError, match=message):
            analyze(runs, tmp_path, {})
    assert not contents(tmp_path)


def test_a_real_population_beats_a_worse_one(tmp_path):
    """Compare 32 RegNetX-400MF after 25 epochs of ImageNet with the same errors three points higher."""
    runs = [make_results("Worse", golden_errors() + 3), make_results("RegNetX", golden_errors())]
    analysis = analyze(runs, tmp_path, {})
    assert analysis.comparisons[0].better == "RegNetX"
    assert analysis.comparisons[0].mean_difference == pytest.approx(3)
    assert analysis.summaries[1].min_error == 34.984


def test_the_csv_contains_the_numbers_of_the_figure(tmp_path):
    analyze([make_results("A", [40.0, 30.0]), make_results("B", [], waiting=1)], tmp_path, {}, level=0.1)
    header, first, second = (tmp_path / "figures" / "edf.csv").read_text().splitlines()
    assert header == "space,error,probability,lower,upper"
    assert first.startswith("A,30.0,0.5,0.0,")
    assert second.startswith("A,40.0,1.0,")


def options(config):
    return fill(command.Options, config, command="analyze", line=CommandLine(()))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("figures", "none", "unknown choice of figures 'none'; choose from: standard, all"),
        ("failures", "none", "unknown treatment of failures 'none'; choose from: by_cause, chance, exclude"),
        ("level", "high", "must be a number, not 'high'"),
        ("level", 5, "level must be between 0 and 1"),
        ("level", True, "must be a number, not True"),
        ("seed", -1, "seed must be a whole number >= 0, not -1"),
        ("seed", 0.5, "seed must be a whole number >= 0, not 0.5"),
    ],
)
def test_the_command_refuses_invalid_options(key, value, message, tmp_path):
    """The run does not exist, so options are checked before anything is read or written."""
    config = {
        "runs": [str(tmp_path / "none")],
        "out": None,
        "failures": "by_cause",
        "level": 0.05,
        "seed": 0,
        "figures": "standard",
        "match": "auto",
        "margin": None,
    }
    with pytest.raises(InputError, match=message):
        command.run(options({**config, key: value}))


def test_the_command_prints_failures_and_warnings(tmp_path, monkeypatch, capsys):
    run = make_results("A", [40.0, 41.0], failed=[("diverged", "nan"), ("diverged", "inf")], waiting=1)
    monkeypatch.setattr(command.Results, "read", lambda folder: run)
    config = {
        "runs": str(tmp_path / "A"),
        "out": str(tmp_path / "out"),
        "failures": "exclude",
        "level": 0.1,
        "seed": 3,
        "figures": "standard",
        "match": "auto",
        "margin": None,
    }
    command.run(options(config))
    output = capsys.readouterr().out
    for text in (
        "diverged",
        "- A: 2 of 5 trials failed, left out.",
        "- A: 1 of 5 trials is unfinished",
        "report.html",
    ):
        assert text in output
    assert "90% confidence band" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sweep.json", "Vanilla.json", "DARTS_reruns_in.json"])
def test_results_of_other_programs_can_be_analysed(name, tmp_path):
    """This includes networks without stages (the NDS data of architecture search)."""
    command.show([PEERS / name], tmp_path, figures="all")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Random search" in text
    assert (tmp_path / "figures" / "edf.csv").is_file()


def test_runs_with_the_same_networks_are_compared_by_network(tmp_path):
    """A population is trained under two recipes, and one predicts the other."""
    errors = [40.0 + i for i in range(12)]
    runs = [make_results("10 epochs", errors), make_results("50 epochs", [error - 8 for error in errors], epochs=50)]
    analysis = analyze(runs, tmp_path, {})
    assert any(sentence.startswith("The order of networks under 10 epochs predicts") for sentence in analysis.sentences)
    assert (tmp_path / "figures" / "paired_1.csv").is_file()
    assert "paired_1" in analysis.report.read_text(encoding="utf-8")
