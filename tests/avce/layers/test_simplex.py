"""SparseMax and SoftMax: the closed forms by definition, every engine against them, as a module."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys

import cvxpy as cp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avce.layers import Entmax15, OptLayer, SoftMax, SparseMax, entmax15, softmax, sparsemax
from tests.devices import DEVICES

from .cases import ENGINES, MAPS, rows, vjp

# cvxpylayers 1.2 calls np.array on tensors, which NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_golden_numbers():
    z = torch.tensor([[0.5, 1.2, -0.3, 0.9]], dtype=torch.float64, requires_grad=True)
    p = sparsemax(z)
    torch.testing.assert_close(p, z.new_tensor([[0, 0.65, 0, 0.35]]), atol=1e-15, rtol=0)
    (grad,) = torch.autograd.grad(p, z, torch.tensor([[1.0, 2, 3, 4]]).double())
    torch.testing.assert_close(grad, torch.tensor([[0.0, -1, 0, 1]]).double())


def test_even_and_decided_rows():
    torch.testing.assert_close(sparsemax(torch.zeros(4)), torch.full((4,), 0.25))
    torch.testing.assert_close(sparsemax(torch.tensor([3.0, 0, 0, 0])), torch.eye(4)[0])


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 32, 128]), st.floats(-2, 3))
@settings(max_examples=60, deadline=None)
def test_sparsemax_meets_its_optimality_conditions(seed, d, magnitude):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(8, d, generator=generator, dtype=torch.float64) * 10**magnitude
    p = sparsemax(z)
    assert (p >= 0).all()
    assert (p.sum(-1) - 1).abs().max() <= 1e-12
    threshold = (z - p).where(p > 0, torch.inf).amin(-1, keepdim=True)
    # Inside the support z - p is one number, outside z is at most that number.
    slack = 1e-15 * z.abs().max() * 4 + 1e-14
    assert ((z - p - threshold).where(p > 0, 0.0) <= slack).all()
    assert ((z - threshold).where(p == 0, 0.0) <= slack).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 5, 32, 128]), st.floats(-2, 3))
@settings(max_examples=60, deadline=None)
def test_entmax_meets_its_optimality_conditions(seed, d, magnitude):
    """z - 2 sqrt(p) is one number inside the support, and no entry outside has a larger z."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(8, d, generator=generator, dtype=torch.float64) * 10**magnitude
    p = entmax15(z)
    assert (p >= 0).all()
    assert (p.sum(-1) - 1).abs().max() <= 1e-12
    level = (z - 2 * p.sqrt()).where(p > 0, torch.inf).amin(-1, keepdim=True)
    # sqrt of the threshold's digits: an entry that is kept by 1e-16 has a root of 1e-8 off
    slack = 1e-15 * z.abs().max() * 4 + 1e-7
    assert ((z - 2 * p.sqrt() - level).where(p > 0, 0.0) <= slack).all()
    assert ((z - level).where(p == 0, 0.0) <= slack).all()


@given(st.integers(0, 2**32 - 1), st.floats(-1, 1))
@settings(max_examples=40, deadline=None)
def test_entmax_lies_between_sparsemax_and_softmax(seed, magnitude):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(8, 32, generator=generator, dtype=torch.float64) * 10**magnitude
    kept = [(map(z) > 0).sum(-1) for map in (sparsemax, entmax15, softmax)]
    assert (kept[0] <= kept[1]).all() and (kept[1] <= kept[2]).all()


def test_entmax_golden_numbers():
    """Two entries, z and 0: s1^2 + s2^2 = 1 and s1 - s2 = z / 2."""
    for z in (0.0, 0.5, 1.9, 2.0, 7.0):
        root = (8 - z * z) ** 0.5 / 4 + z / 4 if z < 2 else 1.0
        p = entmax15(torch.tensor([[z, 0.0]], dtype=torch.float64))
        torch.testing.assert_close(p[0, 0], p.new_tensor(root**2), atol=1e-15, rtol=0)


@pytest.mark.parametrize("layer", [sparsemax, entmax15, softmax])
def test_gradient(layer):
    z = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, z)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layer", [sparsemax, entmax15])
def test_dtypes_come_back(layer, dtype, device):
    z = torch.randn(3, 4, 8, dtype=dtype, device=device, requires_grad=True)
    p = layer(z)
    p.square().sum().backward()
    assert p.dtype == z.dtype == z.grad.dtype
    exact = layer(z.detach().cpu().double())
    torch.testing.assert_close(p.cpu().double(), exact, atol=3 * torch.finfo(dtype).eps, rtol=0)


