"""Tasks that run in a container, here a namespace of the kernel with a host name of its own."""

import shlex
import sys
from pathlib import Path

from sweep_runs import launch as launch_here
from sweep_runs import make_run

from slurm.sweeps import assert_as_if_undisturbed, launch

PROGRAM = f"""\
#!/bin/sh
PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH
exec unshare --map-root-user --uts sh -c 'echo inside >/proc/sys/kernel/hostname; exec "$@"' sh "$@"
"""


def test_tasks_train_in_the_container(cluster, data_root, tmp_path):
    reference = make_run(tmp_path / "reference", n=2)
    launch_here(reference, data_root)
    run = make_run(tmp_path / "run", n=2)
    program = tmp_path / "container"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    launch(run, f"launcher.container={program}", "wait=true")
    for id_ in run.ids():
        assert "started on inside, process" in run.trial(id_).log.read_text()
    assert_as_if_undisturbed(run, reference)


def test_a_container_that_does_not_start_is_reported(cluster, tmp_path):
    run = make_run(tmp_path / "run", n=2)
    output = launch(run, "launcher.container=no_such_runtime exec image", "wait=true", check=False)
    assert "ended before any training began" in " ".join(output.split())
    assert "no_such_runtime: not found" in output
