"""CVXPY expressions as torch functions over a batch.

A value is a tensor (b, *shape of the expression), where b is 1 for what does not depend on the
sample. The table below holds every atom this package can translate; a program that uses another
one is handed to cvxpylayers when the layer is built.
"""

# CVXPY's expressions tell a type checker little of what they carry.
# pyright: reportAttributeAccessIssue=false, reportOptionalSubscript=false
# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import torch
from cvxpy.expressions.expression import Expression
from torch import Tensor

Values = Mapping[int, Tensor]  # id of a variable or parameter -> (b, *shape)
LocalFunction = Callable[..., Tensor]  # the values of the arguments -> the value of the atom
Fold = Callable[[Tensor, tuple[int, ...], bool], Tensor]  # a value, some axes, whether kept as 1


class UnknownAtom(Exception):
    """An expression holds an atom, or a use of an atom, that the table does not translate."""


def translate(expression: Expression) -> Callable[[Values], Tensor]:
    """The torch function of an expression, built once, called with the values of its leaves."""
    if not expression.variables() and not expression.parameters():
        return _constant(expression)
    if not expression.args:
        return lambda values: values[expression.id]
    local = local_function(expression)
    parts = [translate(part) for part in expression.args]
    return lambda values: local(*(part(values) for part in parts))


def local_function(expression: Expression) -> LocalFunction:
    """What one atom does with the values of its arguments."""
    name = kind(expression)
    if name not in _TABLE:
        raise UnknownAtom(f"the atom {name} in {expression}")
    return _TABLE[name](expression)


def kind(expression: Expression) -> str:
    return type(expression).__name__.removesuffix("Approx")


def _constant(expression: Expression) -> Callable[[Values], Tensor]:
    value = expression.value
    dense = value.toarray() if hasattr(value, "toarray") else np.asarray(value, dtype=float)
    host = torch.tensor(dense, dtype=torch.float64).reshape(1, *expression.shape)
    copies = {host.device: host}

    def constant(values: Values) -> Tensor:
        device = next(iter(values.values())).device
        if device not in copies:
            copies[device] = host.to(device)
        return copies[device]

    return constant


def _same(function: LocalFunction) -> Callable[[Expression], LocalFunction]:
    """An atom that has no settings of its own."""
    return lambda expression: function


def _widened(x: Tensor, rank: int) -> Tensor:
    """(b, *shape) with ones between, so that torch lines up data with data, never with rows."""
    return x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])


def _paired(fold: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Expression], LocalFunction]:
    """An atom that meets its arguments entry by entry, whatever their shapes: (), (1,), (1, 1)."""

    def build(expression: Expression) -> LocalFunction:
        rank = 1 + max(len(argument.shape) for argument in expression.args)

        def paired(*parts: Tensor) -> Tensor:
            wide = (_widened(part, rank) for part in parts)
            return functools.reduce(fold, wide).reshape(-1, *expression.shape)

        return paired

    return build


def _product(expression: Expression) -> LocalFunction:
    """The matrix product of CVXPY: vectors take the side they stand on."""
    if () in (argument.shape for argument in expression.args):
        return _paired(torch.mul)(expression)

    def product(left: Tensor, right: Tensor) -> Tensor:
        rows = left.unsqueeze(1) if left.ndim == 2 else left
        columns = right.unsqueeze(-1) if right.ndim == 2 else right
        rank = max(rows.ndim, columns.ndim)
        return (_widened(rows, rank) @ _widened(columns, rank)).reshape(-1, *expression.shape)

    return product


def _pick(expression: Expression) -> LocalFunction:
    argument = expression.args[0]
    data = expression.get_data()
    key = data[-1] if kind(expression) == "index" else data[0]
    places = np.arange(argument.size).reshape(argument.shape)[key]
    flat = torch.as_tensor(np.ascontiguousarray(places).ravel())
    return lambda x: x.reshape(x.shape[0], -1)[:, flat.to(x.device)].reshape(-1, *expression.shape)


