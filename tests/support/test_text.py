import pytest

from designspace.support.text import duration, quantity


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (999, "999"), (999.7, "1.00 k"), (1000, "1.00 k"), (9_996, "10.0 k"), (99_960, "100 k")),
        *((999_400, "999 k"), (999_600, "1.00 M"), (4.0e9, "4.00 G"), (1.2e13, "12.0 T")),
    ],
)
def test_quantities_have_three_digits(value, text):
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (59.4, "59 s"), (59.96, "1 min 0 s"), (3599.7, "1 h 0 min"), (90_061, "1 d 1 h")),
        *((float("nan"), "-"), (None, "-")),
    ],
)
def test_durations_have_two_units(seconds, text):
    assert duration(seconds) == text
