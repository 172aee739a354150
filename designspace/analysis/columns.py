"""The columns of a table of results: their names, and which hold numbers or fields of a recipe."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from designspace.trials.recipe import Recipe

COLUMNS = (
    *("id", "d1", "w1", "b1", "g1", "radix", "flops", "params", "activations"),
    *("seed", "status", "final_error", "best_error", "epochs", "train_s", "device", "reason", "detail"),
)
"""Columns of every table of results, which may have more stages and more columns. A table without any stage column
holds networks without stages, such as those of NAS spaces."""

RECIPE_COLUMNS = {
    **{field.name: "recipe_epochs" if field.name == "epochs" else field.name for field in dataclasses.fields(Recipe)},
    "rest": "recipe_rest",
}
"""The column of each field of a recipe; the column ``epochs`` holds the epochs that a trial completed. All further
settings of another program's recipe have one column, as a digest."""

ALWAYS_SHOWN = ("lr", "weight_decay", "batch_size")
"""Fields of the recipe that a table has whenever they are known, even if all trials share one value."""

WHOLE_COLUMN = re.compile(
    r"[dwg][1-9]\d*|radix|flops|params|activations|draws|seed|epochs|depth|repeats"
    r"|batch_size|recipe_epochs|train_images|test_images|crop_padding|devices|randaugment_ops|frozen_stages"
)
REAL_COLUMN = re.compile(
    r"b[1-9]\d*|w_[0am]|(final|best)_error(_ema)?|heldout_error|train_s|memory_bytes"
    r"|lr|weight_decay|momentum|warmup_epochs|label_smoothing|crop_area|colour_jitter|lighting|randaugment_magnitude"
    r"|erasing|mixup|dropout|drop_path|drop_block|ema_decay|layer_decay|beta2"
)

_STAGE = re.compile(r"[dwbg][1-9]\d*")


def is_number(column: str) -> bool:
    """Return whether a column of a table of results holds numbers."""
    return bool(WHOLE_COLUMN.fullmatch(column) or REAL_COLUMN.fullmatch(column))


def missing_columns(columns: Iterable[str]) -> list[str]:
    """Return which of `COLUMNS` a table of results lacks; stage columns only if the table has any."""
    present = set(columns)
    has_stages = any(_STAGE.fullmatch(str(column)) for column in present)
    return [column for column in COLUMNS if column not in present and (has_stages or not _STAGE.fullmatch(column))]


def recipe_values(table: pd.DataFrame) -> dict[str, tuple[Any, ...]]:
    """Return the values of each field of the recipe that a table has a column for, ascending, None for a blank."""
    return {name: distinct_values(table[column]) for name, column in RECIPE_COLUMNS.items() if column in table.columns}


def distinct_values(column: pd.Series) -> tuple[Any, ...]:
    """Return the different values of a column, ascending, with None for a blank."""
    values = {None if value == "" or value != value else value for value in column.unique().tolist()}
    return tuple(
        sorted(values, key=lambda value: (value is None, isinstance(value, str), 0 if value is None else value))
    )


def recipe_columns(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe as values of columns."""
    texts = ("data", "trainer")
    blank: dict[str, Any] = {name: "" if name in texts else math.nan for name in recipe}
    return {RECIPE_COLUMNS[name]: blank[name] if value is None else value for name, value in recipe.items()}


def whole_numbers(values: pd.Series) -> pd.Series | None:
    """Return a column of whole numbers, as int64 if none is blank; None if it holds anything else."""
    if values.dtype == np.int64:
        return values
    if values.dtype != np.float64:
        return None
    numbers = values.to_numpy()
    if (np.isfinite(numbers) & (numbers != np.floor(numbers))).any() or (np.abs(numbers) >= 2**63).any():
        return None
    return values if np.isnan(numbers).any() else values.astype(np.int64)
