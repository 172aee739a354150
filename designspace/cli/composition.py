"""Composition of a command's configuration from its arguments, with helpful errors for invalid ones."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.cli import data_option, multirun, text_values
from designspace.cli.command_line import CommandLine, read_command_line
from designspace.cli.config_files import ConfigFiles, configs_folder, read_config
from designspace.cli.overrides import parse_override, unreadable
from designspace.cli.text_values import quoted
from designspace.support.errors import InputError, RunError, closest, suggest
from designspace.support.imported import is_import_name

if TYPE_CHECKING:
    from omegaconf import DictConfig

Config = dict[str, Any]
"""The defaults, updated with the given values: nested dicts and lists of plain values."""


def compose(name: str, arguments: Sequence[str]) -> Config:
    """Return the configuration of a command; paths and names are read as text, all else in Hydra's syntax.

    Args:
        name: name of the command.
        arguments: command-line arguments, including options.

    Raises:
        InputError: an argument cannot be read, or a name does not exist; the message lists existing names.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    line = read_command_line(arguments)
    files = line.files
    check_arguments(name, line)
    arguments = data_option.expand_data(name, line.arguments, files.options)
    groups = files.choice_keys(name)
    texts, others = text_values.split_arguments(arguments, groups)
    values = dict(map(_parse, others))
    choices = {key: str(values.pop(key)) for key in groups if key in values}
    config = _compose_choices(name, choices, files)
    known = _keys(OmegaConf.to_container(config))
    own = _own_parameters({**values, **texts}, config)
    for key, value in [*values.items(), *texts.items()]:
        if key not in known and key not in own:
            raise _unknown_key_error(name, key, known, files)
        inner = [k for k in known if k.startswith(f"{key}.") and not isinstance(value, dict)]
        if inner and f"{key}.kind" not in inner:  # a single value may replace an axis of a recipe
            similar = [k for k in closest(key, known) if k not in (key, *inner)]
            hint = f"did you mean {similar[0]}={value}? " if similar else ""
            raise InputError(f"{key} is a group of keys and has no value; {hint}its keys are: {', '.join(inner)}")
    placeholders: dict[str, Any] = {}  # OmegaConf sees these instead of texts, which may contain its syntax
    try:
        for key, value in values.items():
            OmegaConf.update(config, key, value, merge=f"{key}.kind" not in known, force_add=key in own)
        for key, value in texts.items():
            placeholder = f"\0{key}\0"
            placeholders[placeholder] = "null" if value is None and OmegaConf.is_missing(config, key) else value
            OmegaConf.update(config, key, placeholder)
        plain: Config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        if "Missing mandatory value" in str(error):
            raise InputError(f"{error.full_key}=... must be given; see --help") from error
        raise InputError(" ".join(str(error).split())) from error
    return dict(_with_texts(plain, placeholders))


def _own_parameters(values: Mapping[str, Any], config: DictConfig) -> set[str]:
    """Return the keys of values that may be own parameters of a block, stem or head, which no file lists.

    Those of built-in blocks are known. If a custom class is chosen, any key may be one; the class itself is not
    imported here.
    """
    if "space" not in config:
        return set()
    given = {key: key.partition(".")[2] for key in values if re.fullmatch(r"space\.[^\W\d]\w*", key)}
    unknown_names = {key: name for key, name in given.items() if name not in config.space}
    if not unknown_names or any(is_import_name(values.get(f"space.{part}")) for part in ("block", "stem", "head")):
        return set(unknown_names)
    from designspace.networks.blocks import BLOCKS  # imports numpy, which most commands do not need to start

    own = {parameter.name for kind in BLOCKS.values() for parameter in kind.parameters}
    return {key for key, name in unknown_names.items() if name in own}


def _parse(argument: str) -> tuple[str, Any]:
    """Return the key and the value of an argument in Hydra's syntax.

    Raises:
        InputError: the argument cannot be read, or has several values.
    """
    override = parse_override(argument)
    if override.is_sweep_override():
        raise unreadable(argument, multirun.HINT)
    return override.get_key_element(), override.value()


