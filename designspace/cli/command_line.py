"""Command lines: arguments of the form ``key=value``, and a few options with Hydra's names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from designspace.cli.config_files import ConfigFiles
from designspace.support.errors import InputError

OPTIONS = {
    "--config-dir FOLDER": "also use your own configuration files: recipe=mine is FOLDER/recipe/mine.yaml",
    "-m, --multirun": "run once for each combination of several values, such as seed=1,2 or seed=range(1,4)",
    "-h, --help": "show this help and exit",
    "--version": "show the version and exit",
}
"""Option -> description in the help of a command."""

_CONFIG_DIR = ("--config-dir", "-cd")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Parsed command-line arguments."""

    arguments: tuple[str, ...]
    """All arguments except the options; they should have the form ``key=value``."""
    config_dir: str | None = None
    multirun: bool = False
    """Whether to run the command once for each combination of values."""
    asks_for_help: bool = False
    asks_for_version: bool = False

    @property
    def files(self) -> ConfigFiles:
        """The available configuration files.

        Raises:
            InputError: the folder does not exist.
        """
        return ConfigFiles(self.config_dir)

    @property
    def all_arguments(self) -> list[str]:
        """The arguments as a list, each option as one item before all others."""
        options = [] if self.config_dir is None else [f"--config-dir={self.config_dir}"]
        return [*options, *(["--multirun"] if self.multirun else []), *self.arguments]


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Split command-line arguments into options and other arguments, which include unknown options.

    Raises:
        InputError: an option has no value.
    """
    others: list[str] = []
    config_dir, multirun, asks_for_help, asks_for_version = None, False, False, False
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        option, equals, value = argument.partition("=")
        if option in _CONFIG_DIR:
            if not equals and remaining:
                value = remaining.pop(0)
            if not value:
                raise InputError(f"{option} needs a folder, such as {option} my_configs")
            config_dir = os.path.expanduser(value)  # noqa: PTH111  (pathlib raises an error if there is no such user)
        elif argument in ("-m", "--multirun"):
            multirun = True
        elif argument in ("-h", "--help", "help"):
            asks_for_help = True
        elif argument == "--version":
            asks_for_version = True
        else:
            others.append(argument)
    return CommandLine(tuple(others), config_dir, multirun, asks_for_help, asks_for_version)
