"""Milliseconds per update and per inference of every method, as the supplement has it (section 8).

    python benchmarks/step.py [--device cpu|cuda] [--batch 64 256] [--runs 20] [--quick]
        [--choices | --audit]

A training update is everything one batch costs: all forwards, backwards and optimiser steps, both
phases where a method has two. A test is encoder, compressor and regressor on one image in
inference mode. All variants are built first and timed in turn, round after round, so that a busy
neighbour slows them alike; the table shows medians and the ratio of medians to `baseline_light`.
Inputs are fixed random tensors already on the device. With --choices each thing that could make an
update of `avce joint` faster is switched alone, beside the plain one. With --audit an update of
`avce two_phase` is timed with and without ECOS certifying all rows beside it, in turns of 4.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from avce.config import Config
from avce.layers import SimplexMap
from avce.method.build import Method, build_method
from avce.ranks import Ranks
from avce.recipes import RECIPES
from avce.training.audit import Audit

PUBLISHED = {  # ms: training update, test; AlexNet, 224 x 224, batch unknown
    "baseline": (213.7, 1.46),
    "caf": (529.1, 1.10),
    "avce two_phase": (451.6, 1.07),
}
TARGETS = {"avce joint": 1.10, "avce two_phase": 2.05, "caf": 2.2}  # of baseline_light
INFERENCE_TARGET = 0.75  # AVCE of baseline
WARM_UP = 10


def variants() -> dict[str, Config]:
    """What is compared, from scratch: speed does not depend on the weights."""
    chosen = {
        "baseline": RECIPES["baseline"],
        "baseline_light": RECIPES["baseline_light"],
        "caf": RECIPES["caf"],
        "avce joint": RECIPES["avce_joint"],
        "avce two_phase": RECIPES["avce"],
    }
    return {name: replace(config, weights="none") for name, config in chosen.items()}


Optimizers = dict[str, torch.optim.Optimizer]
Tune = Callable[[Method, Optimizers], None]


def nothing(method: Method, optimizers: Optimizers) -> None:
    """As the trainer has it."""


def unfused(method: Method, optimizers: Optimizers) -> None:
    """torch's default: one kernel for each operation of the update rule."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["fused"] = False


def compiled(method: Method, optimizers: Optimizers) -> None:
    """The encoder through torch.compile."""
    method.model.encoder.compile()


def choices() -> dict[str, tuple[Config, Tune]]:
    """`avce joint` with one thing changed."""
    joint = variants()["avce joint"]
    return {
        "avce joint": (joint, nothing),
        "channels_last": (replace(joint, channels_last=True), nothing),
        "optimisers not fused": (joint, unfused),
        "encoder compiled": (joint, compiled),
        "compiled, channels_last": (replace(joint, channels_last=True), compiled),
        "a second forward (two_phase)": (variants()["avce two_phase"], nothing),
    }


@dataclass
class Timing:
    """Seconds of one variant, round by round."""

    seconds: list[float]

    @property
    def median_ms(self) -> float:
        return 1e3 * statistics.median(self.seconds)

    def as_dict(self) -> dict[str, float]:
        spread = statistics.stdev(self.seconds) if len(self.seconds) > 1 else 0.0
        return {
            "median_ms": self.median_ms,
            "mean_ms": 1e3 * statistics.fmean(self.seconds),
            "std_ms": 1e3 * spread,
        }


def updater(
    config: Config, batch: int, size: int, device: torch.device, tune: Tune = nothing
) -> Callable[[], None]:
    """One full parameter update of `config` on a fixed batch."""
    method = build_method(config).to(device).train()
    image, target = inputs(batch, size, device)
    if config.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        image = image.contiguous(memory_format=torch.channels_last)
    optimizers = method.optimizers(config)
    tune(method, optimizers)

    def update() -> None:
        for phase, trained in method.phases.items():
            losses = method(image, target, phase)
            torch.stack(list(losses.values())).sum().backward()
            for name in trained:
                optimizers[name].step()
            method.zero_grad(set_to_none=True)

    return update


def tester(config: Config, size: int, device: torch.device) -> Callable[[], None]:
    """One prediction for one image."""
    method = build_method(config).to(device).eval()
    image, _ = inputs(1, size, device)

    def test() -> None:
        with torch.inference_mode():
            method.predict(image)

    return test


