"""Configuration files: the choices in each group, and the defaults of each command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from designspace.cli.text_values import quoted
from designspace.support.errors import InputError, unknown
from designspace.support.reading import read_text

MAX_BYTES = 1 << 20
"""Maximum size of a configuration file."""


def configs_folder() -> Path:
    """Return the folder of the project's configuration files: in_checkout the package in a checkout, else inside it."""
    package = Path(__file__).resolve().parents[1]
    in_checkout = package.parent / "configs"
    return in_checkout if (in_checkout / "sample.yaml").is_file() else package / "configs"


@dataclass(frozen=True, slots=True)
class ConfigFiles:
    """The available configuration files: those of the project, and those of a folder of the user."""

    config_dir: str | None = None
    """The user's folder as given on the command line."""

    def __post_init__(self) -> None:
        if self.config_dir is not None and not Path(self.config_dir).is_dir():
            raise InputError(f"--config-dir={self.config_dir}: there is no such folder")

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders with configuration files."""
        return (configs_folder(), *([] if self.config_dir is None else [Path(self.config_dir)]))

    @property
    def search_path(self) -> list[str]:
        """Hydra override that adds the user's folder to the search path."""
        return [f"hydra.searchpath=[{quoted(f'file://{folder.resolve()}')}]" for folder in self.folders[1:]]

    def options(self, group: str) -> list[str]:
        """Return the choices in a group such as ``space``."""
        return sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")})

    def path(self, group: str, option: str) -> Path:
        """Return the file of a choice.

        Raises:
            InputError: the choice does not exist, or exists in both folders; Hydra would ignore the user's file.
        """
        if option not in self.options(group):
            raise unknown(group, option, self.options(group))
        paths = [folder / group / f"{option}.yaml" for folder in self.folders]
        first, *others = [path for path in paths if path.is_file()]
        if others:
            raise InputError(f"{others[0]} has the same name as one of designspace's own files; rename it")
        return first

    def default_choices(self, command: str) -> dict[str, str]:
        """Return the default choices of a command: group -> choice."""
        return dict(_choices(read_config(configs_folder() / f"{command}.yaml")))

    def groups(self, command: str) -> list[str]:
        """Return the groups of a command's own configuration."""
        return sorted(self.default_choices(command))

    def choice_keys(self, command: str) -> list[str]:
        """Return the keys that choose from groups: those of a command itself, and those of its choices.

        For example, the file of an experiment has ``/input@space`` in its defaults list.
        """
        groups = self.groups(command)
        paths = [path for group in groups for folder in self.folders for path in (folder / group).glob("*.yaml")]
        files = [read_config(path) for path in sorted(paths)]
        inner = [key[1:] for file in files for key, _ in _choices(file) if key.startswith("/")]
        return list(dict.fromkeys([*groups, *inner]))


def read_config(path: Path) -> Mapping[str, Any]:
    """Read a configuration file.

    Raises:
        InputError: the file is not YAML, or does not contain keys and values.
        RunError: the file cannot be read.
    """
    try:
        config = yaml.safe_load(read_text(path, MAX_BYTES))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InputError(f"{path} must contain keys and values, such as epochs: 10")
    return config


def _choices(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each group in the defaults list of a configuration with its choice."""
    entries: Iterable[Any] = config.get("defaults") or ()
    for entry in entries:
        if isinstance(entry, dict):  # other entries, such as _self_, are not choices
            for key, choice in entry.items():
                yield str(key).removeprefix("optional ").removeprefix("override "), str(choice)
