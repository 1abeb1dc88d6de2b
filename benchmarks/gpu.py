"""What must hold on a GPU, found out by one command: each check a JSON line, a table at the end.

    python benchmarks/gpu.py [--device cuda|cpu] [--quick] [--only NAMES] [--json FILE]

Exit code 1 where something does not hold. With `--device cpu` the same checks run on the CPU, so
that a machine without a GPU shows that they run; what only a GPU can answer says so. Everything is
drawn here. Speed is compared within this run: ours and the other way in turns, medians.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import feed
import step

from avce import RECIPES, build_method, fit
from avce.layers import SoftMax, SparseMax
from pipelines import Augment, batches
from pipelines.augment import EVALUATION, draw
from pipelines.decode import Decoder, Graph, Undecodable, inputs
from pipelines.health import flavours
from pipelines.pixels import STD, Geometry
from shards import LabelIndex, Selection

BATCH = 64
JITTER = Augment(brightness=0.2, contrast=0.2)
LEVELS = {"jpeg": 3.0, "png": 0.001}  # grey levels between the CPU's decoder and the GPU's


@dataclass(frozen=True)
class Place:
    """Where and on what the checks run."""

    device: torch.device
    quick: bool
    root: Path

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def number(self) -> int | None:
        return torch.cuda.current_device() if self.on_gpu else None

    @property
    def selection(self) -> Selection:
        return LabelIndex.open(self.root / "tars").where(split="train")

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def ms(self, once: Callable[[], Any], runs: int = 15) -> float:
        """Median of one call, the device idle before and after."""
        times = []
        for _ in range(2 if self.quick else runs):
            self.wait()
            start = time.perf_counter()
            once()
            self.wait()
            times.append(time.perf_counter() - start)
        return round(1e3 * statistics.median(times), 3)


Found = Iterator[tuple[str, Any, bool | None]]  # of what, what was found, whether that may be

CHECKS: dict[str, tuple[str, Callable[[Place], Found]]] = {}


def check(must: str) -> Callable[[Callable[[Place], Found]], Callable[[Place], Found]]:
    """A check under its function's name, with what must hold."""

    def keep(function: Callable[[Place], Found]) -> Callable[[Place], Found]:
        CHECKS[function.__name__] = must, function
        return function

    return keep


@check("one flavour of DALI; torch sees the device")
def environment(place: Place) -> Found:
    yield "torch", f"{torch.__version__}, CUDA {torch.version.cuda}", None
    yield "DALI", ", ".join(flavours()), len(flavours()) == 1
    if place.on_gpu:
        yield "device", torch.cuda.get_device_name(place.number), True


@check("all pass")
def tests(place: Place) -> Found:
    if not place.on_gpu:
        yield "pytest -m gpu", "needs a GPU", None
        return
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    yield "pytest -m gpu", done.stdout.strip().splitlines()[-1], done.returncode == 0


def pictures() -> dict[str, bytes]:
    """One picture of 64 pixels in every coding that a shard may hold."""
    from PIL import Image

    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    colour = small.resize((64, 64), Image.Resampling.BICUBIC)
    found = {}

    def save(name: str, image: Any, kind: str, **how: Any) -> None:
        file = io.BytesIO()
        image.save(file, kind, **how)
        found[f"{kind.lower()} {name}"] = file.getvalue()

    for sampling, name in enumerate(("4:4:4", "4:2:2", "4:2:0")):
        for quality in (50, 95):
            save(f"{name} q{quality}", colour, "JPEG", subsampling=sampling, quality=quality)
        save(f"{name} progressive", colour, "JPEG", subsampling=sampling, progressive=True)
    save("grey", colour.convert("L"), "JPEG")
    save("optimised", colour, "JPEG", optimize=True)
    save("restarts", colour, "JPEG", restart_marker_blocks=2)
    save("commented", colour, "JPEG", comment=b"drawn")
    for level in (0, 9):
        save(f"level {level}", colour, "PNG", compress_level=level)
    save("grey", colour.convert("L"), "PNG")
    return found


def decoded(content: bytes, device: int | None, stored: int = 64, size: int = 56) -> np.ndarray:
    """The evaluation graph's pixels in grey levels. Raises Undecodable."""
    geometry = Geometry(size, stored)
    decoder = Decoder(Graph(geometry, 1, 1, device).pixels, device)
    decoder.put([np.frombuffer(content, np.uint8)], inputs(draw(EVALUATION, 0, 0, 0, 1), geometry))
    return decoder.get()[0].cpu().numpy() * STD[:, None, None]


@check("JPEG within 3 grey levels of the CPU's decoder, PNG the same")
def parity(place: Place) -> Found:
    for name, content in pictures().items():
        gap = np.abs(decoded(content, None) - decoded(content, place.number)).max()
        yield name, f"{gap:.2f} levels", bool(gap <= LEVELS[name.split()[0]])


