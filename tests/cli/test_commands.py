"""The commands as users run them, each in its own process."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import patterns
import pytest
from data_sets import run_command
from interrupts import start_interruptible

from designspace.__main__ import commands
from designspace.cli import app
from designspace.cli.config_files import ConfigFiles
from designspace.spaces import catalog

ROOT = Path(__file__).parents[2]
MINE = (ROOT / "docs" / "your-space.md").read_text().split("```yaml\n# mine.yaml\n")[1].split("```")[0]
SMALL = [*patterns.INPUT, "space.flops=[2e5,6e5]", "space.stem_width=8"]
QUICK = ["recipe=quick", "recipe.epochs=2", "recipe.train_images=256", "recipe.test_images=200", "launcher.workers=1"]


def designspace(command, *arguments, cwd, **options):
    """Run a command and return the finished process."""
    return subprocess.run(
        [sys.executable, "-m", f"designspace.{command}" if command else "designspace", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def fails(finished, code, *texts):
    """Assert that a command ended with an exit code and one clear message that contains some texts."""
    assert finished.returncode == code, finished.stderr
    assert "Traceback" not in finished.stderr
    assert any(line.startswith("designspace.") for line in finished.stderr.splitlines())
    for text in texts:
        assert text in finished.stderr


def test_the_commands_are_listed(tmp_path):
    listed = designspace("", cwd=tmp_path)
    assert listed.returncode == 0
    for name, line in commands().items():
        assert name in listed.stdout
        assert line in listed.stdout
    assert set(commands()) == {path.stem for path in (ROOT / "configs").glob("*.yaml")}


@pytest.mark.parametrize("name", [*(f"AnyNetX{letter}" for letter in "ABCDE"), "RegNetX", "RegNetY"])
def test_sample_writes_every_space(name, tmp_path):
    finished = designspace("sample", f"space={name}", "n=25", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "accepted" in finished.stdout
    assert "flops outside 360 M to 400 M" in finished.stdout
    with (tmp_path / "runs" / name / "population.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == 25
    assert all(360e6 <= int(row["flops"]) <= 400e6 for row in rows)
    provenance = json.loads((tmp_path / "runs" / name / "provenance.json").read_text())
    assert provenance["command"] == f"python -m designspace.sample space={name} n=25"


def test_counting_a_space_writes_nothing(tmp_path):
    finished = designspace("sample", "space=AnyNetXE", "count=true", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    for text in ("817,446,539,520", "8.174e+11", "5.498e+11", "419,223,477,792", "not taken into account"):
        assert text in finished.stdout
    finished = designspace("sample", "space=RegNetX", "count=true", cwd=tmp_path)
    assert "too many to list" in finished.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["regime", "space.regime"])
def test_ranges_follow_the_budget(key, tmp_path):
    band = "space.flops=[3.1e9,3.3e9]"
    finished = designspace("sample", "space=RegNetX", f"{key}=auto", band, "n=5", "run=a", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    fails(designspace("sample", "space=RegNetX", f"{key}=best", "run=b", cwd=tmp_path), 2, "choose from: paper, auto")
    fails(designspace("sample", "space=AnyNeSt", f"{key}=auto", cwd=tmp_path), 2, "spaces that draw group widths")
    with (tmp_path / "a" / "population.csv").open() as file:
        assert all(12 <= int(row["depth"]) <= 28 and row["b1"] == "1" for row in csv.DictReader(file))


def test_every_space_can_be_chosen():
    assert set(ConfigFiles().options("space")) == set(catalog.NAMES)
    for name in catalog.NAMES:
        config = app.compose("sample", [f"space={name}", "space.flops=null"])
        assert catalog.space(**config["space"]).name == name


def test_sample_accepts_a_custom_space(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    finished = designspace("sample", "file=mine.yaml", "n=5", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert len((tmp_path / "runs" / "Mine" / "population.csv").read_text().splitlines()) == 6
    (tmp_path / "mine.yaml").write_text(MINE.replace("uniform", "normal"))
    fails(
        designspace("sample", "file=mine.yaml", cwd=tmp_path), 2, "mine.yaml: axes.depth: unknown kind of axis 'normal'"
    )
    fails(designspace("sample", "file=nothing.yaml", cwd=tmp_path), 1, "cannot read nothing.yaml")
    (tmp_path / "mine.yaml").write_text(MINE)
    fails(designspace("sample", "file=mine.yaml", "space=ResNet", cwd=tmp_path), 2, "are two spaces")
    more = ["input=cifar10", "space.flops=[1e6,9e8]", "n=3", "run=completed"]
    finished = designspace("sample", "file=mine.yaml", *more, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "32 x 32 pixels in 10 classes, cifar stem" in finished.stdout
    (tmp_path / "mine.yaml").write_text(MINE + "template: {resolution: 64}\n")
    finished = designspace("sample", "file=mine.yaml", *more, cwd=tmp_path)
    fails(finished, 2, "resolution is set to 32, but the file has template.resolution: 64")


@pytest.mark.parametrize("command", ["sample", "screen", "status", "analyze", "collect", "clean"])
def test_torch_is_never_loaded(command, finished_run, tmp_path):
    arguments = {
        "sample": ["n=2", f"run={tmp_path}/a"],
        "screen": ["spaces=RegNetX", "n=2", "draws=2", f"out={tmp_path}/c"],
        "status": [f"run={finished_run}", "trials=all"],
        "collect": [f"run={tmp_path}/b", f"others=[{finished_run}]"],
        "clean": [f"run={finished_run}"],
        "analyze": [f"runs=[{finished_run}]", f"out={tmp_path}"],
    }
    code = (
        f"import sys; from designspace import {command} as c; from designspace.cli import app; "
        f"app.main({command!r}, c.run, sys.argv[1:]); sys.exit('torch' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code, *arguments[command]], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["space=AnyNetXZ"],
            ["unknown space 'AnyNetXZ'; did you mean AnyNetXA? choose from: AnyNetXA, AnyNetXB, AnyNetXC and 18 more"],
        ),
        (
            ["input=cifar1000"],
            ["unknown input 'cifar1000'; did you mean cifar100? choose from: cifar10, cifar100, fashion_mnist, folder"],
        ),
        (["m=5"], ["unknown option 'm'; choose from: space, n, seed, run, file, networks, regime, count, data, input"]),
        (["space.widht=5"], ["unknown option 'space.widht'; did you mean space.stem_width?"]),
        (["n"], ["'n' does not have the form key=value"]),
        (["-n", "5"], ["unknown option '-n'"]),
        (["n=0"], ["n must be a whole number >= 1, not 0"]),
        (["n=many"], ["not 'many'"]),
        (["seed=-1"], ["seed must be a whole number >= 0, not -1"]),
        (["space.flops=[3]"], ["flops must be [lowest, highest], such as [2e6,4e6], not [3]"]),
        (["space.flops=[1,2]"], ["only 0 of the 500 networks", "1,015,808  flops outside 1 to 2"]),
    ],
)
def test_bad_input_to_sample(arguments, words, tmp_path):
    fails(designspace("sample", *arguments, cwd=tmp_path), 2, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        (
            "launch",
            ["run=x", "data=cifar1000"],
            ["unknown data set 'cifar1000'; did you mean cifar100? choose from: fashion_mnist, cifar10, cifar100"],
        ),
        (
            "launch",
            ["run=x", "recipe=slow"],
            ["unknown recipe 'slow'; choose from: adamw, cifar, cifar_best, fashion, finetune, quick"],
        ),
        ("launch", ["run=x", "launcher=cloud"], ["unknown launcher 'cloud'; choose from: local, slurm"]),
        (
            "launch",
            ["run=x", "launcher=slurm", "launcher.partitoin=a"],
            ["unknown option 'launcher.partitoin'; did you mean launcher.partition? choose from: launcher.partition"],
        ),
        ("retry", ["run=nowhere"], ["nowhere is not a run folder"]),
        ("cancel", [], ["run=... must be given"]),
        ("explore", ["experiment=none"], ["unknown experiment 'none'; choose from: quickstart"]),
        ("explore", ["spaces=[AnyNetXA,Nope]"], ["unknown space 'Nope'"]),
        (
            "explore",
            ["recipe=slow"],
            ["unknown recipe 'slow'; choose from: adamw, cifar, cifar_best, fashion, finetune, quick"],
        ),
        (
            "explore",
            ["space=AnyNetXA"],
            ["space is a group of keys and has no value; did you mean spaces=AnyNetXA? its keys are: space.name"],
        ),
        ("prepare", ["data=cifar1000"], ["unknown data set 'cifar1000'; did you mean cifar100?"]),
        ("status", ["data=fashion_mnist"], ["unknown option 'data'; choose from: run, trials, trial, watch"]),
        (
            "launch",
            ["run=x", "space=RegNetX"],
            ["unknown option 'space'; choose from: recipe, data, stop, launcher, run"],
        ),
        ("status", ["run=a b/é"], ["a b/é is not a run folder"]),
        ("status", ["run="], ["run= is empty; leave it out, or type a value"]),
        ("status", ["run=~nobody_here/x"], ["there is no user 'nobody_here' here", "run=./~nobody_here/x"]),
        ("status", ["run=a\x1b[2Jb"], ["run=a\\x1b[2Jb contains control characters"]),
        ("status", ["run=a", "~run"], ["'~run' does not have the form key=value"]),
        ("status", ["run=a", "trials=fialed"], ["unknown status 'fialed'; did you mean failed?"]),
        ("launch", ["run=x", "workers=2"], ["unknown option 'workers'; did you mean launcher.workers?"]),
        ("status", ["."], ["'.' does not have the form key=value; did you mean run=.?"]),
        ("analyze", ["."], ["did you mean runs=.?"]),
        (
            "launch",
            ["launcher", "workers=2"],
            ["'launcher' does not have the form", "did you mean launcher.workers=2?"],
        ),
        ("launch", ["run=x", "launcher.gres=gpu:1"], ["unknown option 'launcher.gres'; it needs launcher=slurm"]),
        ("launch", ["run=x", "--seed=2"], ["unknown option '--seed=2'; did you mean seed=...?"]),
        ("launch", ["run=x", "seed=1,2"], ["cannot read seed=1,2; seed takes a number"]),
        ("launch", ["run=x", "hydra.run.dir=y"], ["unknown option 'hydra.run.dir'"]),
        ("launch", [], ["run=... must be given"]),
        ("status", ["run=nowhere"], ["nowhere is not a run folder and holds none"]),
        ("analyze", ["runs=[]"], ["runs is empty"]),
    ],
)
def test_bad_input_to_other_commands(command, arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run_command(capsys, command, importlib.import_module(f"designspace.{command}").run, *arguments)
    assert code == 2
    assert "Traceback" not in errors
    for word in words:
        assert word in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["run={}", "--config-dir={}"])
def test_a_name_that_is_too_long_gives_one_message(word, tmp_path):
    fails(designspace("sample", word.format("a" * 300), "n=2", cwd=tmp_path), 1, f"cannot use {'a' * 300}", "too long")


def test_another_population_is_never_overwritten(tmp_path):
    assert designspace("sample", "n=5", "run=r", cwd=tmp_path).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    fails(designspace("sample", "n=5", "run=r", "seed=1", cwd=tmp_path), 2, "already holds another population")
    assert {path: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before
    assert designspace("sample", "n=9", "run=r", cwd=tmp_path).returncode == 0  # more of the same extends it


def test_a_full_disk_gives_one_message_and_keeps_the_old_files(full_disk):
    assert designspace("sample", "n=5", "run=small", cwd=full_disk).returncode == 0
    before = {path: path.read_bytes() for path in (full_disk / "small").iterdir()}
    fails(designspace("sample", "n=2000", "run=small", cwd=full_disk), 1, "cannot write small/population.csv")
    assert {path: path.read_bytes() for path in (full_disk / "small").iterdir()} == before


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, data_root):
    """A run of two networks that the commands have trained."""
    folder = tmp_path_factory.mktemp("finished")
    assert designspace("sample", "space=RegNetX", *SMALL, "n=2", "run=run", cwd=folder).returncode == 0
    launched = designspace("launch", "run=run", *QUICK, f"data.root={data_root}", cwd=folder)
    assert launched.returncode == 0, launched.stderr
    assert "trials 2/2" in launched.stderr
    return folder / "run"


def test_status_shows_the_counts_of_a_run(finished_run):
    finished = designspace("status", f"run={finished_run.parent}", cwd=finished_run.parent)
    assert finished.returncode == 0, finished.stderr
    row = next(line for line in finished.stdout.splitlines() if line.startswith("run ") and "done" not in line)
    assert row.split()[1:5] == ["2", "0", "0", "0"]


def test_commands_do_not_change_a_finished_run(finished_run, tmp_path):
    """Listing its trials, merging it, a dry run of launch, and listing files to delete do not change the run."""
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")}
    shown = designspace("status", f"run={finished_run}", "trials=done", "watch=true", cwd=tmp_path).stdout
    assert len([line for line in shown.splitlines() if "trials/" in line and "log.txt" in line]) == 2
    merged = designspace("collect", "run=merged", f"others=[{finished_run}]", cwd=tmp_path)
    assert "merged/results.csv: 2 done, 0 failed" in merged.stdout, merged.stderr
    assert (tmp_path / "merged" / "results.csv").read_bytes() == (finished_run / "results.csv").read_bytes()
    fails(designspace("collect", "run=merged", "others=merged", cwd=tmp_path), 2, "merged is also in others=...")
    dry = designspace("launch", f"run={finished_run}", "dry_run=true", cwd=tmp_path).stdout
    assert dry.startswith("0 trials on ")
    listed = designspace("clean", f"run={finished_run}", cwd=tmp_path).stdout
    assert "delete=[temporary,claims,failed,checkpoints,launches]" in listed
    fails(
        designspace("clean", f"run={finished_run}", "delete=[all]", cwd=tmp_path), 2, "unknown kind 'all'; choose from:"
    )
    assert "0 trials are waiting again" in designspace("retry", f"run={finished_run}", cwd=tmp_path).stdout
    assert "nothing is running" in designspace("cancel", f"run={finished_run}", cwd=tmp_path).stdout
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")} == before
    designspace("clean", "run=merged", "keep_best=1", "delete=[checkpoints]", cwd=tmp_path)
    assert len(list((tmp_path / "merged").glob("trials/*/checkpoint.pt"))) == 1


def test_launch_reports_missing_slurm(finished_run, tmp_path):
    bare = {**os.environ, "PATH": str(tmp_path)}
    finished = designspace("launch", f"run={finished_run}", "launcher=slurm", cwd=tmp_path, env=bare)
    fails(finished, 2, "launcher=slurm needs SLURM's commands (sbatch, srun, squeue) on the PATH; or launcher=local")


def test_launch_without_a_recipe_uses_that_of_the_run(finished_run, data_root):
    again = designspace("launch", f"run={finished_run}", f"data.root={data_root}", cwd=finished_run.parent)
    assert again.returncode == 0, again.stderr
    other = designspace("launch", f"run={finished_run}", "recipe.epochs=7", cwd=finished_run.parent)
    fails(other, 2, "another recipe", "epochs is 2 there and 7 here")


def test_analyze_writes_the_same_bytes_twice(finished_run, tmp_path):
    files = {}
    for name in ("a", "b"):
        finished = designspace("analyze", f"runs=[{finished_run}]", f"out={name}", cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
        assert "report.html" in finished.stdout
        files[name] = {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
    assert {"report.html", *(f"figures/edf.{kind}" for kind in ("svg", "pdf", "png", "csv"))} < set(
        map(str, files["a"])
    )
    assert files["a"] == files["b"]


def test_a_truncated_result_is_a_failed_trial_that_can_be_retried(finished_run, data_root, tmp_path):
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", str(finished_run), str(run)], check=True)
    result = next(run.glob("trials/*/result.json"))
    content = result.read_bytes()
    result.write_bytes(content[:20])
    for command, key in (("status", "run"), ("collect", "run"), ("analyze", "runs")):
        finished = designspace(command, f"{key}=run", cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
    row = next(line for line in (run / "results.csv").read_text().splitlines() if line.startswith(result.parent.name))
    assert ",failed,," in row
    assert "result.json does not hold a whole TrialResult" in row
    assert result.parent.name in designspace("retry", "run=run", cwd=tmp_path).stdout
    again = designspace("launch", "run=run", f"data.root={data_root}", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(result.read_text())["final_error"] == json.loads(content)["final_error"]


def test_a_truncated_results_table_is_named(finished_run, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("space.yaml", "results.csv"):
        (run / name).write_bytes((finished_run / name).read_bytes())
    assert designspace("analyze", "runs=[run]", cwd=tmp_path).returncode == 0
    table = run / "results.csv"
    table.write_bytes(table.read_bytes()[: table.stat().st_size * 2 // 3])
    fails(designspace("analyze", "runs=[run]", cwd=tmp_path), 1, "results.csv")


def test_corrupt_images_give_one_message(data_root, tmp_path):
    root = tmp_path / "data"
    subprocess.run(["cp", "-r", str(data_root), str(root)], check=True)
    images = root / "patterns" / "train_images.npy"
    images.write_bytes(images.read_bytes()[:100_000])
    designspace("sample", *SMALL, "n=1", "run=run", cwd=tmp_path)
    finished = designspace("launch", "run=run", *QUICK, f"data.root={root}", cwd=tmp_path)
    fails(finished, 1, "train_images.npy is cut off", "designspace.prepare data=folder name=patterns")


def test_ctrl_c_stops_cleanly_and_the_same_command_resumes(tmp_path, data_root):
    """An interrupted and resumed run gives the same numbers as an uninterrupted one."""
    epochs = [
        "recipe=quick",
        "recipe.epochs=3",
        "recipe.train_images=300",
        "recipe.test_images=200",
        "launcher.workers=1",
    ]
    numbers = {}
    for name in ("uninterrupted", "stopped"):
        assert designspace("sample", *SMALL, "n=3", f"run={name}", cwd=tmp_path).returncode == 0
        command = [sys.executable, "-m", "designspace.launch", f"run={name}", *epochs, f"data.root={data_root}"]
        if name == "stopped":
            process = start_interruptible(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            history = tmp_path / name / "trials"
            deadline = time.monotonic() + 600
            while not list(history.glob("*/history.jsonl")) and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=600)[1].strip().endswith("run the same command again to resume")
            assert process.returncode == 130
            running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
            assert not any("designspace.sweeps.fork_server" in line and str(os.getpid()) in line for line in running)
            assert not list(history.glob("*/claim.json"))
            assert len(list(history.glob("*/result.json"))) < 3
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
        with (tmp_path / name / "results.csv").open() as file:
            numbers[name] = [
                {k: v for k, v in row.items() if k not in ("train_s", "memory_bytes")} for row in csv.DictReader(file)
            ]
    assert numbers["stopped"] == numbers["uninterrupted"]
