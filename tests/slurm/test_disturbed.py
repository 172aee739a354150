"""A sweep with random disturbances, which must give the numbers of an undisturbed sweep.

$DISTURB_TRIALS, $DISTURB_S and $DISTURB_SEED change its size, duration and random seed.
"""

import os
import random
import signal
import time

import sweep_runs
from sweep_runs import make_run, plan_faults

from designspace.sweeps.status import run_status
from slurm.sweeps import assert_as_if_undisturbed, command, launch, task_processes, wait_until, workers

TRIALS = int(os.environ.get("DISTURB_TRIALS", 30))
SECONDS = float(os.environ.get("DISTURB_S", 40))
MIN_DISTURBANCES = 5
"""Number of disturbances that must be exceeded, also on a slow machine."""
SEED = int(os.environ.get("DISTURB_SEED", 0))
RECIPE = {"epochs": 4, "train_images": 512}
OPTIONS = ("launcher.trials_per_task=10", "launcher.array_parallelism=6", "launcher.max_retries=5")


def test_random_disturbances_do_not_change_the_results(cluster, tmp_path, data_root, monkeypatch):
    reference = make_run(tmp_path / "reference", n=TRIALS, **RECIPE)
    sweep_runs.launch(reference, data_root)
    run = make_run(tmp_path / "run", n=TRIALS, trainer="faulty:alone", **RECIPE)
    plan_faults(tmp_path / "faults", {}, monkeypatch)
    chance = random.Random(SEED)

    def kill(processes, sent=signal.SIGKILL):
        if processes:
            try:
                os.kill(chance.choice(processes), sent)
            except ProcessLookupError:
                return

    def cancel_a_task():
        if tasks := cluster.queue():
            cluster.run("scancel", chance.choice(tasks)[0])

    def lose_a_node():
        node = chance.randint(1, 4)
        cluster.crash_node(node)
        cluster.report_down(node)
        cluster.start_node(node)

    def requeue_a_task():
        running = [id_ for id_, state in cluster.queue() if state == "RUNNING"]
        if running:
            cluster.run("scontrol", "requeue", chance.choice(running), check=False)

    disturbances = {
        "a worker is killed": (6, lambda: kill(workers(run))),
        "a worker is terminated": (2, lambda: kill(workers(run), signal.SIGTERM)),
        "a task's process is killed": (2, lambda: kill(task_processes(run))),
        "a task is warned that its time is up": (2, lambda: kill(task_processes(run), signal.SIGUSR2)),
        "a task is cancelled": (1, cancel_a_task),
        "a task is requeued": (1, requeue_a_task),
        "a node is lost and comes back": (1, lose_a_node),
        "slurmctld restarts": (0.5, cluster.restart_controller),
        "everything is cancelled": (0.3, lambda: command("cancel", run)),
        "launched again": (2, lambda: launch(run, *OPTIONS, check=False)),
    }
    launch(run, *OPTIONS)
    done: dict[str, int] = {}
    end = time.monotonic() + SECONDS
    while (time.monotonic() < end or sum(done.values()) <= MIN_DISTURBANCES) and run_status(run).left_s != 0:
        name = chance.choices(list(disturbances), [weight for weight, _ in disturbances.values()])[0]
        disturbances[name][1]()
        done[name] = done.get(name, 0) + 1
        time.sleep(chance.uniform(0, 3))
    cluster.heal()
    wait_until(lambda: not workers(run), "end of the workers")
    launch(run, *OPTIONS, "wait=true")
    print(done)
    assert sum(done.values()) > MIN_DISTURBANCES
    assert list((tmp_path / "faults").glob("*.clash")) == []  # no trial was trained by two processes at the same time
    assert_as_if_undisturbed(run, reference, attempts=100 * TRIALS)
