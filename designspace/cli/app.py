"""Entry point of all commands: compose the configuration, run the command, print errors as one clear message."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from designspace.cli import multirun, terminal
from designspace.cli.command_line import CommandLine, read_command_line
from designspace.cli.composition import Config, check_arguments, chosen, compose, defaults, is_given, known_keys
from designspace.cli.options import Filled, Options, fill
from designspace.cli.provenance import DISTRIBUTION, version_of
from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import as_run_errors
from designspace.support.imported import search_working_folder

__all__ = ["Options", "chosen", "compose", "defaults", "is_given", "known_keys", "main", "options", "version"]

Run = Callable[[Any], None]
"""Function of a command; its parameter ``options`` is annotated with the command's dataclass of options."""

SIGNAL_OFFSET = 128
"""Larger exit codes mean, as in a shell, that a signal stopped the command."""


def main(
    name: str,
    run: Run,
    arguments: Sequence[str] | None = None,
    *,
    resumes: bool = True,
) -> None:
    """Run a command; exit with code 1 if it fails, and with code 2 if its input is invalid.

    Args:
        name: name of the command and of its configuration file.
        run: function of the command.
        arguments: command-line arguments; by default those of the process.
        resumes: whether running the same command again after Ctrl-C resumes it.
    """
    terminal.protect()
    search_working_folder()
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(format="%(message)s")  # on stderr, with the warnings of all libraries
    logging.getLogger("designspace").setLevel(logging.INFO)
    try:
        with terminal.exit_on_closed_pipe(), as_run_errors():
            line = read_command_line(arguments)
            if line.asks_for_help:
                from designspace.cli.help import help_text

                print(help_text(name, line.all_arguments))
            elif line.asks_for_version:
                print(version())
            elif line.multirun:
                _run_combinations(name, run, line)
            else:
                _run(name, run, compose(name, line.all_arguments), line)
    except (InputError, RunError) as error:
        raise SystemExit(_report(name, error, arguments)) from None
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; run the same command again to resume\n" if resumes else "\nstopped\n")
        raise SystemExit(130) from None


def options(kind: type[Filled], name: str, arguments: Sequence[str]) -> Filled:
    """Return the options of a command for some command-line arguments.

    Raises:
        InputError: an argument cannot be read, a name does not exist, or a value has the wrong type.
    """
    return fill(kind, compose(name, arguments), command=name, line=read_command_line(arguments))


def _run(name: str, run: Run, config: Config, line: CommandLine) -> None:
    """Run a command with a configuration."""
    names = getattr(run, "__globals__", None)
    run(fill(get_type_hints(run)["options"], config, names=names, command=name, line=line))


def _run_combinations(name: str, run: Run, line: CommandLine) -> None:
    """Run a command once per combination of the given values; continue with the others if some fail.

    Raises:
        InputError: a combination cannot be composed; in this case none is run.
        SystemExit: some combinations failed.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        raise InputError("--multirun cannot be used inside torchrun; start torchrun once for each combination")
    check_arguments(name, line)
    combinations = multirun.combinations(name, line)
    configs = [compose(name, combination.line.all_arguments) for combination in combinations]
    failed: dict[str, int] = {}
    for number, (combination, config) in enumerate(zip(combinations, configs, strict=True), 1):
        print(f"[{number}/{len(combinations)}] {combination.label}", flush=True)
        if code := _exit_code(name, run, config, combination.line):
            failed[combination.label] = code
    if failed:
        labels = "".join(f"\n  {label}" for label in failed)
        sys.stderr.write(f"designspace.{name}: {len(failed)} of {len(combinations)} combinations failed:{labels}\n")
        raise SystemExit(max(failed.values()))


def _exit_code(name: str, run: Run, config: Config, line: CommandLine) -> int:
    """Run a command, print its error, and return the exit code that it would have as a single command."""
    try:
        with as_run_errors():
            _run(name, run, config, line)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code > SIGNAL_OFFSET:
            raise
        return code
    except BrokenPipeError:
        raise
    except (InputError, RunError) as error:
        return _report(name, error, line.all_arguments)
    except Exception:  # a bug in one combination must not prevent the others
        traceback.print_exc()
        return 1
    return 0


def version() -> str:
    """Return the name of the package and its version."""
    return f"{DISTRIBUTION} {version_of(DISTRIBUTION)}"


def _report(name: str, error: InputError | RunError, arguments: Sequence[str]) -> int:
    """Print an error to stderr and return its exit code."""
    sys.stderr.write(f"designspace.{name}: {error}{multirun.hint(str(error), arguments)}\n")
    return 2 if isinstance(error, InputError) else 1
