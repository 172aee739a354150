import re
from pathlib import Path

import pytest
from sweep_runs import make_run

from designspace.cli import app
from designspace.support.errors import InputError
from designspace.sweeps.batches import trials_per_task
from designspace.sweeps.estimate import Costs, trial_seconds
from designspace.sweeps.launch import Launcher
from designspace.sweeps.slurm import _job_name, check_path
from designspace.sweeps.slurm_settings import SlurmSettings
from designspace.trials.trial import TrialResult


@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        (120, 120),
        ("90", 90),
        ("30:00", 30),
        ("30:01", 31),
        ("2:00:00", 120),
        ("1-0", 1440),
        ("1-12:30", 2190),
        ("1-0:0", None),
    ],
)
def test_time_limits_are_read_as_in_slurm(time, minutes):
    if minutes is None:
        with pytest.raises(InputError, match="time must be minutes or"):
            SlurmSettings(time=time)
    else:
        assert SlurmSettings(time=time).minutes == minutes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"container": "apptainer exec 'image"}, "container has unmatched quotes: apptainer exec 'image"),
        ({"container": " "}, "container must be a command such as .*apptainer exec image.sif.*, not an empty text"),
        ({"time": 1}, "time is 1 minutes, but SLURM warns a task 15 s .* it must be at least 2 minutes"),
        ({"time": 2, "signal_delay_s": 90}, "SLURM warns a task 90 s .* it must be at least 3 minutes"),
        ({"time": "soon"}, "time must be minutes or .*, not 'soon'"),
        ({"trials_per_task": 0}, "trials_per_task \\(or null\\) must be a whole number >= 1, not 0"),
        ({"array_parallelism": 2.5}, "array_parallelism \\(or null\\) must be a whole number"),
        ({"gpus_per_task": -1}, "gpus_per_task \\(or null\\) must be a whole number >= 0"),
        ({"setup": {"a": 1}}, "setup must be a list of texts"),
    ],
)
def test_invalid_settings(fields, message):
    with pytest.raises(InputError, match=message):
        SlurmSettings.from_dict(fields)


def test_settings_are_converted_for_sbatch():
    settings = SlurmSettings.from_dict(
        {"memory": 1.5, "sbatch": ["mail-type=END", "--exclusive"], "setup": "module load x"}
    )
    assert settings.mem == "1536M"
    assert settings.more == {"mail-type": "END", "exclusive": True}
    assert settings.setup == ("module load x",)
    assert SlurmSettings(memory="8000M").mem == "8000M"
    assert (SlurmSettings(time=2).delay_s, SlurmSettings(time=2).limit_s) == (30, 0)
    assert SlurmSettings(time=60).limit_s == 3420


@pytest.mark.parametrize(
    ("count", "trial_s", "fields", "expected"),
    [
        (1000, 36, {}, 100),  # an hour
        (1000, 36, {"time": 60}, 50),  # half the limit
        (1000, 7200, {}, 1),
        (10, 36, {}, 10),
        (100, 36, {"array_parallelism": 10}, 10),  # all tasks that may run at once have trials
        (1000, 36, {"max_submitted": 4}, 250),  # all trials fit into the queue
    ],
)
def test_trials_per_task(count, trial_s, fields, expected):
    assert trials_per_task(count, trial_s, SlurmSettings(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "gpus"),
    [
        ({}, 0),
        ({"gpus_per_task": 2}, 2),
        ({"gres": "gpu:a100:4"}, 4),
        ({"gres": "gpu"}, 1),
        ({"gres": "gpu:2"}, 2),
        ({"gres": "disk:5"}, 0),
    ],
)
def test_gpus_of_a_task(fields, gpus):
    assert SlurmSettings(**fields).gpus == gpus


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": "two"}, "workers (or null) must be a whole number >= 1, not 'two'"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda"),
        ({"trial_timeout_min": "abc"}, "trial_timeout_min (minutes, or null) must be a number, not 'abc'"),
        ({"max_retries": -1}, "max_retries must be a whole number >= 0"),
        ({"sbatch": ["array=0-5"]}, "sbatch must not set array"),
    ],
)
def test_invalid_launchers(fields, message, tmp_path):
    slurm = app.compose("launch", ["run=x", "launcher=slurm"])["launcher"]
    with pytest.raises(InputError, match=re.escape(message)):
        Launcher.from_dict({**slurm, **fields}, tmp_path, {})


def test_the_duration_of_a_trial_is_estimated_then_measured(tmp_path, data_root):
    run = make_run(tmp_path / "run", n=6)
    population, recipe = run.population(), run.plan().recipe
    guess = trial_seconds(run, Costs.of(population, 16), recipe, "cpu", data_root)
    flops = population.columns["flops"].mean()
    assert guess == pytest.approx(max(0.1, 2 * flops * (3 * 256 + 200) / 16e9))
    for id_ in run.ids()[:5]:
        run.trial(id_).path.mkdir(parents=True)
        run.trial(id_).write_result(TrialResult(50.0, 50.0, 2, 12.0, "cpu"))
    assert trial_seconds(run, Costs.of(population, 16), recipe, "cpu", data_root) == 12.0


@pytest.mark.parametrize("name", ["o'brien", "a b", "a,b", 'x"y', "[x]", "$z", "{y}", "ä", "2024_01_15", "a=b", "~"])
def test_paths_that_slurm_accepts(name):
    check_path(Path("/runs") / name)
    assert _job_name(name, "token", 0).isascii()
    assert "," not in _job_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("100%j", "SLURM interprets % in paths; rename the folder"),
        ("back\\slash", r"SLURM interprets \\ in paths"),
        ("%\\", r"interprets % and \\ in paths"),
        ("caf\udce9", "characters that a batch script cannot contain"),
        ("two\nlines", "characters that a batch script cannot contain"),
    ],
)
def test_paths_that_slurm_does_not_accept(name, message):
    with pytest.raises(InputError, match=message):
        check_path(Path("/runs") / name)


def test_partitions_and_accounts_that_look_like_numbers_stay_texts():
    arguments = ["run=x", "launcher=slurm", "launcher.partition=2024_01", "launcher.account=1e3", "launcher.qos=true"]
    slurm = app.compose("launch", arguments)["launcher"]
    assert (slurm["partition"], slurm["account"], slurm["qos"], slurm["gres"]) == ("2024_01", "1e3", "true", None)
