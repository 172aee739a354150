"""The frame of every command: Hydra composes what was typed, the command runs, errors become one clear message."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from designspace.cli import multirun, terminal
from designspace.cli.command_line import CommandLine, read_command_line
from designspace.cli.composition import Config, check_words, chosen, compose, defaults, is_typed, known_keys
from designspace.cli.options import Filled, Options, fill
from designspace.cli.provenance import DISTRIBUTION, version_of
from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import as_run_errors

__all__ = ["Options", "chosen", "compose", "defaults", "is_typed", "known_keys", "main", "options", "version"]

Run = Callable[[Any], None]
"""Runs a command with its options: a dataclass, by which its parameter ``options`` is annotated."""

STOPPED = 128
"""Exit codes above this one, as in a shell, say that a signal stopped the command."""


def main(
    name: str,
    run: Run,
    arguments: Sequence[str] | None = None,
    *,
    resumes: bool = True,
) -> None:
    """Run a command and end the process: 0 well, 1 when something failed on the way, 2 when the input is wrong.

    Args:
        name: name of the command and of its configuration file.
        run: what the command does with its options.
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
                _run(name, run, compose(name, line.typed), line)
    except (InputError, RunError) as error:
        raise SystemExit(_report(name, error, arguments)) from None
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; run the same command again to resume\n" if resumes else "\nstopped\n")
        raise SystemExit(130) from None


def options(kind: type[Filled], name: str, words: Sequence[str]) -> Filled:
    """Return the options of a command with what was typed after its name.

    Raises:
        InputError: a word that cannot be read, a name that does not exist, or a value of another type than its key's.
    """
    return fill(kind, compose(name, words), command=name, line=read_command_line(words))


def _run(name: str, run: Run, config: Config, line: CommandLine) -> None:
    """Run a command with a configuration."""
    names = getattr(run, "__globals__", None)
    run(fill(get_type_hints(run)["options"], config, names=names, command=name, line=line))


def _run_combinations(name: str, run: Run, line: CommandLine) -> None:
    """Run a command once for each combination of the values that were typed; if some fail, the others run all the same.

    Raises:
        InputError: a combination cannot be composed; then none is run.
        SystemExit: some combinations failed.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        raise InputError("--multirun cannot run inside torchrun; start torchrun once for each combination")
    check_words(name, line)
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


def _code_of(name: str, run: Run, config: Config, line: CommandLine) -> int:
    """Run a command, say what goes wrong, and return the exit code that it would have alone."""
    try:
        with as_run_errors():
            _run(name, run, config, line)
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


def _report(name: str, error: InputError | RunError, words: Sequence[str]) -> int:
    """Say what is wrong on stderr; return the exit code for it."""
    sys.stderr.write(f"designspace.{name}: {error}{multirun.hint(str(error), words)}\n")
    return 2 if isinstance(error, InputError) else 1
