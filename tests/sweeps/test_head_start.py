"""Tests of the process that imports torch while a launch imports its modules and checks its input."""

import subprocess
import sys
from pathlib import Path

import pytest
from sweep_runs import CPU, launch, make_run, numbers

from designspace.support.errors import RunError
from designspace.sweeps import head_start, snapshot
from designspace.sweeps.fork_server import ForkServer
from designspace.sweeps.local import Pool
from designspace.sweeps.messages import Settings
from designspace.sweeps.progress import tasks_of


def test_the_first_fork_server_is_the_process_with_a_head_start_and_trains_the_same(tmp_path, data_root):
    apart = make_run(tmp_path / "apart")
    launch(apart, data_root)
    run = make_run(tmp_path / "run")
    pool = Pool(CPU, data_root, [run.new_launch({})], snapshot.PACKAGE.parent, lambda task, event: None)
    with head_start.importing_torch():
        ahead = head_start._begun[0].process
        assert pool.run(tasks_of([run])[0]) == []
        assert pool._server._process is ahead
    assert numbers(run) == numbers(apart)


def test_what_no_server_needs_ends_with_the_block():
    with head_start.importing_torch():
        process = head_start._begun[0].process
        assert process.poll() is None
    assert process.returncode is not None
    with head_start.importing_torch(wanted=False):
        assert head_start.take() is None


def test_an_early_begin_is_continued_or_ended(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["launch.py", "run=runs/small"])
    head_start.begin_early()
    early = head_start._begun[0].process
    with head_start.importing_torch():
        assert [begun.process for begun in head_start._begun] == [early]
        assert early.poll() is None
    assert early.returncode is not None
    head_start.begin_early()
    early = head_start._begun[0].process
    with head_start.importing_torch(wanted=False):
        assert head_start.take() is None
    assert early.returncode is not None


@pytest.mark.parametrize("argument", ["--help", "-h", "help", "--version", "launcher=slurm", "dry_run=true"])
def test_commands_that_train_nothing_here_do_not_begin(argument, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["launch.py", "run=runs/small", argument])
    head_start.begin_early()
    assert head_start.take() is None


def test_it_ends_with_a_command_that_fails_before_its_launch():
    script = (
        "import sys; from designspace.sweeps import head_start\n"
        "head_start.begin_early(); print(head_start._begun[0].process.pid, flush=True); sys.exit('no such run')"
    )
    failed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert failed.stderr == "no such run\n"
    assert not Path("/proc", failed.stdout.strip()).exists()


@pytest.mark.parametrize("command", ["launch", "explore", "retrain"])
def test_commands_that_train_begin_before_their_other_imports(command):
    script = (
        "import runpy, sys; from designspace.sweeps import head_start\n"
        "head_start.begin_early = lambda: sys.exit(str(sorted(n for n in sys.modules if 'designspace.' in n)))\n"
        f"runpy.run_module('designspace.{command}', run_name='__main__')"
    )
    stopped = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert stopped.stderr == (
        "['designspace.support', 'designspace.support.lazy', 'designspace.sweeps', 'designspace.sweeps.head_start']\n"
    )


def test_it_ends_by_itself_when_the_launch_is_killed():
    script = (
        "import os, signal; from designspace.sweeps import head_start\n"
        "print(head_start.HeadStart.begin().process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pid = killed.stdout.strip()
    subprocess.run(["timeout", "60", "tail", "--pid", pid, "-f", "/dev/null"], check=True)


def test_one_that_has_died_is_replaced(tmp_path):
    with head_start.importing_torch():
        dead = head_start._begun[0]
        dead.process.kill()
        dead.process.wait()
        server = ForkServer(Settings("cpu", str(tmp_path), 0), snapshot.PACKAGE.parent, tmp_path / "log")
        assert server._process is not dead.process
        assert not server.has_exited
        server.close()


def test_several_threads_start_anew(tmp_path):
    with head_start.importing_torch():
        server = ForkServer(Settings("cpu", str(tmp_path), 0, threads=2), snapshot.PACKAGE.parent, tmp_path / "log")
        assert len(head_start._begun) == 1
        server.close()


def test_a_torch_that_cannot_be_imported_is_in_the_log(tmp_path, data_root, monkeypatch):
    (tmp_path / "path" / "torch").mkdir(parents=True)
    (tmp_path / "path" / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    run = make_run(tmp_path / "run", n=2)
    pool = Pool(CPU, data_root, [run.new_launch({})], snapshot.PACKAGE.parent, lambda task, event: None)
    with head_start.importing_torch(), pytest.raises(RunError, match="workers cannot start here"):
        pool.run(tasks_of([run])[0])
    assert "libtorch.so is missing" in pool._log.read_text()
