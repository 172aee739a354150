"""`screen` on the command line; tests of spaces and analysis test its numbers."""

import re
from pathlib import Path

import pytest
from data_sets import run_command
from quiet_machine import make_quiet

from designspace.measurement import predicted_limit
from designspace.screen import run
from designspace.spaces.costs import read_costs

RUNS = Path(__file__).parents[2] / "experiments" / "paper_figures" / "runs"
IMAGES = ("space.in_channels=1", "space.num_classes=10", "space.stem=cifar", "space.stem_width=16")
QUICK = ("draws=300", "n=40")
TRAINED = (f"trained=[{RUNS / 'AnyNetXA'},{RUNS / 'RegNetX'}]", "space.resolution=28", *IMAGES, *QUICK)
MINE = """
name: Mine
family: anynet
axes:
  depth: {kind: log_uniform, low: 1, high: 4}
  width: {kind: log_uniform, low: 8, high: 64, step: 8}
  bottleneck_ratio: {kind: choice, values: [1]}
  group_width: {kind: choice, values: [8]}
template: {resolution: 48}
"""


@pytest.fixture
def screen(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_command(capsys, "screen", run, *arguments)


def test_spaces_at_resolutions_are_ranked_and_written(screen, tmp_path):
    arguments = ("spaces=[AnyNetXB,RegNetX]", "space.resolution=[96,128]", "limit.params=1M", *QUICK)
    code, out, err = screen(*arguments, "limit.weight_bytes=4MB", "limit.activations=400k")
    assert (code, err) == (0, "")
    assert "networks that fit (params up to 1.00 M, activations up to 400 k, weight_bytes up to 4.00 MB)" in out
    for name in ("AnyNetXB at 96", "AnyNetXB at 128", "RegNetX at 96", "RegNetX at 128"):
        assert name in out
    assert "report: runs/screening/report.md" in out
    first = {path.name: path.read_bytes() for path in (tmp_path / "runs/screening").iterdir()}
    assert screen(*arguments, "limit.weight_bytes=4MB", "limit.activations=400k", "out=again")[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first


def test_latency_is_predicted_from_networks_that_are_measured_once(screen, tmp_path, monkeypatch):
    make_quiet(monkeypatch)
    monkeypatch.setattr(predicted_limit, "MEASURED", 12)
    arguments = ("spaces=[RegNetX]", "space.resolution=32", "limit.flops=5M", *QUICK)
    limit = "limit.latency={device: cpu, threads: 1, below_ms: 10000}"
    code, out, _ = screen(*arguments, limit)
    assert code == 0
    assert "RegNetX: latency at most 10000 ms (cpu, 1 thread, batch 1, float32) by a prediction from 12 measured" in out
    folder = tmp_path / "runs/screening"
    assert len(read_costs(folder)) == 12
    first = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert screen(*arguments, limit)[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == first
    code, out, _ = screen(*arguments, limit.replace("10000", "0.001"))
    assert code == 0
    assert "No network fits of RegNetX" in out


def test_a_note_tells_of_memory_in_8_bits_if_nothing_fits(screen):
    code, out, _ = screen("spaces=[RegNetX]", "limit.peak_memory=1KB", *QUICK)
    assert code == 0
    assert "give limit.int8_memory" in out


def test_spaces_in_files_keep_their_resolution_unless_one_is_given(screen, tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    code, out, _ = screen("spaces=[mine.yaml,RegNetX]", "of=params", *QUICK)
    assert code == 0
    assert "Mine at 48" in out
    assert "RegNetX at 224" in out
    code, out, _ = screen("spaces=[mine.yaml]", "space.resolution=[32,64]", "of=params", *QUICK)
    assert code == 0
    assert "Mine at 32" in out
    assert "Mine at 64" in out


def test_limits_that_nothing_meets_are_told_without_a_failure(screen, tmp_path):
    code, out, _ = screen("spaces=RegNetX", "limit.params=10", *QUICK)
    assert code == 0
    assert "No network fits of RegNetX: of each, at most 1.2% of the networks do" in out
    assert "figure:" not in out
    assert (tmp_path / "runs/screening/report.md").exists()


def test_trained_runs_are_compared_with_the_order_of_screening(screen, tmp_path):
    code, out, _ = screen("spaces=[AnyNetXA,RegNetX]", "space.flops=[0.8e6,1.2e6]", *TRAINED)
    assert code == 0
    assert "order by errors" in out
    assert "Kendall's tau between the orders of the means of 2 spaces" in out
    assert "This holds for these spaces, limits and trainings only." in out
    assert "notes" not in out
    assert (tmp_path / "runs/screening/agreement.csv").read_text().startswith("a,b,screening,errors,verdict\n")


def test_notes_say_how_trained_runs_differ_from_what_was_screened(screen):
    code, out, _ = screen("spaces=[AnyNetXA,RegNetX]", "limit.params=60k", *TRAINED)
    assert code == 0
    assert "RegNetX: 36 of 48 trials exceed a limit and are left out." in out
    assert "limits that were not screened: no flops outside 800 k to 1.20 M." in out
    code, out, _ = screen("spaces=[AnyNetXA,RegNetX]", "space.se_ratio=0.25", *TRAINED)
    assert code == 0
    assert "its space has other axes or images than the screened space of this name" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["spaces=[]"], "spaces is empty; give names of design spaces"),
        (["spaces=[RegNetZ]"], "unknown space 'RegNetZ'"),
        (["spaces=[none.yaml]"], "none.yaml"),
        (["spaces=RegNetX", "space.resolution=[]"], "space.resolution is empty"),
        (["spaces=RegNetX", "space.resolution=[96,big]"], "space.resolution must be a whole number"),
        (["spaces=RegNetX", "limit.params=few"], "limit.params must be a number >= 0, which may end with k, M, G"),
        (["spaces=RegNetX", "limit.latency=5"], "latency"),
        (["spaces=RegNetX", "of=errors"], "unknown counted quantity 'errors'; choose from: flops"),
        (["spaces=RegNetX", "level=2"], "level must be between 0 and 1"),
        (["spaces=RegNetX", "trained=missing"], "trained: missing is not a run folder"),
        (["spaces=AnyNetXA", *TRAINED], "is of RegNetX at 28 pixels, which was not screened; screened are: AnyNetXA"),
        (
            ["spaces=RegNetX", *TRAINED, f"trained=[{RUNS / 'RegNetX'},{RUNS / 'RegNetX-seed1'}]"],
            "more than one run is of RegNetX",
        ),
        (["spaces=[AnyNetXA,RegNetX]", *TRAINED, "limit.params=1k"], "no network of .* meets the limits"),
    ],
)
def test_errors_say_what_is_allowed(screen, arguments, message):
    code, out, err = screen(*arguments)
    assert code in (1, 2)
    assert "figure:" not in out
    assert re.search(message, err), err
