"""A process that kills itself at its k-th file operation. It needs no C and no debugger.

Counted are the operations that change a disk and that Python tells of (`sys.addaudithook`): files
opened for writing, renamed, removed, folders made and removed; besides them each fsync and each
file that pyarrow opens for writing. What is written between two of them is not counted: a kill
falls between operations, never inside one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_VARIABLE = "AVCE_TORTURE_TRAP"
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Trap:
    """Kill the process at operation `at` below `root` or in shared memory; 0 counts only."""

    def __init__(self, at: int, root: str) -> None:
        self.at, self.root, self.count = at, root, 0
        self.process = os.getpid()

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit hook."""
        if event == "open":
            if isinstance(args[2], int) and args[2] & _WRITES:
                self.step(args[0])
        elif event in _CHANGES:
            self.step(args[0])

    def step(self, path: object) -> None:
        """One more operation, if the file is ours."""
        if os.getpid() != self.process or not self._ours(path):
            return
        self.count += 1
        if self.count == self.at:
            os.kill(self.process, signal.SIGKILL)

    def _ours(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        name = os.fsdecode(path)
        return not name.startswith("/") or name.startswith((self.root, "/dev/shm"))

    def set(self) -> Trap:
        """From now on, in this process, for good."""
        import pyarrow as pa

        sys.addaudithook(self.hear)
        os.fsync = self._heard(os.fsync, lambda file: self.root)
        pa.OSFile = self._heard(pa.OSFile, lambda path, mode="r", *_: path if "w" in mode else None)
        return self

    def _heard(self, function: Any, path: Callable[..., object]) -> Any:
        def heard(*args: Any) -> Any:
            self.step(path(*args))
            return function(*args)

        return heard


def for_workers(at: int, root: str, here: str) -> None:
    """Set the trap in every Python that this process starts, not in this one."""
    os.environ[_VARIABLE] = f"{at}:{root}"
    paths = [f"{here}/tests/torture/hook", here, os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def in_worker() -> None:
    """Called by `hook/sitecustomize.py`."""
    at, _, root = os.environ.get(_VARIABLE, "").partition(":")
    if at and "resource_tracker" not in " ".join(sys.orig_argv):
        Trap(int(at), root).set()
