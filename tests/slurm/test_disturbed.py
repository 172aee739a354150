"""A sweep that is disturbed at random, and ends with the numbers of one that is not.

$DISTURB_TRIALS, $DISTURB_S and $DISTURB_SEED make it larger, longer and other.
"""

import os
import random
import signal
import time

import sweep_runs
from sweep_runs import make_run, plan_faults

from designspace.sweeps.status import run_status
from slurm.sweeps import assert_as_if_undisturbed, command, launch, tasks_at_work, wait_until, workers

TRIALS = int(os.environ.get("DISTURB_TRIALS", 60))
SECONDS = float(os.environ.get("DISTURB_S", 60))
LEAST = 5
"""More disturbances than this, however slow the machine is."""
SEED = int(os.environ.get("DISTURB_SEED", 0))
RECIPE = {"epochs": 4, "train_images": 512}
PACKS = ("launcher.trials_per_task=10", "launcher.array_parallelism=6", "launcher.max_retries=5")


def test_a_sweep_that_is_disturbed_at_random(cluster, tmp_path, data_root, monkeypatch):
    whole = make_run(tmp_path / "whole", n=TRIALS, **RECIPE)
    sweep_runs.launch(whole, data_root)
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

    ways = {
        "a worker is killed": (6, lambda: kill(workers(run))),
        "a worker is told to end": (2, lambda: kill(workers(run), signal.SIGTERM)),
        "a task's process is killed": (2, lambda: kill(tasks_at_work(run))),
        "a task is told that time is up": (2, lambda: kill(tasks_at_work(run), signal.SIGUSR2)),
        "a task is cancelled": (1, cancel_a_task),
        "a task is requeued": (1, requeue_a_task),
        "a node is lost and comes back": (1, lose_a_node),
        "slurmctld restarts": (0.5, cluster.restart_controller),
        "everything is cancelled": (0.3, lambda: command("cancel", run)),
        "launched again": (2, lambda: launch(run, *PACKS, check=False)),
    }
    launch(run, *PACKS)
    done: dict[str, int] = {}
    end = time.monotonic() + SECONDS
    while (time.monotonic() < end or sum(done.values()) <= LEAST) and run_status(run).left_s != 0:
        way = chance.choices(list(ways), [weight for weight, _ in ways.values()])[0]
        ways[way][1]()
        done[way] = done.get(way, 0) + 1
        time.sleep(chance.uniform(0, 3))
    cluster.heal()
    wait_until(lambda: not workers(run), "end of the workers")
    launch(run, *PACKS, "wait=true")
    print(done)
    assert sum(done.values()) > LEAST
    assert list((tmp_path / "faults").glob("*.clash")) == []  # nothing was trained twice at a time
    assert_as_if_undisturbed(run, whole, attempts=100 * TRIALS)