def _compose_choices(name: str, choices: Mapping[str, str], files: ConfigFiles) -> DictConfig:
    """Compose the configuration of a command with Hydra.

    Args:
        name: name of the command.
        choices: group -> chosen file, if it is not the default.
        files: the available configuration files.

    Raises:
        InputError: a choice does not exist in its group, or the files cannot be combined.
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
            overrides = [f"{group}={quoted(choice)}" for group, choice in choices.items()]
            return hydra_compose(name, overrides=[*files.search_path, *overrides])
    except (HydraException, OmegaConfBaseException, YAMLError) as error:  # some of Hydra's errors are also an OSError
        raise InputError(" ".join(str(error).split())) from error
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {error.strerror}") from error


def _with_texts(node: Any, texts: Mapping[str, Any]) -> Any:
    """Return a configuration in which placeholders are replaced by their texts."""
    if isinstance(node, dict):
        return {key: _with_texts(value, texts) for key, value in node.items()}
    if not isinstance(node, str) or "\0" not in node:
        return node
    if node in texts:
        return texts[node]
    return re.sub("\0[^\0]+\0", lambda match: str(texts[match[0]]), node)  # as in runs/${name}


def is_given(key: str, arguments: Sequence[str]) -> bool:
    """Return whether the arguments contain a value for a key."""
    return any(argument.partition("=")[0].lstrip("+") == key for argument in arguments)


def chosen(name: str, group: str, arguments: Sequence[str]) -> str:
    """Return the choice from a group: the one in the arguments, or the command's default."""
    line = read_command_line(arguments)
    choices = [value for key, value in map(text_values.split_argument, line.arguments) if key == group]
    return choices[-1] if choices else line.files.default_choices(name)[group]


def check_arguments(name: str, line: CommandLine) -> None:
    """Raise `InputError` for the first argument that does not have the form ``key=value``."""
    for i, argument in enumerate(line.arguments):
        if argument.startswith("-") or "=" not in argument:
            raise _form_error(name, line.arguments[i:], line.files)


def _form_error(name: str, arguments: Sequence[str], files: ConfigFiles) -> InputError:
    """Return the error for the first of some arguments, which is not ``key=value``, with a suggestion."""
    argument, known = arguments[0], [*known_keys(name), *files.groups(name)]
    if argument.startswith("-"):
        similar = closest(argument.strip("-").partition("=")[0].replace("-", "_"), known)
        hint = f"did you mean {similar[0]}=...? " if similar else ""
        return InputError(
            f"unknown option {argument!r}; {hint}choose from: --help, --version, --config-dir, --multirun, and "
            "key=value with the keys that --help lists"
        )
    joined = f"{argument}.{arguments[1]}" if len(arguments) > 1 else ""
    folder = next((key for key in ("run", "runs", "model") if key in known and Path(argument).exists()), None)
    if joined.partition("=")[0] in known:
        hint = f"; did you mean {joined}?"
    elif folder:
        hint = f"; did you mean {shlex.quote(f'{folder}={argument}')}?"
    else:
        hint = "".join(f"; did you mean {similar}=...?" for similar in closest(argument, known)[:1])
    return InputError(f"{argument!r} does not have the form key=value{hint or '; see --help'}")


def _unknown_key_error(name: str, key: str, known: Sequence[str], files: ConfigFiles) -> InputError:
    """Return the error for a key that a command does not have, with similar keys or its neighbours."""
    parent, _, last = key.rpartition(".")
    groups = files.groups(name)
    for option in files.options(parent) if parent in groups else ():
        if last in read_config(files.path(parent, option)):
            return InputError(f"unknown option {key!r}; it needs {parent}={option}")
    siblings = [k for k in known if k.rpartition(".")[0] == parent] or [k for k in known if "." not in k]
    siblings += [group for group in groups if group not in siblings and "." not in siblings[0]]
    uses_siblings = closest(key, siblings) or not closest(key, known)
    return InputError(f"unknown option {key!r}; {suggest(key, siblings if uses_siblings else known)}")


def known_keys(name: str, arguments: Sequence[str] = ()) -> list[str]:
    """Return all keys of the command's configuration, with dots, for some choices from groups."""
    return _keys(defaults(name, arguments))


def _keys(config: Any, prefix: str = "") -> list[str]:
    """Return all keys of a configuration, with dots."""
    keys = []
    for key, value in config.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{key}.")
    return keys


def defaults(name: str, arguments: Sequence[str] = ()) -> Config:
    """Return the command's default configuration for some choices from groups; required values are ``???``."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    line = read_command_line(arguments)
    config = _compose_choices(name, dict(map(text_values.split_argument, line.arguments)), line.files)
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException:  # a default contains a required value
        plain = OmegaConf.to_container(config, resolve=False)
    return dict(plain)
