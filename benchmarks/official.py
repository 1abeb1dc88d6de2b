"""What data sets of official size cost, on trees of hard links to a few drawn faces.

    python benchmarks/shard.py --official [--scale 10] [--checkout OTHER] [--sets affectnet ...]

For each tree: processor seconds (workers included) and seconds by the clock before the first image
is read; the same for a resume after `kill -9` in mid-writing and for a rerun of what is finished;
bytes on the disk at most over bytes at the end; bytes of the index for a row. `--checkout` measures
another checkout of this project on the same trees. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from shards.standins.layouts import write_video

HERE = Path(__file__).parents[1]
FACES = 64
EXPRESSIONS = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
UNITS = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
Tree = Callable[[Path, int], None]


def faces(folder: Path, size: int) -> list[Path]:
    """A few JPEGs to be linked to."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(size)
    paths = [folder / f"{k}.jpg" for k in range(FACES)]
    for path in paths:
        coarse = rng.integers(0, 255, (size // 8, size // 8, 3), np.uint8)
        picture = np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1))
        path.write_bytes(simplejpeg.encode_jpeg(picture, 88, "RGB", "420"))
    return paths


def link(source: Path, place: str) -> None:
    """A second name for a file."""
    os.link(source, place)


def affectnet_2017(root: Path, scale: int) -> None:
    """420,300 rows in two lists and 1,381 folders."""
    pictures = faces(root.parent / f"{root.name}-faces", 224)
    rng = np.random.default_rng(0)
    landmarks = [";".join(f"{x:.2f}" for x in rng.uniform(20, 200, 136)) for _ in range(200)]
    lists = root / "Manually_Annotated_file_lists"
    lists.mkdir(parents=True)
    for number in range(1, 1382):
        (root / f"Manually_Annotated_Images/{number}").mkdir(parents=True)
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks"
    for name, rows in (("training", 414_800), ("validation", 5_500)):
        with open(lists / f"{name}.csv", "w") as file:
            file.write(f"{header},expression,valence,arousal\n")
            for row in range(rows // scale):
                path = f"{row % 1381 + 1}/{rng.bytes(28).hex()}.jpg"
                link(pictures[row % FACES], f"{root}/Manually_Annotated_Images/{path}")
                code = int(rng.integers(0, 11))
                v, a = (-2, -2) if code > 8 else rng.uniform(-0.7, 0.7, 2).round(6)
                file.write(f"{path},20,20,184,184,{landmarks[row % 200]},{code},{v},{a}\n")


def affectnet_2021(root: Path, scale: int) -> None:
    """291,650 images of four `.npy` files each."""
    pictures = faces(root.parent / f"{root.name}-faces", 224)
    rng = np.random.default_rng(0)
    labels = root.parent / f"{root.name}-faces"
    for k in range(FACES):
        values = {"exp": str(k % 8), "val": f"{rng.uniform(-0.7, 0.7):.6f}"}
        values["aro"] = f"{rng.uniform(-0.7, 0.7):.6f}"
        for label, value in values.items():
            np.save(labels / f"{k}_{label}.npy", np.array(value))
        np.save(labels / f"{k}_lnd.npy", rng.uniform(0, 224, 136).round(2))
    for name, rows in (("train_set", 287_651), ("val_set", 3_999)):
        (root / name / "images").mkdir(parents=True)
        (root / name / "annotations").mkdir()
        for row in range(rows // scale):
            k = row % FACES
            link(pictures[k], f"{root}/{name}/images/{row}.jpg")
            for label in ("exp", "val", "aro", "lnd"):
                source = labels / f"{k}_{label}.npy"
                link(source, f"{root}/{name}/annotations/{row}_{label}.npy")


def aff_wild2(root: Path, scale: int) -> None:
    """824,193 frames of 432 persons with labels of all three tasks."""
    pictures = faces(root.parent / f"{root.name}-faces", 112)
    rng = np.random.default_rng(0)
    frames = 824_193 // 432 // scale + 1
    tasks = {"VA_Estimation": "valence,arousal", "EXPR_Classification": EXPRESSIONS}
    tasks["AU_Detection"] = UNITS
    links = 0
    for number in range(432):
        split = "Train_Set" if number % 6 else "Validation_Set"
        person = f"{number}-30-1280x720"
        values = {
            "VA_Estimation": (
                ",".join(f"{x:.3f}" for x in rng.uniform(-1, 1, 2)) for _ in "x" * frames
            ),
            "EXPR_Classification": map(str, rng.integers(0, 8, frames)),
            "AU_Detection": (",".join(map(str, row)) for row in rng.integers(0, 2, (frames, 12))),
        }
        for task, header in tasks.items():
            place = root / f"5th_ABAW_Annotations/{task}_Challenge/{split}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{person}.txt").write_text("\n".join([header, *values[task]]) + "\n")
        folder = root / "cropped_aligned" / person
        folder.mkdir(parents=True)
        for frame in range(1, frames + 1):
            links += 1
            link(pictures[links % FACES], f"{folder}/{frame:05d}.jpg")


def aff_wild(root: Path, scale: int) -> None:
    """252 films with labels and boxes, of a tenth of the 1,224,094 frames: they are decoded."""
    frames = 1_224_094 // 252 // 10 // scale + 1
    shared = root.parent / f"{root.name}-faces"
    pictures = [np.asarray(Image.open(path)) for path in faces(shared, 64)]
    write_video(shared / "film.mp4", (pictures[k % FACES] for k in range(frames)), 30)
    corners = "8 8\n8 56\n56 56\n56 8"
    rng = np.random.default_rng(0)
    for name in map(str, range(102, 354)):
        boxes = root / f"bboxes/train/{name}"
        for folder in (boxes, root / "videos/train", root / "landmarks/train"):
            folder.mkdir(parents=True, exist_ok=True)
        link(shared / "film.mp4", f"{root}/videos/train/{name}.mp4")
        for axis in ("valence", "arousal"):
            place = root / f"annotations/train/{axis}"
            place.mkdir(parents=True, exist_ok=True)
            labels = rng.uniform(-0.7, 0.7, frames)
            (place / f"{name}.txt").write_text("".join(f"{x:.6f}\n" for x in labels))
        source = shared / f"{name}.pts"  # one a film: a file has 65,000 names at most
        source.write_text(f"version: 1\nn_points: 4\n{{\n{corners}\n}}\n")
        for number in range(1, frames + 1):
            link(source, f"{boxes}/{number}.pts")


def afew_va(root: Path, scale: int) -> None:
    """30,051 frames of 600 clips, with 68 points each."""
    shared = root.parent / f"{root.name}-faces"
    for path in faces(shared, 240):
        Image.open(path).save(path.with_suffix(".png"))
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 200, (68, 2)).round(3).tolist()
    for clip in range(600):
        folder = root / f"{clip + 1:03d}"
        folder.mkdir(parents=True)
        names = [f"{k:05d}" for k in range(50 // scale + (clip < 51))]
        for k, name in enumerate(names):
            link(shared / f"{(clip + k) % FACES}.png", f"{folder}/{name}.png")
        one = {"valence": clip % 21 - 10, "arousal": clip % 19 - 9, "landmarks": points}
        said = {"actor": f"actor {clip // 3}", "video_id": folder.name}
        content = said | {"frames": dict.fromkeys(names, one)}
        (folder / f"{folder.name}.json").write_text(json.dumps(content))


def raf_db(root: Path, scale: int) -> None:
    """15,339 aligned images with a basic expression."""
    pictures = faces(root.parent / f"{root.name}-faces", 104)
    images, labels = root / "basic/Image/aligned", root / "basic/EmoLabel"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    stems = [f"train_{k + 1:05d}" for k in range(12_271 // scale)]
    stems += [f"test_{k + 1:04d}" for k in range(3068 // scale)]
    for k, stem in enumerate(stems):
        link(pictures[k % FACES], f"{images}/{stem}_aligned.jpg")
    lines = (f"{stem}.jpg {k % 7 + 1}" for k, stem in enumerate(stems))
    (labels / "list_patition_label.txt").write_text("\n".join(lines))


def million(root: Path, scale: int) -> None:
    """1,000,000 images in 1,000 folders with a table of labels."""
    pictures = faces(root.parent / f"{root.name}-faces", 112)
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    with open(root / "labels.csv", "w") as file:
        file.write("path,valence,arousal,expression,person,age\n")
        for folder in range(1000 // scale):
            (root / f"{folder:03d}").mkdir()
            values = rng.uniform(-1, 1, (1000, 2))
            for k, (v, a) in enumerate(values.tolist()):
                path = f"{folder:03d}/{k:03d}.jpg"
                link(pictures[k % FACES], f"{root}/{path}")
                kind = ("happy", "sad", "neutral")[k % 3]
                file.write(f"{path},{v:.4f},{a:.4f},{kind},p{folder},{20 + k % 60}\n")


SETS: dict[str, tuple[str, Tree]] = {
    "affectnet-2017": ("affectnet", affectnet_2017),
    "affectnet-2021": ("affectnet", affectnet_2021),
    "aff-wild": ("aff-wild", aff_wild),
    "aff-wild2": ("aff-wild2", aff_wild2),
    "afew-va": ("afew-va", afew_va),
    "raf-db": ("raf-db", raf_db),
    "table": ("table", million),
}


def run_once(name: str, raw: Path, out: Path, stop: str) -> dict[str, Any]:
    """In a process of its own: build, and say what had been spent when writing began.

    `stop` is "first" (end there), "half" (end as kill -9 does once half is written) or "end".
    """
    started = time.perf_counter()
    from shards import BuildOptions, Crop, build
    from shards.building import build as building

    facts: dict[str, Any] = {}
    write = building._Build._write_shards

    def spent() -> float:
        import psutil

        workers = psutil.Process().children(recursive=True)
        alive = sum(sum(worker.cpu_times()[:2]) for worker in workers)
        usages = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        return alive + sum(usage.ru_utime + usage.ru_stime for usage in usages)

    def end() -> None:
        print(json.dumps(facts), flush=True)
        os.killpg(0, 9)

    def watched(self: Any, *rest: Any) -> None:
        facts.update(cpu=spent(), clock=time.perf_counter() - started)
        facts["mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if stop == "first":
            end()
        if stop == "half":
            threading.Thread(target=_at_half, args=(self, out, end), daemon=True).start()
        write(self, *rest)

    building._Build._write_shards = watched
    options = BuildOptions(crop=Crop(mode="none"), check=False, reader={"allow_count": True})
    report = build(name, raw, out, options)
    facts.setdefault("cpu", spent())
    facts.setdefault("clock", time.perf_counter() - started)
    return facts | {"total": spent(), "rows": report.rows, "reused": report.reused}


def _at_half(building: Any, out: Path, end: Callable[[], None]) -> None:
    wanted = len(building.plan.shards) // 2
    while sum(1 for path in (out / ".work").glob("0*.arrow")) < wanted:
        time.sleep(0.05)
    end()


def measured(checkout: Path, name: str, raw: Path, out: Path, stop: str) -> dict[str, Any]:
    """`run_once` in a fresh process on a checkout; the most bytes that lay in `out` meanwhile."""
    command = [sys.executable, __file__, "--run", name, str(raw), str(out), stop]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
    )
    most, done = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(out, most, done))
    watcher.start()
    said, errors = process.communicate()
    done.set()
    watcher.join()
    if not said:
        raise RuntimeError(errors[-2000:])
    return json.loads(said.splitlines()[-1]) | {"peak": most[0]}


def _watch(out: Path, most: list[int], done: threading.Event) -> None:
    while not done.wait(0.5):
        most[0] = max(most[0], bytes_in(out))


def bytes_in(folder: Path) -> int:
    """What the files below a folder take, those that go meanwhile left out."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def table(checkout: Path, name: str, raw: Path, work: Path, whole: bool) -> Iterator[str]:
    """Lines of results for one tree."""
    reader, out = SETS[name][0], work / f"out-{name}"
    shutil.rmtree(out, ignore_errors=True)
    first = measured(checkout, reader, raw, out, "half" if whole else "first")
    yield _line(name, "before the first image", first, "cpu") + f"  {first['mb']:.0f} MB"
    if whole:
        again = measured(checkout, reader, raw, out, "end")
        yield _line(name, "resume, before the first image", again, "cpu")
        rerun = measured(checkout, reader, raw, out, "end")
        yield _line(name, "rerun of the finished output", rerun, "total")
        final, size = bytes_in(out), (out / "labels.arrow").stat().st_size
        yield f"{name}: peak disk  {max(first['peak'], again['peak']) / final:.2f} x final"
        yield f"{name}: index  {size / again['rows']:.0f} bytes a row, {size / 1e6:.0f} MB"
    shutil.rmtree(out, ignore_errors=True)


def _line(name: str, what: str, facts: dict[str, Any], spent: str) -> str:
    return f"{name}: {what}  {facts[spent]:.1f} CPU s  {facts['clock']:.1f} s"


def draw(name: str, scale: int, trees: Path) -> Path:
    """The tree of a data set, drawn once."""
    root = trees / f"{name}-{scale}"
    if not (trees / f"{name}-{scale}.done").exists():
        for rest in (root, trees / f"{root.name}-faces"):
            shutil.rmtree(rest, ignore_errors=True)
        SETS[name][1](root, scale)
        (trees / f"{name}-{scale}.done").touch()
    return root


def main(words: list[str]) -> None:
    """Draw the trees, measure, print a line for each number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int, default=1, help="draw one in so many")
    parser.add_argument("--checkout", type=Path, nargs="*", default=[HERE])
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--trees", type=Path, help="keep the drawn trees here")
    parser.add_argument("--first", action="store_true", help="only what comes before writing")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if chosen.run:
        name, raw, out, stop = chosen.run
        print(json.dumps(run_once(name, Path(raw), Path(out), stop)), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        trees = chosen.trees or Path(folder)
        trees.mkdir(parents=True, exist_ok=True)
        for name in chosen.sets:
            raw = draw(name, chosen.scale, trees)
            for checkout in chosen.checkout:
                for line in table(checkout, name, raw, Path(folder), not chosen.first):
                    print(f"{checkout.name}: {line}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
