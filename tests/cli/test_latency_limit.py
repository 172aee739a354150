"""`sample space.latency=...`: networks are measured while they are sampled."""

import dataclasses

import data_sets
import pytest
from quiet_machine import make_quiet

from designspace import sample
from designspace.measurement import session
from designspace.spaces.candidates import CANDIDATES_FILE
from designspace.spaces.costs import COSTS_FILE, read_costs, write_costs
from designspace.trials.folder import RunFolder

SPACE = ("space=RegNetX", "regime=auto", "space.flops=[0.3e6,3e6]", "data=cifar10", "run=small")
LIMIT = "space.latency={device: cpu, threads: 1, below_ms: 10000}"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder, on a machine that counts as quiet and measures quickly."""
    make_quiet(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(capsys, *arguments):
    return data_sets.run_command(capsys, "sample", sample.run, *arguments)


def test_all_networks_of_the_population_were_measured(here, capsys):
    code, output, _ = run_command(capsys, *SPACE, "n=3", LIMIT)
    assert code == 0
    assert (
        "latency at most 10000 ms (cpu, 1 thread, batch 1, float32): 3 of 3 candidates accepted, 3 measured (1.0 per "
        "accepted network)"
    ) in " ".join(output.split())
    folder = RunFolder(here / "small")
    assert {cost.id for cost in read_costs(folder.path)} == set(folder.ids())
    assert folder.space().latency.setting.threads == 1


def test_the_same_command_gives_the_same_files_without_measuring(here, capsys, monkeypatch):
    run_command(capsys, *SPACE, "n=3", LIMIT)
    before = {path.name: path.read_bytes() for path in (here / "small").iterdir() if path.is_file()}
    monkeypatch.setattr(session.Session, "measure", None)
    code, _, _ = run_command(capsys, *SPACE, "n=3", LIMIT)
    assert code == 0
    assert {path.name: path.read_bytes() for path in (here / "small").iterdir() if path.is_file()} == before
    assert {COSTS_FILE, CANDIDATES_FILE} <= before.keys()


def test_a_larger_population_extends_it(here, capsys):
    run_command(capsys, *SPACE, "n=2", LIMIT)
    first = RunFolder(here / "small").ids()
    code, _, _ = run_command(capsys, *SPACE, "n=4", LIMIT)
    assert code == 0
    assert RunFolder(here / "small").ids()[:2] == first


def test_another_machine_is_refused(here, capsys):
    run_command(capsys, *SPACE, "n=2", LIMIT)
    folder = here / "small"
    write_costs(folder, [dataclasses.replace(cost, machine="another one") for cost in read_costs(folder)])
    code, _, errors = run_command(capsys, *SPACE, "n=4", LIMIT)
    assert code == 2
    assert "were measured on another one, but this machine is" in errors
    assert len(RunFolder(folder).ids()) == 2


def test_another_population_is_refused_before_anything_is_measured(here, capsys, monkeypatch):
    run_command(capsys, *SPACE, "n=2", LIMIT)
    monkeypatch.setattr(session.Session, "measure", None)
    code, _, errors = run_command(capsys, *SPACE, "n=2", "seed=1", LIMIT)
    assert code == 2
    assert "already holds another population" in errors
    assert "Nothing was measured" in " ".join(errors.split())


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("{device: cpu}", "give below_ms, above_ms, or both"),
        ("{device: gpu, below_ms: 3}", "choose from: cpu, cuda, onnxruntime"),
        ("{below: 3}", "did you mean 'below_ms'?"),
        ("5", "latency must be a mapping with device, batch, precision, threads, below_ms, above_ms"),
    ],
)
def test_wrong_limits_say_what_is_allowed(here, capsys, limit, message):
    code, _, errors = run_command(capsys, *SPACE, f"space.latency={limit}", "n=1")
    assert code == 2
    assert message in " ".join(errors.split())
    assert not (here / "small").exists()
