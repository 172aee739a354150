"""The frame of every command: Hydra composes what was typed, the command runs, errors become one clear message."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.cli import data_words
from designspace.support.errors import InputError, RunError

Config = dict[str, Any]
"""What the user typed, over the defaults: plain nested dicts, lists and numbers."""


def configs_folder() -> Path:
    """The folder of the configuration files: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "configs"
    return beside if (beside / "sample.yaml").is_file() else package / "configs"


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
    typed = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s")  # on stderr, with the warnings of all libraries
    logging.getLogger("designspace").setLevel(logging.INFO)
    try:
        if any(word in ("-h", "--help") for word in typed):
            print(help_text(name, typed))
        elif "--cfg" in typed:
            print(as_yaml(compose(name, [word for word in typed if word != "--cfg"])), end="")
        else:
            run(compose(name, typed), typed)
    except InputError as error:
        _end(name, error, 2)
    except (RunError, OSError) as error:
        _end(name, error, 1)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on from here\n" if resumes else "\nstopped\n")
        raise SystemExit(130) from None


def compose(name: str, overrides: Sequence[str]) -> Config:
    """The configuration of a command with some overrides, in Hydra's syntax.

    Raises:
        InputError: an override that cannot be read, or a name that does not exist; the error lists what does.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for word in overrides:
        if word.startswith("-"):
            raise InputError(f"unknown option {word!r}; there is --help, and key=value for every key it lists")
    overrides = data_words.understood(name, overrides, options)
    plain_keys = _plain_keys(name)
    by_hand = [word for word in overrides if word.partition("=")[0] in plain_keys]
    try:
        with initialize_config_dir(str(configs_folder()), version_base="1.3"):
            config = hydra_compose(name, overrides=[word for word in overrides if word not in by_hand])
        for override in OverridesParser.create().parse_overrides(by_hand):
            OmegaConf.update(config, override.key_or_group, override.value())
        plain: Config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(name, overrides, error) from error
    return plain


def as_typed(key: str, typed: Sequence[str]) -> str | None:
    """The text that was typed for a key, None for none or null: Hydra reads the id ``60e881614052`` as a number.

    >>> as_typed("id", ["run=a", "id=60e881614052"]), as_typed("id", ["id=null"])
    ('60e881614052', None)
    """
    given = [value for name, _, value in (word.partition("=") for word in typed) if name.lstrip("+") == key]
    text = given[-1].strip("'\"") if given else "null"
    return None if text in ("null", "") else text


def is_typed(key: str, typed: Sequence[str]) -> bool:
    """Whether a value was typed for a key."""
    return any(word.partition("=")[0].lstrip("+") == key for word in typed)


def chosen(name: str, group: str, typed: Sequence[str]) -> str:
    """What a command chooses from a group: what was typed, or the default."""
    text = (configs_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return as_typed(group, typed) or text.split(f"- {group}:")[1].split()[0]


def options(group: str) -> list[str]:
    """The names that a group of the configuration offers, for example ``space``."""
    return sorted(path.stem for path in (configs_folder() / group).glob("*.yaml"))


def _groups(name: str) -> list[str]:
    """The groups that a command's configuration chooses from."""
    text = (configs_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    folders = [folder.name for folder in configs_folder().iterdir() if folder.is_dir()]
    return sorted(folder for folder in folders if f"- {folder}:" in text)


def _choosable(name: str) -> list[str]:
    """The keys by which a command chooses from groups: its own, and those of its choices, such as ``input@space``."""
    own = _groups(name)
    files = [path for group in own for path in (configs_folder() / group).glob("*.yaml")]
    return own + re.findall(r"^ *- /([\w@]+):", "\n".join(path.read_text(encoding="utf-8") for path in files), re.M)


def _plain_keys(name: str) -> list[str]:
    """The keys of a command that are no choice from a group, though a group of that name exists for other commands.

    Hydra would take them for the group all the same.
    """
    import yaml

    keys = yaml.safe_load((configs_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
    return [key for key, value in keys.items() if options(key) and key != "defaults" and not isinstance(value, dict)]


def as_yaml(config: Mapping[str, Any]) -> str:
    """A configuration as YAML."""
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False)


def help_text(name: str, typed: Sequence[str] = ()) -> str:
    """The command's configuration file, which says what every key means, and the groups that it chooses from.

    Of each group it shows the choice that was typed, or the default.
    """
    text = (configs_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    groups = _groups(name)
    choices = [f"  {group + '=':<12}{' '.join(options(group))}" for group in groups]
    lines = [f"usage: python -m designspace.{name} [key=value ...]   (--cfg prints the whole configuration)", ""]
    if choices:
        lines += ["choose from (with --help, a choice shows its own keys):", *choices, ""]
    lines += ["keys, with their defaults:", "", text.rstrip()]
    for group in groups:
        default = text.split(f"- {group}:")[1].split()[0]
        chosen = dict(word.split("=", 1) for word in _choices(typed, groups)).get(group, default)
        example = (configs_folder() / group / f"{chosen}.yaml").read_text(encoding="utf-8").rstrip()
        lines += ["", f"# {group}={chosen}:", example]
    for kind, shown in (("recipe", "recipe" in groups or "experiment" in groups), ("space", "space:" in text)):
        if shown:
            base = (configs_folder() / "base" / f"{kind}.yaml").read_text(encoding="utf-8").rstrip()
            lines += ["", f"# every {kind}:", base]
    return "\n".join(lines)


def _explain(name: str, overrides: Sequence[str], error: Exception) -> InputError:
    """Hydra's refusal in words that list what there is."""
    from hydra.errors import OverrideParseException

    groups = _choosable(name)
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        group = key.split("@")[0]
        if key in groups and value and value not in options(group):
            return InputError(f"unknown {group} {value!r}; there is: {', '.join(options(group))}")
    known = _known_keys(name, _choices(overrides, groups))
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if "=" in word and known and key not in known and key not in groups:
            parent = key.rpartition(".")[0]
            siblings = [k for k in known if k.rpartition(".")[0] == parent] or [k for k in known if "." not in k]
            siblings += [group for group in _groups(name) if group not in siblings and "." not in siblings[0]]
            return InputError(f"unknown option {key!r}; there is: {', '.join(siblings)}")
        if "=" not in word:
            return InputError(f"{word!r} is not of the form key=value; see --help")
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).partition("=")
        return InputError(
            f"cannot read {error.override}; a value with spaces, accents or signs such as = ( ) needs "
            f"quotes that the shell passes on: {key}='\"{value}\"'"
        )
    missing = getattr(error, "full_key", None)
    if missing and "Missing mandatory value" in str(error):
        return InputError(f"{missing}=... must be given; see --help")
    return InputError(" ".join(str(error).split()))


def _choices(words: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Those of the words that choose from one of the groups what it has."""
    pairs = ((word, *word.partition("=")[::2]) for word in words)
    return [word for word, key, value in pairs if key in groups and value in options(key.split("@")[0])]


def _known_keys(name: str, choices: Sequence[str]) -> list[str]:
    """Every key of the command's configuration with some choices, with dots."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        config = hydra_compose(name, overrides=list(choices))
    keys: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.items():
            keys.append(f"{prefix}{key}")
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    walk(OmegaConf.to_container(config, resolve=False), "")
    return keys


def _end(name: str, error: Exception, code: int) -> None:
    """Say what is wrong and end the process."""
    text = f"cannot use {error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
    sys.stderr.write(f"designspace.{name}: {text}\n")
    raise SystemExit(code) from None
