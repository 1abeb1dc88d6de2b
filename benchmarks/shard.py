"""How fast, how parallel and how small `shards` is, as ratios measured in one run.

    python benchmarks/shard.py [--quick]
    python benchmarks/shard.py --official [--scale 10]     # benchmarks/official.py

Rivals and ours take turns, medians are compared: by the clock, which counts only on a quiet
machine, and by processor time, which holds in a crowd but does not see waiting for the disk. The
rivals sync no file, ours do. Images are drawn here, nothing is downloaded.

ShardWriter has no check of its own. Its usual companion is Pillow's `load`, the goal; the second
row gives it the library that ours decodes with. What two processes start with (spawn and imports)
is a row of its own and no part of the rates.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import simplejpeg
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from shards import BuildOptions, Crop, Engine, Findings, LabelIndex, Sample, build
from shards.building import build as convert
from shards.building.tars import Fragment, planned_rows, write_labels, write_tar
from shards.image import as_is, prove

PASS = BuildOptions(crop=Crop(mode="none"), engine=Engine(jobs=1), samples_per_shard=500)


def draw_images(root: Path, n: int, size: int) -> None:
    """Smooth noise whose JPEGs of 256 pixels have the 20 to 30 KB of a face."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 255, (size // 4, size // 4, 3), np.uint8))
        picture = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))
        (root / f"{i}.jpg").write_bytes(simplejpeg.encode_jpeg(picture, 88, "RGB", "420"))


def listed(root: Path, findings: Findings) -> Iterator[Sample]:
    """A reader without work of its own: every image of a folder, or few images many times."""
    times = int((root / "times").read_text()) if (root / "times").exists() else 1
    names = sorted(path.name for path in root.glob("*.jpg"))
    for again in range(times):
        for name in names:
            yield Sample(
                key=f"{again}_{name.removesuffix('.jpg')}",
                original_path=name,
                dataset="affectnet",
                variant="bench",
                split="train",
                bbox_xyxy=(20.0, 20.0, 236.0, 236.0),
                valence=0.0,
                arousal=0.0,
            )


convert.READERS["bench"] = listed


def check_with_pillow(content: bytes) -> None:
    """What most people call a full check."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()


def check_with_simplejpeg(content: bytes) -> None:
    """The decoder of `shards`, colours included."""
    simplejpeg.decode_jpeg(content, "RGB", fastdct=False, fastupsample=False)


def with_shard_writer(root: Path, out: Path, check: Callable[[bytes], None] | None = None) -> None:
    """The usual way: webdataset's ShardWriter over the same files."""
    import webdataset  # with all it imports, no part of the runs whose memory is measured

    out.mkdir()
    with webdataset.ShardWriter(f"{out}/%05d.tar", maxcount=500, verbose=0) as sink:
        for row, path in enumerate(sorted(root.glob("*.jpg"))):
            content = path.read_bytes()
            if check:
                check(content)
            sink.write({"__key__": path.stem, "jpg": content, "row": row.to_bytes(8, "little")})


REGION = (128 - 864 / 7, 128 - 864 / 7, 128 + 864 / 7, 128 + 864 / 7)  # the box and its margin


def bare_crops(root: Path, out: Path) -> None:
    """Decode, resize, encode with the same libraries, and nothing else."""
    for path in sorted(root.glob("*.jpg")):
        picture = simplejpeg.decode_jpeg(
            path.read_bytes(), "RGB", fastdct=False, fastupsample=False
        )
        crop = Image.fromarray(picture).resize((256, 256), Image.Resampling.BILINEAR, box=REGION)
        simplejpeg.encode_jpeg(np.asarray(crop), 92, "RGB", "420", fastdct=False)


class Cost(NamedTuple):
    """Microseconds a sample."""

    clock: float
    processor: float  # of this process; without its workers


def costs(n: int, rounds: int, ways: dict[str, Callable[[Path], object]]) -> dict[str, Cost]:
    """What a sample costs each way: taking turns, median of the rounds."""
    times: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                clock, processor = time.perf_counter(), time.process_time()
                way(Path(folder) / "out")
                clock, processor = time.perf_counter() - clock, time.process_time() - processor
            if number:  # the first round warms caches and workers
                times[name].append(Cost(1e6 * clock / n, 1e6 * processor / n))
    return {
        name: Cost(*(statistics.median(values) for values in zip(*taken, strict=True)))
        for name, taken in times.items()
    }


