import pytest

from designspace.support.errors import closest, suggest
from designspace.support.text import counted, duration, from_cell, is_printable, prefixed, printable, to_cell


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (999, "999"), (999.7, "1.00 k"), (1000, "1.00 k"), (9_996, "10.0 k"), (99_960, "100 k")),
        *((999_400, "999 k"), (999_600, "1.00 M"), (4.0e9, "4.00 G"), (1.2e13, "12.0 T")),
    ],
)
def test_quantities_have_three_digits(value, text):
    assert prefixed(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (59.4, "59 s"), (59.96, "1 min 0 s"), (3599.7, "1 h 0 min"), (90_061, "1 d 1 h")),
        *((float("nan"), "-"), (None, "-")),
    ],
)
def test_durations_have_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "noun", "text"), [(1, "image", "1 image"), (0, "class", "0 classes"), (2, "batch", "2 batches")]
)
def test_counts_have_singular_and_plural(count, noun, text):
    assert counted(count, noun) == text


@pytest.mark.parametrize(
    "code", [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x202E, 0x2028, 0x2067, 0xDC80]
)
def test_control_characters_are_escaped(code):
    assert not is_printable(f"a{chr(code)}b")
    shown = printable(f"a{chr(code)}b")
    assert chr(code) not in shown
    assert shown.isprintable()


def test_ordinary_text_is_unchanged():
    text = "Zürich, 東京, naïve 👩‍🔬 1\t2\n"
    assert printable(text) == text


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "plain", "'tis", "", "a=b", "'"]
)
def test_cells_are_never_formulas_and_are_read_back_unchanged(text):
    cell = to_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_cell(cell) == text


def test_numbers_in_cells_stay_numbers():
    assert to_cell(-1.5) == -1.5
    assert to_cell(None) is None


NAMES = [
    "recipe.epochs",
    "recipe.batch_size",
    "launcher.workers",
    "launcher.workers_per_gpu",
    "in_channels",
    "num_classes",
]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *(
            ("batchsize", "recipe.batch_size"),
            ("recipe.batchSize", "recipe.batch_size"),
            ("workers", "launcher.workers"),
        ),
        *(("in_chans", "in_channels"), ("n_classes", "num_classes"), ("epoch", "recipe.epochs")),
    ],
)
def test_the_closest_name_comes_first(given, meant):
    assert closest(given, NAMES)[0] == meant
    assert suggest(given, NAMES).startswith(f"did you mean {meant}? choose from: ")


def test_names_without_a_similar_one():
    assert closest("x", NAMES) == []
    assert suggest("colour", NAMES) == f"choose from: {', '.join(NAMES)}"


def test_a_long_list_is_shortened_if_a_name_is_close():
    names = [f"network{i}" for i in range(30)]
    assert suggest("netwrk7", names) == "did you mean network7? choose from: network7, network17, network27 and 27 more"
