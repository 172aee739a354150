"""The help text of a command, generated from the comments in the configuration files."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from designspace.cli import composition, text_values
from designspace.cli.command_line import OPTIONS, CommandLine, read_command_line
from designspace.cli.config_files import MAX_BYTES, ConfigFiles, configs_folder
from designspace.cli.examples import EXAMPLES
from designspace.support.reading import read_text

TOPICS = {
    "experiment": "a study with all its settings",
    "space": "the design space",
    "limit": "the highest allowed costs for one image, such as 320KB, 1MiB, 60k or 1e6",
    "input": "the images that networks are built for",
    "data": "the images to train on",
    "recipe": "how networks are trained",
    "launcher": "where trials run",
    "refine": "refinement of a space in rounds",
    "budget": "how much a study may train",
    "stop": "when comparisons or trials end early",
}
"""Group of the configuration -> what it chooses."""

_INDENT = 34
"""Column where the descriptions of keys begin."""


@dataclass(slots=True)
class Comments:
    """Comments of a configuration file."""

    about: str = ""
    """Comment at the beginning of the file."""
    keys: dict[str, str] = field(default_factory=dict)
    """Key -> its comment; the keys of a part have its name before them, such as ``space.resolution``."""
    notes: list[str] = field(default_factory=list)
    """Comments that do not belong to a key."""


def help_text(name: str, arguments: Sequence[str] = ()) -> str:
    """Return the help of a command: usage, examples, choices, and every key with its default and description.

    Args:
        name: name of the command.
        arguments: command-line arguments; for a choice from a group, the keys of that choice are shown.

    Raises:
        InputError: a choice does not exist.
    """
    line = read_command_line(arguments)
    pairs = [text_values.split_argument(word) for word in line.arguments if "=" in word and not word.startswith("-")]
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
    values = composition.defaults(name, choices.all_arguments)
    lines += ["", "keys with default values:"]
    lines += _rows("", {k: v for k, v in values.items() if not isinstance(v, dict) or k in own.keys}, [own])
    lines += [line for note in own.notes for line in _wrapped(note, 2)]
    for group in groups:
        lines += ["", *_choices(group, files.default_choices(name)[group], files)]
    for topic, keys in values.items():
        if isinstance(keys, dict):
            lines += ["", *_topic(topic, keys, chosen, files, own)]
    return "\n".join([*lines, "", *_options(groups)])


def _options(groups: Sequence[str]) -> Iterator[str]:
    """Yield the options of a command with their descriptions; some apply only if the command has groups."""
    yield "options:"
    for option, description in OPTIONS.items():
        if groups or not option.startswith("--config-dir"):
            yield from _row(f"  {option}", description)


def read_comments(path: Path) -> Comments:
    """Return the comments of a configuration file: before all keys, behind a key, or alone on a line."""
    comments, about, last = Comments(), [], None
    in_defaults, part = False, ""
    for line in read_text(path, MAX_BYTES).splitlines():
        key = re.match(r"( *)(\w+):(?:[^#]|#(?! ))*(?:# (.*))?$", line)
        if line.startswith("# @package"):
            continue
        if line.startswith("# ") and last is None and not in_defaults:
            about.append(line[2:])
        elif line.startswith("# "):
            comments.notes.append(line[2:])
        elif key:
            part = part if key[1] else key[2]
            in_defaults = part == "defaults"
            last = None if in_defaults else f"{part}.{key[2]}" if key[1] else part
            if last and key[3]:
                comments.keys[last] = key[3]
        elif last and (more := re.match(r"\s+# (.*)", line)):
            comments.keys[last] = f"{comments.keys.get(last, '')} {more[1]}".strip()
    comments.about = " ".join(about)
    return comments


def _choices(group: str, default: str, files: ConfigFiles) -> Iterator[str]:
    """Yield each choice in a group with the first sentence of its comment, without references."""
    yield f"{group}=... chooses {TOPICS[group]} (default: {default}):"
    for option in files.options(group):
        about = read_comments(files.path(group, option)).about.removeprefix(f"{option}: ")
        sentence = re.split(r"(?<=[\w)])[.;] |\.$", re.sub(r" \([^)]*\)", "", about))[0]
        first, *more = textwrap.wrap(sentence, _width() - 22, break_on_hyphens=False) or [""]
        yield f"  {option:<19} {first}"
        yield from (" " * 22 + line for line in more)


def _topic(
    topic: str, values: Mapping[str, Any], chosen: Mapping[str, str], files: ConfigFiles, own: Comments
) -> Iterator[str]:
    """Yield the keys of a part of the configuration, each with its full name; ``own`` are the command's comments."""
    base = configs_folder() / "base" / f"{topic}.yaml"
    paths = [files.path(group, choice) for group, choice in chosen.items() if group in (topic, "input")]
    comments = [read_comments(path) for path in ([base] if base.is_file() else []) + paths]
    if topic in chosen:
        about = read_comments(files.path(topic, chosen[topic])).about
        yield f"{TOPICS[topic]}, with {topic}={chosen[topic]} (for others: --help {topic}=...):"
        yield from _wrapped(about, 2)
    else:
        yield f"{TOPICS[topic]}:"
    if base.is_file() and comments[0].about:
        yield from _wrapped(comments[0].about, 2)
    of_topic = {key.removeprefix(f"{topic}."): text for key, text in own.keys.items() if key.startswith(f"{topic}.")}
    comments.append(Comments(keys={key: text for key, text in of_topic.items() if key != "name"}))
    # A name without a description only repeats the choice.
    yield from _rows(
        f"{topic}.", {k: v for k, v in values.items() if k != "name" or _description(k, comments)}, comments
    )


def _rows(prefix: str, values: Mapping[str, Any], comments: Sequence[Comments]) -> Iterator[str]:
    """Yield the lines of each key: its full name, its default and its description."""
    for key, value in values.items():
        full, description = f"{prefix}{key}", _description(key, comments)
        if value == "???":
            shown, description = "...", f"required. {description[:1].upper()}{description[1:]}"
        else:
            shown = "..." if value is None and full in text_values.PATHS else _as_typed(value)
        yield from _row(f"  {full}={shown}", description)


def _row(head: str, description: str) -> Iterator[str]:
    """Yield the lines of a key or an option with its description."""
    first, *more = textwrap.wrap(description, _width() - _INDENT, break_on_hyphens=False) or [""]
    if len(head) < _INDENT - 1:
        yield f"{head:<{_INDENT}}{first}".rstrip()
    else:
        yield head
        yield " " * _INDENT + first
    yield from (" " * _INDENT + line for line in more)


def _description(key: str, comments: Sequence[Comments]) -> str:
    """Return the comments on a key: its description, and in brackets the reason for the value of a choice."""
    first, *others = [comment.keys[key] for comment in comments if key in comment.keys] or [""]
    return " ".join([first, *(f"({other})" for other in others)])


def _as_typed(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_as_typed, value))}]"
    if isinstance(value, dict):  # an axis of the recipe; a shell needs the quotes
        return f"'{{{', '.join(f'{key}: {_as_typed(each)}' for key, each in value.items())}}}'"
    if isinstance(value, float):
        return f"{value / 1e6:g}e6" if value >= 1e6 else f"{value:g}"
    return str(value)


def _wrapped(text: str, indent: int) -> list[str]:
    """Return the lines of a paragraph."""
    return textwrap.wrap(
        text, _width(), initial_indent=" " * indent, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def _width() -> int:
    """Return the width of the terminal, at most 100 characters for readability."""
    return min(100, shutil.get_terminal_size().columns)
