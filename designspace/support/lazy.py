"""Lazy imports: names of a package that ``dir`` and tab completion list but that are imported on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, locations: Mapping[str, str], modules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package with lazy imports.

    Args:
        package: ``__name__`` of the package.
        locations: name -> ``module:attribute``, or the module where the attribute has the same name.
        modules: submodules that are imported on first use as well.
    """

    def get(name: str) -> Any:
        """Import a public name on first use."""
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name not in locations:
            public = ", ".join(sorted(locations))
            raise AttributeError(f"module {package!r} has no attribute {name!r}; choose from: {public}", name=name)
        module, _, attribute = locations[name].partition(":")
        return getattr(importlib.import_module(module), attribute or name)

    def names() -> list[str]:
        """List the public names."""
        loaded = (name for name in vars(sys.modules[package]) if name in ("__doc__", "__path__", "__version__"))
        return sorted({*locations, *modules, *loaded})

    return get, names
