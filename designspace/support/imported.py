"""Names of the user's own objects, ``package.module:name``, and their import."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from designspace.support.checks import text
from designspace.support.errors import InputError, unknown
from designspace.support.text import shown

Kind = TypeVar("Kind")

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_import_name(value: object) -> bool:
    """Return whether a value is the name of an object to import, such as ``mine:Block``, and not a built-in name."""
    return isinstance(value, str) and ":" in value


def check_import_name(what: str, value: str) -> str:
    """Return the name of an object to import after checking its form; nothing is imported.

    Raises:
        InputError: it is not of the form ``package.module:name``.
    """
    if not _NAME.fullmatch(text(what, value)):
        raise InputError(f"{what} must be package.module:name, such as mine:Block, not {shown(value)}")
    return value


def search_working_folder() -> None:
    """Let the modules of the working folder be imported, after all others, unless Python was told not to."""
    with contextlib.suppress(FileNotFoundError):  # the folder was deleted
        # `python -m` puts it first, too, which is not where workers look.
        if not sys.flags.safe_path and str(Path.cwd()) not in sys.path[1:]:
            sys.path.append(str(Path.cwd()))


def import_object(what: str, name: str) -> Any:
    """Import the object of a name such as ``package.module:name``.

    Args:
        what: the option that has the name, for error messages (``space.block``).
        name: the module and the name of the object in it.

    Raises:
        InputError: the name has another form, or the module or the object in it cannot be imported.
    """
    module, _, attribute = check_import_name(what, name).partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        hint = "; is it in the working folder or on PYTHONPATH?" if error.name == module.partition(".")[0] else ""
        raise InputError(f"{what}: {name} cannot be imported ({error}){hint}") from error
    except (ImportError, AttributeError) as error:
        raise InputError(f"{what}: {name} cannot be imported ({error})") from error
    except (Exception, SystemExit) as error:  # importing a custom module may raise anything
        raise InputError(f"{what}: {name} cannot be imported ({_description(error)})") from error


def resolve(what: str, name: str, built_in: Mapping[str, Kind], custom: Callable[[str], Kind]) -> Kind:
    """Return what a name stands for: an entry of a table, or what ``custom`` makes of the name of a user's object.

    Raises:
        InputError: the name is not in the table, or ``custom`` raises it.
    """
    if is_import_name(name):
        return custom(name)
    if name not in built_in:
        raise unknown(what, name, built_in)
    return built_in[name]


def _description(error: BaseException) -> str:
    """Return an exception as one line of text."""
    line = " ".join(str(error).split())
    return f"{type(error).__name__}: {line[:200]}"