@check("refused on the device where the CPU refuses")
def damage(place: Place) -> Found:
    good = pictures()["jpeg 4:2:0 q95"]
    table = good.index(b"\xff\xc4") + 5
    harms = {
        "cut at half": good[: len(good) // 2],
        "cut at 95 %": good[: len(good) * 95 // 100],
        "end missing": good[:-2],
        "impossible table": good[:table] + b"\xff" * 16 + good[table + 16 :],
    }
    for name, content in harms.items():
        here, there = refused(content, None), refused(content, place.number)
        yield name, f"CPU {here}, device {there}", here == there


def refused(content: bytes, device: int | None) -> bool:
    try:
        decoded(content, device)
    except Undecodable:
        return True
    return False


@check("no batch is overwritten while kernels that read it wait")
def lifetime(place: Place) -> Found:
    work = torch.randn(2048 if place.on_gpu else 8, 2048 if place.on_gpu else 8).to(place.device)

    def sums(patient: bool) -> torch.Tensor:
        found = []
        with closing(batches(place.selection, BATCH, augment=True, device=place.device)) as stream:
            for batch in islice(chain.from_iterable(repeat(stream)), 4 if place.quick else 60):
                for _ in range(20):
                    work.copy_((work @ work).clamp(-1, 1))
                found.append(batch.image.double().sum((1, 2, 3)))
                if patient:
                    place.wait()
        return torch.cat(found).cpu()

    differ = int((sums(True) != sums(False)).sum())
    yield "images overwritten", differ, differ == 0


@check("the host waits for the device nowhere in fetching a batch")
def waits(place: Place) -> Found:
    if not place.on_gpu:
        yield "waits in a batch", "needs a GPU", None
        return
    with closing(batches(place.selection, BATCH, augment=JITTER, device=place.device)) as stream:
        stepping = iter(stream)
        next(stepping)
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            next(stepping)
        torch.cuda.set_sync_debug_mode("default")
    yield "waits in a batch", [f"{c.filename}:{c.lineno}" for c in caught], not caught


@check("the first batch within 0.3 s of building the stream, after a warm-up")
def build(place: Place) -> Found:
    for turn in ("cold", "warm"):
        start = time.perf_counter()
        with closing(batches(place.selection, BATCH, augment=True, device=place.device)) as stream:
            next(iter(stream))
            place.wait()
            took = time.perf_counter() - start
        yield f"first batch, {turn}", f"{took:.3f} s", took < 0.3 if turn == "warm" else None


def rate(place: Place, counts: Iterator[int], images: int) -> float:
    """Images a second, once what was decoded ahead is gone."""
    for _ in range(4):
        next(counts)
    place.wait()
    start, done = time.perf_counter(), 0
    while done < images:
        done += next(counts)
    place.wait()
    return done / (time.perf_counter() - start)


def endless(stream: Any) -> Iterator[int]:
    while True:
        yield from (len(batch.image) for batch in stream)


@check("at least DALI's own reader (0.9 for noise); at least 3.3 times webdataset")
def rates(place: Place) -> Found:
    selection, images = place.selection, 256 if place.quick else 6000
    options: dict[str, Any] = {"augment": JITTER, "device": place.device}
    ways: dict[str, Iterator[int]] = {
        "ours": endless(batches(selection, BATCH, **options)),
        "ours, channels last": endless(batches(selection, BATCH, channels_last=True, **options)),
        "DALI's reader": feed.dali(place.root, device=place.number),
        "ours, cache on the device": endless(batches(selection, BATCH, cache="device", **options)),
    }
    if not place.quick:
        ways["webdataset"] = feed.web(place.root, True)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 if place.quick else 3):
        for name, counts in ways.items():
            found[name].append(rate(place, counts, images))
    medians = {name: statistics.median(numbers) for name, numbers in found.items()}
    for name, number in medians.items():
        least = {"DALI's reader": 0.9, "webdataset": 3.3}.get(name)
        ratio = medians["ours"] / number
        holds = None if least is None or place.quick else ratio >= least
        yield name, f"{number:.0f} images/s, ours is {ratio:.2f}x", holds


@check("the pixels of no cache, bit for bit")
def cache(place: Place) -> Found:
    options: dict[str, Any] = {"augment": JITTER, "device": place.device}
    plain = batches(place.selection, BATCH, **options)
    kept = batches(place.selection, BATCH, cache="device", **options)
    for epoch in range(2):
        same = [torch.equal(a.image, b.image) for a, b in zip(plain, kept, strict=True)]
        yield f"epoch {epoch}", f"{sum(same)} of {len(same)} batches the same", all(same)


@check("every engine within 1e-9 of the closed form in float64, on the device")
def layers(place: Place) -> Found:
    torch.manual_seed(0)
    z = torch.randn(64 if place.quick else 256, 32, device=place.device, dtype=torch.float64)
    for kind in (SparseMax, SoftMax):
        exact = kind(32)(z)
        for engine in ("closed", "batched", "ecos"):
            layer = kind(32, engine=engine)
            gap = float((layer(z) - exact).abs().max())
            once = place.ms(lambda layer=layer: layer(z.requires_grad_()).sum().backward())
            yield f"{kind.__name__} {engine}", f"{gap:.0e}, {once} ms", gap < 1e-9


@check("finite; the times are told")
def updates(place: Place) -> Found:
    batch, size = (8, 64) if place.quick else (256, 224)
    for name in ("avce", "avce_joint") if place.quick else ("avce", "avce_joint", "resnet18"):
        for channels_last in (False, True):
            config = replace(RECIPES[name], weights="none", channels_last=channels_last)
            update = step.updater(config, batch, size, place.device)
            for half in (False, True):
                with torch.autocast(place.device.type, torch.bfloat16, enabled=half):
                    took = place.ms(update)
                precision = "bf16" if half else "float32"
                layout = "channels last" if channels_last else "channels first"
                yield f"{name}, {precision}, {layout}", f"{took} ms", None


def trained(place: Place, run: Path, resume: bool = False) -> list[dict[str, Any]]:
    """A short training of `avce_joint`; its log."""
    quick = {"epochs": 1, "image_size": 64, "batch_size": 16, "checkpoint_every_steps": 4}
    config = replace(
        RECIPES["avce_joint"],
        weights="none",
        log_with="none",
        log_every=4,
        keep_last=9,
        **(quick if place.quick else {"epochs": 2, "checkpoint_every_steps": 20}),
    )
    options: dict[str, Any] = {"image_size": config.image_size, "device": place.device}
    held = batches(place.selection.take(np.arange(32)), 16, **options)
    with closing(batches(place.selection, config.batch_size, augment=True, **options)) as train:
        torch.manual_seed(0)
        fit(build_method(config), config, train, held, run=run, resume=resume)
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@check("waiting for images is at most 1 % of a step")
def training(place: Place) -> Found:
    log = [r for r in trained(place, place.root / "run") if "wait_ms" in r][1:]
    wait = statistics.median(r["wait_ms"] for r in log)
    images = statistics.median(r["images_per_s"] for r in log)
    yield "rate", f"{images:.0f} images/s", None
    size = 16 if place.quick else RECIPES["avce_joint"].batch_size
    share = wait * images / (1e3 * size)
    yield "wait", f"{wait:.2f} ms, {share:.2%} of a step", None if place.quick else share <= 0.01


@check("resumed as near to the uninterrupted run as a second run is")
def resume(place: Place) -> Found:
    import shutil

    from safetensors.torch import load_file

    weights = []
    for name in ("first", "second"):
        trained(place, place.root / name)
        weights.append(load_file(place.root / name / "last.safetensors"))
    for late in sorted((place.root / "first" / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(late)
    trained(place, place.root / "first", resume=True)
    weights.append(load_file(place.root / "first" / "last.safetensors"))
    again, resumed = (
        max(float((weights[0][k].double() - other[k].double()).abs().max()) for k in other)
        for other in weights[1:]
    )
    yield "weights differ by", f"{resumed:.1e}, a second run by {again:.1e}", resumed <= again


@check("the device's predictions within 1e-2 of the scale of the CPU's (TF32)")
def predictions(place: Place) -> Found:
    torch.manual_seed(0)
    method = build_method(replace(RECIPES["avce_joint"], weights="none")).eval()
    image = torch.randn(8, 3, 224, 224)
    with torch.inference_mode():
        here = method.predict(image)
        there = method.to(place.device).predict(image.to(place.device)).cpu()
    gap = float((here - there).abs().max() / here.abs().max())
    yield "worst", f"{gap:.1e} of the scale", gap <= 1e-2


def run(place: Place, names: list[str]) -> list[dict[str, Any]]:
    """All found, each printed as it is; a check that fails to run is one that does not hold."""
    lines: list[dict[str, Any]] = []

    def say(**line: Any) -> None:
        lines.append(line)
        print(json.dumps(line), flush=True)

    for name in names:
        must, function = CHECKS[name]
        try:
            for of, found, holds in function(place):
                say(check=name, of=of, found=found, holds=holds, must=must)
        except Exception as error:  # the others may still answer
            say(check=name, of="error", found=repr(error)[:400], holds=False, must=must)
    return lines


def table(lines: list[dict[str, Any]]) -> Iterator[str]:
    yield "| check | of | found | holds | must hold |"
    yield "|---|---|---|---|---|"
    words = {True: "yes", False: "**no**", None: "-"}
    for line in lines:
        yield (
            f"| {line['check']} | {line['of']} | {line['found']} | {words[line['holds']]} "
            f"| {line['must']} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes, no claim of speed")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=[*CHECKS])
    parser.add_argument("--json", type=Path, help="where to write all lines")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; rehearse with --device cpu --quick")
    images = 160 if options.quick else 6000
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        feed.draw(root, images)
        feed.pack(root, "tars", -(-images // 4))
        lines = run(Place(device, options.quick, root), options.only)
    print("\n" + "\n".join(table(lines)))
    if options.json:
        options.json.write_text(json.dumps(lines, indent=2) + "\n")
    sys.exit(any(line["holds"] is False for line in lines))


if __name__ == "__main__":
    main()
