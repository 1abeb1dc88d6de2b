"""How fast, how lean and how soon images arrive: ours beside other ways over the same JPEGs.

    python benchmarks/feed.py [--quick] [--rounds 3] [--json results.json]

Every way runs in a process of its own, the ways take turns, medians are compared. All crop 224 of
256 at random, flip, jitter brightness and contrast (unless they say otherwise), and give float32
NCHW batches of 64. Images are drawn here, nothing is downloaded. Beside the rate stands the CPU
time an image costs, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

BATCH = 64
CORES = len(os.sched_getaffinity(0))
JITTER = 0.2


# the data: one set of JPEGs as tars with an index, as loose files, and as 1 and 500 tars


def draw(root: Path, n: int) -> None:
    """Noise on three scales, whose JPEGs of 256 pixels have the 20 to 30 KB of a photo."""
    import numpy as np
    import simplejpeg
    from PIL import Image

    def layer(cells: int, strength: float) -> np.ndarray:
        small = rng.normal(0, strength, (cells, cells, 3)).clip(-120, 120) + 128
        image = Image.fromarray(small.astype(np.uint8))
        return np.asarray(image.resize((256, 256), Image.Resampling.BICUBIC), np.float32) - 128

    rng = np.random.default_rng(0)
    (root / "loose").mkdir(parents=True)
    for number in range(n):
        picture = np.clip(128 + layer(4, 55) + layer(16, 25) + layer(100, 14), 0, 255)
        content = simplejpeg.encode_jpeg(picture.astype(np.uint8), 90, "RGB", "420")
        (root / "loose" / f"{number:06d}.jpg").write_bytes(content)


def pack(root: Path, name: str, samples_per_shard: int) -> None:
    from shards import Sample, write_shards

    items = (
        (
            Sample(
                key=path.stem,
                original_path=path.name,
                dataset="affectnet",
                variant="bench",
                split="train",
                valence=0.0,
                arousal=0.0,
            ),
            path.read_bytes(),
        )
        for path in sorted((root / "loose").iterdir())
    )
    write_shards(items, root / name, samples_per_shard=samples_per_shard)


# the ways: each yields one count of images per batch


def ours(
    root: Path, folder: str = "tars", cache: str = "none", check: str = "markers", **jitter: float
) -> Iterator[int]:
    from pipelines import Augment, batches
    from shards import LabelIndex

    selection = LabelIndex.open(root / folder).where(split="train")
    loader = batches(selection, BATCH, augment=Augment(**jitter), cache=cache, check=check)
    if cache != "none":
        for _ in loader:  # the first epoch decodes
            pass
    while True:
        yield from (len(batch.image) for batch in loader)


def dali(root: Path, jitter: bool = True, device: int | None = None) -> Iterator[int]:
    """DALI's own reader in tar order with its own random numbers, the same graph behind it."""
    import nvidia.dali.fn as fn
    import nvidia.dali.types as types
    from nvidia.dali.pipeline import Pipeline

    from pipelines.pixels import MEAN, STD

    tars = sorted(str(path) for path in (root / "tars").glob("*.tar"))
    pipeline = Pipeline(BATCH, num_threads=CORES, device_id=device, prefetch_queue_depth=2)
    with pipeline:
        image, row = fn.readers.webdataset(
            paths=tars,
            index_paths=[tar.replace(".tar", ".idx") for tar in tars],
            ext=["jpg;png", "row"],
            dtypes=[types.UINT8, types.INT64],
            random_shuffle=True,
            initial_fill=1024,
            pad_last_batch=True,
            name="reader",
        )
        low, high = (1 - JITTER, 1 + JITTER) if jitter else (1.0, 1.0)
        contrast = fn.random.uniform(range=(low, high))
        gain = contrast * fn.random.uniform(range=(low, high))
        picture = fn.decoders.image_crop(
            image,
            device="cpu" if device is None else "mixed",
            crop=(224, 224),
            crop_pos_x=fn.random.uniform(range=(0.0, 1.0)),
            crop_pos_y=fn.random.uniform(range=(0.0, 1.0)),
            jpeg_fancy_upsampling=True,
        )
        mean = (types.Constant(MEAN) - 128 * (1 - contrast)) / gain
        picture = fn.crop_mirror_normalize(
            picture,
            mirror=fn.random.coin_flip(),
            mean=mean,
            std=types.Constant(STD) / gain,
            output_layout="CHW",
        )
        pipeline.set_outputs(picture, row)
    while True:
        pipeline.run()
        yield BATCH


def bare(root: Path) -> Iterator[int]:
    """The limit: nothing but the decoder, over bytes in memory, on all cores."""
    import simplejpeg

    contents = [path.read_bytes() for path in sorted((root / "loose").iterdir())]

    def decode(content: bytes) -> None:
        simplejpeg.decode_jpeg(content)

    with ThreadPoolExecutor(CORES) as pool:
        for start in itertools.cycle(range(0, len(contents) - BATCH + 1, BATCH)):
            list(pool.map(decode, contents[start : start + BATCH]))
            yield BATCH


