"""Maps onto the simplex: SparseMax, SoftMax, and entmax-1.5 between them; in closed form, or one
declaration each for the engine of your choice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .optlayer import OptLayer, logger

ENGINES = ("closed", "ecos", "batched", "cvxpylayers")


class _SparseMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor) -> Tensor:
        work = z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
        p = _project(work)
        ctx.save_for_backward(p)
        return p.to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (p,) = ctx.saved_tensors
        support = (p > 0).to(p.dtype)
        inside = support * grad
        mean = inside.sum(-1, keepdim=True).div_(support.sum(-1, keepdim=True))
        return inside.addcmul_(support, mean, value=-1).to(grad.dtype)


def _project(z: Tensor) -> Tensor:
    """Sort, find how many entries stay above the threshold, subtract it."""
    z = z - z.amax(-1, keepdim=True)  # the support then lies in [-1, 0]: no digits cancel
    ranked = z.sort(-1, descending=True).values
    ahead = ranked.cumsum(-1).sub_(1)
    place = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    # A row of NaN keeps no entry; its size is held at one so that the row comes out as NaN.
    size = (place * ranked > ahead).sum(-1, keepdim=True).clamp_(min=1)
    threshold = ahead.gather(-1, size - 1).div_(size)
    return z.sub_(threshold).clamp_(min=0)


def sparsemax(z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Project each row of `z` onto the simplex: argmin_p |p - z|^2  s.t.  p >= 0, sum p = 1.

    Martins & Astudillo 2016, algorithm 1. Exact, O(d log d). Rows sum to one; an entry that lands
    exactly on zero counts as outside the support, also in the gradient, which is
    g - mean over the support of g. Half precisions are computed in float32. A row with NaN or
    +inf comes out as NaN; -inf removes an entry.
    """
    return _SparseMax.apply(z)  # pyright: ignore[reportReturnType]


class _Entmax15(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor) -> Tensor:
        work = z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
        root = _entmax15_root(work)
        ctx.save_for_backward(root)
        return root.square().to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (root,) = ctx.saved_tensors
        inside = root * grad
        mean = inside.sum(-1, keepdim=True).div_(root.sum(-1, keepdim=True))
        return inside.addcmul_(root, mean, value=-1).to(grad.dtype)


def _entmax15_root(z: Tensor) -> Tensor:
    """max(z / 2 - t, 0), whose squares sum to one: t solves a quadratic for each size of support,
    and the support is the largest whose smallest entry lies above its t."""
    z = (z - z.amax(-1, keepdim=True)) / 2  # the support then lies in [-1, 0]
    ranked = z.sort(-1, descending=True).values
    place = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    mean = ranked.cumsum(-1) / place
    spread = ranked.square().cumsum(-1) - place * mean.square()
    threshold = mean - ((1 - spread) / place).clamp(min=0).sqrt()
    size = (threshold < ranked).sum(-1, keepdim=True).clamp_(min=1)
    return (z - threshold.gather(-1, size - 1)).clamp_(min=0)


