"""Every atom of the table against CVXPY's own numbers, row by row, for every mix of shapes."""

from __future__ import annotations

import itertools

import cvxpy as cp
import numpy as np
import pytest
import torch

from avce.layers.atoms import UnknownAtom, translate

ROWS = 3
SHAPES = [(), (1,), (1, 1), (4,), (1, 4), (4, 1), (4, 4), (2, 1, 4), (2, 4, 1)]
PAIRED = {
    "add": lambda a, b: a + b,
    "add three": lambda a, b: a + b + a,
    "subtract": lambda a, b: a - b,
    "multiply": cp.multiply,
    "divide": lambda a, b: a / b,
    "maximum": cp.maximum,
    "minimum": cp.minimum,
    "maximum of three": lambda a, b: cp.maximum(a, b, 0.9),
    "kl_div": cp.kl_div,
    "rel_entr": cp.rel_entr,
}


def drawn(*leaves: cp.Parameter, shared: int = 0) -> dict[int, torch.Tensor]:
    """Positive values; the leaves after the first `shared` have a row of their own a sample."""
    generator = torch.Generator().manual_seed(1)
    return {
        leaf.id: torch.rand(1 if i < shared else ROWS, *leaf.shape, generator=generator).double()
        + 0.5
        for i, leaf in enumerate(leaves)
    }


def check(expression, *leaves: cp.Parameter, shared: int = 0) -> None:
    values = drawn(*leaves, shared=shared)
    result = translate(expression)(values)
    rows = max(len(value) for value in values.values())
    assert result.shape in {(rows, *expression.shape), (1, *expression.shape)}
    for row in range(rows):
        for leaf in leaves:
            value = values[leaf.id]
            leaf.value = value[row % len(value)].numpy()
        mine = result[row % len(result)].numpy()
        np.testing.assert_allclose(mine, expression.value.reshape(mine.shape), rtol=1e-12)


@pytest.mark.parametrize("name", PAIRED)
def test_entry_by_entry_atoms_keep_rows_apart(name):
    """() with (1,) gave (rows, rows): the first row was every row's."""
    tried = 0
    for left, right in itertools.product(SHAPES, SHAPES):
        a, b = cp.Parameter(left), cp.Parameter(right)
        try:
            expression = PAIRED[name](a, b)
        except ValueError:  # CVXPY does not allow these shapes
            continue
        check(expression, a, b)
        check(expression, a, b, shared=1)
        tried += 1
    assert tried >= 40


@pytest.mark.parametrize("left", SHAPES[1:])
@pytest.mark.parametrize("right", [*SHAPES[1:], (4, 3)])
def test_matrix_products(left, right):
    a, b = cp.Parameter(left), cp.Parameter(right)
    try:
        expression = a @ b
    except ValueError:
        return
    check(expression, a, b)
    check(expression, a, b, shared=1)


