"""Ids of whole populations, computed from columns: equal to `Network.id`, without creating a network per row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from designspace.networks.blocks import realised_parameters
from designspace.networks.network import Stage, canonical_json
from designspace.spaces.parameters import REGNET_COLUMNS, Columns, to_python, to_python_number

if TYPE_CHECKING:  # space.py imports this module
    from designspace.spaces.space import DesignSpace

CHUNK = 1 << 14
"""Number of rows converted to Python numbers at a time."""


class Identifier:
    """Canonical texts and ids of the networks of one space.

    Networks of a space differ in few parameters outside their stages (such as the radix) and share many stages. So each
    of these texts is created once, by the code behind `Network.to_json`, and rows are assembled from them.
    """

    def __init__(self, space: DesignSpace) -> None:
        self._space = space
        own = [name for name, _ in space.axes.own]
        texts = {stride: _StageTexts(space.template.block, stride, own) for stride in space.template.strides}
        self._texts = [texts[stride] for stride in space.template.strides]
        self._names = [[f"{prefix}{i}" for prefix in (*"dwbg", *own)] for i in range(1, space.num_stages + 1)]
        of_stages = {name for names in self._names for name in names}
        self._others = [name for name in space.column_names() if name not in of_stages and name not in REGNET_COLUMNS]
        self._frames: dict[tuple[float | str, ...], tuple[str, str]] = {}

    def ids(self, columns: Columns) -> Iterator[str]:
        """Yield `Network.id` of each row of realised columns, in order; see `texts`."""
        return (hashlib.sha256(text.encode()).hexdigest()[:12] for text in self.texts(columns))

    def texts(self, columns: Columns) -> Iterator[str]:
        """Yield `Network.to_json` of each row of realised columns, in order.

        Raises:
            InputError: the next row has values that no network can have.
        """
        for start in range(0, len(columns[self._names[0][0]]), CHUNK):
            values = {name: column[start : start + CHUNK].tolist() for name, column in columns.items()}
            stages = zip(*(zip(*(values[name] for name in names), strict=True) for names in self._names), strict=True)
            others = zip(*(values[name] for name in self._others), strict=True)
            for i, (other, row) in enumerate(zip(others, stages, strict=True)):
                if other not in self._frames:
                    self._frames[other] = self._frame({name: column[i] for name, column in values.items()})
                head, tail = self._frames[other]
                yield head + ",".join([texts[stage] for texts, stage in zip(self._texts, row, strict=True)]) + tail

    def _frame(self, row: Mapping[str, float | str]) -> tuple[str, str]:
        """Return the text before and after the stages in a network's JSON."""
        head, opening, tail = self._space.network(row).to_json().partition('"stages":[')
        return head + opening, tail[tail.index("]") :]


class _StageTexts(dict[tuple[Any, ...], str]):
    """Canonical JSON of stages of one block and stride by (depth, width, b, g, *own), created on first access."""

    def __init__(self, block: str, stride: int, own: Sequence[str]) -> None:
        super().__init__()
        self.block, self.stride, self.own = block, stride, own

    def __missing__(self, key: tuple[Any, ...]) -> str:
        depth, width, bottleneck_ratio, group_width, *values = key
        pairs = tuple(zip(self.own, map(to_python, values), strict=True))
        stage = Stage(
            int(depth),
            int(width),
            self.stride,
            to_python_number(bottleneck_ratio),
            int(group_width),
            realised_parameters(self.block, pairs, once=False),
        )
        text = self[key] = canonical_json(stage)
        return text
