"""Names of a package that are imported when they are first used, and that ``dir`` and tab completion know before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str], modules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: its ``__name__``.
        homes: name -> ``module:attribute``, or the module where the attribute has the same name.
        modules: submodules that are imported at their first use as well.
    """

    def get(name: str) -> Any:
        """Import a public name when it is first asked for."""
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name not in homes:
            public = ", ".join(sorted(homes))
            raise AttributeError(f"module {package!r} has no attribute {name!r}; choose from: {public}", name=name)
        module, _, attribute = homes[name].partition(":")
        return getattr(importlib.import_module(module), attribute or name)

    def names() -> list[str]:
        """List the public names."""
        loaded = (name for name in vars(sys.modules[package]) if name in ("__doc__", "__path__", "__version__"))
        return sorted({*homes, *modules, *loaded})

    return get, names
