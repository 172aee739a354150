"""Output to the terminal: tables that fit, and no control characters."""

import io
import logging
import os
import signal
import subprocess
import sys

import pytest

from designspace.cli import terminal
from designspace.cli.tables import print_table

HOSTILE = "a\x1b[2J\x1b]0;owned\x07\x9b31m\r\u202egnp.exe\x7f\udce9"
CONTROL_CHARACTERS = ("\x1b", "\x07", "\x9b", "\r", "\u202e", "\x7f")
ROWS = [("AnyNetXA", 16, 16, 0, 0, "12.31", "18.40", "16.22", "2.51 M"), ("RegNetX", 16, 2, 1, 13, "9.1", "9", "9", "")]
HEADER = ("space", "asked", "done", "failed", "unfinished", "min error, %", "mean error, %", "median error, %", "flops")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_table_fits_the_terminal_and_breaks_no_word(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table("runs", HEADER, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= columns for line in lines)
    for words in (*HEADER, *(str(cell) for row in ROWS for cell in row)):
        assert any(words in line for line in lines)
    assert sum(line.startswith("AnyNetXA ") for line in lines) == sum(line.startswith("space ") for line in lines)


def test_in_a_pipe_each_row_is_one_line(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table("", HEADER, ROWS)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_sentences_are_wrapped_and_paths_are_not_broken(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    path = "/a/folder/" + "with/a/long/name/" * 5
    print_table("", ("what", "it is"), [("words", "one two three " * 12), ("folder", path)], texts=(0, 1))
    lines = capsys.readouterr().out.splitlines()
    assert any(path in line for line in lines)
    assert all(len(line) <= 60 for line in lines if path not in line)


def test_empty_columns_are_left_out(capsys):
    print_table("", ("run", "time left", "done"), [("a", None, 1), ("b", "", 2)])
    assert "time left" not in capsys.readouterr().out


def test_tables_escape_control_characters(capsys):
    print_table(HOSTILE, ("name", HOSTILE), [(HOSTILE, "two\nlines")])
    text = capsys.readouterr().out
    assert not any(character in text for character in CONTROL_CHARACTERS)
    assert "a\\x1b[2J" in text
    assert "\\xe9" in text
    assert "two lines" in text


def test_a_safe_stream_escapes_control_characters():
    inner = io.StringIO()
    stream = terminal.SafeStream(inner)
    print(HOSTILE, "é\tfine\n", file=stream)
    stream.writelines([HOSTILE])
    text = inner.getvalue()
    assert not any(character in text for character in CONTROL_CHARACTERS)
    assert "é\tfine\n" in text
    assert terminal.raw(stream) is inner
    assert terminal.raw(inner) is inner


@pytest.mark.parametrize("how", ["print", "log", "warning", "error", "bug", "file bug", "file", "table", "bar"])
def test_all_output_of_a_command_is_safe(how, tmp_path):
    """Print a hostile text in all possible ways from a command that runs through the common entry point."""
    code = f"""
import logging, sys, warnings
from designspace import status
from designspace.cli import app
from designspace.cli.tables import counting, print_table
from designspace.support.errors import InputError
text = {HOSTILE!r}
def bar():
    sys.stderr.isatty = lambda: True
    with counting("things") as start:
        start(2)(1, "words")
        print(text)
def fail(error): raise error
ways = {{
    "print": lambda: print(text),
    "log": lambda: logging.getLogger("designspace.x").warning(text),
    "warning": lambda: warnings.warn(text),
    "error": lambda: fail(InputError(text)),
    "bug": lambda: fail(KeyError(text)),
    "file bug": lambda: fail(FileNotFoundError(2, "No such file", text)),
    "file": lambda: fail(PermissionError(13, "Permission denied", text)),
    "table": lambda: print_table(text, ["name"], [[text]]),
    "bar": bar,
}}
def run(options: status.Options): ways[{how!r}]()
app.main("status", run, ["run=x"])
"""
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    output = (finished.stdout + finished.stderr).decode()
    assert "[2J" in output
    others = output.replace("\x1b[2K", "").replace("\x1b[?25", "")  # without the escapes of a progress bar
    for character in ("\x1b[2J", "\x1b]", "\x9b", "\u202e", "\x07"):
        assert character not in others
    assert ("Traceback" in output) == (how in ("bug", "file bug"))
    assert finished.returncode == {"error": 2, "bug": 1, "file bug": 1, "file": 1}.get(how, 0)


def test_streams_are_protected_once(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    terminal.protect()
    first = sys.stdout
    terminal.protect()
    assert sys.stdout is first
    logging.StreamHandler(sys.stderr).emit(logging.LogRecord("x", 30, "", 0, HOSTILE, (), None))
    assert "\x1b" not in terminal.raw(sys.stderr).getvalue()


def test_a_reader_that_closes_the_pipe_is_not_an_error(tmp_path):
    command = f"{sys.executable} -m designspace.launch --help | head -n 1"
    finished = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert finished.stdout.startswith("usage: python -m designspace.launch")
    assert finished.stderr == ""


@pytest.mark.parametrize("words", [[], ["--help"], ["sample", "--help"]])
def test_a_closed_pipe_ends_the_command_like_sigpipe(words, tmp_path):
    read, write = os.pipe()
    os.close(read)
    finished = subprocess.run(
        [sys.executable, "-m", "designspace", *words], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, check=False
    )
    os.close(write)
    assert (finished.returncode, finished.stderr) == (128 + signal.SIGPIPE, b"")


def test_output_to_a_full_disk_is_an_error_in_one_line(tmp_path):
    command = f"{sys.executable} -m designspace.plan effect=0.6 > /dev/full"
    finished = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert finished.stderr.startswith("designspace.plan: cannot write the output: No space left on device\n")
    assert "Traceback" not in finished.stderr
