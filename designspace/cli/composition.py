"""Composing the configuration of a command from what was typed, and errors that name what could have been typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.cli import data_words, multirun, typed
from designspace.cli.command_line import CommandLine, read_command_line
from designspace.cli.config_files import ConfigFiles, configs_folder, read_config
from designspace.cli.overrides import parse_override, unreadable
from designspace.cli.typed import quoted
from designspace.support.errors import InputError, RunError, closest, suggest

if TYPE_CHECKING:
    from omegaconf import DictConfig

Config = dict[str, Any]
"""The typed values over the defaults: plain nested dicts, lists and numbers."""


def compose(name: str, words: Sequence[str]) -> Config:
    """Return the configuration of a command with what was typed: paths and names as text, the rest in Hydra's syntax.

    Args:
        name: name of the command.
        words: what was typed, options included.

    Raises:
        InputError: a word that cannot be read, or a name that does not exist; the error lists what does.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    line = read_command_line(words)
    files = line.files
    check_words(name, line)
    words = data_words.understood(name, line.words, files.options)
    groups = files.choosable(name)
    texts, others = typed.split(words, groups)
    values = dict(map(_parsed, others))
    choices = {key: str(values.pop(key)) for key in groups if key in values}
    config = _composed(name, choices, files)
    known = _keys(OmegaConf.to_container(config))
    for key, value in [*values.items(), *texts.items()]:
        if key not in known:
            raise _unknown_key(name, key, known, files)
        if inner := [k for k in known if k.startswith(f"{key}.") and not isinstance(value, dict)]:
            near = [k for k in closest(key, known) if k not in (key, *inner)]
            meant = f"did you mean {near[0]}={value}? " if near else ""
            raise InputError(f"{key} has no value of its own; {meant}its keys are: {', '.join(inner)}")
    stand_ins: dict[str, Any] = {}  # OmegaConf sees these instead of texts, which may hold anything
    try:
        for key, value in values.items():
            OmegaConf.update(config, key, value)
        for key, value in texts.items():
            stand_in = f"\0{key}\0"
            stand_ins[stand_in] = "null" if value is None and OmegaConf.is_missing(config, key) else value
            OmegaConf.update(config, key, stand_in)
        plain: Config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        if "Missing mandatory value" in str(error):
            raise InputError(f"{error.full_key}=... must be given; see --help") from error
        raise InputError(" ".join(str(error).split())) from error
    return dict(_with_texts(plain, stand_ins))


def _parsed(word: str) -> tuple[str, Any]:
    """Return the key and the value of a word in Hydra's syntax.

    Raises:
        InputError: the word cannot be read, or stands for several values.
    """
    override = parse_override(word)
    if override.is_sweep_override():
        raise unreadable(word, multirun.HINT)
    return override.get_key_element(), override.value()


def _composed(name: str, choices: Mapping[str, str], files: ConfigFiles) -> DictConfig:
    """Let Hydra compose the configuration of a command with some choices from groups.

    Raises:
        InputError: a group does not offer a choice, or the files do not go together.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    for group, choice in choices.items():
        files.path(group.partition("@")[0], choice)
    try:
        with initialize_config_dir(str(configs_folder()), version_base="1.3"):
            chosen_words = [f"{group}={quoted(choice)}" for group, choice in choices.items()]
            return hydra_compose(name, overrides=[*files.search_path, *chosen_words])
    except (HydraException, OmegaConfBaseException, YAMLError) as error:  # some of Hydra's are an OSError too
        raise InputError(" ".join(str(error).split())) from error
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {error.strerror}") from error


def _with_texts(node: Any, texts: Mapping[str, Any]) -> Any:
    """Return a configuration with the texts that were typed in their places."""
    if isinstance(node, dict):
        return {key: _with_texts(value, texts) for key, value in node.items()}
    if not isinstance(node, str) or "\0" not in node:
        return node
    if node in texts:
        return texts[node]
    return re.sub("\0[^\0]+\0", lambda found: str(texts[found[0]]), node)  # as in runs/${name}


def is_typed(key: str, words: Sequence[str]) -> bool:
    """Whether a value was typed for a key."""
    return any(word.partition("=")[0].lstrip("+") == key for word in words)


def chosen(name: str, group: str, words: Sequence[str]) -> str:
    """Return what a command chooses from a group: the choice that was typed, or the default."""
    line = read_command_line(words)
    choices = [value for key, value in map(typed.split_word, line.words) if key == group]
    return choices[-1] if choices else line.files.default_choices(name)[group]


def check_words(name: str, line: CommandLine) -> None:
    """Raise `InputError` for the first word that is not of the form ``key=value``."""
    for i, word in enumerate(line.words):
        if word.startswith("-") or "=" not in word:
            raise _not_a_pair(name, line.words[i:], line.files)


def _not_a_pair(name: str, words: Sequence[str], files: ConfigFiles) -> InputError:
    """Return the error for a word that is no ``key=value``, the first of some, with what may have been meant."""
    word, known = words[0], [*known_keys(name), *files.groups(name)]
    if word.startswith("-"):
        near = closest(word.strip("-").partition("=")[0].replace("-", "_"), known)
        meant = f"did you mean {near[0]}=...? " if near else ""
        return InputError(
            f"unknown option {word!r}; {meant}choose from: --help, --version, --config-dir, --multirun, and key=value "
            "for every key that --help lists"
        )
    joined = f"{word}.{words[1]}" if len(words) > 1 else ""
    folder = next((key for key in ("run", "runs", "model") if key in known and Path(word).exists()), None)
    if joined.partition("=")[0] in known:
        meant = f"; did you mean {joined}?"
    elif folder:
        meant = f"; did you mean {shlex.quote(f'{folder}={word}')}?"
    else:
        meant = "".join(f"; did you mean {near}=...?" for near in closest(word, known)[:1])
    return InputError(f"{word!r} is not of the form key=value{meant or '; see --help'}")


def _unknown_key(name: str, key: str, known: Sequence[str], files: ConfigFiles) -> InputError:
    """Return the error for a key that a command does not have: what is close to it, or what stands beside it."""
    parent, _, last = key.rpartition(".")
    groups = files.groups(name)
    for option in files.options(parent) if parent in groups else ():
        if last in read_config(files.path(parent, option)):
            return InputError(f"unknown option {key!r}; it goes with {parent}={option}, which was not typed")
    siblings = [k for k in known if k.rpartition(".")[0] == parent] or [k for k in known if "." not in k]
    siblings += [group for group in groups if group not in siblings and "." not in siblings[0]]
    near = closest(key, siblings) or not closest(key, known)
    return InputError(f"unknown option {key!r}; {suggest(key, siblings if near else known)}")


def known_keys(name: str, words: Sequence[str] = ()) -> list[str]:
    """Return every key of the command's configuration with some choices from groups, with dots."""
    return _keys(defaults(name, words))


def _keys(config: Any, prefix: str = "") -> list[str]:
    """Return every key of a configuration, with dots."""
    keys = []
    for key, value in config.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{key}.")
    return keys


def defaults(name: str, words: Sequence[str] = ()) -> Config:
    """Return the command's configuration with some choices from groups; what must be given is ``???``."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    line = read_command_line(words)
    config = _composed(name, dict(map(typed.split_word, line.words)), line.files)
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException:  # a default that is made from what must be given
        plain = OmegaConf.to_container(config, resolve=False)
    return dict(plain)
