"""The closed forms against their definitions and the published golden numbers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avce.layers import SoftMax, SparseMax, softmax, sparsemax
from tests.devices import DEVICES


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


@pytest.mark.parametrize("layer", [sparsemax, softmax])
def test_gradient(layer):
    z = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, z)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("device", DEVICES)
def test_dtypes_come_back(dtype, device):
    z = torch.randn(3, 4, 8, dtype=dtype, device=device, requires_grad=True)
    p = sparsemax(z)
    p.square().sum().backward()
    assert p.dtype == z.dtype == z.grad.dtype
    exact = sparsemax(z.detach().cpu().double())
    torch.testing.assert_close(p.cpu().double(), exact, atol=3 * torch.finfo(dtype).eps, rtol=0)


def test_non_contiguous_rows_are_left_alone():
    z = torch.randn(8, 6).t()
    before = z.clone()
    torch.testing.assert_close(sparsemax(z), sparsemax(z.contiguous()))
    assert torch.equal(z, before)


def test_rows_that_are_not_numbers_stay_alone():
    z = torch.randn(4, 6)
    z[1, 2], z[2, 0], z[3, 1] = torch.nan, torch.inf, -torch.inf
    p = sparsemax(z)
    assert p[1].isnan().all() and p[2].isnan().all()
    assert p[[0, 3]].sum(-1).allclose(torch.ones(2)) and p[3, 1] == 0


@pytest.mark.parametrize("layer", [SparseMax, SoftMax])
def test_the_wrong_length_is_refused(layer):
    with pytest.raises(ValueError, match="length 5 meet a layer made for 4"):
        layer(4)(torch.zeros(2, 5))


def test_the_closed_forms_cost_no_solver_import():
    source = (
        "import sys; from avce.layers import SparseMax; SparseMax(4);"
        "assert not {'cvxpy', 'ecos', 'cvxpylayers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", source], check=True)
