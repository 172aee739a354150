"""The frame of every command: Hydra composes what was typed, the command runs, errors become one clear message."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.cli import data_words, multirun, terminal, typed
from designspace.cli.command_line import CommandLine, read_command_line
from designspace.cli.config_files import ConfigFiles, configs_folder, read_config
from designspace.cli.overrides import parse_override, unreadable
from designspace.cli.provenance import DISTRIBUTION, version_of
from designspace.cli.typed import quoted
from designspace.support.errors import InputError, RunError, closest, suggest
from designspace.support.file_errors import as_run_errors

if TYPE_CHECKING:
    from omegaconf import DictConfig

Config = dict[str, Any]
"""What the user typed, over the defaults: plain nested dicts, lists and numbers."""

STOPPED = 128
"""Exit codes above this one, as in a shell, say that a signal stopped the command."""


def main(
    name: str,
    run: Callable[[Config, Sequence[str]], None],
    arguments: Sequence[str] | None = None,
    *,
    resumes: bool = True,
) -> None:
    """Run a command and end the process: 0 well, 1 when something failed on the way, 2 when the input is wrong.

    Args:
        name: name of the command and of its configuration file.
        run: takes the configuration and the overrides as they were typed.
        arguments: what was typed after the command's name; the process's own arguments unless given.
        resumes: whether the same command, after Ctrl-C, goes on where it was.
    """
    terminal.protect()
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(format="%(message)s")  # on stderr, with the warnings of all libraries
    logging.getLogger("designspace").setLevel(logging.INFO)
    try:
        with terminal.while_read(), as_run_errors():
            line = read_command_line(arguments)
            if line.asks_for_help:
                from designspace.cli.help import help_text

                print(help_text(name, line.typed))
            elif line.asks_for_version:
                print(version())
            elif line.multirun:
                _run_combinations(name, run, line)
            else:
                run(compose(name, line.typed), line.typed)
    except (InputError, RunError) as error:
        raise SystemExit(_report(name, error, arguments)) from None
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on from here\n" if resumes else "\nstopped\n")
        raise SystemExit(130) from None


def _run_combinations(name: str, run: Callable[[Config, Sequence[str]], None], line: CommandLine) -> None:
    """Run a command once for each combination of the values that were typed; if some fail, the others run all the same.

    Raises:
        InputError: a combination cannot be composed; then none is run.
        SystemExit: some combinations failed.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        raise InputError("--multirun cannot run inside torchrun; start torchrun once for each combination")
    _check_words(name, line)
    combinations = multirun.combinations(name, line)
    configs = [compose(name, combination.line.typed) for combination in combinations]
    failed: dict[str, int] = {}
    for number, (combination, config) in enumerate(zip(combinations, configs, strict=True), 1):
        print(f"[{number}/{len(combinations)}] {combination.label}", flush=True)
        if code := _code_of(name, run, config, combination.line):
            failed[combination.label] = code
    if failed:
        labels = "".join(f"\n  {label}" for label in failed)
        sys.stderr.write(f"designspace.{name}: {len(failed)} of {len(combinations)} combinations failed:{labels}\n")
        raise SystemExit(max(failed.values()))


def _code_of(name: str, run: Callable[[Config, Sequence[str]], None], config: Config, line: CommandLine) -> int:
    """Run a command, say what goes wrong, and return the exit code that it would have alone."""
    try:
        with as_run_errors():
            run(config, line.typed)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code > STOPPED:
            raise
        return code
    except BrokenPipeError:
        raise
    except (InputError, RunError) as error:
        return _report(name, error, line.typed)
    except Exception:  # a bug that one combination meets must not cost the others their results
        traceback.print_exc()
        return 1
    return 0


def version() -> str:
    """Return the name of the package and its version."""
    return f"{DISTRIBUTION} {version_of(DISTRIBUTION)}"


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
    _check_words(name, line)
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
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {error.strerror}") from error
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise InputError(" ".join(str(error).split())) from error


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


def _check_words(name: str, line: CommandLine) -> None:
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


def _report(name: str, error: InputError | RunError, words: Sequence[str]) -> int:
    """Say what is wrong on stderr; return the exit code for it."""
    text = str(error)
    sys.stderr.write(f"designspace.{name}: {text}{multirun.hint(text, words)}\n")
    return 2 if isinstance(error, InputError) else 1
