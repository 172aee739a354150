"""Conditions on the rows of a table of results: a text such as ``d4 >= 3 and flops < 1e6``, a mask or a function."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandas.errors import UndefinedVariableError

from designspace.support.errors import InputError, unknown

Condition: TypeAlias = str | ArrayLike | Callable[[pd.DataFrame], ArrayLike]
"""A text in the syntax of ``pandas.DataFrame.query``, a truth value for each row, or a function of the table."""

_EXAMPLE = "write it as d4 >= 3 and flops < 1e6"
_CALLER = 3
"""Number of frames between pandas and the caller of `Results.where`, to whose variables ``@name`` refers."""


def rows_that_meet(condition: Condition, name: str, table: pd.DataFrame) -> NDArray[np.bool_]:  # (rows,)
    """Return which rows of a table meet a condition.

    Args:
        condition: the condition.
        name: name of the results, for messages.
        table: the table of results.

    Raises:
        InputError: the text cannot be evaluated or names an unknown column, or there is not one truth value per row.
    """
    if isinstance(condition, str):
        shown, mask = repr(condition), _evaluated(condition, name, table)
    else:
        shown, mask = "the condition", condition(table) if callable(condition) else condition
    if isinstance(mask, pd.Series) and not mask.index.equals(table.index):
        raise InputError(
            f"{name}: the rows of the mask are not those of the table; compute the mask from results.table unchanged"
        )
    values = np.asarray(mask)
    if values.dtype != np.bool_ or values.shape != (len(table),):
        raise InputError(
            f"{name}: {shown} gives {values.dtype} of shape {values.shape}, not a truth value (True or False) for each "
            f"of {len(table)} trials; {_EXAMPLE}"
        )
    return values


def _evaluated(condition: str, name: str, table: pd.DataFrame) -> object:
    """Return the value of a condition, as evaluated by pandas."""
    try:
        return table.eval(" ".join(condition.split()), engine="python", level=_CALLER)
    except UndefinedVariableError as error:
        variable = re.search("'(.*)'", str(error))
        unknown_name = variable[1] if variable else ""
        if f"@{unknown_name}" in condition:
            raise InputError(f"{name}: no variable {unknown_name} for {condition!r} in the calling code") from error
        raise unknown(f"column {unknown_name!r} in", condition, table.columns) from error
    except Exception as error:  # pandas raises errors of any type for a text that it cannot evaluate
        raise InputError(f"{name}: {condition!r} cannot be evaluated ({error}); {_EXAMPLE}") from error