def load_shards(_: int) -> None:
    """A task without work, for what a worker does before its first."""
    import shards.building.build  # noqa: F401


def starting_two() -> float:
    """Seconds until two fresh workers are ready; call before anything else runs in two."""
    started = time.perf_counter()
    list(Engine(jobs=2).run(load_shards, [0, 1]))
    return time.perf_counter() - started


def check_files(paths: list[Path]) -> None:
    """Read and prove, nothing else: what the machine gives to one process or to two."""
    for path in paths:
        prove(path.read_bytes(), "jpeg")


def bare_checks(root: Path, jobs: int) -> None:
    """`check_files` by the 500, over processes."""
    paths = sorted(root.glob("*.jpg"))
    chunks = [paths[start : start + 500] for start in range(0, len(paths), 500)]
    list(Engine(jobs=jobs).run(check_files, chunks))


PILLOW, SAME, TWO = "ShardWriter, Pillow check", "ShardWriter, simplejpeg check", "2 processes"
GOALS = (  # ours, rival, times as fast; None where nothing was promised
    ("ours", "ShardWriter", 2.0),
    ("ours, checked", PILLOW, 1.3),
    ("ours, checked", SAME, None),
    ("ours, crops", "bare decode + resize + encode", 0.95),
    (f"ours, checked, {TWO}", "ours, checked", 1.6),
    (f"bare check, {TWO}", "bare check", None),
)


def speed(root: Path, n: int, rounds: int) -> list[tuple[str, str, str]]:
    """Pass-through, checked or not, against ShardWriter; two processes; crops against bare ones."""
    unchecked = replace(PASS, check=False)
    two = replace(PASS, engine=Engine(jobs=2))
    crops = replace(PASS, crop=Crop(mode="box"))
    rows = [("two workers are ready after", f"{starting_two():.1f} s", "")]
    found = costs(
        n,
        rounds,
        {
            "ShardWriter": lambda out: with_shard_writer(root, out),
            "ours": lambda out: build("bench", root, out, unchecked),
            PILLOW: lambda out: with_shard_writer(root, out, check_with_pillow),
            SAME: lambda out: with_shard_writer(root, out, check_with_simplejpeg),
            "ours, checked": lambda out: build("bench", root, out, PASS),
            f"ours, checked, {TWO}": lambda out: build("bench", root, out, two),
            "bare check": lambda out: bare_checks(root, 1),
            f"bare check, {TWO}": lambda out: bare_checks(root, 2),
            "bare decode + resize + encode": lambda out: bare_crops(root, out),
            "ours, crops": lambda out: build("bench", root, out, crops),
        },
    )
    rows += [(name, f"{1e6 / cost.clock:,.0f}/s", "") for name, cost in found.items()]
    for ours, rival, goal in GOALS:
        clock, processor = (
            there / here for there, here in zip(found[rival], found[ours], strict=True)
        )
        goal_words = "" if goal is None else f">= {goal}"
        rows.append((f"{ours} / {rival}, clock", f"{clock:.2f}", goal_words))
        if TWO not in ours:
            rows.append((f"{ours} / {rival}, processor", f"{processor:.2f}", goal_words))
    return rows


def peak_memory(work: Path, few: int) -> list[tuple[str, str, str]]:
    """Peak memory of a run in a process of its own, for 10 times as many tiny samples."""
    peaks = []
    for count in (few, 10 * few):
        root = work / f"tiny{count}"
        draw_images(root, 100, 16)
        (root / "times").write_text(str(count // 100))
        command = [sys.executable, __file__, "--one-run", str(root), str(work / "out")]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True).stdout))
        shutil.rmtree(work / "out")
    ratio = peaks[1] / peaks[0]
    return [
        (f"peak memory, {few:,} tiny samples", f"{peaks[0]:.0f} MB", ""),
        (f"peak memory, {10 * few:,} tiny samples", f"{peaks[1]:.0f} MB", ""),
        ("peak memory, ratio", f"{ratio:.2f}", "<= 1.2"),
    ]


