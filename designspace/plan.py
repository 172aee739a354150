"""Compute how many networks per space a comparison needs."""

from __future__ import annotations

from dataclasses import dataclass

from designspace.analysis.planning import SamplePlan, plan_better, plan_not_worse
from designspace.cli import app
from designspace.support.errors import InputError
from designspace.support.text import counted


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/plan.yaml, which describes them."""

    effect: float | None
    margin: float | None
    sd: float | None
    power: float
    level: float
    pairs: int


def run(options: Options) -> None:
    """Print the number of networks for each conclusion, and the assumptions."""
    effect, margin, sd = options.effect, options.margin, options.sd
    common = options.power, options.level, options.pairs
    if (effect is None) == (margin is None):
        raise InputError(
            "give either effect=..., such as effect=0.6, or margin=... with sd=..., such as margin=0.5 sd=2"
        )
    if (margin is None) != (sd is None):
        raise InputError("margin=... and sd=... must be given together, in percentage points, such as margin=0.5 sd=2")
    if effect is not None:
        print(_sentence(plan_better(effect, *common), "that one space is better"))
        print(f"if a random network of it is better than one of the other with probability {effect:g}.")
        print("Tests: Kolmogorov-Smirnov, then Brunner-Munzel. Assumption: errors vary equally in both spaces.")
    if margin is not None and sd is not None:
        print(
            _sentence(plan_not_worse(margin, sd, *common), f"that a space is not worse by more than {_points(margin)}")
        )
        both = plan_not_worse(margin, sd, *common, both_sides=True)
        print(_sentence(both, "that it is also not better by more than that"))
        print(f"if the mean errors are equal and errors vary by {_points(sd)} (standard deviation) within each space.")
        print("Test: t test of the difference of the means against the margin, one-sided or two-sided.")


def _sentence(plan: SamplePlan, claim: str) -> str:
    """Return the number of networks for a claim as text, without the condition."""
    holm = f", Holm-corrected over {plan.pairs} pairs" if plan.pairs > 1 else ""
    return (
        f"{counted(plan.n, 'network')} per space show {claim}, at {100 * plan.level:g}%{holm}, "
        f"with probability {plan.power:.2f}"
    )


def _points(value: float) -> str:
    """Return percentage points as text."""
    return f"{value:g} {'point' if value == 1 else 'points'}"


if __name__ == "__main__":
    app.main("plan", run)
