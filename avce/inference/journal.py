"""`Journal`: what was predicted so far, so that a killed command goes on and ends the same.

A line a batch, below a line that says whose it is. What the next command reads is up to the last
whole line: a batch is there or not, and since the next one begins where this ended, the network
sees the same batches as if nothing had happened.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avce.durable import naming
from avce.inference.predictor import Face
from avce.inference.video import UNSEEN, Frame

At = tuple[int, int]  # of the sources this one, of its frames so many


class Told(NamedTuple):
    """A batch as it was told: frames without their pictures, and what was left out on the way."""

    frames: list[tuple[Frame, list[Face]]]
    left: list[tuple[str, str]]
    at: At


class Journal:
    """The batches of one command, kept in the file `path` as they come.

    Raises ValueError where another command left its own there, or one is writing it now.
    """

    def __init__(self, path: Path, owner: str, *, anew: bool = False) -> None:
        self.path, self.owner = path, owner.encode()
        self.frames, self.faces, self.at = 0, 0, (0, 0)
        self._noted: list[Any] = []
        self._file = open(path, "a+b")  # noqa: SIM115 (closed by `close`)
        try:
            self._lock()
            with naming(self.path):
                self._begin(anew)
        except BaseException:
            self._file.close()
            raise

    def note(self, frame: Frame, faces: list[Face]) -> None:
        """A frame of the batch that is predicted now."""
        self._noted.append(_packed(frame, faces))

    def commit(self, left: list[tuple[str, str]], at: At) -> None:
        """The batch is whole, and the next begins at `at`."""
        line = json.dumps({"frames": self._noted, "left": left, "at": at}) + "\n"
        with naming(self.path):
            self._file.write(line.encode())
            self._file.flush()
        self._noted, self._end = [], self._file.tell()

    def told(self) -> Iterator[Told]:
        """Every batch, and what was noted since."""
        with open(self.path, "rb") as file:
            file.readline()
            while file.tell() < self._end:
                yield self._read(file.readline())
        yield _unpacked({"frames": self._noted, "left": [], "at": self.at})

    def close(self, *, keep: bool) -> None:
        """Give the file free; not to `keep`, it goes."""
        with naming(self.path), self._file:
            if keep:
                self._file.truncate(self._end)
            else:
                self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{self.path} is being written by another process; wait for its end or stop it, or "
                "name another output"
            ) from None
        except OSError:
            pass  # a disk without locks

    def _begin(self, anew: bool) -> None:
        self._file.seek(0)
        head = b"" if anew else self._file.readline()
        if head.endswith(b"\n") and head[:-1] != self.owner:
            raise ValueError(
                f"{self.path} is what another command, or other files, came to so far; give that "
                "command again, name another output, or say --overwrite to begin anew"
            )
        if not head.endswith(b"\n"):
            head = self.owner + b"\n"
            self._file.truncate(0)
            self._file.write(head)
            self._file.flush()
        self._end = self._file.seek(len(head))
        self._count()

    def _count(self) -> None:
        """Up to the last whole line."""
        for line in iter(self._file.readline, b""):
            if not line.endswith(b"\n"):
                break
            told = self._read(line)
            self.frames += len(told.frames)
            self.faces += sum(len(faces) for _, faces in told.frames)
            self.at, self._end = told.at, self._end + len(line)
        self._file.truncate(self._end)

    def _read(self, line: bytes) -> Told:
        try:
            return _unpacked(json.loads(line))
        except (ValueError, TypeError, KeyError):
            raise ValueError(
                f"{self.path} is damaged; say --overwrite to begin anew, or name another output"
            ) from None


def _packed(frame: Frame, faces: list[Face]) -> list[Any]:
    where = [frame.source, frame.number, frame.time, frame.reason]
    return [*where, [[f.box, f.confidence, f.track, f.preds.tolist(), f.points] for f in faces]]


def _unpacked(batch: dict[str, Any]) -> Told:
    frames = []
    for source, number, time, reason, faces in batch["frames"]:
        found = [
            Face(box and tuple(box), confidence, track, np.array(preds, np.float32), points)
            for box, confidence, track, preds, points in faces
        ]
        frames.append((Frame(UNSEEN, source, number, time, reason=reason), found))
    return Told(frames, [(reason, place) for reason, place in batch["left"]], tuple(batch["at"]))
