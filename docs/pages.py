"""The parts of the documentation that are made when it is built: from the code, and from texts elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

from designspace.__main__ import GROUPS
from designspace.__main__ import commands as first_lines
from designspace.models.weights.published import available
from designspace.networks import catalog
from designspace.networks.complexity import complexity

HELP_WIDTH = 100


def commands() -> str:
    """Return a list of all commands, and the help of each as the terminal shows it."""
    lines = first_lines()
    parts = []
    for title, names in GROUPS.items():
        parts += [f"## {title.capitalize()}\n", "| command | |", "|---|---|"]
        parts += [f"| [{name}](#{name}) | {lines[name]} |" for name in names]
        parts.append("")
        for name in names:
            parts += [f"({name})=", f"### {name}\n", f"```text\n{_help(name)}\n```\n"]
    return "\n".join(parts)


def _help(name: str) -> str:
    """Return the help of a command."""
    words = [sys.executable, "-m", f"designspace.{name}", "--help"]
    environment = {**os.environ, "COLUMNS": str(HELP_WIDTH), "NO_COLOR": "1"}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def models() -> str:
    """Return a table of all published models: complexity, published error, and available weights."""
    rows = ["| name | pixels | multiply-adds | parameters | without head | activations | top-1 error | weights |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    for name in catalog.names():
        network, published = catalog.get(name), catalog.published(name)
        cost = complexity(network, published.resolution)
        backbone = complexity(network, published.resolution, features=True)
        weights = ", ".join(f"`{file.source}:{file.tag}`" for file in available(name)) or "none"
        rows.append(
            f"| `{name}` | {published.resolution} | {cost.flops / 1e9:.2f} G | {cost.params / 1e6:.1f} M "
            f"| {backbone.params / 1e6:.1f} M | {cost.activations / 1e6:.1f} M | {100 - published.top1:.1f}% "
            f"| {weights} |"
        )
    return "\n".join([*rows, ""])


def copied(root: Path) -> dict[str, str]:
    """Return the texts of the repository that are pages of the site too, with links between the pages."""
    names = {"ARCHITECTURE.md": "architecture.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
    names |= {f"designspace/{path.parent.name}/README.md": f"{path.parent.name}-package.md" for path in _readmes(root)}

    def target(match: re.Match[str]) -> str:
        path = match[1]
        return f"]({names[path]})" if path in names else f"]({path.replace('docs/', '../')})"

    return {
        name: re.sub(r"\]\(([\w./-]+\.md)\)", target, (root / path).read_text(encoding="utf-8"))
        for path, name in names.items()
    }


def _readmes(root: Path) -> list[Path]:
    """Return the READMEs of the packages."""
    return sorted((root / "designspace").glob("*/README.md"))
