"""The program ``designspace``, also as ``python -m designspace``: run a command, or list all."""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

GROUPS = {
    "a whole study": ("explore",),
    "step by step": ("plan", "prepare", "sample", "launch", "status", "analyze", "retrain"),
    "one network": ("train", "verify", "export"),
    "looking after runs": ("collect", "retry", "cancel", "clean"),
}
"""The commands in the order of work."""


def commands() -> dict[str, str]:
    """Return every command and the first line of its docstring, read without importing it."""
    names = [name for group in GROUPS.values() for name in group]
    files = {name: Path(__file__).parent / f"{name}.py" for name in names}
    return {
        name: (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[0] for name, file in files.items()
    }


def overview() -> str:
    """Return how the program is used, and a line for each command."""
    lines = commands()
    listed = [
        f"\n{title}:\n" + "\n".join(f"  {name:<9} {lines[name]}" for name in names) for title, names in GROUPS.items()
    ]
    return "\n".join(
        [
            "usage: designspace COMMAND [key=value ...]",
            "       python -m designspace COMMAND [key=value ...]",
            *listed,
            "\nCOMMAND --help says what a command takes; --version says which version this is.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that was typed, as ``python -m designspace.COMMAND`` does.

    Raises:
        SystemExit: with the exit code of the command; 2 if the command does not exist.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) < 2 or words[1] not in commands():
            from designspace.cli.terminal import while_read

            with while_read():
                print(overview())
            return
        words = [words[1], "--help"]  # help COMMAND
    if words[0] == "--version":
        from designspace.cli.app import version

        print(version())
        return
    if words[0] not in commands():
        from designspace.support.errors import unknown
        from designspace.support.text import printable

        sys.stderr.write(f"designspace: {printable(str(unknown('command', words[0], commands())))}\n")
        raise SystemExit(2)
    sys.argv = [sys.argv[0], *words[1:]]
    runpy.run_module(f"designspace.{words[0]}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