def entmax15(z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Solve argmin_p -z.p + 4/3 sum p^(3/2)  s.t.  p >= 0, sum p = 1 for each row of `z`.

    Peters, Niculae & Martins 2019, alpha = 1.5: sparse as SparseMax, but an entry leaves the
    support smoothly, and entries up to 2 below the largest may stay where SparseMax has 1. Exact,
    O(d log d): p = max(z / 2 - t, 0)^2, gradient s (g - mean of g weighed by s), s = sqrt(p).
    Half precisions are computed in float32. A row with NaN or +inf comes out as NaN.
    """
    return _Entmax15.apply(z)  # pyright: ignore[reportReturnType]


def softmax(z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Solve argmin_p -z.p + sum p log p  s.t.  sum p = 1 for each row: p = exp(z) / sum exp(z)."""
    return torch.softmax(z, dim=-1)


Sink = Callable[["SimplexMap", Tensor, Tensor], None]


class SimplexMap(nn.Module):
    """A map of rows of length `dim` onto the simplex: in closed form, or as its program.

    engine: "closed", or one of `OptLayer`'s. on_error is `OptLayer`'s; the closed form gives a row
    that is not finite NaN in either case. audit: the fraction of rows that ECOS solves again; the
    largest difference is logged and kept in `largest_difference`.
    """

    closed: Callable[[Tensor], Tensor]
    depth: float  # an entry this far below the largest of its row keeps nothing, in float64

    def __init__(
        self, dim: int, engine: str = "closed", *, on_error: str = "raise", audit: float = 0.0
    ):
        super().__init__()
        if engine not in ENGINES:
            raise ValueError(f"engine is {engine!r}; choose one of {', '.join(ENGINES)}")
        if dim < 1:
            raise ValueError(f"dim is {dim}; a row has at least one entry")
        if not 0 <= audit <= 1:
            raise ValueError(f"audit is {audit}; it is a fraction of rows, from 0 to 1")
        self.dim, self.engine, self.audit = dim, engine, audit
        self.layer = None if engine == "closed" else self.program(engine, on_error)
        self.auditor: OptLayer | None = None
        self.sink: Sink | None = None
        self._chance = torch.Generator().manual_seed(0)
        self.largest_difference = 0.0

    def program(self, engine: str, on_error: str) -> OptLayer:
        """The declaration, which every engine but the closed form solves."""
        raise NotImplementedError

    def forward(self, z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        if z.shape[-1] != self.dim:
            raise ValueError(
                f"rows of length {z.shape[-1]} meet a layer made for {self.dim}; build it with "
                f"the length of its input"
            )
        p = type(self).closed(z) if self.layer is None else self._solved(self.layer, z)
        if self.sink is not None:
            self.sink(self, z.detach().reshape(-1, self.dim), p.detach().reshape(-1, self.dim))
        elif self.audit:
            self._compare(z.detach().reshape(-1, self.dim), p.detach().reshape(-1, self.dim))
        return p

    def distances(self, z: Float[Tensor, "b d"], p: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """How far each row of `p` is, at most, from ECOS's solution of `z`, polished.

        NaN where ECOS has none, as of a row that is not finite; 1, the farthest that an entry of
        the simplex can be off, where only `p` is not finite.
        """
        if self.auditor is None:
            self.auditor = self.program("ecos", "nan")
        exact = self.auditor(self._near(z))
        apart = (exact - p).abs().amax(-1)
        return torch.where(p.isfinite().all(-1) | ~exact.isfinite().all(-1), apart, 1.0)

    def _solved(self, layer: OptLayer, z: Tensor) -> Tensor:
        p = layer(self._near(z).reshape(-1, self.dim)).reshape(z.shape)
        return p.clamp(min=0).to(z.dtype)  # a polish may leave an entry 1e-40 below

    def _near(self, z: Tensor) -> Tensor:
        """The same solution and gradient from small numbers: no digits cancel, none overflow.

        On the simplex a number added to a whole row changes nothing, nor does how deep an entry
        lies that keeps nothing. Rows that are not finite stay so, to be refused by name.
        """
        exact = z.double()
        below = exact - exact.detach().amax(-1, keepdim=True)
        return torch.where(exact.isfinite(), below.clamp(min=-self.depth), exact)

    def extra_repr(self) -> str:
        return f"{self.dim}, engine={self.engine!r}"

    def _compare(self, z: Tensor, p: Tensor) -> None:
        rows = torch.rand(len(z), generator=self._chance).lt(self.audit).to(z.device)
        if rows.any():
            difference = float(self.distances(z[rows], p[rows]).nan_to_num(0).max())
            self.largest_difference = max(self.largest_difference, difference)
            logger.info("audit: %d rows by ECOS, largest difference %.1e", rows.sum(), difference)


class SparseMax(SimplexMap):
    """The attentive map: argmin_p |p - z|^2  s.t.  p >= 0, sum p = 1, for rows of length `dim`."""

    closed = staticmethod(sparsemax)
    depth = 2.0

    def program(self, engine: str, on_error: str) -> OptLayer:
        import cvxpy as cp

        return OptLayer(
            [cp.Variable(self.dim)],
            [cp.Parameter(self.dim)],
            lambda p, z: cp.sum_squares(p - z),
            [lambda p, z: -p],
            [lambda p, z: cp.sum(p) - 1],
            engine=engine,
            on_error=on_error,
        )


class Entmax15(SimplexMap):
    """Between both: argmin_p -z.p + 4/3 sum p^(3/2)  s.t.  p >= 0, sum p = 1, for rows of `dim`."""

    closed = staticmethod(entmax15)
    depth = 4.0

    def program(self, engine: str, on_error: str) -> OptLayer:
        import cvxpy as cp

        return OptLayer(
            [cp.Variable(self.dim)],
            [cp.Parameter(self.dim)],
            lambda p, z: -p @ z + 4 / 3 * cp.sum(cp.power(p, 1.5)),
            [lambda p, z: -p],
            [lambda p, z: cp.sum(p) - 1],
            engine=engine,
            on_error=on_error,
        )


class SoftMax(SimplexMap):
    """The inattentive map: argmin_p -z.p + sum p log p  s.t.  sum p = 1, for rows of `dim`."""

    closed = staticmethod(softmax)
    depth = 750.0

    def program(self, engine: str, on_error: str) -> OptLayer:
        import cvxpy as cp

        return OptLayer(
            [cp.Variable(self.dim)],
            [cp.Parameter(self.dim)],
            lambda p, z: -p @ z - cp.sum(cp.entr(p)),
            [],
            [lambda p, z: cp.sum(p) - 1],
            engine=engine,
            on_error=on_error,
        )
