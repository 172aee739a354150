"""What processes of torchrun do in a test, each in its turn: ``python -m ranks FOLDER``; each writes what it saw."""

import json
import os
import signal
import sys
from pathlib import Path

from designspace.support.errors import InputError
from designspace.training.ranks import AgreedStop, OtherRankFailed, joined
from designspace.training.stopping import stop_signals

STEPS = 10_000


def gathered(ranks):
    """Words from all, and an action that is done once first."""
    order = []
    ranks.together(lambda: order.append(ranks.rank))
    return ranks.gather(f"word of {ranks.rank}"), order


def refused(ranks):
    """Something is wrong in rank 1 alone."""

    def action():
        if ranks.rank == 1:
            raise InputError("there is no such thing")

    try:
        return ranks.together(action)
    except (InputError, OtherRankFailed) as error:
        return f"{type(error).__name__}: {error}"


def stopped(ranks):
    """Rank 1 alone is told to stop before its step 20: the step before which each stops."""
    with stop_signals() as signals:
        stop = AgreedStop(ranks, lambda: signals.received is not None)
        for step in range(STEPS):
            if ranks.rank == 1 and step == 20:
                os.kill(os.getpid(), signal.SIGTERM)
            if stop():
                return step
    return None


def dies(ranks):
    """Rank 1 ends without a word."""
    stop = AgreedStop(ranks, lambda: False)
    try:
        for step in range(STEPS):
            stop()
            if ranks.rank == 1 and step == 20:
                os._exit(3)
    except OtherRankFailed as error:
        return type(error).__name__


def main():
    """Do all of it."""
    saw = []
    with joined("cpu") as (ranks, _):
        for scenario in (gathered, refused, stopped, dies):
            saw.append(scenario(ranks))
            Path(sys.argv[1], str(ranks.rank)).write_text(json.dumps(saw))
        os._exit(1)  # as after an error: the other one is gone


if __name__ == "__main__":
    main()
