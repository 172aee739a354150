"""The log of the decisions of a study: decisions.jsonl, one decision per line, with its reasons."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.support.errors import RunError
from designspace.support.files import write_text

DECISIONS_FILE = "decisions.jsonl"


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision, as a sentence and as facts."""

    kind: str
    """``look``, ``stop``, ``propose``, ``confirm``, ``answer``, ``adopt``, ``budget`` or ``end``."""
    text: str
    facts: Mapping[str, Any]


class DecisionLog:
    """The decisions of a study, in their order. A decision that is already there is not written again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Decision]:
        """Return the decisions so far.

        Raises:
            RunError: the file cannot be read, or a line is not a decision; the error names it.
        """
        if not self.path.exists():
            return []
        decisions = []
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"cannot read {self.path}: {error}") from error
        for number, line in enumerate(lines, 1):
            try:
                fields = json.loads(line)
                decisions.append(Decision(fields["decision"], fields["text"], fields["facts"]))
            except (ValueError, TypeError, KeyError) as error:
                raise RunError(f"{self.path}, line {number}: this is not a decision; delete the line") from error
        return decisions

    def add(self, decision: Decision) -> None:
        """Add a decision with the present time, unless it is there.

        Raises:
            RunError: the file cannot be read or written.
        """
        if decision in self.read():
            return
        before = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        fields = {"when": when, "decision": decision.kind, "text": decision.text, "facts": dict(decision.facts)}
        write_text(self.path, before + json.dumps(fields) + "\n")
