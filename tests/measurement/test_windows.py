"""Judgement of windows by foreign load and by the reference network, and the noise."""

import math

import numpy as np
import pytest

from designspace.measurement.windows import Judgement, Visit, Window


def window(reference_ms, *, before_ms=10, loaded=False, clock=float("nan")):
    return Window([Visit("a", 1.0)], reference_ms, before_ms, loaded, clock)


def test_slow_and_loaded_windows_are_told_apart():
    windows = [*(window(10 + k / 10) for k in range(6)), window(14), window(10, loaded=True), window(13)]
    judgement = Judgement.of(windows)
    assert list(judgement.quiet) == windows[:6]
    assert list(judgement.slow) == [windows[6], windows[8]]
    assert list(judgement.loaded) == [windows[7]]
    text = judgement.describe()
    assert text.startswith("of 9 windows")
    assert "other processes used the cores in 1" in text
    assert "over 10% slower in 2" in text
    assert Judgement.of(windows[:6]).describe() == ""


def test_a_disturbance_of_most_of_the_time_is_not_taken_for_usual():
    windows = [*(window(10) for _ in range(4)), *(window(15) for _ in range(8))]
    assert len(Judgement.of(windows).slow) == 8


def test_windows_of_a_call_are_judged_by_what_is_usual_in_all():
    windows = [*(window(10) for _ in range(4)), *(window(15) for _ in range(3))]
    part = Judgement.of(windows).among(windows[4:])
    assert not part.quiet
    assert len(part.slow) == 3


def test_a_lower_clock_is_said():
    windows = [*(window(10, clock=3000) for _ in range(5)), window(13, clock=2000)]
    assert "(the clock fell from 3000 to 2000 MHz)" in Judgement.of(windows).describe()
    assert "clock" not in Judgement.of([*(window(10) for _ in range(5)), window(13)]).describe()


@pytest.mark.parametrize("spread", [0.002, 0.02])
def test_noise_is_the_difference_of_two_medians_of_the_same_network(spread):
    times = 10 * (1 + spread * np.random.default_rng(0).standard_normal((400, 2)))
    judgement = Judgement([window(end, before_ms=start) for start, end in times], [], [])
    # A median of 15 has 1.25 / sqrt(15) of the standard deviation; 1.96 times that of a difference is rarely exceeded.
    # Corrected times have 1.5 times the variance of single ones.
    expected = 1.96 * math.sqrt(2) * 1.25 / math.sqrt(15) * math.sqrt(1.5) * spread
    assert judgement.noise(15) == pytest.approx(expected, rel=0.15)
    assert judgement.noise(60) < judgement.noise(15)


def test_noise_is_unknown_from_few_times():
    assert math.isnan(Judgement([window(10)] * 2, [], []).noise(15))
    assert Judgement([window(10)] * 3, [], []).noise(15) == 0
    assert Judgement([], [window(10)] * 3, []).noise(15) == 0
    assert math.isnan(Judgement([window(10, before_ms=math.nan)] * 3, [], []).noise(15))


def test_a_window_has_the_speed_of_its_ends():
    assert window(12, before_ms=10).local_ms == 11
    assert window(12, before_ms=math.nan).local_ms == 12
    assert Judgement([window(10)], [window(30)], [window(14)]).usual_ms() == 12
    assert Judgement([], [window(30)], []).usual_ms() == 30
