"""List the commands."""

from __future__ import annotations

import ast
from pathlib import Path


def commands() -> dict[str, str]:
    """Every command and the first line of its docstring, read without importing it."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("_"))
    return {path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0] for path in files}


def main() -> None:
    """Print the commands."""
    print("usage: python -m designspace.COMMAND [key=value ...]   (--help says what a command takes)\n")
    for name, line in commands().items():
        print(f"  {name:<10}{line}")


if __name__ == "__main__":
    main()
