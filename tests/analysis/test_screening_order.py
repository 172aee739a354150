"""The order of screened spaces, what is shown of it, and whether errors agree."""

import numpy as np
import pytest

from designspace.analysis import Results
from designspace.analysis.screening import percent, rank_screened
from designspace.analysis.screening_agreement import agreement
from designspace.analysis.screening_report import write_screening
from designspace.networks.quantities import COUNTED
from designspace.spaces import catalog
from designspace.spaces.constraints import Band
from designspace.spaces.screening import Screened
from designspace.support.errors import InputError

SPACE = catalog.space("RegNetX", resolution=96)


def found(values, drawn=1000, fitting=200):
    return Screened(SPACE, drawn, fitting, np.asarray(values, np.float64), drawn)


def around(mean, spread=1e6, n=100, seed=0):
    return found(np.random.default_rng(seed).normal(mean, spread, n).clip(1e4))


def screening(of="flops", **spaces):
    return rank_screened(spaces, COUNTED[of], [Band("params", 0, 1e6)])


def test_spaces_are_ordered_by_the_mean_and_named_where_no_test_shows_it():
    ranked = screening(low=around(2e6), high=around(9e6), alike=around(9.1e6), none=found([], fitting=0))
    assert [entry.name for entry in ranked.entries] == ["alike", "high", "low", "none"]
    assert ranked.first_of("low", "high") == "high"
    assert ranked.first_of("high", "alike") is None
    assert ranked.first_of("high", "none") is None
    assert ranked.not_shown("high") == ("alike",)
    assert ranked.not_shown("low") == ()
    assert ranked.not_shown("none") == ()
    sentences = ranked.sentences()
    assert sentences[0].startswith(("alike and high are not distinguished", "high and alike are not distinguished"))
    assert sentences[1].startswith("alike before low: among networks that fit, a random one of alike has the higher ")
    assert "multiply-add count with probability above 0.99 (KS D = 1.00, p < 0.001, Holm-corrected" in sentences[1]
    assert sentences[-1].startswith("No network fits of none: of each, at most 0.37% of the networks do (95% interval)")
    assert not any("better" in sentence or "error" in sentence for sentence in sentences)


def test_no_order_is_shown_if_mean_and_test_disagree():
    # Most networks of `often` are larger, but a few of `outliers` are so large that its mean is higher.
    often = np.linspace(5e6, 6e6, 200)
    outliers = np.concatenate([np.linspace(1e6, 2e6, 170), np.full(30, 90e6)])
    ranked = screening(often=found(often), outliers=found(outliers))
    assert [entry.name for entry in ranked.entries] == ["outliers", "often"]
    assert ranked.comparisons[0].better == "often"
    assert ranked.first_of("often", "outliers") is None
    assert ranked.sentences()[0].startswith("often and outliers have no order: ")
    assert "but the mean of outliers is higher" in ranked.sentences()[0]


def test_no_order_is_shown_if_distributions_differ_only_in_their_spread():
    ranked = screening(wide=around(9e6, spread=3e6, n=200), narrow=around(9e6, spread=0.5e6, n=200, seed=1))
    assert ranked.comparisons[0].differs
    assert ranked.first_of("wide", "narrow") is None
    assert "have no order: their distributions differ, but neither is shown" in ranked.sentences()[0]


def test_table_has_shares_with_intervals_and_the_point_that_a_fifth_exceeds():
    ranked = screening(some=found(np.arange(1, 101) * 1e6, 1000, 250), none=found([], 1000, 0))
    table = ranked.table()
    assert table.header[-3:] == ("mean multiply-add count, M", "80% point", "order not shown against")
    some, none = table.rows
    assert some[:8] == ("some", "1", "96", "25.0%", "22.3% to 27.8%", "100", "50.5", "80.2")
    assert none[:8] == ("none", "-", "96", "0%", "0% to 0.37%", "0", "-", "-")
    numbers = ranked.numbers()
    assert numbers["mean_flops"].tolist()[0] == 50.5e6
    assert numbers["point_80_flops"].tolist()[0] == pytest.approx(80.2e6)
    assert numbers[["drawn", "fitting", "n"]].values.tolist() == [[1000, 250, 100], [1000, 0, 0]]