VECTOR, MATRIX = cp.Parameter(4), cp.Parameter((4, 4))
SINGLE = {
    "negative": lambda v, m: -m,
    "index": lambda v, m: m[1, 2],
    "slice": lambda v, m: m[::2, 1:],
    "fancy": lambda v, m: m[[0, 3], [1, 2]],
    "mask": lambda v, m: v[np.array([True, False, True, True])],
    "reshape F": lambda v, m: cp.reshape(m, (2, 8), order="F"),
    "reshape C": lambda v, m: cp.reshape(m, (2, 8), order="C"),
    "vec": lambda v, m: cp.vec(m, order="F"),
    "transpose": lambda v, m: m.T,
    "hstack vectors": lambda v, m: cp.hstack([v, 2 * v, v[0]]),
    "hstack matrices": lambda v, m: cp.hstack([m, m[:, :1]]),
    "vstack vectors": lambda v, m: cp.vstack([v, 2 * v]),
    "vstack matrices": lambda v, m: cp.vstack([m, m[:1]]),
    "vstack scalars": lambda v, m: cp.vstack([v[0], v[1]]),
    "bmat": lambda v, m: cp.bmat([[m, m], [m, m]]),
    "concatenate": lambda v, m: cp.concatenate([m, m], axis=1),
    "sum": lambda v, m: cp.sum(m),
    "sum axis": lambda v, m: cp.sum(m, axis=0),
    "sum last axis": lambda v, m: cp.sum(m, axis=-1),
    "sum keepdims": lambda v, m: cp.sum(m, axis=1, keepdims=True),
    "sum all keepdims": lambda v, m: cp.sum(m, keepdims=True),
    "promote": lambda v, m: cp.promote(v[0], (2, 3)),
    "promote (1, 1)": lambda v, m: cp.promote(m[:1, :1], (2, 3)),
    "broadcast": lambda v, m: cp.broadcast_to(v, (3, 4)),
    "diag of vector": lambda v, m: cp.diag(v),
    "diag of matrix": lambda v, m: cp.diag(m),
    "trace": lambda v, m: cp.trace(m),
    "cumsum": lambda v, m: cp.cumsum(m, axis=1),
    "cumsum of all": lambda v, m: cp.cumsum(m, axis=None),
    "sum both axes": lambda v, m: cp.sum(m, axis=(0, 1), keepdims=True),
    "sum two of three": lambda v, m: cp.sum(cp.broadcast_to(m, (2, 4, 4)), axis=(0, -1)),
    "diff": lambda v, m: cp.diff(v),
    "power 2": lambda v, m: m**2,
    "power 3": lambda v, m: cp.power(m, 3),
    "power 1.5": lambda v, m: cp.power(m, 1.5),
    "inverse": lambda v, m: cp.inv_pos(m),
    "sqrt": lambda v, m: cp.sqrt(m),
    "entropy": lambda v, m: cp.entr(m),
    "log": lambda v, m: cp.log(m),
    "log1p": lambda v, m: cp.log1p(m),
    "exp": lambda v, m: cp.exp(m),
    "xexp": lambda v, m: cp.xexp(cp.abs(m)),
    "logistic": lambda v, m: cp.logistic(m),
    "huber": lambda v, m: cp.huber(m, 1),
    "abs": lambda v, m: cp.abs(-m),
    "pos": lambda v, m: cp.pos(m - 1),
    "square sum": lambda v, m: cp.sum_squares(m),
    "quad over scalar": lambda v, m: cp.quad_over_lin(v, m[0, 0]),
    "quad over (1,)": lambda v, m: cp.quad_over_lin(v, v[:1]),
    "quad form": lambda v, m: cp.quad_form(v, np.diag([1.0, 2, 3, 4])),
    "log sum exp": lambda v, m: cp.log_sum_exp(m),
    "log sum exp axis": lambda v, m: cp.log_sum_exp(m, axis=1, keepdims=True),
    "norm": lambda v, m: cp.norm(v),
    "norm axis": lambda v, m: cp.norm(m, 2, axis=0),
    "norm1": lambda v, m: cp.norm1(m),
    "norm1 axis": lambda v, m: cp.norm(m, 1, axis=1),
    "norm inf": lambda v, m: cp.norm_inf(v),
    "frobenius": lambda v, m: cp.norm(m, "fro"),
    "geo mean": lambda v, m: cp.geo_mean(v),
    "max": lambda v, m: cp.max(m),
    "min axis": lambda v, m: cp.min(m, axis=1),
    "mean": lambda v, m: cp.mean(m),
    "total variation": lambda v, m: cp.tv(v),
}


@pytest.mark.parametrize("name", SINGLE)
def test_atoms_of_one_argument(name):
    check(SINGLE[name](VECTOR, MATRIX), VECTOR, MATRIX)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (cp.sum_largest(VECTOR, 2), "sum_largest"),
        (cp.norm(VECTOR, 3), "3-norm"),
        (cp.lambda_max(MATRIX), "lambda_max"),
    ],
)
def test_what_the_table_lacks_is_named(expression, why):
    with pytest.raises(UnknownAtom, match=why):
        translate(expression)
