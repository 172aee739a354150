"""All trials of a run are trained with the same kernels, on every machine."""

import json
import shutil

import pytest
from sweep_runs import CPU, launch, make_run, numbers

from designspace.models.cpu import kernels
from designspace.support.errors import RunError

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="no C compiler here")


def recorded(run):
    """Return the kernels recorded in a run folder."""
    return json.loads((run.path / "kernels.json").read_text())["kernels"]


def test_a_run_started_without_a_compiler_continues_without_one(tmp_path, data_root, monkeypatch):
    with_compiler, without, mixed = (make_run(tmp_path / name, n=2) for name in ("with", "without", "mixed"))
    launch(with_compiler, data_root, CPU[:1])
    monkeypatch.setenv("DESIGNSPACE_KERNELS", "0")
    launch(without, data_root, CPU[:1])
    launch(mixed, data_root, CPU[:1])
    monkeypatch.delenv("DESIGNSPACE_KERNELS")
    assert (recorded(with_compiler), recorded(without), recorded(mixed)) == ("compiled", "torch", "torch")
    for id_ in mixed.ids()[1:]:
        shutil.rmtree(mixed.trial(id_).path)
    launch(mixed, data_root, CPU[:1])
    assert numbers(mixed) == numbers(without) != numbers(with_compiler)


def test_a_machine_without_a_compiler_does_not_continue_a_run_of_compiled_kernels(tmp_path, data_root, monkeypatch):
    run = make_run(tmp_path / "run")
    run.settle_kernels("compiled")
    assert run.settle_kernels("torch") == "compiled"
    monkeypatch.setenv("DESIGNSPACE_KERNELS", "0")
    with pytest.raises(RunError, match=r"compiled kernels, but this machine has no C compiler.*Install"):
        launch(run, data_root)


def test_kernels_are_switched_and_back(monkeypatch):
    monkeypatch.setenv("DESIGNSPACE_KERNELS", "1")
    try:
        kernels.use("torch")
        assert (kernels.name(), kernels.library()) == ("torch", None)
        kernels.use("compiled")
        assert kernels.name() == "compiled"
    finally:
        kernels.library.cache_clear()
        kernels.has_convolutions.cache_clear()
