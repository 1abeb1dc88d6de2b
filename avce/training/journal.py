"""What a training tells while it runs: `log.jsonl`, listeners, and where the time goes."""

from __future__ import annotations

import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avce.durable import naming, parsed, write_aside

Record = dict[str, Any]


class Journal:
    """One JSON object a line in `log.jsonl`, and the same record to every listener.

    A run that goes on after a crash first cuts the file to what its checkpoint had seen of it, so
    that each step stands in it once.
    """

    def __init__(self, path: Path, listeners: list[Callable[[Record], None]]) -> None:
        self.path = path
        self.listeners = listeners
        self.lines = self.crc = 0  # how many records the file holds, and the CRC-32 of them

    def cut(self, lines: int | None, step: int) -> None:
        """Keep the first `lines` records (None: those up to `step`); make the file if need be."""
        found = read_log(self.path) if self.path.exists() else []
        kept = [r for r in found if r["step"] <= step] if lines is None else found[:lines]
        content = "".join(json.dumps(r) + "\n" for r in kept).encode()
        write_aside(self.path, content)
        self.lines, self.crc = len(kept), zlib.crc32(content)

    def write(self, record: Record) -> None:
        """Append the record, then tell the listeners."""
        line = json.dumps(record).encode() + b"\n"
        with naming(self.path), open(self.path, "ab") as file:
            file.write(line)
        self.lines, self.crc = self.lines + 1, zlib.crc32(line, self.crc)
        for listener in self.listeners:
            listener(record)


def crc_of(path: Path, lines: int) -> int:
    """The CRC-32 of the first lines of a log; 0 of no file."""
    if not path.is_file():
        return 0
    with open(path, "rb") as file:
        return zlib.crc32(b"".join(itertools.islice(file, lines)))


def read_log(path: Path) -> list[Record]:
    """The records of a `log.jsonl`; a last line cut off by a crash is left out.

    ValueError naming the line where another one is no object with a whole number as its step.
    """
    lines = path.read_bytes().splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_record(line.decode()))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(
                    f"{path}: line {number} is no record of a log ({error}); delete the line"
                ) from None
    return records


def _record(line: str) -> Record:
    found = parsed(line)
    if not isinstance(found, dict) or type(found.get("step")) is not int:
        raise ValueError("it needs an object with a step")
    return found


class Stopwatch:
    """Seconds of one step, by part. On a GPU it waits for the device, so use it on few steps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`."""
        start = self.now()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - start

    def now(self) -> float:
        """Seconds on a clock that has waited for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def watching(self, modules: Sequence[nn.Module], name: str) -> Iterator[None]:
        """Add the time inside `modules`, forward and backward, to `name` while the block runs."""
        handles = [handle for module in modules for handle in self._hooks(module, name)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, module: nn.Module, name: str) -> list[torch.utils.hooks.RemovableHandle]:
        started: list[float] = []

        def start(*_: object) -> None:
            started.append(self.now())

        def stop(*_: object) -> None:
            if started:
                self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - started.pop()

        return [
            module.register_forward_pre_hook(start),
            module.register_forward_hook(stop),
            module.register_full_backward_pre_hook(start),
            module.register_full_backward_hook(stop),
        ]

    def shares(self, total: float) -> dict[str, float]:
        """Each part as a share of `total` seconds."""
        return {name: round(seconds / total, 4) for name, seconds in self.seconds.items()}


def flat_numbers(record: Record, prefix: str = "") -> dict[str, int | float]:
    """A nested record as `val/valence/ccc: 0.6`, for trackers that draw numbers."""
    numbers: dict[str, int | float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            numbers |= flat_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[f"{prefix}{name}"] = value
    return numbers