def transforms(of_uint8: bool) -> Callable[[Any], Any]:
    """The chain of torchvision v2, after decoding; jitter on uint8 (faster) or on PIL images."""
    import torch
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomCrop(224),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=JITTER, contrast=JITTER),
            *([] if of_uint8 else [v2.ToImage()]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )


def tv_decode(content: bytes) -> Any:
    import numpy as np
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    data = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
    return decode_jpeg(data, mode=ImageReadMode.RGB)


def pil_decode(content: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(content)).convert("RGB")


class Loose:
    """Loose files as a map-style data set."""

    def __init__(self, root: Path, of_uint8: bool) -> None:
        self.paths = sorted((root / "loose").iterdir())
        self.decode = tv_decode if of_uint8 else pil_decode
        self.transform = transforms(of_uint8)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.transform(self.decode(self.paths[i].read_bytes())), i


def endless(loader: Iterable[Any]) -> Iterator[int]:
    while True:
        yield from (len(batch[0]) for batch in loader)


def loose(root: Path, of_uint8: bool) -> Iterator[int]:
    from torch.utils.data import DataLoader

    data: Any = Loose(root, of_uint8)
    return endless(
        DataLoader(
            data, BATCH, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
        )
    )


class Decoded:
    """What webdataset's workers do to one sample; a class, so that it can be sent to them."""

    def __init__(self, of_uint8: bool) -> None:
        self.decode = tv_decode if of_uint8 else pil_decode
        self.transform = transforms(of_uint8)

    def __call__(self, sample: dict[str, Any]) -> tuple[Any, int]:
        return self.transform(self.decode(sample["jpg"])), int.from_bytes(sample["row"], "little")


def web(root: Path, of_uint8: bool) -> Iterator[int]:
    import webdataset
    from torch.utils.data import DataLoader

    tars = sorted(str(path) for path in (root / "tars").glob("*.tar"))
    data: Any = webdataset.WebDataset(tars, shardshuffle=len(tars)).shuffle(1024)
    data = data.map(Decoded(of_uint8)).batched(BATCH, partial=False)
    return endless(DataLoader(data, None, num_workers=2, persistent_workers=True))


def litdata(root: Path) -> Iterator[int]:
    import litdata as ld

    folder = root / "lit"
    if not folder.exists():
        paths = sorted((root / "loose").iterdir())
        ld.optimize(_stored, paths, str(folder), chunk_bytes="64MB", num_workers=1)
    data = ld.StreamingDataset(str(folder), shuffle=True, transform=Opened())
    return endless(ld.StreamingDataLoader(data, batch_size=BATCH, num_workers=2))


class Opened:
    """What litdata's workers do to the bytes of one image."""

    def __init__(self) -> None:
        self.transform = transforms(True)

    def __call__(self, content: bytes) -> tuple[Any, int]:
        return self.transform(tv_decode(content)), 0


def _stored(path: Path) -> bytes:
    return path.read_bytes()


OURS = "ours, brightness + contrast"
NATIVE = "DALI's reader, same graph"
LIMIT = "bare JPEG decode (limit)"
WAYS: dict[str, Callable[[Path], Iterator[int]]] = {
    LIMIT: bare,
    NATIVE: dali,
    OURS: lambda root: ours(root, brightness=JITTER, contrast=JITTER),
    "ours, flip and crop only": ours,
    "ours, + saturation": lambda root: ours(
        root, brightness=JITTER, contrast=JITTER, saturation=JITTER
    ),
    "webdataset + torchvision, uint8": lambda root: web(root, True),
    "webdataset + PIL": lambda root: web(root, False),
    "loose files + torchvision, uint8": lambda root: loose(root, True),
    "loose files + PIL": lambda root: loose(root, False),
    "litdata": litdata,
    "ours, 1 tar": lambda root: ours(root, "one"),
    "ours, 500 tars": lambda root: ours(root, "many"),
    "ours, checksums looked at": lambda root: ours(root, check="crc"),
    "ours, pictures kept in memory": lambda root: ours(root, cache="memory"),
}
LIBRARY = {"litdata": "litdata"}  # ways that need more than we install
SLOW = ("webdataset", "loose", "litdata")


def measure(name: str, root: Path, images: int) -> dict[str, float]:
    """One way in this process: rate after the first batch, CPU per image, first batch, memory."""
    import torch

    import pipelines.loader  # noqa: F401  (its imports are not part of the first batch)

    torch.set_num_threads(1 if name.startswith(SLOW) else CORES)
    asked = time.perf_counter()
    counts = WAYS[name](root)
    next(counts)
    first = time.perf_counter() - asked
    for _ in range(2):  # what was decoded ahead
        next(counts)
    start, cpu, done = time.perf_counter(), _cpu_s(), 0
    while done < images:
        done += next(counts)
    took, used = time.perf_counter() - start, _cpu_s() - cpu
    return {
        "images_per_s": done / took,
        "cpu_ms": 1000 * used / done,
        "first_batch_s": first,
        "rss_mb": _rss_mb(),
    }