def inputs(batch: int, size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(batch, 3, size, size, generator=generator)
    target = torch.rand(batch, 2, generator=generator) * 2 - 1
    return image.to(device), target.to(device)


def interleaved(
    jobs: dict[str, Callable[[], None]], runs: int, warm_up: int, device: torch.device
) -> dict[str, Timing]:
    """Each job once a round, `runs` rounds, after `warm_up` untimed ones."""
    timings = {name: Timing([]) for name in jobs}
    for i in range(warm_up + runs):
        for name, job in jobs.items():
            seconds = timed(job, device)
            if i >= warm_up:
                timings[name].seconds.append(seconds)
    return timings


def timed(job: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    job()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def show_training(batch: int, timings: dict[str, Timing]) -> None:
    print(
        f"\none training update, batch {batch}: median ms | x baseline_light | target | published"
    )
    base = timings["baseline_light"].median_ms
    for name, timing in timings.items():
        ratio = timing.median_ms / base
        target = TARGETS.get(name)
        wanted = "" if target is None else f"<= {target:.2f} {verdict(ratio <= target)}"
        published = f"{PUBLISHED[name][0]}" if name in PUBLISHED else ""
        print(f"{name:32s} {timing.median_ms:9.1f}  {ratio:5.2f}x  {wanted:14s} {published}")


def show_choices(batch: int, timings: dict[str, Timing]) -> None:
    print(f"\navce joint with one thing changed, batch {batch}: median ms | x plain")
    for name, timing in timings.items():
        print(f"{name:32s} {timing.median_ms:9.1f}  {timing.median_ms / plain(timings):5.2f}x")


def show_audit(batch: int, size: int, runs: int, device: torch.device) -> None:
    layers: list[SimplexMap] = []

    def watch(method: Method, _: Optimizers) -> None:
        layers.extend(m for m in method.modules() if isinstance(m, SimplexMap))

    update = updater(variants()["avce two_phase"], batch, size, device, watch)
    audit = Audit(layers, 1.0, Ranks(), None)
    audit.open()
    timings, certified = {"audit=0": Timing([]), "audit=1.0": Timing([])}, 0
    for turn in range(2 * runs + 2):
        name = list(timings)[turn % 2]
        for layer in layers:
            layer.sink = audit.take if name == "audit=1.0" else None
        before = audit.own.rows
        seconds = [timed(update, device) for _ in range(4)]
        if turn > 1:
            timings[name].seconds.extend(seconds)
            certified += audit.own.rows - before
        audit.drain(60.0)
    print(f"\navce two_phase, batch {batch}: median ms | x audit=0")
    for name, timing in timings.items():
        print(f"{name:32s} {timing.median_ms:9.1f}  {timing.median_ms / plain(timings):5.3f}x")
    asked, seconds = batch * 4 * 4 * runs, sum(timings["audit=1.0"].seconds)
    print(f"rows/s: {certified / seconds:.0f} certified of {asked / seconds:.0f}; {audit.close()}")


def plain(timings: dict[str, Timing]) -> float:
    return next(iter(timings.values())).median_ms


def show_test(timings: dict[str, Timing]) -> None:
    print("\none test, batch 1: median ms | x baseline | target | published")
    base = timings["baseline"].median_ms
    for name, timing in timings.items():
        ratio = timing.median_ms / base
        wanted = ""
        if name == "avce two_phase":
            wanted = f"<= {INFERENCE_TARGET:.2f} {verdict(ratio <= INFERENCE_TARGET)}"
        published = f"{PUBLISHED[name][1]}" if name in PUBLISHED else ""
        print(f"{name:32s} {timing.median_ms:9.2f}  {ratio:5.2f}x  {wanted:14s} {published}")


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--runs", type=int, default=20, help="rounds; the supplement has 100")
    parser.add_argument("--choices", action="store_true", help="what each choice brings, instead")
    parser.add_argument("--audit", action="store_true", help="what certifying costs, instead")
    parser.add_argument("--quick", action="store_true", help="batch 16, 3 rounds: does it run?")
    parser.add_argument("--json", type=Path, help="write all timings here")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    device = torch.device(args.device)
    batches, runs, warm_up = ([16], 3, 1) if args.quick else (args.batch, args.runs, WARM_UP)
    chip = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"{torch.get_num_threads()} threads"
    )
    print(
        f"torch {torch.__version__}, {device} ({chip}), {args.size} px, {runs} rounds, maps closed"
    )
    if args.audit:
        show_audit(batches[0], args.size, runs, device)
        return
    if args.choices:
        for batch in batches:
            jobs = {n: updater(c, batch, args.size, device, t) for n, (c, t) in choices().items()}
            show_choices(batch, interleaved(jobs, runs, min(warm_up, 3), device))
        return
    record: dict[str, dict[str, dict[str, float]]] = {}
    for batch in batches:
        jobs = {name: updater(c, batch, args.size, device) for name, c in variants().items()}
        # an update of 256 images takes ten seconds on two cores: one round warms it as well as ten
        timings = interleaved(jobs, runs, 1 if batch > 64 else warm_up, device)
        show_training(batch, timings)
        record[f"train {batch}"] = {name: t.as_dict() for name, t in timings.items()}
        del jobs
    names = ("baseline", "baseline_light", "caf", "avce two_phase")
    tests = {name: tester(variants()[name], args.size, device) for name in names}
    timings = interleaved(tests, 10 * runs, WARM_UP, device)
    show_test(timings)
    record["test 1"] = {name: t.as_dict() for name, t in timings.items()}
    if args.json:
        args.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
