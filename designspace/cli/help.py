"""The help of a command, in a person's words, made from the comments of the configuration files."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from designspace.cli import composition, typed
from designspace.cli.command_line import OPTIONS, CommandLine, read_command_line
from designspace.cli.config_files import MAX_BYTES, ConfigFiles, configs_folder
from designspace.cli.examples import EXAMPLES
from designspace.support.reading import read_text

TOPICS = {
    "experiment": "a study with all its settings",
    "space": "the design space",
    "input": "the images that the networks are for",
    "data": "the images to train on",
    "recipe": "how networks are trained",
    "launcher": "where trials run",
}
"""Groups of the configuration, and what is chosen from them."""

_INDENT = 34
"""Where the meanings of keys begin."""


@dataclass(slots=True)
class Comments:
    """What a configuration file says of itself."""

    about: str = ""
    """The comment that it begins with."""
    keys: dict[str, str] = field(default_factory=dict)
    """Key -> its comment."""
    notes: list[str] = field(default_factory=list)
    """Comments that belong to no key."""


def help_text(name: str, words: Sequence[str] = ()) -> str:
    """Return the help of a command: usage, examples, choices, and every key with its default and meaning.

    Args:
        name: of the command.
        words: what was typed; a choice from a group shows that choice's keys.

    Raises:
        InputError: a choice that there is not.
    """
    line = read_command_line(words)
    pairs = [typed.split_word(word) for word in line.words if "=" in word and not word.startswith("-")]
    files = line.files
    groups = [group for group in TOPICS if group in files.groups(name)]
    chosen = {group: composition.chosen(name, group, [f"{k}={v}" for k, v in pairs]) for group in groups}
    own = read_comments(configs_folder() / f"{name}.yaml")
    lines = [
        f"usage: python -m designspace.{name} [options] [key=value ...]",
        "",
        *_wrapped(own.about, 0),
        "",
        "examples:",
    ]
    lines += [f"  python -m designspace.{name} {example}" for example in EXAMPLES[name]]
    choices = CommandLine(tuple(f"{group}={choice}" for group, choice in chosen.items()), line.config_dir)
    values = composition.defaults(name, choices.typed)
    lines += ["", "keys, each with its default:"]
    lines += _rows("", {k: v for k, v in values.items() if not isinstance(v, dict) or k in own.keys}, [own])
    lines += [line for note in own.notes for line in _wrapped(note, 2)]
    for group in groups:
        lines += ["", *_choices(group, files.default_choices(name)[group], files)]
    for topic, keys in values.items():
        if isinstance(keys, dict):
            lines += ["", *_topic(topic, keys, chosen, files)]
    return "\n".join([*lines, "", *_options(groups)])


def _options(groups: Sequence[str]) -> Iterator[str]:
    """Yield the options of a command that chooses from some groups, each with its meaning."""
    yield "options:"
    for option, meaning in OPTIONS.items():
        if groups or not option.startswith("--config-dir"):
            yield from _row(f"  {option}", meaning)


def read_comments(path: Path) -> Comments:
    """Return the comments of a configuration file, which stand before all keys, behind each, or alone on a line."""
    comments, about, last = Comments(), [], None
    in_defaults = False
    for line in read_text(path, MAX_BYTES).splitlines():
        key = re.match(r"(\w+):(?:[^#]|#(?! ))*(?:# (.*))?$", line)
        if line.startswith("# @package"):
            continue
        if line.startswith("# ") and last is None and not in_defaults:
            about.append(line[2:])
        elif line.startswith("# "):
            comments.notes.append(line[2:])
        elif key:
            in_defaults = key[1] == "defaults"
            last = None if in_defaults else key[1]
            if last and key[2]:
                comments.keys[last] = key[2]
        elif last and (more := re.match(r"\s+# (.*)", line)):
            comments.keys[last] = f"{comments.keys.get(last, '')} {more[1]}".strip()
    comments.about = " ".join(about)
    return comments


def _choices(group: str, default: str, files: ConfigFiles) -> Iterator[str]:
    """Return each name that a group offers with the first sentence on it, without its references."""
    yield f"{group}=... chooses {TOPICS[group]} (default: {default}):"
    for option in files.options(group):
        about = read_comments(files.path(group, option)).about.removeprefix(f"{option}: ")
        sentence = re.split(r"(?<=[\w)])[.;] |\.$", re.sub(r" \([^)]*\)", "", about))[0]
        first, *more = textwrap.wrap(sentence, _width() - 22, break_on_hyphens=False) or [""]
        yield f"  {option:<19} {first}"
        yield from (" " * 22 + line for line in more)


def _topic(topic: str, values: Mapping[str, Any], chosen: Mapping[str, str], files: ConfigFiles) -> Iterator[str]:
    """Return the keys of a part of the configuration, each with its full name."""
    base = configs_folder() / "base" / f"{topic}.yaml"
    paths = [files.path(group, choice) for group, choice in chosen.items() if group in (topic, "input")]
    comments = [read_comments(path) for path in ([base] if base.is_file() else []) + paths]
    if topic in chosen:
        about = read_comments(files.path(topic, chosen[topic])).about
        yield f"{TOPICS[topic]}, with {topic}={chosen[topic]} (--help {topic}=... shows another):"
        yield from _wrapped(about, 2)
    else:
        yield f"{TOPICS[topic]}:"
    if base.is_file() and comments[0].about:
        yield from _wrapped(comments[0].about, 2)
    # A name that has no meaning of its own only says what was chosen.
    yield from _rows(f"{topic}.", {k: v for k, v in values.items() if k != "name" or _meaning(k, comments)}, comments)


def _rows(prefix: str, values: Mapping[str, Any], comments: Sequence[Comments]) -> Iterator[str]:
    """Return a line or more for each key: its full name, its default, what it means."""
    for key, value in values.items():
        full, meaning = f"{prefix}{key}", _meaning(key, comments)
        if value == "???":
            shown, meaning = "...", f"must be given. {meaning[:1].upper()}{meaning[1:]}"
        else:
            shown = "..." if value is None and full in typed.PATHS else _as_typed(value)
        yield from _row(f"  {full}={shown}", meaning)


def _row(head: str, meaning: str) -> Iterator[str]:
    """Yield the lines of a key or an option with its meaning."""
    first, *more = textwrap.wrap(meaning, _width() - _INDENT, break_on_hyphens=False) or [""]
    if len(head) < _INDENT - 1:
        yield f"{head:<{_INDENT}}{first}".rstrip()
    else:
        yield head
        yield " " * _INDENT + first
    yield from (" " * _INDENT + line for line in more)


def _meaning(key: str, comments: Sequence[Comments]) -> str:
    """Return what files say of a key: its meaning, and in brackets why a choice sets it so."""
    first, *others = [found.keys[key] for found in comments if key in found.keys] or [""]
    return " ".join([first, *(f"({other})" for other in others)])


def _as_typed(value: Any) -> str:
    """Return a value as it is typed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_as_typed, value))}]"
    if isinstance(value, float):
        return f"{value / 1e6:g}e6" if value >= 1e6 else f"{value:g}"
    return str(value)


def _wrapped(text: str, indent: int) -> list[str]:
    """Return the lines of a paragraph."""
    return textwrap.wrap(
        text, _width(), initial_indent=" " * indent, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def _width() -> int:
    """Return the characters of a line: the terminal's, but no more than are easy to read."""
    return min(100, shutil.get_terminal_size().columns)