def test_non_contiguous_rows_are_left_alone():
    z = torch.randn(8, 6).t()
    before = z.clone()
    torch.testing.assert_close(sparsemax(z), sparsemax(z.contiguous()))
    assert torch.equal(z, before)


@pytest.mark.parametrize("layer", [sparsemax, entmax15])
def test_rows_that_are_not_numbers_stay_alone(layer):
    z = torch.randn(4, 6)
    z[1, 2], z[2, 0], z[3, 1] = torch.nan, torch.inf, -torch.inf
    p = layer(z)
    assert p[1].isnan().all() and p[2].isnan().all()
    assert p[[0, 3]].sum(-1).allclose(torch.ones(2)) and p[3, 1] == 0


@pytest.mark.parametrize("layer", [SparseMax, Entmax15, SoftMax])
def test_the_wrong_length_is_refused(layer):
    with pytest.raises(ValueError, match="length 5 meet a layer made for 4"):
        layer(4)(torch.zeros(2, 5))


def test_the_closed_forms_cost_no_solver_import():
    source = (
        "import sys; from avce.layers import SparseMax; SparseMax(4);"
        "assert not {'cvxpy', 'ecos', 'cvxpylayers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", source], check=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("d", [2, 4, 32, 128])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("device", DEVICES)
def test_engines_agree_with_the_closed_forms(name, d, engine, device):
    """On a GPU to the same digits: float64 knows no TF32."""
    make, closed, tolerance = MAPS[name]
    layer = make(d, engine)
    for scale in (1e-2, 1, 30, 1e3):
        z, weight = rows(16, d, scale), rows(16, d, 1, seed=1)
        p, grad = (each.cpu() for each in vjp(layer, z.to(device), weight.to(device)))
        expected, expected_grad = vjp(closed, z, weight)
        torch.testing.assert_close(p, expected, atol=tolerance, rtol=0)
        torch.testing.assert_close(grad, expected_grad, atol=1e-6, rtol=0)
        assert (p >= 0).all()
        assert (p.sum(1) - 1).abs().max() <= 1e-12


TIES = torch.tensor([[1.0, 0, 0], [0.5, 0.5, -0.5], [0, 0, 0], [2, 1, 1], [0.75, 0.25, -0.25]])


