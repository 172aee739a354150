import pytest

from designspace.support.amounts import amount
from designspace.support.errors import InputError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (320_000, 320e3),
        ("320KB", 320e3),
        ("320 kB", 320e3),
        ("320KiB", 320 * 1024),
        ("1.5MB", 1.5e6),
        ("2GiB", 2 * 1024**3),
        ("400M", 400e6),
        ("60k", 60e3),
        ("7B", 7),
        ("1e6", 1e6),
        (".5T", 0.5e12),
        (0, 0),
    ],
)
def test_amounts_have_prefixes_and_units(value, expected):
    assert amount("limit", value) == expected


@pytest.mark.parametrize("value", ["", "KB", "-1KB", "1iB", "1 XB", "1KBs", "1,5MB", -1, True, None, [1], float("inf")])
def test_other_texts_are_errors_that_name_the_option(value):
    with pytest.raises(InputError, match=r"limit\.params must be a number"):
        amount("limit.params", value)
