"""The program ``designspace``, also available as ``python -m designspace``: run a command, or list all commands."""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

GROUPS = {
    "a whole study": ("explore",),
    "step by step": (
        *(
            "screen",
            "plan",
            "prepare",
            "sample",
            "measure",
            "launch",
            "status",
            "analyze",
            "replay",
            "refine",
            "retrain",
        ),
    ),
    "one network": ("train", "verify", "predict", "export"),
    "maintenance of runs": ("collect", "retry", "cancel", "clean"),
}
"""Title -> commands, in the order in which they are used."""


def commands() -> dict[str, str]:
    """Return each command with the first line of its docstring, without importing it."""
    names = [name for group in GROUPS.values() for name in group]
    files = {name: Path(__file__).parent / f"{name}.py" for name in names}
    return {
        name: (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[0] for name, file in files.items()
    }


def overview() -> str:
    """Return the usage and one line for each command."""
    descriptions = commands()
    sections = [
        f"\n{title}:\n" + "\n".join(f"  {name:<9} {descriptions[name]}" for name in names)
        for title, names in GROUPS.items()
    ]
    return "\n".join(
        [
            "usage: designspace COMMAND [key=value ...]",
            "       python -m designspace COMMAND [key=value ...]",
            *sections,
            "\nCOMMAND --help shows the options of a command; --version shows the version.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, like ``python -m designspace.COMMAND``.

    Raises:
        SystemExit: with the exit code of the command, or 2 if the command does not exist.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        if len(arguments) < 2 or arguments[1] not in commands():
            from designspace.cli.terminal import exit_on_closed_pipe

            with exit_on_closed_pipe():
                print(overview())
            return
        arguments = [arguments[1], "--help"]  # help COMMAND
    if arguments[0] == "--version":
        from designspace.cli.app import version

        print(version())
        return
    if arguments[0] not in commands():
        from designspace.support.errors import unknown
        from designspace.support.text import printable

        sys.stderr.write(f"designspace: {printable(str(unknown('command', arguments[0], commands())))}\n")
        raise SystemExit(2)
    sys.argv = [sys.argv[0], *arguments[1:]]
    runpy.run_module(f"designspace.{arguments[0]}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
