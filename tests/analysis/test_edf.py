from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import golden_errors
from scipy import stats

from designspace.analysis.edf import edf
from designspace.support.errors import InputError

# Few distinct values, so that ties are common.
ERRORS = st.lists(st.integers(0, 400).map(lambda quarter: quarter / 4), min_size=1, max_size=40)


def naive(errors, at):
    """Share of the errors that are not above, counted one by one."""
    return sum(1 for error in errors if error <= at) / len(errors)


@given(ERRORS, st.floats(-1, 101))
def test_it_is_the_share_of_errors_not_above(errors, at):
    curve = edf(errors)
    for point in (at, *errors):
        assert curve(point) == naive(errors, point)
    assert curve.probabilities.tolist() == [naive(errors, error) for error in sorted(errors)]


@given(ERRORS)
def test_it_is_scipys(errors):
    theirs = stats.ecdf(errors).cdf
    curve = edf(errors)
    np.testing.assert_allclose(curve(theirs.quantiles), theirs.probabilities, rtol=1e-12)


@given(ERRORS)
def test_it_climbs_from_0_to_1_and_is_right_continuous(errors):
    curve = edf(errors)
    assert curve(np.nextafter(curve.min, -np.inf)) == 0
    assert curve.probabilities[-1] == 1
    assert (np.diff(curve.probabilities) >= 0).all()
    for error in errors:
        assert curve(error) == curve(np.nextafter(error, np.inf)) > curve(np.nextafter(error, -np.inf))


def test_numbers_of_a_real_population():
    curve = edf(golden_errors())
    assert (curve.n, curve.min) == (32, 34.984)
    assert curve.mean == pytest.approx(37.1069, abs=1e-4)
    assert curve(34.984) == 1 / 32


def test_arrays_in_arrays_out_and_none_can_be_changed():
    curve = edf([2.0, 1.0])
    assert curve([0.0, 1.0, 1.5, 2.0]).tolist() == [0, 0.5, 0.5, 1]
    assert isinstance(curve(1.0), float)
    with pytest.raises(ValueError, match="read-only"):
        curve.errors[0] = 0


def test_what_has_no_edf_is_refused():
    with pytest.raises(InputError, match="at least one"):
        edf([])
    with pytest.raises(InputError, match="finite"):
        edf([1.0, np.nan])
    for level in (0, 1, 5, -0.1):
        with pytest.raises(InputError, match=r"level must be between 0 and 1.*not"):
            edf([1.0]).band(level)


def test_the_band_has_the_closed_form_and_stays_within_0_and_1():
    band = edf(np.arange(200.0)).band(0.05)
    assert band.half_width == pytest.approx(np.sqrt(np.log(40) / 400))
    assert band.lower.min() == 0
    assert band.upper.max() == 1
    middle = edf(np.arange(200.0)).probabilities[100]
    assert (band.lower[100], band.upper[100]) == pytest.approx((middle - band.half_width, middle + band.half_width))


@pytest.mark.parametrize("n", [5, 16, 100])
def test_the_band_is_as_wide_as_the_exact_one_or_a_little_wider(n):
    exact = stats.kstwo.ppf(0.95, n)  # the distribution of the largest distance for n values
    assert exact <= edf(np.arange(float(n))).band(0.05).half_width <= 1.08 * exact


def test_the_band_holds_the_whole_true_curve_as_often_as_it_says():
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(1000):
        curve = edf(rng.normal(40, 3, 16))
        truth = stats.norm.cdf(curve.errors, 40, 3)
        band = curve.band(0.1)
        # The distance is largest at a step, just at it or just before it, where the band is that of the step before.
        upper_before = np.concatenate([[band.half_width], band.upper[:-1]])
        lower = band.lower
        missed += bool(((truth < lower) | (truth > upper_before)).any())
    assert 0.06 < missed / 1000 < 0.1 + 3 * np.sqrt(0.09 / 1000)
