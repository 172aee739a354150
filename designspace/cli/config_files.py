"""The configuration files: which choices exist, and what a command chooses by default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from designspace.cli.typed import quoted
from designspace.support.errors import InputError, unknown
from designspace.support.reading import read_text

MAX_BYTES = 1 << 20
"""The largest configuration file that is read."""


def configs_folder() -> Path:
    """Return the folder of the project's configuration files: in a checkout beside the package, else inside it."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "configs"
    return beside if (beside / "sample.yaml").is_file() else package / "configs"


@dataclass(frozen=True, slots=True)
class ConfigFiles:
    """The configuration files that commands choose from: the project's own, and those of another folder."""

    config_dir: str | None = None
    """The folder of the user's own files, as it was typed."""

    def __post_init__(self) -> None:
        if self.config_dir is not None and not Path(self.config_dir).is_dir():
            raise InputError(f"--config-dir={self.config_dir}: there is no such folder")

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders that are searched."""
        return (configs_folder(), *([] if self.config_dir is None else [Path(self.config_dir)]))

    @property
    def search_path(self) -> list[str]:
        """Words that add the user's folder to Hydra's search path."""
        return [f"hydra.searchpath=[{quoted(f'file://{folder.resolve()}')}]" for folder in self.folders[1:]]

    def options(self, group: str) -> list[str]:
        """Return the names that a group offers, such as ``space``."""
        return sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")})

    def path(self, group: str, option: str) -> Path:
        """Return the file of a choice.

        Raises:
            InputError: the group does not offer this choice, or both folders do: Hydra would ignore the user's.
        """
        if option not in self.options(group):
            raise unknown(group, option, self.options(group))
        paths = [folder / group / f"{option}.yaml" for folder in self.folders]
        first, *others = [path for path in paths if path.is_file()]
        if others:
            raise InputError(f"{others[0]} has the name of one of designspace's own files; rename it")
        return first

    def default_choices(self, command: str) -> dict[str, str]:
        """Return what a command chooses by default: group -> choice."""
        return dict(_choices(read_config(configs_folder() / f"{command}.yaml")))

    def groups(self, command: str) -> list[str]:
        """Return the groups that a command's own configuration chooses from."""
        return sorted(self.default_choices(command))

    def choosable(self, command: str) -> list[str]:
        """Return the keys by which a command chooses from groups: its own, and those of its choices.

        The file of an experiment, for example, has ``/input@space`` in its defaults list.
        """
        groups = self.groups(command)
        paths = [path for group in groups for folder in self.folders for path in (folder / group).glob("*.yaml")]
        files = [read_config(path) for path in sorted(paths)]
        inner = [key[1:] for file in files for key, _ in _choices(file) if key.startswith("/")]
        return list(dict.fromkeys([*groups, *inner]))


def read_config(path: Path) -> Mapping[str, Any]:
    """Read a configuration file.

    Raises:
        InputError: it is not YAML, or does not hold keys and values.
        RunError: it cannot be read.
    """
    try:
        config = yaml.safe_load(read_text(path, MAX_BYTES))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InputError(f"{path} must hold keys and values, as epochs: 10")
    return config


def _choices(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each group in the defaults list of a configuration with the choice from it."""
    entries: Iterable[Any] = config.get("defaults") or ()
    for entry in entries:
        if isinstance(entry, dict):  # the other entries, such as _self_, choose nothing
            for key, choice in entry.items():
                yield str(key).removeprefix("optional ").removeprefix("override "), str(choice)
