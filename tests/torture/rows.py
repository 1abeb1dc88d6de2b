"""Adversarial rows through every engine of the layers: the closed form, or a refusal of the row."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.torture.child import run
from tests.torture.world import Verdict, World

ENGINES = ("closed", "ecos", "batched", "cvxpylayers")
_NUMBERS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 5e-324, 1e-8, 1e8, 1e16, 1e154, 1e300, -1e300, 1e308,
    1 + 2**-52, 1 / 3, 37.0, 745.0, -745.0, 710.0,
)  # fmt: skip
_BROKEN = (float("nan"), float("inf"), float("-inf"))


def simplex(world: World, rng: Random, folder: Path) -> Verdict:
    """SparseMax or SoftMax of a few rows of odd numbers."""
    name, engine = rng.choice(["SparseMax", "SoftMax"]), rng.choice(ENGINES)
    width, height = rng.choice([1, 2, 3, 4, 32]), rng.choice([1, 2, 5])
    rows = [_row(rng, width) for _ in range(height)]

    def ask() -> None:
        import torch

        from avce import layers

        z = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
        try:
            p = getattr(layers, name)(width, engine)(z)
            (slope,) = torch.autograd.grad(p[:, 0].sum(), z)
        except (layers.SolveError, ValueError) as error:
            print("REFUSED", ascii(str(error))[:400])
            return
        closed = {"SparseMax": layers.sparsemax, "SoftMax": layers.softmax}[name](z)
        finite = z.isfinite().all(1)
        off = (p - closed)[finite].abs().max() if finite.any() else torch.tensor(0.0)
        steep = slope[finite].isfinite().all() and (slope[finite].abs() <= 1 + 1e-6).all()
        told = bool(off < (1e-6 if engine != "cvxpylayers" else 1e-3)) and bool(steep)
        print("READ" if told else f"OTHER off by {off:.1e}, slope {slope.tolist()}")

    ended = run(ask, folder / "place", limit=60)
    said = f"{name} by {engine} of {rows}: {ended.text[-1200:]}"
    word = ended.out.split()[0] if ended.out else ""
    if ended.fault or ended.code:
        return Verdict(ended.fault or "tracebacks", said)
    return Verdict({"READ": "survived", "REFUSED": "refused"}.get(word, "other"), said)


def program(world: World, rng: Random, folder: Path) -> Verdict:
    """A random convex program through both engines, CVXPY and differences."""
    seed = rng.randrange(10**6)

    def ask() -> None:
        from tests.avce.layers.random_programs import verdict

        print(verdict(seed))

    ended = run(ask, folder / "place", limit=90)
    said = f"python -m tests.avce.layers.random_programs 1 {seed}: {ended.text[-1200:]}"
    if ended.fault or ended.code:
        return Verdict(ended.fault or "tracebacks", said)
    outcomes = {"solved": "survived", "refused": "refused", "no": "refused"}
    return Verdict(outcomes.get(ended.out.replace(":", " ").split()[0], "other"), said)


def _row(rng: Random, width: int) -> list[float]:
    kind = rng.randrange(5)
    if kind == 0:
        return [rng.choice(_NUMBERS)] * width
    if kind == 1:
        scale = 10.0 ** rng.randint(-300, 300)
        return [rng.gauss(0, 1) * scale for _ in range(width)]
    if kind == 2:
        base = rng.choice(_NUMBERS)
        return [base * (1 + k * 2**-52) for k in range(width)]
    row = [rng.choice(_NUMBERS) for _ in range(width)]
    if kind == 3 and rng.random() < 0.3:
        row[rng.randrange(width)] = rng.choice(_BROKEN)
    return row
