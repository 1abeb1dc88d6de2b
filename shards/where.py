"""`condition`: a line such as "valence > 0.5 and split == 'val'" as a filter of an index.

Only comparisons of a column with constants, joined by and, or, not. The line is parsed and never
run, so that it may come from anywhere: any text gives a filter or one sentence.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from shards.labels.schema import SCHEMA, kind_of

EXAMPLE = "\"video_id in ['001', '007'] and not valence < 0\""
_LONGEST = 100_000  # characters: a list of ten thousand names
_DEEPEST = 50  # brackets and `not` in each other; Arrow's own recursion ends the process at some
_MOST = 1000  # comparisons
_SHOWN = 80  # characters of a refused text
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], pc.Expression]] = {
    ast.Eq: lambda column, value: column == value,
    ast.NotEq: lambda column, value: column != value,
    ast.Lt: lambda column, value: column < value,
    ast.LtE: lambda column, value: column <= value,
    ast.Gt: lambda column, value: column > value,
    ast.GtE: lambda column, value: column >= value,
    ast.In: lambda column, value: _among(column, value),
    ast.NotIn: lambda column, value: ~_among(column, value),
}
_TURNED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


def _among(column: pc.Expression, values: Any) -> pc.Expression:
    """`isin`, but unknown where the value is missing, so that its opposite is unknown too."""
    return pc.if_else(column.is_valid(), column.isin(values), pa.scalar(None, pa.bool_()))


def condition(text: str, schema: pa.Schema = SCHEMA) -> pc.Expression:
    """The filter that `text` describes, for `LabelIndex.where(filter=...)`.

    Comparisons (==, !=, <, <=, >, >=, in, not in, is None, is not None, also chained) of a column
    of the index (`schema` names them) with numbers, words, True, False or lists of them; and, or,
    not, brackets; a bare column of truth values. A missing value meets no comparison. Raises
    ValueError for all else.
    """
    asked = _Asked(text, schema)
    if len(text) > _LONGEST:
        raise asked.refusal(f"it has {len(text):,} characters, {_LONGEST:,} at most")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the parser, on what is refused below
            tree = ast.parse(text.strip(), mode="eval")
        if sum(isinstance(node, ast.Compare | ast.Name) for node in ast.walk(tree)) > 2 * _MOST:
            raise asked.refusal(f"it has more than {_MOST:,} comparisons")
        return _truth(tree.body, asked)
    except (SyntaxError, RecursionError, MemoryError, UnicodeError, OverflowError):
        raise asked.refusal("it is not an expression") from None


class _Asked(NamedTuple):
    """A condition, and the columns that it may name."""

    text: str
    schema: pa.Schema

    def refusal(self, why: str) -> ValueError:
        """The sentence that it is not understood."""
        shown = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}..."
        return ValueError(f"condition {shown!r}: {why}; write one like {EXAMPLE}")


def _words(node: ast.expr) -> str:
    """A part of the condition, in short."""
    words = ast.unparse(node)
    return repr(words if len(words) <= _SHOWN else f"{words[:_SHOWN]}...")


def _truth(node: ast.expr, asked: _Asked, depth: int = 0) -> pc.Expression:
    if depth > _DEEPEST:
        raise asked.refusal(f"brackets and `not` stand more than {_DEEPEST} deep")
    if isinstance(node, ast.BoolOp):
        both = isinstance(node.op, ast.And)
        return _joined([_truth(part, asked, depth + 1) for part in node.values], both=both)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_truth(node.operand, asked, depth + 1)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]  # one, or a chain such as -0.5 < valence < 0.5
        pairs = zip(sides, node.ops, sides[1:], strict=False)
        return _joined([_comparison(*pair, asked) for pair in pairs], both=True)
    if isinstance(node, ast.Name):
        column = _column(node, asked)
        if asked.schema.field(node.id).type != pa.bool_():
            raise asked.refusal(f"column {node.id} is no truth value, compare it")
        return column
    raise asked.refusal(f"{_words(node)} is no comparison")


def _joined(parts: Sequence[pc.Expression], *, both: bool) -> pc.Expression:
    """As a balanced tree: Arrow goes down a chain of a thousand by recursion."""
    if len(parts) == 1:
        return parts[0]
    left, right = (_joined(half, both=both) for half in (parts[::2], parts[1::2]))
    return left & right if both else left | right


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr, asked: _Asked) -> pc.Expression:
    if isinstance(right, ast.Name) and not isinstance(left, ast.Name):
        left, right, op = right, left, _TURNED.get(type(op), type(op))()
        if isinstance(op, ast.In | ast.NotIn):
            raise asked.refusal(f"{_words(right)} stands before a column it is to be in")
    column, value = _column(left, asked), _value(right, asked)
    if isinstance(op, ast.Is | ast.IsNot):
        if value is not None:
            raise asked.refusal("`is` asks for None only, use ==")
        return column.is_null() if isinstance(op, ast.Is) else column.is_valid()
    if value is None:
        raise asked.refusal("None is asked for by `is None` or `is not None`")
    if isinstance(value, list) != isinstance(op, ast.In | ast.NotIn):
        raise asked.refusal("`in` goes with a list, other comparisons with one value")
    return _COMPARED[type(op)](column, _fitting(left, value, asked))


def _column(node: ast.expr, asked: _Asked) -> pc.Expression:
    if not isinstance(node, ast.Name):
        raise asked.refusal(f"{_words(node)} is not a column")
    if node.id not in asked.schema.names:
        raise asked.refusal(f"there is no column {node.id!r}, but {', '.join(asked.schema.names)}")
    return pc.field(node.id)


def _value(node: ast.expr, asked: _Asked) -> Any:
    try:
        found = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        raise asked.refusal(f"{_words(node)} is not a value (words stand in quotes)") from None
    plain = list(found) if isinstance(found, list | tuple | set) else [found]
    if any(not isinstance(v, str | int | float | bool | None) for v in plain):
        raise asked.refusal(f"{_words(node)} is neither number nor word nor a list of them")
    return plain if isinstance(found, list | tuple | set) else found


def _fitting(node: ast.expr, value: Any, asked: _Asked) -> Any:
    """`value`, or the list, as Arrow compares it with the column `node`."""
    name = node.id if isinstance(node, ast.Name) else ""
    kind = kind_of(asked.schema.field(name))
    words = pa.types.is_dictionary(kind) or pa.types.is_string(kind)
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    wanted = str if words else (int, float) if numbers else bool
    if pa.types.is_nested(kind) or pa.types.is_fixed_size_binary(kind):
        raise asked.refusal(f"column {name} holds {kind}, ask `is None` or `is not None` of it")
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, wanted) or (numbers and isinstance(one, bool)):
            raise asked.refusal(f"{one!r} does not fit the index: {name} holds {kind}")
    if pa.types.is_integer(kind) and isinstance(value, list):
        possible = [int(v) for v in value if abs(v) < 2**63 and v == int(v)]
        return pa.array(possible, pa.int64())
    if pa.types.is_floating(kind):  # 0.1 is what the column holds of it
        many = isinstance(value, list)
        return pa.array(list(map(float, value)), kind) if many else pa.scalar(float(value), kind)
    if isinstance(value, list):
        return pa.array(value, pa.string() if words else kind)
    return float(value) if numbers and abs(value) > 2**53 else value
