"""Sweeps that are compared while they run, replays and confirmations, with a trainer that takes no time."""

import json
import re
import subprocess
import sys

from data_sets import run_command

from designspace import explore, launch, refine, replay, sample
from designspace.cli.decisions import DecisionLog
from designspace.trials.folder import RunFolder

QUICK = ("recipe=quick", "recipe.epochs=1", "launcher.workers=1", "recipe.trainer=planted_trainer:train")
TRAINER = ("data=pets", "space.flops=[2e5,6e5]")


def done(folder):
    """Return which networks of a population are trained, in their order."""
    run = RunFolder(folder)
    return [state.status == "done" for state in run.states(run.trial_keys())]


def test_explore_stops_as_soon_as_the_comparison_is_decided(capsys, here):
    arguments = ("name=s", "run=s", "spaces=[AnyNetXC,AnyNetXD]", "n=40", *TRAINER, *QUICK, "stop.looks=4")
    code, output, errors = run_command(capsys, "explore", explore.run, *arguments)
    assert (code, "Traceback" in errors) == (0, False)
    assert "look at 10 of AnyNetXC, 10 of AnyNetXD (1 pair)" in output
    assert re.search(r"^- So far, AnyNetXD.* is better than AnyNetXC", output, re.M)
    for name in ("AnyNetXC", "AnyNetXD"):
        trained = done(here / "s" / name)
        assert trained == [True] * sum(trained) + [False] * (40 - sum(trained))
        assert 10 <= sum(trained) <= 20
    lines = (here / "s" / "decisions.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["facts"]["verdicts"][0]["verdict"] == "better"
    before = [done(here / "s" / name) for name in ("AnyNetXC", "AnyNetXD")]
    code, _, _ = run_command(capsys, "explore", explore.run, *arguments)
    assert code == 0
    assert [done(here / "s" / name) for name in ("AnyNetXC", "AnyNetXD")] == before
    assert (here / "s" / "decisions.jsonl").read_text().splitlines() == lines
    assert [decision.kind for decision in DecisionLog(here / "s" / "decisions.jsonl").read()] == ["look"] * len(lines)


def sampled(capsys, name, space, n=30, seed=0):
    run_command(capsys, "sample", sample.run, f"space={space}", f"n={n}", f"run={name}", f"seed={seed}", *TRAINER)


def test_launch_stops_when_the_comparison_with_other_runs_is_decided(capsys, here):
    sampled(capsys, "c", "AnyNetXC")
    sampled(capsys, "d", "AnyNetXD", seed=1)
    assert run_command(capsys, "launch", launch.run, "run=c", *QUICK)[0] == 0
    assert all(done(here / "c"))
    code, output, _ = run_command(capsys, "launch", launch.run, "run=d", *QUICK, "stop.looks=3", "against=c")
    assert code == 0
    assert "look at 10 of d (1 pair)" in output
    assert sum(done(here / "d")) in (10, 20)
    for more in (("stop.looks=3",), ("against=c",)):
        code, _, errors = run_command(capsys, "launch", launch.run, "run=d", *more)
        assert code == 2
        assert "stop.looks and against belong together" in errors
    code, _, errors = run_command(capsys, "launch", launch.run, "run=d", "stop.looks=3", "against=c", "stop.effect=2")
    assert code == 2
    assert "effect must be a probability above 0.5" in errors
    # Without looks, the same run is trained to its end.
    assert run_command(capsys, "launch", launch.run, "run=d", "launcher.workers=1")[0] == 0
    assert all(done(here / "d"))
    code, output, _ = run_command(capsys, "replay", replay.run, "runs=[c,d]", "orders=2", "out=replayed")
    assert code == 0
    assert "the same conclusion for 1 of 1 pairs" in output
    assert (here / "replayed" / "replay.csv").read_text().startswith("a,b,better,replayed_better")


def test_refine_confirms_on_fresh_networks_with_other_seeds(capsys, here):
    sampled(capsys, "c", "AnyNetXC", n=60)
    assert run_command(capsys, "launch", launch.run, "run=c", *QUICK)[0] == 0
    refined = ("run=c", "permutations=400", "confirm=[width_non_decreasing,depth_non_decreasing]", "n=20")
    code, output, _ = run_command(capsys, "refine", refine.run, *refined, "dry_run=true")
    assert code == 0
    assert "60 trainings; nothing was started" in output
    assert not (here / "c" / "refinement" / "confirmation").exists()
    code, output, errors = run_command(capsys, "refine", refine.run, *refined, "launcher.workers=1")
    assert (code, "Traceback" in errors) == (0, False)
    assert "Adopted: width non-decreasing from stage to stage" in output
    assert "Not confirmed: depth non-decreasing" in output
    folder = here / "c" / "refinement"
    assert "width_non_decreasing,better,20 and 20" in (folder / "confirmed.csv").read_text()
    run_command(capsys, "sample", sample.run, "file=c/refinement/adopted.yaml", "n=20", "run=child")
    adopted = RunFolder(here / "child").space()
    assert RunFolder(here / "c").space().refine(adopted.constraints[-1]).constraints == adopted.constraints
    fresh = [RunFolder(folder / "confirmation" / name) for name in ("parent", "width_non_decreasing")]
    seeds = {run.population().seed for run in (*fresh, RunFolder(here / "c"))}
    assert len(seeds) == 3
    assert {run.plan().seed for run in fresh} == {1}
    arguments = ("run=c", "permutations=400", "confirm=proposed", "dry_run=true")
    code, output, _ = run_command(capsys, "refine", refine.run, *arguments)
    assert code == 0
    assert re.search(r"^confirmation: \d+ fresh networks of AnyNetXC and of each of \d child space", output, re.M)
    code, _, errors = run_command(capsys, "refine", refine.run, "run=c", "permutations=400", "confirm=[wide]")
    assert code == 2
    assert "unknown candidate 'wide'" in errors


def test_a_launch_without_looks_does_not_load_the_analysis():
    code = "import sys, designspace.launch; print({'pandas', 'scipy', 'matplotlib', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
