"""Scenarios for processes of torchrun in a test: ``python -m ranks FOLDER``; each process writes its observations."""

import json
import os
import signal
import sys
from pathlib import Path

from designspace.support.errors import InputError
from designspace.training.ranks import AgreedStop, OtherRankFailed, joined
from designspace.training.stopping import stop_signals

STEPS = 10_000


def gather_and_run(ranks):
    """Gather values from all ranks, and run an action in all of them."""
    order = []
    ranks.together(lambda: order.append(ranks.rank))
    return ranks.gather(f"value of {ranks.rank}"), order


def fail_in_rank_1(ranks):
    """Run an action that fails in rank 1 only."""

    def action():
        if ranks.rank == 1:
            raise InputError("there is no such thing")

    try:
        return ranks.together(action)
    except (InputError, OtherRankFailed) as error:
        return f"{type(error).__name__}: {error}"


def stop_in_rank_1(ranks):
    """Stop rank 1 before its step 20, and return the step before which this rank stops."""
    with stop_signals() as signals:
        stop = AgreedStop(ranks, lambda: signals.received is not None)
        for step in range(STEPS):
            if ranks.rank == 1 and step == 20:
                os.kill(os.getpid(), signal.SIGTERM)
            if stop():
                return step
    return None


def end_rank_1(ranks):
    """End rank 1 without an error message."""
    stop = AgreedStop(ranks, lambda: False)
    try:
        for step in range(STEPS):
            stop()
            if ranks.rank == 1 and step == 20:
                os._exit(3)
    except OtherRankFailed as error:
        return type(error).__name__


def main():
    """Run all scenarios."""
    observations = []
    with joined("cpu") as (ranks, _):
        for scenario in (gather_and_run, fail_in_rank_1, stop_in_rank_1, end_rank_1):
            observations.append(scenario(ranks))
            Path(sys.argv[1], str(ranks.rank)).write_text(json.dumps(observations))
        os._exit(1)  # as after an error, because the other process has ended


if __name__ == "__main__":
    main()
