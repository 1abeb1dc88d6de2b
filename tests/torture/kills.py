"""kill -9 at the k-th file operation, and the same again: the bytes of an undisturbed command."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from tests.torture.child import PATIENCE, Ended, run, start, wait
from tests.torture.world import (
    RAWS,
    TINY,
    Verdict,
    World,
    compared,
    leftovers,
    port,
    quiet,
    sharding,
    snapshot,
    some,
    training,
)


def again(work: Callable[[], object], place: Path) -> Ended:
    """The same command, once more while a worker of the killed one still holds its lock."""
    deadline = time.monotonic() + PATIENCE
    while (ended := run(work, place)).code and "written by" in ended.text:
        if time.monotonic() > deadline:
            break
    return ended


def finished(
    world: World, killed: Ended, ended: Ended, folder: Path, wanted: dict[str, str]
) -> Verdict:
    """The verdict on a command that was killed and typed again, in `folder`/place/out."""
    if killed.hung or killed.survivors:
        outcome = "hangs" if killed.hung else "leftovers"
        return Verdict(outcome, f"{killed.survivors} outlived the kill")
    if ended.code:
        return Verdict(ended.fault or "other", f"typed again: {ended.text[-2000:]}")
    if ended.fault:
        return Verdict(ended.fault, ended.text[-2000:])
    if left := leftovers(world, folder):
        return Verdict("leftovers", left)
    return compared(snapshot(folder / "place" / "out"), wanted)


def reference(world: World, name: str, work: Callable[[], object]) -> tuple[dict[str, str], int]:
    """What `work` leaves undisturbed in `out`, and its file operations."""

    def make(place: Path) -> tuple[dict[str, str], int]:
        ended = run(work, place, at=0)
        if ended.code or ended.fault:
            raise RuntimeError(f"{name}, undisturbed: {ended.text}")
        if left := leftovers(world, place.parent):
            raise RuntimeError(f"{name}, undisturbed, leaves {left}")
        return snapshot(place / "out"), ended.operations

    return world.once(name, make)


def shard(world: World, rng: Random, folder: Path) -> Verdict:
    """A data set, one or two jobs, the parent or its workers killed."""
    name, jobs = rng.choice(list(RAWS)), rng.choice([1, 1, 2])
    work = sharding(world, name, jobs)
    wanted, operations = reference(world, f"shard {name} {jobs}", work)
    workers = jobs == 2 and rng.random() < 0.5
    at = some(rng, 24 if workers else operations)
    killed = run(work, folder / "place", at=at, workers=workers)
    ended = again(work, folder / "place")
    found = finished(world, killed, ended, folder, wanted)
    return found._replace(detail=f"{name}, {jobs} jobs, killed at {at}: {found.detail}")


# ---------------------------------------------------------------------------------- train


def variant(rng: Random) -> list[str]:
    """Settings of a training: memory order, precision, phases, order, optimiser."""
    return [
        f"channels_last={rng.choice(['true', 'false'])}",
        f"precision={rng.choice(['no', 'no', 'bf16'])}",
        f"phases={rng.choice(['two_phase', 'two_phase', 'joint'])}",
        f"optimizer={rng.choice(['adam', 'adam', 'sgd'])}",
        f"order={rng.choice(['global', 'global', 'blocks'])}",
    ]


def train(world: World, rng: Random, folder: Path) -> Verdict:
    """One process; gone on with by --resume, or begun again where nothing had been written."""
    settings = variant(rng)
    work = inside_out(training(world, *settings))
    wanted, operations = reference(world, f"train {' '.join(settings)}", work)
    place, at = folder / "place", some(rng, operations)
    killed = run(work, place, at=at)
    begun = (place / "out/run/run.json").exists()
    ended = again(inside_out(training(world, resume=True)) if begun else work, place)
    found = finished(world, killed, ended, folder, wanted)
    return found._replace(detail=f"{' '.join(settings)}, killed at {at}: {found.detail}")


def inside_out(work: Callable[[], object]) -> Callable[[], object]:
    """`work` in the folder `out`."""

    def inside() -> None:
        Path("out").mkdir(exist_ok=True)
        os.chdir("out")
        work()

    return inside


def ranks(world: World, rng: Random, folder: Path) -> Verdict:
    """Two processes, one of them killed; the launcher ends the other, as torchrun does."""
    settings = variant(rng)[:3]
    new = inside_out(training(world, *settings))
    name = f"ranks {' '.join(settings)}"
    wanted, operations = world.once(name, lambda place: _two_undisturbed(new, place, name))
    place, at, victim = folder / "place", some(rng, operations), rng.choice([0, 0, 1])
    killed = _two(new, place, {victim: at})
    begun = (place / "out/run/run.json").exists()
    both = _two(inside_out(training(world, resume=True)) if begun else new, place, {})
    bad = next((e for e in killed if e.hung or e.survivors), killed[0])
    ended = next((e for e in both if e.code or e.fault), both[0])
    found = finished(world, bad, ended, folder, wanted)
    said = f"{' '.join(settings)}, rank {victim} killed at {at}: {found.detail}"
    return found._replace(detail=said)


def _two_undisturbed(
    work: Callable[[], object], place: Path, name: str
) -> tuple[dict[str, str], int]:
    both = _two(work, place, {0: 0})
    if any(ended.code or ended.fault for ended in both):
        raise RuntimeError(f"{name}, undisturbed: {[ended.text for ended in both]}")
    return snapshot(place / "out"), both[0].operations


def _two(work: Callable[[], object], place: Path, at: dict[int, int]) -> list[Ended]:
    """Both ranks; who is left when the other was killed is ended as a launcher ends it."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": port(), "ACCELERATE_USE_CPU": "true"}
    begun = [
        start(
            work, place, at.get(rank), False, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(2)
    ]
    first = _first_to_end([one.process for one in begun])
    other = 1 - first
    ended = {first: wait(begun[first])}
    if ended[first].signal:
        os.kill(begun[other].process, signal.SIGTERM)
        time.sleep(2)
        os.kill(begun[other].process, signal.SIGKILL)
    ended[other] = wait(begun[other])
    return [ended[0], ended[1]]


def _first_to_end(processes: list[int]) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for number, process in enumerate(processes):
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, process, options):
                return number
        time.sleep(0.005)
    return 0