def one_run(root: Path, out: Path) -> float:
    """Convert and return the peak resident memory in MB."""
    import resource

    build("bench", root, out, replace(PASS, samples_per_shard=2000))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_large_index(out: Path, rows: int) -> None:
    """An index of many rows of landmarks and labels; the tars it names do not exist."""
    out.mkdir()
    picture = simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8), 88, "RGB", "420")
    samples = [
        Sample(
            key=f"k{i}",
            original_path=f"{i}.jpg",
            dataset="affectnet",
            variant="bench",
            split="val" if i % 10 == 0 else "train",
            landmarks=tuple(float(k) for k in range(136)),
            valence=0.0,
            arousal=0.0,
        )
        for i in range(4000)
    ]
    shard = write_tar(out / "00000.tar", planned_rows(samples), lambda _: as_is(picture))

    def fragments() -> Iterator[Fragment]:
        for number in range(rows // 4000):
            yield Fragment(f"{number:05d}.tar", pa.record_batch(shard.rows), shard.tar)

    write_labels(out, fragments, {"skipped": {}})


def open_index(out: Path) -> dict[str, float]:
    """Milliseconds and private megabytes to open an index and select a split."""
    import psutil

    def own() -> int:
        found = psutil.Process().memory_info()
        return found.rss - found.shared  # pages of the mapped file are the system's

    before = own()
    started = time.perf_counter()
    selection = LabelIndex.open(out).where(split="train")
    taken = time.perf_counter() - started
    private = own() - before
    return {"ms": 1000 * taken, "mb": private / 2**20, "rows": len(selection)}


def index(work: Path, rows: int) -> list[tuple[str, str, str]]:
    """Open and select in fresh processes, median of five."""
    write_large_index(work / "large", rows)
    command = [sys.executable, __file__, "--open-index", str(work / "large")]
    found = [
        json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for _ in range(5)
    ]
    milliseconds, megabytes = (statistics.median(f[key] for f in found) for key in ("ms", "mb"))
    size = (work / "large/labels.arrow").stat().st_size / 2**20
    name = f"open an index of {rows:,} rows ({size:,.0f} MB), select a split"
    return [
        (f"{name}: time", f"{milliseconds:.0f} ms", "< 100 ms"),
        (f"{name}: private memory", f"{megabytes:.0f} MB", "< 50 MB"),
    ]


def inspected(work: Path, rows: int) -> list[tuple[str, str, str]]:
    """Seconds of processor of `inspect`, Python and imports included, the least of three."""
    write_large_index(work / "larger", rows)
    cli = Path(__file__).parent.parent / "cli.py"
    command = [sys.executable, str(cli), "inspect", str(work / "larger"), "--json"]
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return [(f"inspect {rows:,} rows: processor", f"{min(found):.2f} s", "< 1 s")]


def main() -> None:
    """Measure all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--official", action="store_true", help="trees of official size, alone")
    parser.add_argument("--one-run", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--open-index", type=Path, help=argparse.SUPPRESS)
    chosen, rest = parser.parse_known_args()
    if chosen.official:
        import official

        official.main(rest)
    elif rest:
        parser.error(f"{rest[0]} is known with --official alone")
    elif chosen.one_run:
        print(one_run(*chosen.one_run))
    elif chosen.open_index:
        print(json.dumps(open_index(chosen.open_index)))
    else:
        _measure_all(chosen.quick)


def _measure_all(quick: bool) -> None:
    n, rounds, few = (1500, 1, 4_000) if quick else (6000, 3, 20_000)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        draw_images(work / "images", n, 256)
        size = sum(path.stat().st_size for path in (work / "images").iterdir()) / n / 1000
        print(f"{n:,} JPEGs of 256 x 256, {size:.0f} KB each, {os.cpu_count()} cores")
        rows = speed(work / "images", n, rounds)
        rows += index(work, 1_000_000)
        rows += inspected(work, 3_000_000)
        rows += peak_memory(work, few)
    width = max(len(row[0]) for row in rows)
    for name, value, goal in rows:
        print(f"{name:{width}}  {value:>10}  {goal}")


if __name__ == "__main__":
    main()
