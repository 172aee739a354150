"""`python -m designspace.measure`: costs of runs and of lists of networks."""

import dataclasses

import data_sets
import pytest
from quiet_machine import make_quiet
from sweep_runs import make_run

from designspace import measure
from designspace.measurement.machine import LoadWatch
from designspace.networks import catalog
from designspace.spaces.costs import Setting, read_costs, write_costs
from designspace.trials.folder import RunFolder

QUICK = ("rounds=5", "threads=1")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder, on a machine that counts as quiet."""
    make_quiet(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(capsys, *arguments):
    return data_sets.run_command(capsys, "measure", measure.run, *arguments)


def test_a_run_is_measured_once(here, capsys):
    run = make_run(here / "run", n=3, epochs=1)
    code, output, errors = run_command(capsys, "run=run", "batch=[1,2]", *QUICK)
    assert (code, "visits 15/15" in errors) == (0, True)
    assert "cpu, 1 thread, batch 1, float32" in output
    assert "cpu, 1 thread, batch 2, float32" in output
    assert "latency (ms)" in output
    assert "differences below this are not shown" in output
    assert "all costs are in run/costs.csv" in output
    assert "python -m designspace.analyze runs=run match=latency" in output
    costs = read_costs(run.path)
    assert [cost.id for cost in costs] == [*run.ids(), *run.ids()]
    assert {cost.resolution for cost in costs} == {run.space().template.resolution}
    code, output, _ = run_command(capsys, "run=run", "batch=[1,2]", *QUICK)
    assert code == 0
    assert output.count("nothing was measured now") == 2
    assert read_costs(run.path) == costs


def test_runs_are_measured_together(here, capsys):
    runs = [make_run(here / name, n=n, epochs=1) for name, n in (("a", 2), ("b", 3))]  # two in common
    code, output, errors = run_command(capsys, "runs=[a,b]", *QUICK)
    assert (code, "visits 15/15, 3 networks" in errors) == (0, True)
    assert "all costs are in a/costs.csv, b/costs.csv" in output
    assert "python -m designspace.analyze 'runs=[a,b]' match=latency" in output
    assert [cost.id for run in runs for cost in read_costs(run.path)] == [id_ for run in runs for id_ in run.ids()]
    *others, last = read_costs(here / "b")
    write_costs(here / "b", [*others, dataclasses.replace(last, reference_ms=2 * last.reference_ms)])
    code, output, _ = run_command(capsys, "runs=[a,b]", *QUICK)
    assert "warning: the machine had different speeds when these networks were measured" in output


def test_published_networks_become_a_run(here, capsys):
    networks = "networks=[regnetx_200mf,regnety_200mf,regnetx_200mf]"
    code, output, _ = run_command(capsys, networks, "out=published", "resolution=32", *QUICK)
    assert code == 0
    assert "regnetx_200mf" in output
    assert "half of the visits" in output
    ids = [catalog.get(name).id for name in ("regnetx_200mf", "regnety_200mf")]
    assert [cost.id for cost in read_costs(here / "published")] == ids
    assert list(RunFolder(here / "published").population().ids) == ids


def test_a_dry_run_changes_nothing(here, capsys):
    networks = "networks=[regnetx_200mf]"
    code, output, _ = run_command(capsys, networks, "batch=[1,64]", "precision=[float32,bfloat16]", "dry_run=true")
    assert code == 0
    assert output.count("1 network would be measured here") == 4
    assert list(here.iterdir()) == []


def test_disturbed_costs_are_said(here, capsys, monkeypatch):
    monkeypatch.setattr(LoadWatch, "is_loaded", lambda self: True)
    make_run(here / "run", n=1, epochs=1)
    code, output, _ = run_command(capsys, "run=run", *QUICK)
    assert code == 0
    assert "other processes used the cores" in output
    assert "warning: 1 network could not be measured undisturbed" in output
    assert read_costs(here / "run")[0].disturbed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give run=<run folder>, or runs="),
        (("run=a", "networks=[resnet50]"), "give run=<run folder>, or runs="),
        (("run=a", "out=b"), "out=... is for networks=..."),
        (("runs=[]",), "runs is empty"),
        (("networks=[resnet5]",), "unknown"),
        (("networks=[resnet50]", "device=tpu"), "unknown device 'tpu'; choose from: cpu, cuda, onnxruntime"),
        (("networks=[resnet50]", "precision=int8"), "unknown precision 'int8'"),
        (("networks=[resnet50]", "again=never"), "unknown value of again 'never'"),
        (("networks=[resnet50]", "batch=0"), "batch"),
        (("networks=[resnet50]", "rounds=2"), "rounds"),
        (("networks=[resnet50]", "device=onnxruntime", "precision=float16"), "measures float32 only"),
    ],
)
def test_errors_say_what_is_allowed(capsys, arguments, message):
    code, _, errors = run_command(capsys, *arguments)
    assert code == 2
    assert message in errors


def test_all_combinations_are_measured(capsys):
    settings = []

    def run(options: measure.Options):
        settings.extend(measure.request_of(options, 32).settings())

    data_sets.run_command(capsys, "measure", run, "run=a", "batch=[1,8]", "threads=[1,2]")
    assert settings == [Setting("cpu", batch, threads=threads) for batch in (1, 8) for threads in (1, 2)]
    data_sets.run_command(capsys, "measure", run, "run=a", "device=cuda", "precision=[float16,float32]", "threads=2")
    assert settings[4:] == [Setting("cuda", 1, precision) for precision in ("float16", "float32")]