def column_order(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshape (b, *any) to (b, *shape), both read column by column as CVXPY stores them."""
    if x.ndim == 2 and len(shape) == 1:
        return x
    turned = x.permute(0, *range(x.ndim - 1, 0, -1)).reshape(x.shape[0], *reversed(shape))
    return turned.permute(0, *range(len(shape), 0, -1))


def _reshape(expression: Expression) -> LocalFunction:
    order = expression.get_data()[1]
    if order == "F":
        return lambda x: column_order(x, expression.shape)
    return lambda x: x.reshape(x.shape[0], *expression.shape)


def _transpose(expression: Expression) -> LocalFunction:
    axes = expression.get_data()[0]
    axes = axes if axes is not None else range(len(expression.shape) - 1, -1, -1)
    order = [int(axis) + 1 for axis in axes]
    return lambda x: x.permute(0, *order)


def _join(axis: int, *parts: Tensor) -> Tensor:
    size = max(part.shape[0] for part in parts)
    return torch.cat([part.expand(size, *part.shape[1:]) for part in parts], dim=axis)


def _hstack(expression: Expression) -> LocalFunction:
    if len(expression.shape) == 1:
        return lambda *parts: _join(1, *(part.reshape(part.shape[0], -1) for part in parts))
    return lambda *parts: _join(2, *parts)


def _vstack(expression: Expression) -> LocalFunction:
    width = expression.shape[1]
    return lambda *parts: _join(1, *(part.reshape(part.shape[0], -1, width) for part in parts))


def _concatenate(expression: Expression) -> LocalFunction:
    axis = expression.get_data()[0]
    if axis is None:
        return lambda *parts: _join(1, *(part.reshape(part.shape[0], -1) for part in parts))
    return lambda *parts: _join(axis % len(expression.shape) + 1, *parts)


def _over_axis(
    reduce: Callable[[Tensor, tuple[int, ...], bool], Tensor],
) -> Callable[[Expression], LocalFunction]:
    """An atom that folds some axes, or the whole expression."""

    def build(expression: Expression) -> LocalFunction:
        axis, keep = getattr(expression, "axis", None), getattr(expression, "keepdims", False)
        if axis is None:
            return lambda x: reduce(x.reshape(x.shape[0], -1), (1,), False).reshape(
                -1, *expression.shape
            )
        rank = len(expression.args[0].shape)
        places = tuple(int(place) % rank + 1 for place in np.atleast_1d(axis))
        return lambda x: reduce(x, places, keep)

    return build


def _promote(expression: Expression) -> LocalFunction:
    shape = expression.shape
    return lambda x: x.reshape(-1, *(1,) * len(shape)).expand(-1, *shape)


def _broadcast(expression: Expression) -> LocalFunction:
    shape = expression.shape
    return lambda x: _widened(x, len(shape) + 1).expand(-1, *shape)


def _diagonal(expression: Expression) -> LocalFunction:
    offset = expression.get_data()[0]
    if kind(expression) == "diag_vec":
        return lambda x: torch.diag_embed(x, offset)
    return lambda x: torch.diagonal(x, offset, 1, 2)


def _cumsum(expression: Expression) -> LocalFunction:
    axis = expression.get_data()[0]
    if axis is None:
        return lambda x: x.reshape(x.shape[0], -1).cumsum(1)
    return lambda x: x.cumsum(axis % len(expression.shape) + 1)


def _quad_over_lin(expression: Expression) -> LocalFunction:
    folded = _over_axis(lambda x, axis, keep: x.square().sum(axis, keepdim=keep))(expression)
    return lambda x, y: folded(x) / y.reshape(-1, *(1,) * len(expression.shape))


def _quad_form(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("bi,bij,bj->b", *_align(x.reshape(x.shape[0], -1), matrix))


def _align(x: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    size = max(x.shape[0], matrix.shape[0])
    x = x.expand(size, -1)
    return x, matrix.expand(size, -1, -1), x


def _power(expression: Expression) -> LocalFunction:
    exponent = float(expression.p_used if hasattr(expression, "p_used") else expression.p.value)
    if exponent == 2:
        return torch.square
    if exponent > 1 and exponent % 2:  # CVXPY demands x >= 0 here; a solver may miss it by 1e-12
        return lambda x: x.clamp(min=0).pow(exponent)
    return lambda x: x.pow(exponent)


def _norm(expression: Expression) -> LocalFunction:
    order = float(expression.original_p if hasattr(expression, "original_p") else expression.p)
    if order != 2:
        raise UnknownAtom(f"the {order:g}-norm in {expression}")
    return _over_axis(lambda x, axis, keep: torch.linalg.vector_norm(x, 2, axis, keep))(expression)


def _geo_mean(expression: Expression) -> LocalFunction:
    weights = torch.tensor([float(weight) for weight in expression.w], dtype=torch.float64)
    return lambda x: (x.reshape(x.shape[0], -1).log() * weights.to(x.device)).sum(1).exp()


def _huber(expression: Expression) -> LocalFunction:
    if expression.M.parameters():
        raise UnknownAtom(f"a parameter as the width of huber in {expression}")
    width = float(expression.M.value)
    return lambda x: torch.where(x.abs() <= width, x * x, 2 * width * x.abs() - width**2)


def _logistic(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))  # softplus turns linear at 20


def _relative_entropy(x: Tensor, y: Tensor) -> Tensor:
    # Not x * log(x / y): torch's log splits over threads from 2,048 numbers on, which costs more
    # than it saves beside other work; xlogy does not, nor does its derivative.
    return torch.xlogy(x, x / y)


AFFINE = {
    "AddExpression": _paired(torch.add),
    "NegExpression": _same(torch.neg),
    "multiply": _paired(torch.mul),
    "MulExpression": _product,
    "DivExpression": _paired(torch.div),
    "index": _pick,
    "special_index": _pick,
    "reshape": _reshape,
    "transpose": _transpose,
    "Hstack": _hstack,
    "Vstack": _vstack,
    "Concatenate": _concatenate,
    "Sum": _over_axis(lambda x, axis, keep: x.sum(axis, keepdim=keep)),
    "Promote": _promote,
    "broadcast_to": _broadcast,
    "conj": _same(lambda x: x),  # every value here is real
    "diag_vec": _diagonal,
    "diag_mat": _diagonal,
    "Trace": _same(lambda x: torch.diagonal(x, 0, 1, 2).sum(-1)),
    "cumsum": _cumsum,
}
ELEMENTWISE = {
    "power": _power,
    "Power": _power,
    "entr": _same(lambda x: -torch.xlogy(x, x)),
    "kl_div": _paired(lambda x, y: _relative_entropy(x, y) - x + y),
    "rel_entr": _paired(_relative_entropy),
    "log": _same(torch.log),
    "log1p": _same(torch.log1p),
    "exp": _same(torch.exp),
    "xexp": _same(lambda x: x * x.exp()),
    "logistic": _same(_logistic),
    "huber": _huber,
    "abs": _same(torch.abs),
    "maximum": _paired(torch.maximum),
    "minimum": _paired(torch.minimum),
}
FOLDING = {
    "quad_over_lin": _quad_over_lin,
    "QuadForm": _same(_quad_form),
    "log_sum_exp": _over_axis(lambda x, axis, keep: x.logsumexp(axis, keep)),
    "Pnorm": _norm,
    "GeoMean": _geo_mean,
    "norm1": _over_axis(lambda x, axis, keep: x.abs().sum(axis, keepdim=keep)),
    "norm_inf": _over_axis(lambda x, axis, keep: x.abs().amax(axis, keepdim=keep)),
    "max": _over_axis(lambda x, axis, keep: x.amax(axis, keepdim=keep)),
    "min": _over_axis(lambda x, axis, keep: x.amin(axis, keepdim=keep)),
}
PRODUCTS = ("multiply", "MulExpression")
_TABLE = {**AFFINE, **ELEMENTWISE, **FOLDING}
