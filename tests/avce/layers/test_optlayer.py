"""What a layer is called with and what it gives back."""

from __future__ import annotations

import cvxpy as cp
import pytest
import torch

from avce.layers import OptLayer

from .cases import one_function

ENGINES = ("ecos", "batched", "cvxpylayers")


def least_squares(engine: str) -> OptLayer:
    return OptLayer(
        [cp.Variable(2)],
        [cp.Parameter((3, 2)), cp.Parameter(3), cp.Parameter()],
        lambda x, A, b, c: cp.sum_squares(A @ x - b) + c * cp.sum(x),
        [lambda x, A, b, c: -x],
        [],
        engine=engine,
    )


def drawn(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batched", [(0,), (1,), (2,), (0, 2)])
def test_a_parameter_without_batch_is_the_same_for_all_rows(engine, batched):
    layer = least_squares(engine)
    theta = [drawn(3, 2), drawn(3), drawn(1)[0]]
    theta = [drawn(5, *t.shape) if i in batched else t for i, t in enumerate(theta)]
    theta = [t.requires_grad_() for t in theta]
    repeated = [t if i in batched else t.expand(5, *t.shape) for i, t in enumerate(theta)]
    weight = drawn(5, 2)
    x, expected = layer(*theta), layer(*repeated)
    torch.testing.assert_close(x, expected)
    mine, theirs = (torch.autograd.grad(each, theta, weight) for each in (x, expected))
    assert [t.shape for t in mine] == [t.shape for t in theta]
    torch.testing.assert_close(mine, theirs)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_without_any_batch_the_solution_has_none(engine):
    theta = [drawn(3, 2), drawn(3), drawn(1)[0]]
    layer = least_squares(engine)
    x = layer(*theta)
    assert x.shape == (2,)
    torch.testing.assert_close(x, layer(*(t[None] for t in theta))[0])


def test_shapes_that_do_not_fit_are_refused():
    layer = least_squares("batched")
    A, b, c = torch.zeros(4, 3, 2), torch.zeros(3), torch.zeros(())
    with pytest.raises(ValueError, match=r"shape \(batch, 3, 2\), or \(3, 2\) for all rows"):
        layer(A[None], b, c)
    with pytest.raises(ValueError, match=r"shape \(batch\), or \(\) for all rows"):
        layer(A, b, torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"has shape \(5, 3\) .* have 4 rows"):
        layer(A, b.expand(5, 3), c)
    assert layer(A[:0], b, c).shape == (0, 2)


def test_a_layer_without_parameters_is_refused():
    with pytest.raises(ValueError, match="parameters is empty"):
        OptLayer([cp.Variable(2)], [], lambda x: cp.sum_squares(x), [], [])


@pytest.mark.parametrize("engine", ["ecos", "batched"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("variable", [(), (1,), (1, 1), (3,)])
def test_rows_of_size_one_are_never_mixed(variable, shape, engine):
    """A ball of radius^2 r about 0, seen from 2: x = min(2, sqrt(r / size))."""
    layer = OptLayer(
        [cp.Variable(variable)],
        [cp.Parameter(shape)],
        lambda x, r: cp.sum_squares(x - 2) - r,
        [lambda x, r: cp.sum_squares(x) - r],
        [],
        engine=engine,
    )
    r = torch.tensor([9.0, 3, 1, 0.25], dtype=torch.float64).reshape(4, *shape)
    x = layer(r.requires_grad_())
    size = x[0].numel()
    expected = (r.reshape(4) / size).sqrt().clamp(max=2)
    torch.testing.assert_close(x.reshape(4, -1), expected[:, None].expand(4, size))
    (grad,) = torch.autograd.grad(x.sum(), r)
    slope = torch.where(expected < 2, size / (2 * size * expected), 0.0)
    torch.testing.assert_close(grad.reshape(4), slope)


def test_wrong_calls_are_refused():
    layer = one_function(lambda x, y: cp.sum_squares(x - y))
    with pytest.raises(ValueError, match="has 1 parameters but was called with 2"):
        layer(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"shape \(batch, 3\)"):
        layer(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="floating"):
        layer(torch.zeros(2, 3, dtype=torch.long))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_parameter_of_another_sign_than_declared_is_refused(engine):
    """Minimise q |x|^2 - x: below q = 0 there is no minimum, and where the slope is 0 a maximum."""
    q = cp.Parameter(nonneg=True)
    told = ([cp.Variable()], [q], lambda x, q: q * cp.square(x) - x, [], [])
    given = torch.tensor([0.5, -1, 2], dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match=r"1 of 3 rows hold .* another sign than declared \(row 1"):
        OptLayer(*told, engine=engine)(given)
    x = OptLayer(*told, engine=engine, on_error="nan")(given)
    torch.testing.assert_close(x[[0, 2]], torch.tensor([1, 0.25], dtype=torch.float64))
    assert x[1].isnan()
    x.nansum().backward()
    assert given.grad is not None and given.grad[1] == 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_parameter_without_influence_is_taken(engine):
    layer = OptLayer(
        [cp.Variable(2)],
        [cp.Parameter(2), cp.Parameter()],
        lambda x, p, q: cp.sum_squares(x - p),
        [lambda x, p, q: -x],
        [],
        engine=engine,
    )
    p = torch.tensor([[1.0, -2], [3, 4]], dtype=torch.float64)
    torch.testing.assert_close(layer(p, torch.ones(2, dtype=torch.float64)), p.clamp(min=0))


def test_a_program_that_an_engine_cannot_take_is_refused():
    with pytest.raises(ValueError, match="cvxpylayers cannot take this program"):
        one_function(lambda x, y: y @ x, engine="cvxpylayers")
