import json
import os

import pytest

from designspace.support import csv_text
from designspace.support.errors import InputError, RunError
from designspace.support.reading import parse_json, read_bytes, read_json, read_text
from designspace.support.text import shown
from designspace.support.yaml_text import MAX_YAML_BYTES, parse_yaml, read_yaml

NINE = ",".join(["x"] * 9)
BOMB = f"[&a0 [{NINE}]" + "".join(f", &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)) + "]"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e6", 2e6),
        ("1E-3", 0.001),
        ("[1, +2, -3, 0x1F, 1_000]", [1, 2, -3, 31, 1000]),
        ("[.5, 1., 2.5e+3, .inf]", [0.5, 1.0, 2500.0, float("inf")]),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("[true, no, null, ~]", [True, False, None, None]),
        ("'2e6'", "2e6"),
        ("x: &a {q: 1}\ny: {<<: *a, z: 2}", {"x": {"q": 1}, "y": {"q": 1, "z": 2}}),
    ],
)
def test_yaml_is_read_with_numbers_as_in_yaml_1_2(text, value):
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + BOMB, r"aliases \(\*name\) expand to more than"),
        ("a: &x [*x]", "an alias refers to a value that contains it"),
        ("[" * 100_000, "nested too deeply"),
        ("a: 1\na: 2", "line 2: the key 'a' occurs twice"),
        ("a: " + "9" * 5000, "a number of 5,000 digits"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: !!int x", "'x' is not a number"),
        ("[1]: 2", "unhashable key"),
        ('"\\ud800"', "not Unicode"),
        ("a: [1", "line 1"),
        ("\x00", "unacceptable character"),
    ],
)
def test_malformed_yaml_is_rejected_with_a_reason(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ("[NaN]", "NaN, which is not a number"),
        ("9" * 5000, "a number of thousands of digits"),
        ('"\\ud800"', "not Unicode"),
        (b"\xff", "not Unicode"),
        ('{"a": 1', "delimiter"),
    ],
)
def test_malformed_json_is_rejected_with_a_reason(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_only_regular_files_of_limited_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.yaml").write_bytes(b"x" * (MAX_YAML_BYTES + 1))
    for read in (read_bytes, read_text, read_json, read_yaml):
        with pytest.raises(RunError, match="pipe: it is not a regular file"):
            read(tmp_path / "pipe")
        with pytest.raises(RunError, match="cannot read .*: Is a directory"):
            read(tmp_path)
        with pytest.raises(RunError, match="No such file"):
            read(tmp_path / "none")
    with pytest.raises(RunError, match="at most 262,144 are allowed"):
        read_yaml(tmp_path / "large.yaml")
    with pytest.raises(RunError, match="not a regular file"):
        csv_text.open_table(tmp_path / "pipe")


def test_an_error_in_yaml_names_the_file(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [1")
    with pytest.raises(InputError, match=r"a\.yaml: line 1"):
        read_yaml(tmp_path / "a.yaml")


def test_values_in_messages_are_short():
    nested = ["x"]
    for _ in range(30):
        nested = [nested] * 9
    for value in ("x" * 10**6, 10**4000, nested, {str(i): i for i in range(1000)}, [["x" * 1000]], b"x" * 10**6):
        assert len(shown(value)) < 200
    assert [shown(value) for value in (1, 2.5, "a", None, True, [1, [2]])] == [
        "1",
        "2.5",
        "'a'",
        "None",
        "True",
        "[1, [2]]",
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"id,b1\na,3.2\n", b"id,b1\na,3.2\n"),
        (b"id;b1\na;3,2\n", b"id,b1\na,3.2\n"),
        (b"\xef\xbb\xbfid\tb1\r\na\t2\r\n", b"id,b1\na,2\n"),
        (b'"id";"b1"\n"a";"x,y"\n', b'id,b1\na,"x,y"\n'),
    ],
)
def test_separators_of_spreadsheets_become_commas(data, expected):
    assert csv_text.as_commas(data) == expected


@pytest.mark.parametrize("id_", ["1.23457E+11", "12345678901", "inf", "1,2E+10", "123"])
def test_ids_that_a_spreadsheet_changed_are_recognised(id_):
    assert csv_text.looks_changed(id_)
    assert "a spreadsheet changes ids" in csv_text.why_not_an_id(id_)


@pytest.mark.parametrize("id_", ["123456789012", "123e45678901", "0a0000000000", "trial-1"])
def test_other_ids_do_not_look_changed(id_):
    assert not csv_text.looks_changed(id_)


def test_valid_json_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": [1, 2.5, "é", None]}))
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, "é", None]}
