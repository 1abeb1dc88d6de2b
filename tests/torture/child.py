"""One command in a child process, and what became of it.

The child is forked from a parent that has imported torch, pyarrow and DALI once, so that it costs
milliseconds. It leads a session of its own, by which whoever it leaves behind is found.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.torture.trap import Trap, for_workers

ROOT = str(Path(__file__).parents[2])
PATIENCE = 15.0  # seconds for workers to see that their parent is gone
LIMIT = 120.0  # seconds of a command on a busy machine; whoever takes longer hangs
_BROKEN = ("Traceback (most recent call last)", "bug: ", "Exception ignored in")


class Ended(NamedTuple):
    code: int | None  # None: killed
    signal: int  # 0: it exited
    text: str  # of stdout and stderr
    out: str  # of stdout
    hung: bool
    survivors: int
    operations: int  # that a trap counted

    @property
    def fault(self) -> str:
        """Why this is neither a success nor a clean refusal; empty where it is one of them."""
        if self.hung:
            return "hangs"
        if self.signal:
            return "crashes"
        if any(mark in self.text for mark in _BROKEN):
            return "tracebacks"
        if self.survivors:
            return "leftovers"
        return "" if self.code in (0, 1, 2) else "crashes"


def typed(*words: object) -> Callable[[], object]:
    """A command as it is typed."""

    def work() -> None:
        from avce.commands import main

        sys.argv = ["cli.py", *map(str, words)]
        main()

    return work


def run(
    work: Callable[[], object],
    place: Path,
    *,
    at: int | None = None,
    workers: bool = False,
    limit: float = LIMIT,
    environment: dict[str, str] | None = None,
) -> Ended:
    """Run `work` with `place` as its current folder; `at` sets a trap in it or in its workers."""
    return wait(start(work, place, at, workers, environment), limit)


class Started(NamedTuple):
    process: int
    said: Path
    told: Path


def start(
    work: Callable[[], object],
    place: Path,
    at: int | None = None,
    workers: bool = False,
    environment: dict[str, str] | None = None,
) -> Started:
    """Begin, and go on with other things."""
    said = Path(tempfile.mkdtemp(prefix="said-", dir=place.parent))
    begun = Started(os.fork(), said, said / "count")
    if begun.process:
        return begun
    code = 70
    try:
        os.environ.update(environment or {})
        code = _inside(work, place, begun, at, workers)
    finally:
        os._exit(code)  # never back into the parent's frames
    raise AssertionError


def _inside(
    work: Callable[[], object], place: Path, begun: Started, at: int | None, workers: bool
) -> int:
    os.setsid()
    _redirect(begun.said)
    os.chdir(place)
    (place.parent / "tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(place.parent / "tmp")
    trap = None
    if at is not None and workers:
        for_workers(at, str(place), ROOT)
    elif at is not None:
        trap = Trap(at, str(place)).set()
    code = 0
    try:
        work()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    if trap:
        begun.told.write_text(str(trap.count))
    sys.stdout.flush()
    sys.stderr.flush()
    getattr(threading, "_shutdown")()  # noqa: B009
    getattr(atexit, "_run_exitfuncs")()  # noqa: B009
    return code


def _redirect(said: Path) -> None:
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(said / name, os.O_CREAT | os.O_WRONLY)
        os.dup2(file, number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, encoding="utf-8", buffering=1)  # noqa: SIM115


def wait(begun: Started, limit: float = LIMIT) -> Ended:
    """Until it ended, and until nobody of its session lives."""
    deadline, hung = time.monotonic() + limit, False
    while not (found := os.waitpid(begun.process, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            hung = True
            os.killpg(begun.process, signal.SIGKILL)
            deadline += limit
        time.sleep(0.005)
    survivors = _bury(begun.process)
    out, err = ((begun.said / name).read_text(errors="replace") for name in ("out", "err"))
    count = int(begun.told.read_text()) if begun.told.exists() else 0
    code = os.waitstatus_to_exitcode(found[1])
    return Ended(code if code >= 0 else None, max(-code, 0), out + err, out, hung, survivors, count)


def _bury(session: int) -> int:
    """How many of a session outlived their patience; they are ended here."""
    deadline = time.monotonic() + PATIENCE
    while (living := _members(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in living:
        os.kill(process, signal.SIGKILL)
    return len(living)


def _members(session: int) -> list[int]:
    return [int(name) for name in filter(str.isdigit, os.listdir("/proc")) if _is_of(name, session)]  # noqa: PTH208


def _is_of(process: str, session: int) -> bool:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[3]) == session and fields[0] != "Z"
