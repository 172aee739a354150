"""The frame of every command: Hydra composes what was typed, the command runs, errors become one clear message."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.cli import data_words, terminal, typed
from designspace.cli.provenance import DISTRIBUTION, version_of
from designspace.support.errors import InputError, RunError, closest, suggest, unknown

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
    words = list(sys.argv[1:] if arguments is None else arguments)
    terminal.protect()
    logging.basicConfig(format="%(message)s")  # on stderr, with the warnings of all libraries
    logging.getLogger("designspace").setLevel(logging.INFO)
    try:
        with terminal.while_read():
            if any(word in ("-h", "--help", "help") for word in words):
                from designspace.cli.help import help_text

                print(help_text(name, words))
            elif "--version" in words:
                print(version())
            else:
                run(compose(name, words), words)
    except InputError as error:
        _end(name, error, 2)
    except (RunError, OSError) as error:
        _end(name, error, 1)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on from here\n" if resumes else "\nstopped\n")
        raise SystemExit(130) from None


def version() -> str:
    """Return the name of the package and its version."""
    return f"{DISTRIBUTION} {version_of(DISTRIBUTION)}"


def compose(name: str, words: Sequence[str]) -> Config:
    """Return the configuration of a command with what was typed: paths and names as text, the rest in Hydra's syntax.

    Raises:
        InputError: a word that cannot be read, or a name that does not exist; the error lists what does.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for i, word in enumerate(words):
        if word.startswith("-") or "=" not in word:
            raise _not_a_pair(name, words[i:])
        if word.startswith(("hydra.", "hydra/")):
            raise _unknown_key(name, typed.split_word(word)[0], known_keys(name))
    words = data_words.understood(name, words, options)
    texts, others = typed.split(words, _choosable(name))
    stand_ins: dict[str, Any] = {}  # Hydra and OmegaConf see these in the place of texts, which may hold anything
    try:
        with initialize_config_dir(str(configs_folder()), version_base="1.3"):
            config = hydra_compose(name, overrides=others)
        for key, value in texts.items():
            stand_in = f"\0{key}\0"
            stand_ins[stand_in] = "null" if value is None and OmegaConf.is_missing(config, key) else value
            OmegaConf.update(config, key, stand_in)
        plain: Config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(name, words, error) from error
    return dict(_with_texts(plain, stand_ins))


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
    """What a command chooses from a group: what was typed, or the default."""
    text = (configs_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    given = [value for key, value in map(typed.split_word, words) if key == group]
    return given[-1] if given else text.split(f"- {group}:")[1].split()[0]


def options(group: str) -> list[str]:
    """The names that a group of the configuration offers, for example ``space``."""
    return sorted(path.stem for path in (configs_folder() / group).glob("*.yaml"))


def groups(name: str) -> list[str]:
    """The groups that a command's configuration chooses from."""
    text = (configs_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    folders = [folder.name for folder in configs_folder().iterdir() if folder.is_dir()]
    return sorted(folder for folder in folders if f"- {folder}:" in text)


def _choosable(name: str) -> list[str]:
    """The keys by which a command chooses from groups: its own, and those of its choices, such as ``input@space``."""
    own = groups(name)
    files = [path for group in own for path in (configs_folder() / group).glob("*.yaml")]
    return own + re.findall(r"^ *- /([\w@]+):", "\n".join(path.read_text(encoding="utf-8") for path in files), re.M)


def _not_a_pair(name: str, words: Sequence[str]) -> InputError:
    """Return the error for a word that is no ``key=value``, the first of some, with what may have been meant."""
    word, known = words[0], [*known_keys(name), *groups(name)]
    if word.startswith("-"):
        near = closest(word.strip("-").partition("=")[0].replace("-", "_"), known)
        meant = f"did you mean {near[0]}=...? " if near else ""
        return InputError(f"unknown option {word!r}; {meant}there is --help, and key=value for every key it lists")
    joined = f"{word}.{words[1]}" if len(words) > 1 else ""
    folder = next((key for key in ("run", "runs", "model") if key in known and Path(word).exists()), None)
    if joined.partition("=")[0] in known:
        meant = f"; did you mean {joined}?"
    elif folder:
        meant = f"; did you mean {shlex.quote(f'{folder}={word}')}?"
    else:
        meant = "".join(f"; did you mean {near}=...?" for near in closest(word, known)[:1])
    return InputError(f"{word!r} is not of the form key=value{meant or '; see --help'}")


def _explain(name: str, words: Sequence[str], error: Exception) -> InputError:
    """Return Hydra's refusal in words that list what there is."""
    from hydra.errors import OverrideParseException

    choosable = _choosable(name)
    pairs = [typed.split_word(word) for word in words]
    for key, value in pairs:
        group = key.split("@")[0]
        if key in choosable and value and value not in options(group):
            return unknown(group, value, options(group))
    known = known_keys(name, group_words(words, choosable))
    for key, value in pairs:
        if key not in known and key not in choosable:
            return _unknown_key(name, key, known)
        if inner := [k for k in known if k.startswith(f"{key}.") and key not in choosable]:
            near = [k for k in closest(key, known) if k not in (key, *inner)]
            meant = f"did you mean {near[0]}={value}? " if near else ""
            return InputError(f"{key} has no value of its own; {meant}its keys are: {', '.join(inner)}")
    if isinstance(error, OverrideParseException) or "multirun" in str(error):
        word = str(getattr(error, "override", "")) or next((w for w in words if str(w) in str(error)), words[0])
        key = word.partition("=")[0]
        return InputError(f"cannot read {word}; {key} takes a number, a word, or a list as [a,b]: see --help")
    missing = getattr(error, "full_key", None)
    if missing and "Missing mandatory value" in str(error):
        return InputError(f"{missing}=... must be given; see --help")
    return InputError(" ".join(str(error).split()))


def _unknown_key(name: str, key: str, known: Sequence[str]) -> InputError:
    """Return the error for a key that a command does not have: what is close to it, or what stands beside it."""
    parent, _, last = key.rpartition(".")
    for option in options(parent) if parent in groups(name) else ():
        if re.search(rf"^{re.escape(last)}:", (configs_folder() / parent / f"{option}.yaml").read_text("utf-8"), re.M):
            return InputError(f"unknown option {key!r}; it goes with {parent}={option}, which was not typed")
    siblings = [k for k in known if k.rpartition(".")[0] == parent] or [k for k in known if "." not in k]
    siblings += [group for group in groups(name) if group not in siblings and "." not in siblings[0]]
    near = closest(key, siblings) or not closest(key, known)
    return InputError(f"unknown option {key!r}; {suggest(key, siblings if near else known)}")


def group_words(words: Sequence[str], choosable: Sequence[str]) -> list[str]:
    """Return those of the words that choose from one of the groups what it has."""
    pairs = ((word, *word.partition("=")[::2]) for word in words)
    return [word for word, key, value in pairs if key in choosable and value in options(key.split("@")[0])]


def known_keys(name: str, words: Sequence[str] = ()) -> list[str]:
    """Return every key of the command's configuration with some choices from groups, with dots."""
    keys: list[str] = []

    def walk(node: Mapping[str, Any], prefix: str) -> None:
        for key, value in node.items():
            keys.append(f"{prefix}{key}")
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    walk(defaults(name, words), "")
    return keys


def defaults(name: str, words: Sequence[str] = ()) -> Config:
    """Return the command's configuration with some choices from groups; what must be given is ``???``."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        config = hydra_compose(name, overrides=list(words))
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException:  # a default that is made from what must be given
        plain = OmegaConf.to_container(config, resolve=False)
    return dict(plain)


def _end(name: str, error: Exception, code: int) -> None:
    """Say what is wrong and end the process."""
    text = f"cannot use {error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
    sys.stderr.write(f"designspace.{name}: {text}\n")
    raise SystemExit(code) from None
