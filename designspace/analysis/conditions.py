"""Conditions on the rows of a table of results, such as ``d4 >= 3 and flops < 1e6``.

A condition is parsed and checked before pandas evaluates it: it can reach no function, attribute or variable of Python.
"""

from __future__ import annotations

import ast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.support.errors import InputError, unknown

# What a condition may be made of. Powers are left out: a few of them keep a machine busy for a year.
_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.FloorDiv, ast.BitAnd, ast.BitOr),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
)
_WITH_TEXTS = (ast.Compare, ast.List, ast.Tuple)
"""Where a text may stand: not in arithmetic, which could make it very long."""


def rows_that_meet(condition: str, name: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows of a table meet a condition.

    Args:
        condition: the condition.
        name: name of the results, for errors.
        table: the table of results.

    Raises:
        InputError: the condition cannot be read or evaluated, or names what is not a column.
    """
    try:
        text = " ".join(condition.split())
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{name}: {condition!r} is no condition ({error}); write it as d4 >= 3 and flops < 1e6"
        ) from error
    for node in ast.walk(tree):
        _check_node(name, table, condition, node)
    try:
        mask = table.eval(text, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # pandas raises of every kind here
        raise InputError(f"{name}: {condition!r} cannot be evaluated ({error})") from error
    if not isinstance(mask, pd.Series) or not pd.api.types.is_bool_dtype(mask.dtype):
        raise InputError(f"{name}: {condition!r} is no condition; write it as d4 >= 3 and flops < 1e6")
    found: NDArray[np.bool_] = mask.to_numpy(bool)
    return found


def _check_node(name: str, table: pd.DataFrame, condition: str, node: ast.AST) -> None:
    """Raise where a part of a condition is not one that conditions may have."""
    if not isinstance(node, _ALLOWED):
        allowed = "columns, numbers, texts, comparisons, and, or, not, in, + - * / // %"
        raise InputError(f"{name}: {condition!r} has {type(node).__name__} in it; there may be {allowed}")
    if isinstance(node, ast.Name) and node.id not in table.columns:
        raise unknown(f"column {node.id!r} in", condition, table.columns)
    if isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str):
        raise InputError(f"{name}: {condition!r} has {node.value!r} in it, which is neither a number nor a text")
    if not isinstance(node, _WITH_TEXTS):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                raise InputError(f"{name}: {condition!r} does more with the text {child.value!r} than compare it")
