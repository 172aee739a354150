"""The ids of whole populations, from columns: the same as `Network.id`, with no network made for each row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from designspace.networks.network import Stage, canonical_json
from designspace.spaces.parameters import REGNET_COLUMNS, Columns, to_python_number

if TYPE_CHECKING:  # a space samples, so the import goes the other way
    from designspace.spaces.space import DesignSpace

CHUNK = 1 << 14
"""Rows turned into Python numbers at a time."""


class Identifier:
    """Gives the networks of one space their canonical texts and ids.

    Networks of a space differ in few values of the whole network (the radix) and share many of their stages. So the
    text of each of these is made once, by the code behind `Network.to_json`, and rows are put together from those.
    """

    def __init__(self, space: DesignSpace) -> None:
        self._space = space
        texts = {stride: _StageTexts(stride) for stride in space.template.strides}
        self._texts = [texts[stride] for stride in space.template.strides]
        self._names = [[f"{letter}{i}" for letter in "dwbg"] for i in range(1, space.num_stages + 1)]
        of_stages = {name for names in self._names for name in names}
        self._whole = [name for name in space.column_names() if name not in of_stages and name not in REGNET_COLUMNS]
        self._frames: dict[tuple[float, ...], tuple[str, str]] = {}

    def ids(self, columns: Columns) -> Iterator[str]:
        """`Network.id` of each row of realised columns, in order; see `texts`."""
        return (hashlib.sha256(text.encode()).hexdigest()[:12] for text in self.texts(columns))

    def texts(self, columns: Columns) -> Iterator[str]:
        """`Network.to_json` of each row of realised columns, in order.

        Raises:
            InputError: the row whose turn it is holds values that no network has.
        """
        for start in range(0, len(columns[self._names[0][0]]), CHUNK):
            values = {name: column[start : start + CHUNK].tolist() for name, column in columns.items()}
            stages = zip(*(zip(*(values[name] for name in names), strict=True) for names in self._names), strict=True)
            wholes = zip(*(values[name] for name in self._whole), strict=True)
            for i, (whole, row) in enumerate(zip(wholes, stages, strict=True)):
                if whole not in self._frames:
                    self._frames[whole] = self._frame({name: column[i] for name, column in values.items()})
                head, tail = self._frames[whole]
                yield head + ",".join([known[stage] for known, stage in zip(self._texts, row, strict=True)]) + tail

    def _frame(self, row: Mapping[str, float]) -> tuple[str, str]:
        """What stands before and after the texts of a network's stages."""
        head, opening, rest = self._space.network(row).to_json().partition('"stages":[')
        return head + opening, rest[rest.index("]") :]


class _StageTexts(dict[tuple[float, float, float, float], str]):
    """The canonical JSON of stages of one stride by (depth, width, b, g), each made when it is first asked for."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def __missing__(self, key: tuple[float, float, float, float]) -> str:
        depth, width, bottleneck_ratio, group_width = key
        stage = Stage(int(depth), int(width), self.stride, to_python_number(bottleneck_ratio), int(group_width))
        text = self[key] = canonical_json(stage)
        return text
