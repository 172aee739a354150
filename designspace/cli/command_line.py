"""The command line of a command: words of the form ``key=value``, and a few options with Hydra's names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from designspace.cli.config_files import ConfigFiles
from designspace.support.errors import InputError

OPTIONS = {
    "--config-dir FOLDER": "also choose from files of your own: recipe=mine is FOLDER/recipe/mine.yaml",
    "-m, --multirun": "run once for each combination of values with commas, as seed=1,2, or range(1,4)",
    "-h, --help": "show this help",
    "--version": "show the version",
}
"""Option -> its meaning, for the help of a command."""

_CONFIG_DIR = ("--config-dir", "-cd")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The words and options that were typed after the name of a command."""

    words: tuple[str, ...]
    """All words but the options: ``key=value``, and whatever else was typed."""
    config_dir: str | None = None
    multirun: bool = False
    """Whether the command runs once for each combination of values."""
    asks_for_help: bool = False
    asks_for_version: bool = False

    @property
    def files(self) -> ConfigFiles:
        """The configuration files to choose from.

        Raises:
            InputError: the folder does not exist.
        """
        return ConfigFiles(self.config_dir)

    @property
    def typed(self) -> list[str]:
        """The words that run the command again: each option as one word, before all others."""
        options = [] if self.config_dir is None else [f"--config-dir={self.config_dir}"]
        return [*options, *(["--multirun"] if self.multirun else []), *self.words]


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Split what was typed after the name of a command into options and other words.

    Unknown options stay among the words.

    Raises:
        InputError: the value of an option is missing.
    """
    words: list[str] = []
    config_dir, multirun, asks_for_help, asks_for_version = None, False, False, False
    remaining = list(arguments)
    while remaining:
        word = remaining.pop(0)
        option, equals, value = word.partition("=")
        if option in _CONFIG_DIR:
            if not equals and remaining:
                value = remaining.pop(0)
            if not value:
                raise InputError(f"{option} needs a folder, as {option} my_configs")
            config_dir = os.path.expanduser(value)  # noqa: PTH111  (pathlib raises where there is no such user)
        elif word in ("-m", "--multirun"):
            multirun = True
        elif word in ("-h", "--help", "help"):
            asks_for_help = True
        elif word == "--version":
            asks_for_version = True
        else:
            words.append(word)
    return CommandLine(tuple(words), config_dir, multirun, asks_for_help, asks_for_version)
