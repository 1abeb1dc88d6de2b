"""How fast, how exact and how hungry the optimisation layers are.

    python benchmarks/layers.py [--quick] [--out FILE.json]

Every number of one table comes from one interleaved run (route after route, round after round), so
that a busy machine slows all of them alike: trust the ratios. The baseline is the published route,
written here: for each row a CVXPY solve with ECOS, the dense Jacobian of the KKT residual by
automatic differentiation, and a hook that solves with it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cvxpy as cp
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
from avce.layers import SoftMax, SparseMax, softmax, sparsemax

ROWS, DIM = 256, 32
Layer = Callable[[Tensor], Tensor]


class PaperRoute:
    """SparseMax or SoftMax as the paper describes it, row by row; the thing to beat."""

    def __init__(self, name: str, dim: int):
        self.sparse, self.dim = name == "sparse", dim
        self.p, self.z = cp.Variable(dim), cp.Parameter(dim)
        simplex: list = [cp.sum(self.p) - 1 == 0]
        if self.sparse:
            objective = cp.sum_squares(self.p - self.z)
            simplex.append(-self.p <= 0)
        else:
            objective = -self.p @ self.z - cp.sum(cp.entr(self.p))
        self.problem = cp.Problem(cp.Minimize(objective), simplex)

    def __call__(self, z: Tensor) -> Tensor:
        return torch.stack([self.row(row) for row in z])

    def row(self, z: Tensor) -> Tensor:
        y = self.solve(z)
        jacobian: Any = torch.autograd.functional.jacobian(
            lambda u: self.residual(u, z.detach()), y
        )
        answer = y - self.residual(y, z)
        if answer.requires_grad:
            answer.register_hook(lambda grad: torch.linalg.solve(jacobian.T, grad))
        return answer[: self.dim]

    def solve(self, z: Tensor) -> Tensor:
        self.z.value = z.detach().numpy()
        self.problem.solve(solver=cp.ECOS)
        duals = [constraint.dual_value for constraint in self.problem.constraints[::-1]]
        parts = [self.p.value, *duals]
        return torch.cat([torch.as_tensor(part, dtype=z.dtype).reshape(-1) for part in parts])

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        """Equation (4) of the supplement."""
        p, nu = y[: self.dim], y[-1:]
        if not self.sparse:
            return torch.cat([-z + p.log() + 1 + nu, p.sum()[None] - 1])
        lam = y[self.dim : -1]
        return torch.cat([2 * (p - z) - lam + nu, -lam * p, p.sum()[None] - 1])


def cvxpylayer(name: str, dim: int, solver: str) -> Layer:
    """cvxpylayers as its users call it, with one of its solvers."""
    from cvxpylayers.torch import CvxpyLayer  # pyright: ignore[reportPrivateImportUsage]

    route = PaperRoute(name, dim)
    layer = CvxpyLayer(route.problem, parameters=[route.z], variables=[route.p])
    return lambda z: layer(z, solver_args={"solve_method": solver})[0]


def routes(name: str, dim: int, slow: bool) -> dict[str, Layer]:
    make, closed = (SparseMax, sparsemax) if name == "sparse" else (SoftMax, softmax)
    found: dict[str, Layer] = {"paper": PaperRoute(name, dim)} if slow else {}
    if slow:
        for solver in ("ECOS", "SCS", "Clarabel"):
            found[f"cvxpylayers {solver}"] = cvxpylayer(name, dim, solver)
    found |= {"ecos": make(dim, "ecos"), "batched": make(dim, "batched"), "closed": closed}
    if name == "sparse":
        import entmax

        found["entmax"] = lambda z: entmax.sparsemax(z, -1)
    found["torch.softmax"] = lambda z: torch.softmax(z, -1)
    return found


def once(layer: Layer, z: Tensor, weight: Tensor) -> tuple[float, Tensor, Tensor]:
    """Seconds of one forward and backward pass, and what came out."""
    z = z.clone().requires_grad_()
    start = time.perf_counter()
    p = layer(z)
    (grad,) = torch.autograd.grad(p, z, weight)
    return time.perf_counter() - start, p.detach(), grad


def interleaved(
    layers: dict[str, Layer], z: Tensor, rounds: int, slow_rounds: int
) -> dict[str, dict[str, float]]:
    """Median times; routes under 0.4 s run five times a round. Errors against the closed form."""
    weight = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(1))
    times: dict[str, list[float]] = {name: [] for name in layers}
    some = len(z) // 8
    for layer in layers.values():
        once(layer, z[:some], weight[:some])  # what is set up by the first call is not timed
    warm = {n: once(layer, z[:some], weight[:some])[0] / some for n, layer in layers.items()}
    for turn in range(rounds):
        for name, layer in layers.items():
            slow = warm[name] * len(z) > 0.4
            if slow and turn >= slow_rounds:
                continue
            gc.collect()  # what the routes before have left behind
            for _ in range(1 if slow else 5):
                times[name].append(once(layer, z, weight)[0])
    exact = layers["closed"]
    _, expected, expected_grad = once(exact, z, weight)
    found = {}
    for name, layer in layers.items():
        _, p, grad = once(layer, z, weight)
        found[name] = {
            "ms": statistics.median(times[name]) * 1e3,
            "best_ms": min(times[name]) * 1e3,
            "error": float((p - expected).abs().max()),
            "gradient_error": float((grad - expected_grad).abs().max()),
        }
    return found


def speed(quick: bool) -> dict:
    z = torch.randn(ROWS, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = {}
    for name in ("sparse", "soft"):
        found = interleaved(routes(name, DIM, slow=True), z, 2 if quick else 7, 1 if quick else 3)
        base = found["paper"]["ms"]
        for row in found.values():
            row["times_less"] = base / row["ms"]
        result[name] = found
        print(f"\n{name}max, {ROWS} x {DIM}, float64, forward + backward")
        print(
            f"{'route':24}{'ms':>10}{'best ms':>10}{'x less':>10}{'p error':>10}{'vjp error':>11}"
        )
        for route, row in found.items():
            if route == "torch.softmax" and name == "sparse":
                row["error"] = row["gradient_error"] = float("nan")  # another map: for its time
            print(
                f"{route:24}{row['ms']:10.3f}{row['best_ms']:10.3f}{row['times_less']:10.1f}"
                f"{row['error']:10.0e}{row['gradient_error']:11.0e}"
            )
    return result


def scaling(quick: bool) -> dict:
    """Milliseconds against the number of rows and the length of a row."""
    sizes = [(n, DIM) for n in ((32, 256) if quick else (32, 256, 1024, 4096))]
    sizes += [(ROWS, d) for d in ((8, 128) if quick else (8, 128, 512))]
    result = {}
    heads = [f"{name} {engine}" for name in ("sparse", "soft") for engine in _OURS]
    print(f"\n{'rows x d, ms':12}" + "".join(f"{head:>16}" for head in heads))
    for n, d in sizes:
        z = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(n + d))
        row = {}
        for name in ("sparse", "soft"):
            layers = {k: v for k, v in routes(name, d, False).items() if k in _OURS}
            found = interleaved(layers, z, 2 if quick else 3, 1)
            row |= {f"{name} {k}": v["ms"] for k, v in found.items()}
        result[f"{n}x{d}"] = row
        print(f"{n:>6} x {d:<4}" + "".join(f"{ms:16.2f}" for ms in row.values()))
    return result


_OURS = ("ecos", "batched", "closed")


def robustness(quick: bool) -> dict:
    """Failures and the worst row of many, for N(0, 1) and 10 N(0, 1)."""
    count, chunk = (2_000, 2_000) if quick else (100_000, 4_000)
    result = {}
    print(
        f"\n{'rows of 32':24}{'scale':>8}{'rows':>9}{'failed':>8}{'worst p':>10}{'worst vjp':>11}"
    )
    for name in ("sparse", "soft"):
        make, closed = (SparseMax, sparsemax) if name == "sparse" else (SoftMax, softmax)
        for engine in ("ecos", "batched"):
            layer = make(DIM, engine, on_error="nan")
            for scale in (1, 10):
                found = _many(layer, closed, count, chunk, scale)
                result[f"{name} {engine} {scale}"] = found
                print(
                    f"{name + ' ' + engine:24}{scale:8}{count:9}{found['failed']:8}"
                    f"{found['error']:10.0e}{found['gradient_error']:11.0e}"
                )
    return result


def _many(layer: Layer, closed: Layer, count: int, chunk: int, scale: float) -> dict:
    generator = torch.Generator().manual_seed(11)
    failed, error, gradient_error = 0, 0.0, 0.0
    for _ in range(count // chunk):
        z = torch.randn(chunk, DIM, dtype=torch.float64, generator=generator) * scale
        weight = torch.randn(chunk, DIM, dtype=torch.float64, generator=generator)
        _, p, grad = once(layer, z, weight)
        _, expected, expected_grad = once(closed, z, weight)
        failed += int(p.isnan().any(1).sum())
        error = max(error, float((p - expected).abs().nan_to_num(0).max()))
        gradient_error = max(gradient_error, float((grad - expected_grad).abs().max()))
    return {"failed": failed, "error": error, "gradient_error": gradient_error}


def memory() -> dict:
    """Peak resident memory of one forward and backward pass above what was there before, MiB."""
    result = {}
    print(f"\n{'peak MiB, one pass':24}" + "".join(f"{f'{n} x {d}':>12}" for n, d in _PEAKS))
    for name in ("sparse", "soft"):
        for engine in _OURS:
            row = [_peak_of(name, engine, *size) for size in _PEAKS]
            result[f"{name} {engine}"] = row
            print(f"{f'{name} {engine}':24}" + "".join(f"{peak:12.1f}" for peak in row))
    return result


_PEAKS = ((256, 32), (4096, 32), (256, 512))


def _peak_of(*case: str | int) -> float:
    """MiB, in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--peak", *map(str, case)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _peak(name: str, engine: str, n: int, d: int) -> None:
    closed = sparsemax if name == "sparse" else softmax
    layer = (
        closed if engine == "closed" else {"sparse": SparseMax, "soft": SoftMax}[name](d, engine)
    )
    z = torch.randn(n, d, dtype=torch.float64)
    once(layer, z[:8], z[:8])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports (Linux)
    before = _resident("VmRSS")
    once(layer, z, z)
    print((_resident("VmHWM") - before) / 1024)


def _resident(field: str) -> int:
    """KiB"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows, a minute")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/layers.json"))
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        name, engine, n, d = arguments.peak
        return _peak(name, engine, int(n), int(d))
    about = {
        "machine": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(about)
    result = {"about": about, "speed": speed(arguments.quick)}
    result |= {"scaling": scaling(arguments.quick), "robustness": robustness(arguments.quick)}
    result["memory"] = memory()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    part = arguments.out.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1))
    part.replace(arguments.out)
    print(f"\nwritten to {arguments.out}")


if __name__ == "__main__":
    main()
