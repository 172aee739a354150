"""Measurement of the networks of runs as one job on SLURM, so that all of them are measured on the same node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from submitit.helpers import DelayedSubmission

from designspace.measurement.into_folder import Request, measure_into
from designspace.support.errors import InputError
from designspace.support.files import make_folder
from designspace.support.text import counted
from designspace.sweeps import scheduler, snapshot
from designspace.sweeps.launch import origin
from designspace.sweeps.slurm import check_path, measurements_in_queue, submit_arrays
from designspace.sweeps.slurm_settings import SlurmSettings
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.launches import MEASUREMENT, LaunchFolder


class MeasurementTask:
    """The function of the job. submitit calls `checkpoint` when its time is up; the job is then requeued.

    The costs are in the run folders, and written every few seconds. So a job that starts again measures what is left.
    """

    def __init__(self, runs: Sequence[str], request: Request) -> None:
        """Create the function.

        Args:
            runs: paths of the run folders.
            request: what is to be measured.
        """
        self.runs, self.request = runs, request

    def __call__(self, index: int) -> str:
        """Measure all networks of the runs, and return what disturbed the measurements, as text."""
        folders = {Path(run): list(RunFolder(Path(run)).population()) for run in self.runs}
        lines = []
        for setting in self.request.settings():
            outcome = measure_into(folders, setting, self.request)
            lines.append(f"{setting.describe()}: {counted(outcome.new, 'network')} measured. {outcome.disturbances}")
            print(lines[-1], flush=True)
        return "\n".join(lines)

    def checkpoint(self, index: int) -> DelayedSubmission:
        """Return the job to be submitted again."""
        return DelayedSubmission(MeasurementTask(self.runs, self.request), index)


def submit_measurement(
    runs: Sequence[RunFolder], request: Request, settings: SlurmSettings, about: Mapping[str, Any]
) -> str:
    """Submit a job that measures the networks of runs, with a copy of the code, and return its id.

    Args:
        runs: the run folders. The launch is recorded in the first one, where `status` and `cancel` find it.
        request: what is to be measured.
        settings: how to submit.
        about: fields to record about the launch.

    Raises:
        InputError: SLURM is not available or refuses the job, no GPU is requested for a measurement of one, or a
            measurement is queued already in one of the runs.
        RunError: SLURM does not answer, or the folder cannot be written.
    """
    if not scheduler.is_available():
        raise InputError("launcher=slurm needs SLURM's commands (sbatch, srun, squeue) on the PATH; or launcher=local")
    if request.device == "cuda" and not settings.gpus:
        raise InputError("device=cuda on SLURM needs a GPU: launcher.gpus_per_task=1, or launcher.gres=gpu:<type>:1")
    paths = [run.path.resolve() for run in runs]
    for path in paths:
        check_path(path)
    run = runs[0]
    make_folder(run.launches_path)
    with claims.exclusive(run.launches_path) as claim:
        for each in runs:
            if queued := measurements_in_queue(each):
                jobs = ", ".join(job.id for job in queued)
                raise InputError(f"{each.path}: a measurement is in SLURM's queue already, as job {jobs}")
        names = {name for each in runs for name in each.imported_names(each.plan())}
        code = snapshot.snapshot(run.code, sorted(names)).resolve()
        note = {**about, **origin(), "launcher": "slurm", "purpose": MEASUREMENT, "code": str(code)}
        launch = LaunchFolder(run.new_launch(note).path.resolve())
        launch.write_tasks([[]])  # it trains no trial
        task = MeasurementTask([str(path) for path in paths], request)
        _, job_ids = submit_arrays(run, launch, settings, task, code, [1], claim)
        return job_ids[0]