def _family() -> list[Any]:
    import psutil

    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _cpu_s() -> float:
    return sum(sum(p.cpu_times()[:2]) for p in _family())


def _rss_mb() -> float:
    """Peak of this process and, as far as it can be seen, what its workers hold now."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return own + sum(p.memory_info().rss for p in _family()[1:]) / 2**20


def training(root: Path, steps: int) -> dict[str, float]:
    """AlexNet trained from our stream: the share of a step spent waiting for images."""
    import torch
    from torchvision.models import alexnet

    from pipelines import batches
    from shards import LabelIndex

    model = alexnet(num_classes=2)
    optimizer = torch.optim.Adam(model.parameters())
    loader = batches(LabelIndex.open(root / "tars").where(), BATCH, augment=True)
    stream = (batch for _ in itertools.count() for batch in loader)
    next(stream)
    waited, start = loader.wait_s, time.perf_counter()
    for batch in itertools.islice(stream, steps):
        torch.nn.functional.mse_loss(model(batch.image), batch.target).backward()
        optimizer.step()
        optimizer.zero_grad()
    took = time.perf_counter() - start
    waited = loader.wait_s - waited
    return {
        "step_ms": 1000 * took / steps,
        "wait_ms": 1000 * waited / steps,
        "wait_share": waited / took,
    }


def ten_million() -> dict[str, float]:
    """The order of an epoch of 10,000,000 rows: until its first window, one in the middle, all."""
    from pipelines import Order

    results = {}
    for kind in ("global", "blocks"):
        start = time.perf_counter()
        order = Order(length=10_000_000, batch_size=BATCH, kind=kind)
        order.at(0, 0, 128)
        results[f"{kind}_ready_s"] = time.perf_counter() - start
        start = time.perf_counter()
        order.at(0, 100_000, 128)
        results[f"{kind}_resume_s"] = time.perf_counter() - start
    return results


def in_turns(root: Path, names: list[str], rounds: int, images: int) -> dict[str, dict[str, Any]]:
    """Median of every figure over the rounds; in each round every way runs once."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            count = images // 4 if name.startswith(SLOW) else images
            found[name].append(_apart("way", name, root, count))
            print(f"round {number + 1}: {name}: {found[name][-1]}", file=sys.stderr)
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
    }


def _apart(kind: str, name: str, root: Path, count: int) -> dict[str, float]:
    """In a process of its own."""
    command = [sys.executable, __file__, "--apart", kind, name, str(root), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def available(only: list[str] | None) -> list[str]:
    """The ways asked for whose libraries are here; why others are left out goes to stderr."""
    from importlib.util import find_spec

    missing = {name for name, library in LIBRARY.items() if not find_spec(library)}
    for name in missing:
        print(f"{name}: left out, `pip install {LIBRARY[name]}` adds it", file=sys.stderr)
    wanted = {*only, OURS} if only else {*WAYS}
    return [name for name in WAYS if name in wanted - missing]


def table(ways: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| way | images/s | ours is | CPU ms an image | ours by CPU | first batch s | RSS MB |"
    yield "|---|---|---|---|---|---|---|"
    for name, run in ways.items():
        ratio = ways[OURS]["images_per_s"] / run["images_per_s"]
        by_cpu = run["cpu_ms"] / ways[OURS]["cpu_ms"]
        yield (
            f"| {name} | {run['images_per_s']:.0f} | {ratio:.2f}x | {run['cpu_ms']:.2f} "
            f"| {by_cpu:.2f}x | {run['first_batch_s']:.2f} | {run['rss_mb']:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="600 images, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--only", nargs="+", choices=WAYS, help="these ways, and ours")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--apart", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.apart:
        kind, name, root, count = options.apart
        run = measure if kind == "way" else lambda _, root, count: training(root, count)
        print(json.dumps(run(name, Path(root), int(count))), flush=True)
        os._exit(0)  # workers of endless loaders would be waited for
    images, rounds = (600, 1) if options.quick else (options.images, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root, images)
        for name, shards in (("tars", 6), ("one", 1), ("many", 500)):
            pack(root, name, -(-images // shards))
        sizes = [path.stat().st_size for path in (root / "loose").iterdir()]
        results = {
            "cores": CORES,
            "images": images,
            "mean_kb": statistics.mean(sizes) / 1000,
            "ways": in_turns(root, available(options.only), rounds, images),
            "training": _apart("training", "", root, 5 if options.quick else 30),
            "order_of_10_million": ten_million(),
        }
    print("\n".join(table(results["ways"])))
    print(f"\ntraining AlexNet: {results['training']}\norder: {results['order_of_10_million']}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
