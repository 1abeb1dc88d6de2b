"""Size of a report of 100,000 predictions, and the time until a real browser has it open.

    python benchmarks/report.py [--n 100000] [--runs 2] [--opens 9] [--quick]

Predictions are made up: 100 videos whose labels wander, with 400 small drawn faces. Opening is from
the click until the page's script has drawn everything, in headless Chromium, each time at another
screen size and theme in turn; the table shows the median and the slowest.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from avce.report.page import Run, Subject, write_report
from shards.standins.face import Identity, Scene, render, units_for, wanted_point
from tests.avce.report.chromium import BINARY, Chromium
from tests.avce.scores.verdicts import video_table

SIZE_TARGET, OPEN_TARGET = 10e6, 2.0  # bytes, seconds
SCREENS = ((1280, 900, False), (1280, 900, True), (390, 844, False))


def faces(count: int) -> list[bytes]:
    """Drawn faces, encoded as shards store them."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        units = units_for(*wanted_point(rng), rng)
        drawing = render(Identity.draw(rng), units, Scene.draw(rng, "easy"), size=128)
        page = io.BytesIO()
        Image.fromarray(drawing.image).save(page, "JPEG", quality=90)
        found.append(page.getvalue())
    return found


def written(place: Path, n: int, runs: int) -> tuple[Path, float]:
    """The page, and the seconds it took to write it."""
    drawn = faces(40)
    tables = [video_table(100, n // 100, model=model) for model in range(runs)]
    subject = Subject(
        [Run(f"run {k}", table) for k, table in enumerate(tables)],
        thumbnail=lambda row: drawn[row % len(drawn)],
    )
    started = time.perf_counter()
    path = write_report(place / "report.html", subject)
    return path, time.perf_counter() - started


def opened(page: Path, place: Path, times: int) -> list[float]:
    """Seconds of each opening."""
    browser = Chromium(place / "profile")
    try:
        seconds = [browser.open(page, w, h, dark=dark) for w, h, dark in (SCREENS * times)[:times]]
        assert not browser.complaints, browser.complaints
    finally:
        browser.close()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000, help="predictions a run")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--opens", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="10,000 predictions, 3 openings")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    n, opens = (10_000, 3) if chosen.quick else (chosen.n, chosen.opens)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page, seconds = written(Path(folder), n, chosen.runs)
        found = {"predictions": n, "runs": chosen.runs, "bytes": page.stat().st_size}
        found["write_s"] = seconds
        if BINARY:
            times = opened(page, Path(folder), opens)
            found |= {"open_s": statistics.median(times), "slowest_open_s": max(times)}
    print(json.dumps(found) if chosen.json else table(found))


def table(found: dict[str, float]) -> str:
    """What was measured beside its targets."""
    lines = [
        f"report of {found['runs']} x {found['predictions']:,} predictions",
        f"size     {found['bytes'] / 1e6:8.2f} MB   target {SIZE_TARGET / 1e6:.0f}",
        f"written  {found['write_s']:8.2f} s",
    ]
    if "open_s" in found:
        lines.append(f"open     {found['open_s']:8.2f} s    target {OPEN_TARGET:.0f}")
        lines.append(f"slowest  {found['slowest_open_s']:8.2f} s")
    else:
        lines.append("open     not measured: no Chromium was found")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
