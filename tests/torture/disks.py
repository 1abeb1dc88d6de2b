"""A disk that is full after so many bytes, then room, then the same command again."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.torture.child import Ended, run
from tests.torture.kills import (
    finished,
    inside_out,
    predicting,
    reference,
    variant,
)
from tests.torture.world import (
    RAWS,
    Verdict,
    World,
    judged,
    sharding,
    training,
)


def disk(world: World, rng: Random, folder: Path) -> Verdict:
    """`shard`, `train` or `predict` into a small file system, or with a limit on file sizes."""
    what, work, resumed = _command(world, rng)
    wanted, _ = reference(world, what, work)
    out = folder / "place" / "out"
    out.mkdir()
    if world.alone and rng.random() < 0.7:
        ended, words = _small_disk(work, out, rng), "small disk"
    else:
        ended, words = run(_limited(work, rng), folder / "place"), "limit on files"
    refused = judged(ended, "out", "run", "said")
    if refused.outcome not in ("survived", "refused"):
        return refused._replace(detail=f"{what}, {words}: {refused.detail}")
    begun = resumed if resumed and (out / "run/run.json").exists() else work
    after = run(begun, folder / "place")
    found = finished(world, ended._replace(code=0), after, folder, wanted)
    if world.alone:
        subprocess.run(["umount", out], capture_output=True, check=False)
    if found.outcome == "survived":
        return Verdict(refused.outcome, f"{what}, {words}: {refused.detail}")
    return found._replace(detail=f"{what}, {words}: {refused.detail}; then {found.detail}")


def _command(
    world: World, rng: Random
) -> tuple[str, Callable[[], object], Callable[[], object] | None]:
    kind = rng.choice(["shard", "train", "predict"])
    if kind == "shard":
        name, jobs = rng.choice(list(RAWS)), rng.choice([1, 1, 2])
        return f"shard {name} {jobs}", sharding(world, name, jobs), None
    if kind == "train":
        settings = variant(rng)
        resumed = inside_out(training(world, resume=True))
        return f"train {' '.join(settings)}", inside_out(training(world, *settings)), resumed
    kind, to = rng.choice(
        [("pictures", "said.csv"), ("shards", "said.arrow"), ("film", "said.mp4")]
    )
    return f"predict {kind} {to}", predicting(world, kind, to), None


def _small_disk(work: Callable[[], object], out: Path, rng: Random) -> Ended:
    """A file system in memory of some pages, which then grows."""
    size = rng.choice([4, 8, 16, 32, 64, 128, 512, 1024, 2048, 4096]) * rng.randint(1, 4)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k"]
    subprocess.run([*mount, "none", out], check=True)
    ended = run(work, out.parent)
    subprocess.run(["mount", "-o", "remount,size=256m", out], check=True)
    return ended


def _limited(work: Callable[[], object], rng: Random) -> Callable[[], object]:
    size = int(2 ** rng.uniform(6, 21))

    def inside() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        work()

    return inside