def test_quantities_have_their_units():
    ranked = screening("weight_bytes", a=around(5e3), b=around(2e3))
    assert "mean weights in float32, kB" in ranked.table().header
    assert "the higher weights in float32" in ranked.sentences()[0]


def test_shares_below_one_percent_have_two_digits():
    assert [percent(share) for share in (1, 0.5, 0.01, 0.00123, 1.5e-5, 0)] == [
        "100.0%", "50.0%", "1.0%", "0.12%", "0.0015%", "0%",
    ]  # fmt: skip


def test_files_have_the_same_bytes_twice(tmp_path):
    ranked = [screening(a=around(9e6), b=around(2e6)) for _ in range(2)]
    for name, each in zip("xy", ranked, strict=True):
        paths = write_screening(tmp_path / name, each, settings={"n": 5})
        assert paths == {"figure": tmp_path / name / "edf.svg", "report": tmp_path / name / "report.md"}
    files = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert files == ["edf.csv", "edf.png", "edf.svg", "pairs.csv", "report.md", "screening.csv"]
    assert all((tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes() for name in files)
    report = (tmp_path / "x" / "report.md").read_text()
    assert "Limits: params up to 1.00 M. Settings: level=0.05, n=5." in report
    assert "- a before b: among networks that fit" in report
    numbers = (tmp_path / "x" / "edf.csv").read_text().splitlines()
    assert numbers[0] == 'space,"multiply-add count, M",probability,lower,upper'
    assert len(numbers) == 201


def test_nothing_that_fits_is_a_report_without_a_figure(tmp_path):
    ranked = screening(a=found([], fitting=0), b=found([], fitting=0))
    assert ranked.results == ranked.comparisons == ()
    assert write_screening(tmp_path, ranked) == {"report": tmp_path / "report.md"}
    assert "No network fits of a, b" in (tmp_path / "report.md").read_text()
    with pytest.raises(InputError, match="nothing to draw"):
        ranked.drawing()


def trained(**means):
    """Return results of populations with mean errors."""
    noise = np.random.default_rng(0).normal(0, 1, 40)
    return [Results.from_errors(name, mean + noise, 10) for name, mean in means.items()]


SCREENED = screening(a=around(9e6), b=around(6e6), c=around(3e6), alike=around(3e6, seed=2))


def test_orders_agree_disagree_or_are_not_shown():
    agreed = agreement(SCREENED, trained(a=20, b=40, c=30, alike=50))
    assert len(agreed.pairs) == 6
    verdicts = {frozenset((pair.a, pair.b)): pair.verdict for pair in agreed.pairs}
    assert verdicts[frozenset("ab")] == "agree"
    assert verdicts[frozenset("bc")] == "disagree"
    assert verdicts[frozenset(("c", "alike"))] == "not shown"
    sentences = agreed.sentences()
    assert "a before b: screening and error agree." in sentences
    assert "c has a better error than b, but screening shows the opposite order." in sentences
    assert "Both orders are shown for 5 of 6 pairs: they agree in 4 and disagree in 1." in sentences
    assert "with fewer than 5 spaces no value of it shows anything" in sentences[-2]
    assert agreed.table()["verdict"].tolist().count("agree") == 4


def test_tau_is_that_of_the_means():
    assert agreement(SCREENED, trained(a=20, b=30, c=40)).tau == 1
    assert agreement(SCREENED, trained(a=40, b=30, c=20)).tau == -1
    same = agreement(SCREENED, trained(a=20, b=20, c=20))
    assert np.isnan(same.tau)
    assert same.sentences()[0] == "Both orders are shown for 0 of 3 pairs."


def test_agreement_needs_two_spaces_that_were_screened():
    with pytest.raises(InputError, match="at least two spaces that were screened.*there are: a"):
        agreement(SCREENED, trained(a=20, other=30))
