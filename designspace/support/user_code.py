"""Source files of a user's own modules, so that a launch can keep them beside its copy of the package."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from designspace.support.errors import RunError

LARGEST_FILE = 1_000_000
"""Largest file of a package that is kept, in bytes; larger ones are data, which a module finds where it is."""


def files_of(names: Iterable[str]) -> dict[Path, bytes]:
    """Return the files of the modules that names such as ``package.module:function`` need, by their import paths.

    These are each module or its whole package, and what they import from the same folder; nothing is imported to find
    out. Installed packages are left out: a launch does not change them. Modules that are not found are left out too,
    because the import itself reports them.

    Raises:
        RunError: a file cannot be read.
    """
    found: dict[Path, bytes] = {}
    for name in names:
        root = folder_of(name)
        if root is not None:
            _add_files(root, name, found)
    return found


def folder_of(name: str) -> Path | None:
    """Return the folder that contains the module of a name; None if it is installed, built in or not found."""
    return _folder_of(_top(name))


def _top(name: str) -> str:
    """Return the top-level module of a name."""
    return name.partition(":")[0].partition(".")[0]


def _add_files(root: Path, name: str, found: dict[Path, bytes]) -> None:
    """Add the files of a folder that the module of a name needs."""
    top = _top(name)
    pending = [top]
    while pending:
        module = pending.pop()
        for path in _files(root, module):
            if path.relative_to(root) in found:
                continue
            try:
                content = path.read_bytes()
            except OSError as error:
                raise RunError(f"cannot read {path}, which {name} needs: {error.strerror or error}") from error
            found[path.relative_to(root)] = content
            pending += [other for other in _imports(content, path) if _folder_of(other) == root]


def _folder_of(module: str) -> Path | None:
    """Return the folder that contains a top-level module; None if it is installed, built in or not found."""
    # The first entry of sys.path may be the working folder, which commands search last.
    paths = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
    spec = PathFinder.find_spec(module, paths)
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ()) or ([spec.origin] if spec.origin else [])
    if not places or module == __name__.partition(".")[0]:
        return None
    path = Path(places[0]).resolve()
    installed = {Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return path.parent if path.exists() and not installed & {path.parent, *path.parents} else None


def _files(root: Path, module: str) -> Iterator[Path]:
    """Yield the files of a top-level module in a folder: itself, or those of its package."""
    if (root / f"{module}.py").is_file():
        yield root / f"{module}.py"
    for path in sorted((root / module).rglob("*")):
        hidden = any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_file() and not hidden and (path.suffix == ".py" or path.stat().st_size <= LARGEST_FILE):
            yield path


def _imports(content: bytes, path: Path) -> Iterator[str]:
    """Yield the top-level modules that a file of Python imports by their absolute names."""
    if path.suffix != ".py":
        return
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # the import itself reports it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
