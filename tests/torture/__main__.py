"""`python -m tests.torture [--minutes N] [--seed S] [--only KIND] [--case N] [--cases N]`.

Prints a table of what was tried and how it ended; exits 1 at anything but survived or refused.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

COLUMNS = (
    "survived", "refused", "unnamed", "tracebacks", "crashes", "hangs", "other", "leftovers",
)  # fmt: skip
_PRIVATE = "AVCE_TORTURE_PRIVATE"


def main() -> int:
    """Run a campaign."""
    parser = argparse.ArgumentParser(prog="just torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", nargs="+", metavar="KIND", help="repeatable")
    parser.add_argument("--case", type=int, help="only this one of each kind")
    parser.add_argument("--cases", type=int, help="so many of each kind, however long they take")
    wanted = parser.parse_args()
    wanted.only = [" ".join(words) for words in wanted.only or ()]  # just takes quotes away
    alone = _in_a_room_of_its_own()
    base = Path(tempfile.mkdtemp(prefix="avce-torture-"))
    try:
        return _campaign(wanted, base, alone)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _in_a_room_of_its_own() -> bool:
    """Begin again where mounts and /dev/shm are nobody else's; False where that is not allowed."""
    if os.environ.get(_PRIVATE) == "1":
        return subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/shm"]).returncode == 0
    room = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    try:
        allowed = subprocess.run([*room, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if allowed:
        os.environ[_PRIVATE] = "1"
        command = [sys.executable, "-m", "tests.torture", *sys.argv[1:]]
        os.execvp(room[0], [*room, *command])
    return False


def _campaign(wanted: argparse.Namespace, base: Path, alone: bool) -> int:
    from tests.torture.kinds import KINDS
    from tests.torture.world import Verdict, World, leftovers

    warnings.simplefilter("ignore")
    world = World(base, alone)
    if not alone:
        print("no mounts of our own: shared memory is not looked at, small disks are not made")
    told: dict[str, Counter[str]] = {}
    for kind in wanted.only or KINDS:
        (try_one, share), told[kind] = KINDS[kind], Counter[str]()
        total = sum(KINDS[name][1] for name in wanted.only or KINDS)
        for number in _numbers(wanted, 60 * wanted.minutes * share / total):
            folder = base / "case"
            (folder / "place").mkdir(parents=True)
            try:
                found = try_one(world, Random(f"{kind} {wanted.seed} {number}"), folder)
            except Exception:
                found = Verdict("tracebacks", traceback.format_exc())
            told[kind][found.outcome] += 1
            if wanted.case is not None or found.outcome not in ("survived", "refused"):
                _tell(kind, wanted.seed, number, found.outcome, found.detail)
            if alone:
                subprocess.run(["umount", folder / "place/out"], capture_output=True)
            leftovers(world, folder)
            shutil.rmtree(folder, ignore_errors=True)
    print(_table(told))
    good = sum(count["survived"] + count["refused"] for count in told.values())
    return int(good < sum(map(Counter.total, told.values())))


def _numbers(wanted: argparse.Namespace, seconds: float) -> Iterator[int]:
    """The cases of one kind."""
    if wanted.case is not None or wanted.cases is not None:
        yield from [wanted.case] if wanted.case is not None else range(wanted.cases)
        return
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        yield number
        number += 1


def _tell(kind: str, seed: int, number: int, outcome: str, detail: str) -> None:
    print(f"{outcome}: just torture --only {kind} --seed {seed} --case {number}")
    print("    " + "\n    ".join(detail.strip().splitlines()[-25:]), flush=True)


def _table(told: dict[str, Counter[str]]) -> str:
    """Markdown, as it stands in docs/reliability.md."""
    lines = [f"| kind | tried | {' | '.join(COLUMNS)} |", "|" + "---|" * (2 + len(COLUMNS))]
    for kind, counts in told.items():
        numbers = [counts.total(), *(counts[column] for column in COLUMNS)]
        lines.append(f"| {kind} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(main())