# ---------------------------------------------------------------------------------- predict


def predicting(world: World, kind: str, to: str) -> Callable[[], object]:
    """`predict` of pictures, of a film or of shards, to out/said.*"""
    sources = {
        "pictures": world.raw("raf-db") / "basic/Image/aligned",
        "film": next(world.raw("aff-wild").rglob("*.mp4")),
        "shards": world.shards,
    }
    trained = world.trained
    words = ("predict", sources[kind], "--run", trained, "--faces", "whole", "--out", f"out/{to}")
    return quiet(*words)


def predict(world: World, rng: Random, folder: Path) -> Verdict:
    """Pictures, a film or shards; CSV, Arrow or a film."""
    kind, to = rng.choice(
        [
            ("pictures", "said.csv"),
            ("shards", "said.arrow"),
            ("film", "said.mp4"),
            ("film", "s.csv"),
        ]
    )
    work = predicting(world, kind, to)
    wanted, operations = reference(world, f"predict {kind} {to}", work)
    at = some(rng, operations)
    killed = run(work, folder / "place", at=at)
    found = finished(world, killed, run(work, folder / "place"), folder, wanted)
    return found._replace(detail=f"{kind} to {to}, killed at {at}: {found.detail}")


# ---------------------------------------------------------------------------------- sweep


def sweeping(world: World) -> Callable[[], object]:
    """`sweep` over the first row of a table, its training a process of its own, as ever."""
    shards = world.shards

    def work() -> None:
        from avce.paper import tables
        from avce.paper.sweep import sweep

        table = tables.table(2)
        table = replace(table, rows=tuple(row for row in table.rows if row.recipe)[:1])
        settings = [f"{name}={value}" for name, value in TINY.items()]

        def begin(row: Any, seed: int, run_folder: Path) -> list[str]:
            words = tables.words(row, seed, run_folder, [shards], settings)
            return [sys.executable, "-m", "avce", "train", *words]

        swept = sweep(table, [0], Path("out"), begin)
        if swept.failed or swept.elsewhere:
            sys.exit(1)

    return work


def sweep(world: World, rng: Random, folder: Path) -> Verdict:
    """The sweep is killed, or the training it began; a training goes on without its sweep."""
    work = sweeping(world)
    wanted, operations = reference(world, "sweep", work)
    workers = rng.random() < 0.7
    at = some(rng, 60 if workers else operations)
    killed = run(work, folder / "place", at=at, workers=workers)
    ended = again(work, folder / "place")
    found = finished(world, killed._replace(survivors=0), ended, folder, wanted)
    return found._replace(detail=f"killed at {at}: {found.detail}")
