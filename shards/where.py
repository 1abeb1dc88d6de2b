"""`condition`: a line such as "valence > 0.5 and split == 'val'" as a filter of an index.

Only comparisons of a column with constants, joined by and, or, not. The line is parsed and never
run, so that it may come from anywhere.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shards.index import SCHEMA

EXAMPLE = "\"video_id in ['001', '007'] and not valence < 0\""
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], pc.Expression]] = {
    ast.Eq: lambda column, value: column == value,
    ast.NotEq: lambda column, value: column != value,
    ast.Lt: lambda column, value: column < value,
    ast.LtE: lambda column, value: column <= value,
    ast.Gt: lambda column, value: column > value,
    ast.GtE: lambda column, value: column >= value,
    ast.In: lambda column, value: column.isin(value),
    ast.NotIn: lambda column, value: ~column.isin(value),
}
_TURNED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


def condition(text: str) -> pc.Expression:
    """The filter that `text` describes, for `LabelIndex.where(filter=...)`.

    Comparisons (==, !=, <, <=, >, >=, in, not in, is None, is not None, also chained) of a column
    of the index with numbers, words, True, False or lists of them; and, or, not, brackets; a bare
    column of truth values. A missing value meets no comparison. Raises ValueError for all else.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _refusal(text, "it is not an expression") from None
    return _truth(tree.body, text)


def _refusal(text: str, why: str) -> ValueError:
    return ValueError(f"condition {text!r}: {why}; write one like {EXAMPLE}")


def _truth(node: ast.expr, text: str) -> pc.Expression:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part, text) for part in node.values]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole & part if isinstance(node.op, ast.And) else whole | part
        return whole
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_truth(node.operand, text)
    if isinstance(node, ast.Compare):
        return _comparisons(node, text)
    if isinstance(node, ast.Name):
        column = _column(node, text)
        if SCHEMA.field(node.id).type != pa.bool_():
            raise _refusal(text, f"column {node.id} is no truth value, compare it")
        return column
    raise _refusal(text, f"{ast.unparse(node)!r} is no comparison")


def _comparisons(node: ast.Compare, text: str) -> pc.Expression:
    """One, or a chain such as -0.5 < valence < 0.5."""
    sides = [node.left, *node.comparators]
    pairs = zip(sides, node.ops, sides[1:], strict=False)
    parts = [_comparison(left, op, right, text) for left, op, right in pairs]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole & part
    return whole


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr, text: str) -> pc.Expression:
    if isinstance(right, ast.Name) and not isinstance(left, ast.Name):
        left, right, op = right, left, _TURNED.get(type(op), type(op))()
        if isinstance(op, ast.In | ast.NotIn):
            raise _refusal(text, f"{ast.unparse(right)!r} stands before a column it is to be in")
    column, value = _column(left, text), _value(right, text)
    if isinstance(op, ast.Is | ast.IsNot):
        if value is not None:
            raise _refusal(text, "`is` asks for None only, use ==")
        return column.is_null() if isinstance(op, ast.Is) else column.is_valid()
    if value is None:
        raise _refusal(text, "None is asked for by `is None` or `is not None`")
    if isinstance(value, list) != isinstance(op, ast.In | ast.NotIn):
        raise _refusal(text, "`in` goes with a list, other comparisons with one value")
    return _COMPARED[type(op)](column, value)


def _column(node: ast.expr, text: str) -> pc.Expression:
    if not isinstance(node, ast.Name):
        raise _refusal(text, f"{ast.unparse(node)!r} is not a column")
    if node.id not in SCHEMA.names:
        raise _refusal(text, f"there is no column {node.id!r}, but {', '.join(SCHEMA.names)}")
    return pc.field(node.id)


def _value(node: ast.expr, text: str) -> Any:
    try:
        found = ast.literal_eval(node)
    except ValueError:
        raise _refusal(
            text, f"{ast.unparse(node)!r} is not a value (words stand in quotes)"
        ) from None
    plain = list(found) if isinstance(found, list | tuple | set) else [found]
    if any(not isinstance(v, str | int | float | bool | None) for v in plain):
        raise _refusal(text, f"{ast.unparse(node)!r} is neither number nor word nor a list of them")
    return plain if isinstance(found, list | tuple | set) else found
