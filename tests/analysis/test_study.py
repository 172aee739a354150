from __future__ import annotations

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


def test_it_writes_the_figure_its_numbers_and_the_report(tmp_path):
    runs = [
        make_results("A", [40.0 + i for i in range(12)]),
        make_results("B", [30.0 + i / 9 for i in range(12)], tag="b"),
    ]
    found = analyze(runs, tmp_path / "new", {"commit": "abc"})
    further = [
        f"figures/{name}.{kind}" for name in ("effects", "networks", "pairs", "pareto", "search") for kind in KINDS
    ]
    edf = [f"figures/edf.{kind}" for kind in (*KINDS, "pdf", "png")]
    assert set(contents(tmp_path / "new")) == {"report.html", *edf, *further}
    assert all(path.is_file() for path in (found.report, *found.figures))
    assert found.sentences == tuple(one.sentence() for one in found.comparisons)
    assert found.comparisons[0].better == "B"
    assert [row[0] for row in found.spaces.rows] == ["A", "B"]
    assert found.notes == ()
    assert found.failed.rows == ()


def test_the_same_inputs_give_the_same_bytes_in_another_process(tmp_path):
    for name, shift in (("A", 0.0), ("B", 3.0)):
        make_table([40.0 + shift + i for i in range(9)], waiting=1).to_csv(tmp_path / f"{name}.csv", index=False)
    code = (
        "import sys; from pathlib import Path; from designspace.analysis import *\n"
        "runs = [Results.from_table(n, read_table(Path(sys.argv[1], n + '.csv')), 10) for n in 'AB']\n"
        "analyze(runs, Path(sys.argv[2]), {'commit': 'abc'})\n"
        "assert not {'torch', 'hydra', 'submitit', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    for out in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path), str(tmp_path / out)], check=True)
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
    found = analyze(runs, tmp_path, {})
    assert (found.edfs["A"].n if counted else "A" not in found.edfs) == (counted or True)
    assert len(found.comparisons) == (0 if alone or not counted else 1)
    if not counted:
        assert found.sentences == ("A: no trial counts yet (0 of 3 trials finished).",)


def test_failed_trials_can_be_left_out_and_the_report_says_so(tmp_path):
    run = make_results("A", [40.0], failed=[("diverged", "nan")])
    counted, left_out = (analyze([run.with_failures(how)], tmp_path / how, {}) for how in ("chance", "exclude"))
    assert (counted.summaries[0].mean_error, left_out.summaries[0].mean_error) == (65, 40)
    assert "Failed trials count at chance level" in counted.report.read_text(encoding="utf-8")
    assert "Failed trials do not count" in left_out.report.read_text(encoding="utf-8")


def test_runs_that_do_not_go_together_are_refused(tmp_path):
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
    """32 RegNetX-400MF after 25 epochs of ImageNet against the same errors three points higher."""
    runs = [make_results("Worse", golden_errors() + 3), make_results("RegNetX", golden_errors())]
    found = analyze(runs, tmp_path, {})
    assert found.comparisons[0].better == "RegNetX"
    assert found.comparisons[0].mean_difference == pytest.approx(3)
    assert found.summaries[1].min_error == 34.984


def test_the_numbers_of_the_figure_are_its_csv(tmp_path):
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
def test_the_command_refuses_what_it_cannot_use(key, value, message, tmp_path):
    """Before it reads or writes anything: there is no such run."""
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


def test_the_command_says_what_failed_and_what_to_bear_in_mind(tmp_path, monkeypatch, capsys):
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
    said = capsys.readouterr().out
    for words in (
        "diverged",
        "- A: 2 of 5 trials failed, left out.",
        "- A: 1 of 5 trials is unfinished",
        "report.html",
    ):
        assert words in said
    assert "90% confidence band" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sweep.json", "Vanilla.json", "DARTS_reruns_in.json"])
def test_results_of_the_peers_are_analysed_like_our_own(name, tmp_path):
    """Also where nothing is known of stages (the NDS data of architecture search)."""
    command.show([PEERS / name], tmp_path, figures="all")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Random search" in text
    assert (tmp_path / "figures" / "edf.csv").is_file()


def test_runs_of_the_same_networks_are_compared_network_by_network(tmp_path):
    """A population under two recipes: what does one say about the other?"""
    errors = [40.0 + i for i in range(12)]
    runs = [make_results("10 epochs", errors), make_results("50 epochs", [error - 8 for error in errors], epochs=50)]
    found = analyze(runs, tmp_path, {})
    assert any(one.startswith("The order of networks under 10 epochs predicts") for one in found.sentences)
    assert (tmp_path / "figures" / "paired_1.csv").is_file()
    assert "paired_1" in found.report.read_text(encoding="utf-8")
