"""How the tests of the layers say a program, draw its parameters and take its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cvxpy as cp
import torch
from torch import Tensor

from avce.layers import Entmax15, OptLayer, SoftMax, SparseMax, entmax15, softmax, sparsemax

ENGINES = ("ecos", "batched")
MAPS = {
    "sparse": (SparseMax, sparsemax, 1e-8),
    "entmax": (Entmax15, entmax15, 1e-8),
    "soft": (SoftMax, softmax, 1e-7),
}
ROWS = 3


def rows(batch: int, d: int, scale: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, d, generator=generator, dtype=torch.float64) * scale


def vjp(layer, z: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = z.clone().requires_grad_()
    p = layer(z)
    (grad,) = torch.autograd.grad(p, z, weight)
    return p.detach(), grad


class Drawn:
    """Numbers for the parameters, the same at every call."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(8)

    def normal(self, *shape: int, rows: int | None = ROWS) -> Tensor:
        size = shape if rows is None else (rows, *shape)
        return torch.randn(*size, generator=self.generator, dtype=torch.float64)

    def positive(self, *shape: int, rows: int | None = ROWS) -> Tensor:
        return self.normal(*shape, rows=rows).abs() + 0.5


class Case(NamedTuple):
    variables: list
    parameters: list
    f: Callable
    g: list[Callable]
    h: list[Callable]
    draw: Callable[[Drawn], list[Tensor]]
    alone: bool = False  # cvxpylayers is wrong on exponential cones, and fails at one other

    def layer(self, engine: str) -> OptLayer:
        return OptLayer(self.variables, self.parameters, self.f, self.g, self.h, engine=engine)


def joined(solution: Tensor | tuple[Tensor, ...]) -> Tensor:
    parts = solution if isinstance(solution, tuple) else (solution,)
    return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)


def one_function(f, g=(), h=(), **options):
    return OptLayer([cp.Variable(3)], [cp.Parameter(3)], f, list(g), list(h), **options)