@pytest.mark.parametrize("engine", ENGINES)
def test_ties_have_the_derivative_of_the_closed_form(engine):
    z, weight = TIES.double(), rows(len(TIES), 3, 1)
    p, grad = vjp(SparseMax(3, engine), z, weight)
    expected, expected_grad = vjp(sparsemax, z, weight)
    torch.testing.assert_close(p, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(grad, expected_grad, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("engine", ENGINES)
def test_thousands_of_ordinary_rows_solve(name, engine):
    """The benchmark does 100,000; here 1,000 a scale keep the suite short."""
    make, closed, tolerance = MAPS[name]
    layer = make(32, engine)
    for scale in (1.0, 10.0):
        z = rows(1000, 32, scale, seed=7)
        torch.testing.assert_close(layer(z), closed(z), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", MAPS)
def test_gradcheck_of_the_maps(name):
    make, _, _ = MAPS[name]
    for engine in ENGINES:
        z = rows(3, 5, 1, seed=4).requires_grad_()
        assert torch.autograd.gradcheck(make(5, engine), z, eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_listing_one_works_as_printed(engine):
    z, x = cp.Variable(32), cp.Parameter(32)
    f = lambda z, x: cp.sum_squares(z - x)  # noqa: E731
    g = lambda z, x: -z  # noqa: E731
    h = lambda z, x: cp.sum(z) - 1  # noqa: E731
    SP = OptLayer([z], [x], f, [g], [h], engine=engine)
    w, y = cp.Variable(32), cp.Parameter(32)
    fs = lambda w, y: -w @ y - cp.sum(cp.entr(w))  # noqa: E731
    hs = lambda w, y: cp.sum(w) - 1  # noqa: E731
    SM = OptLayer([w], [y], fs, [], [hs], engine=engine)
    feat = torch.randn(4, 32)
    torch.testing.assert_close(SP(feat), sparsemax(feat))
    torch.testing.assert_close(SM(feat), softmax(feat))


@pytest.mark.parametrize("engine", [*ENGINES, "cvxpylayers", "closed"])
def test_what_comes_in_comes_back(engine):
    layer = SparseMax(4, engine)
    z = torch.randn(4, 3, requires_grad=True).t()[:, [0, 2, 1, 3]]
    p = layer(z)
    assert p.dtype == torch.float32
    torch.testing.assert_close(p, sparsemax(z), atol=1e-5, rtol=0)
    assert layer(z[:1]).shape == (1, 4)
    assert layer(z[:0]).shape == (0, 4)
    assert layer(z.reshape(3, 1, 4)).shape == (3, 1, 4)
    with torch.no_grad():
        assert not layer(z).requires_grad
    with torch.inference_mode():
        layer(z)


@pytest.mark.parametrize("engine", ENGINES)
def test_double_use_in_one_graph(engine):
    layer = SparseMax(4, engine)
    z = rows(3, 4, 1).requires_grad_()
    twice = layer(layer(z) * 3)
    expected = sparsemax(sparsemax(z) * 3)
    weight = rows(3, 4, 1, seed=2)
    torch.testing.assert_close(
        torch.autograd.grad(twice, z, weight), torch.autograd.grad(expected, z, weight)
    )


def test_a_result_changed_in_place_does_not_harm_the_gradient():
    z = rows(3, 4, 1).requires_grad_()
    p = SparseMax(4, "batched")(z)
    (grad,) = torch.autograd.grad(p.mul_(2).sum(), z)
    torch.testing.assert_close(grad, torch.zeros_like(z), atol=1e-12, rtol=0)


@pytest.mark.parametrize("engine", ["closed", "batched"])
def test_the_audit_solves_rows_again(engine, caplog):
    layer = SparseMax(4, engine, audit=1.0)
    with caplog.at_level(logging.INFO, logger="avce.layers"):
        layer(rows(5, 4, 1))
    assert "5 rows" in caplog.text
    assert 0 <= layer.largest_difference < 1e-9


def test_a_layer_can_be_copied():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), SparseMax(4, "batched"))
    z = torch.randn(2, 3)
    torch.testing.assert_close(copy.deepcopy(model)(z), model(z))


def test_precision_does_not_depend_on_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        layer = SoftMax(4, "batched")
    finally:
        torch.set_default_dtype(torch.float32)
    z = rows(3, 4, 1)
    torch.testing.assert_close(layer(z), softmax(z), atol=1e-12, rtol=0)


def adversarial(d: int) -> torch.Tensor:
    """Finite rows of every awkward kind: scales, ties, near ties, offsets, one entry far away."""
    generator = torch.Generator().manual_seed(d)
    draw = lambda: torch.randn(4, d, generator=generator, dtype=torch.float64)  # noqa: E731
    found = [draw() * 10.0**power for power in range(-320, 308, 12)]
    found += [draw().clamp(-1, 1) * 1.7e308, draw().sign() * 10 ** (90 * draw()).clamp(-300, 300)]
    for size in (1.0, 1e3, 1e8, 1e16, 1e100, 1e300):
        found += [draw().round() * size, 0 * draw() + size, draw() + size, draw() - size]
        found += [size * (1 + near * draw()) for near in (1e-16, 1e-13, 1e-8)]
        for low, high in ((size, 0), (-size, 0), (size, -size), (size, size)):
            row = draw()
            row[:, 0], row[:, -1] = low, high
            found.append(row)
    return torch.cat(found)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("d", [1, 2, 5, 32])
def test_no_finite_row_is_refused_or_wrong(d, engine, name):
    """Nearly all beyond 1e16 were refused or, worse, taken for solved."""
    make, closed, tolerance = MAPS[name]
    z, weight = adversarial(d), rows(len(adversarial(d)), d, 1)
    p, grad = vjp(make(d, engine), z, weight)
    expected, expected_grad = vjp(closed, z, weight)
    torch.testing.assert_close(p, expected, atol=tolerance, rtol=0)
    # Closer to a tie than 1e-11 the engines may call it one.
    decided = ~((expected > 0) & (expected < 1e-11)).any(1) | (name == "soft")
    torch.testing.assert_close(grad[decided], expected_grad[decided], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("engine", ENGINES)
def test_infinite_rows_are_refused_by_name(engine, name):
    z = torch.tensor([[0.0, 1], [-torch.inf, 1], [torch.nan, 1], [torch.inf, 1]])
    p = MAPS[name][0](2, engine, on_error="nan")(z)
    assert p.isnan().any(1).tolist() == [False, True, True, True]
