"""Fixtures shared by the tests of the report in a real browser."""

from __future__ import annotations

import pytest
from browser import Browser
from populations import varied, with_histories

from designspace.analysis import Results, analyze


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Report of two runs: 12 networks done, 2 failed and 1 waiting; and 10 done."""
    failed = [("diverged", "loss is nan"), ("out of memory", "asked for 3 GiB")]
    a = with_histories("AnyNetXA", varied([20.0 + i for i in range(12)], "a", failed=failed, waiting=1))
    b = Results.from_table("RegNetX", varied([18.5 + i / 4 for i in range(10)], "b"), 10)
    return analyze([a, b], tmp_path_factory.mktemp("report"), {"commit": "abc"}).report
