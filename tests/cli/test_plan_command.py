"""`plan` on the command line; tests/analysis/test_planning.py tests its numbers."""

import pytest

from designspace.analysis.planning import plan_better, plan_not_worse
from designspace.cli import app
from designspace.plan import Options, run
from designspace.support.errors import InputError


def plan(*arguments):
    run(app.options(Options, "plan", arguments))


def test_networks_for_a_difference(capsys):
    plan("effect=0.7", "pairs=3")
    expected = plan_better(0.7, pairs=3)
    assert capsys.readouterr().out.splitlines() == [
        f"{expected.n} networks per space show that one space is better, at 5%, Holm-corrected over 3 pairs, "
        f"with probability {expected.power:.2f}",
        "if a random network of it is better than one of the other with probability 0.7.",
        "Tests: Kolmogorov-Smirnov, then Brunner-Munzel. Assumption: errors vary equally in both spaces.",
    ]


def test_networks_for_a_margin(capsys):
    plan("margin=1", "sd=3", "power=0.9", "level=0.01")
    one_sided, two_sided = (plan_not_worse(1, 3, 0.9, 0.01, both_sides=sides) for sides in (False, True))
    first, second, *others = capsys.readouterr().out.splitlines()
    assert first == (
        f"{one_sided.n} networks per space show that a space is not worse by more than 1 point, at 1%, "
        f"with probability {one_sided.power:.2f}"
    )
    assert second.startswith(f"{two_sided.n} networks per space show that it is also not better by more than that")
    assert (
        others[0] == "if the mean errors are equal and errors vary by 3 points (standard deviation) within each space."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either effect=..., such as effect=0.6, or margin=... with sd=..."),
        (["effect=0.6", "margin=1", "sd=2"], "give either effect"),
        (["margin=1"], r"margin=\.\.\. and sd=\.\.\. must be given together"),
        (["effect=0.6", "sd=2"], r"margin=\.\.\. and sd=\.\.\. must be given together"),
        (["effect=0.5"], "effect must be above 0.5 and below 1"),
        (["effect=big"], "effect must be a number, not 'big'"),
        (["effect=0.6", "power=80"], "power must be between 0 and 1, such as 0.8 for 80%, not 80"),
        (["effect=0.6", "level=5"], "level must be between 0 and 1, such as 0.05 for 5%, not 5"),
        (["effect=0.6", "pairs=0"], "pairs must be a whole number >= 1, not 0"),
        (["margin=0", "sd=2"], "margin must be above 0 percentage points, not 0"),
        (["effect=0.50001"], "effect=0.50001 needs more than 10,000,000 networks of each space"),
    ],
)
def test_invalid_input_is_rejected(arguments, message):
    with pytest.raises(InputError, match=message):
        plan(*arguments)
