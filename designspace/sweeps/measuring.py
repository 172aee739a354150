"""Measurement of a run's networks as one job on SLURM, so that all of them are measured on the same node."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from submitit.helpers import DelayedSubmission

from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder
from designspace.sweeps import scheduler, snapshot
from designspace.sweeps.fork_server import usr2_blocked
from designspace.sweeps.launch import origin
from designspace.sweeps.slurm import check_path, measurements_in_queue, submit_arrays
from designspace.sweeps.slurm_settings import SlurmSettings
from designspace.trials import claims
from designspace.trials.launches import MEASUREMENT, LaunchFolder
from designspace.trials.run import Run

STOP_WAIT_S = 30.0
"""Seconds that a measurement may take to write its costs after it was asked to stop."""


class MeasurementTask:
    """The function of the job: it runs ``designspace.measure`` in a process of its own, from the copy of the code.

    submitit calls `checkpoint` when the job's time is up. The job is then requeued and measures what is left.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, index: int) -> str:
        """Measure, and return how it ended.

        Raises:
            RunError: the measurement failed; its message is in the job's log.
        """
        with usr2_blocked():
            self._process = subprocess.Popen([sys.executable, "-m", "designspace.measure", *self.arguments])
        code = self._process.wait()
        if code:
            raise RunError(f"the measurement ended with exit code {code}; its message is above")
        return "measured"

    def checkpoint(self, index: int) -> DelayedSubmission:
        """Stop the measurement, which keeps its costs, and return the job to be submitted again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return DelayedSubmission(MeasurementTask(self.arguments), index)


def submit_measurement(run: Run, arguments: Sequence[str], settings: SlurmSettings, about: Mapping[str, Any]) -> str:
    """Submit a job that measures the networks of a run, with a copy of the code, and return its id.

    Args:
        run: the run folder.
        arguments: arguments of ``designspace.measure`` on the node.
        settings: how to submit.
        about: fields to record about the launch.

    Raises:
        InputError: SLURM is not available or refuses the job, or a measurement of the run is queued already.
        RunError: SLURM does not answer, or the folder cannot be written.
    """
    if not scheduler.is_available():
        raise InputError("launcher=slurm needs SLURM's commands (sbatch, srun, squeue) on the PATH; or launcher=local")
    check_path(run.path.resolve())
    make_folder(run.launches_path)
    with claims.exclusive(run.launches_path) as claim:
        if queued := measurements_in_queue(run):
            raise InputError(
                f"{run.path}: a measurement is in SLURM's queue already, as job {', '.join(job.id for job in queued)}"
            )
        code = snapshot.snapshot(run.code, run.imported_names(run.plan())).resolve()
        note = {**about, **origin(), "launcher": "slurm", "purpose": MEASUREMENT, "code": str(code)}
        launch = LaunchFolder(run.new_launch(note).path.resolve())
        launch.write_tasks([[]])  # it trains no trial
        _, job_ids = submit_arrays(run, launch, settings, MeasurementTask(arguments), code, [1], claim)
        return job_ids[0]
