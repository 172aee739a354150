"""Scenarios that the processes of torchrun run in a test: ``python -m ranks FOLDER``. Each rank writes its results."""

import json
import os
import signal
import sys
from pathlib import Path

from designspace.support.errors import InputError
from designspace.training.ranks import AgreedStop, OtherRankFailed, joined
from designspace.training.stopping import stop_signals

STEPS = 10_000


def gather(ranks):
    """Gather a text from all ranks, after an action that only one rank runs."""
    calls = []
    ranks.together(lambda: calls.append(ranks.rank))
    return ranks.gather(f"text of {ranks.rank}"), calls


def fail_in_rank_1(ranks):
    """Raise an error in rank 1 alone, and return how it reaches each rank."""

    def action():
        if ranks.rank == 1:
            raise InputError("there is no such thing")

    try:
        return ranks.together(action)
    except (InputError, OtherRankFailed) as error:
        return f"{type(error).__name__}: {error}"


def stop_rank_1(ranks):
    """Signal rank 1 alone to stop at its step 20, and return the step before which each rank stops."""
    with stop_signals() as signals:
        stop = AgreedStop(ranks, lambda: signals.received is not None)
        for step in range(STEPS):
            if ranks.rank == 1 and step == 20:
                os.kill(os.getpid(), signal.SIGTERM)
            if stop():
                return step
    return None


def lose_rank_1(ranks):
    """End rank 1 without any message, and return the error that the other rank gets."""
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
    outcomes = []
    with joined("cpu") as (ranks, _):
        for scenario in (gather, fail_in_rank_1, stop_rank_1, lose_rank_1):
            outcomes.append(scenario(ranks))
            Path(sys.argv[1], str(ranks.rank)).write_text(json.dumps(outcomes))
        os._exit(1)  # as after an error, because the other rank is gone


if __name__ == "__main__":
    main()
