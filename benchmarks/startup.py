"""CPU seconds until a command line says its first sentence and ends, or first prints.

    python benchmarks/startup.py [--rounds 5]

Each command runs in an empty folder, in a process of its own, and is one that ends at its first
check: a path, a name or an option. `doctor` is stopped at its first line. CPU seconds (user and
system, of the process and its children) are what `wait4` says; the median of the rounds is shown
beside what is wanted. On a machine with other work they move by some 20 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
WANTED = {  # command -> CPU seconds
    "--help": 0.3,
    "--version": 0.3,
    "recipes": 0.6,
    "train --recipe nope": 0.6,
    "train --set lr=fast": 0.6,
    "train --resume nowhere": 0.6,
    "train": 0.9,  # opens an index, which is pyarrow
    "inspect nowhere": 0.6,
    "shard affectnet": 0.9,  # the converters
    "eval nowhere": 0.6,
    "eval": 0.6,
    "figures nowhere": 0.6,
    "report nowhere": 0.6,
    "predict nofile.jpg": 0.6,
    "export --run nowhere": 0.6,
    "table 1": 0.6,
    "doctor": 0.3,
}


def seconds(words: list[str], folder: str) -> float:
    """Of one run; it ends by itself, or at its first line of results."""
    settings = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "avce", *words]
    process = subprocess.Popen(
        command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()
    if words == ["doctor"]:
        process.kill()
    process.stdout.read()
    _, _, used = os.wait4(process.pid, 0)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the first answer takes.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{'command':24} CPU s  wanted")
    with tempfile.TemporaryDirectory() as folder:
        for line, wanted in WANTED.items():
            found = statistics.median(seconds(line.split(), folder) for _ in range(rounds))
            print(f"{line:24} {found:5.2f}  {wanted:.1f}{'' if found <= wanted else '  missed'}")


if __name__ == "__main__":
    main()
