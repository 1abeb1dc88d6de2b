"""`Pictures`: the decoded pictures of a selection, kept, so that only a first epoch decodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.decode import Decoder, Graph

PLACES = ("none", "memory", "device")


def check_place(place: str) -> None:
    """Raise ValueError where no cache is called so."""
    if place not in PLACES:
        raise ValueError(f"cache {place!r} does not exist; choose one of {', '.join(PLACES)}")


_SHARE = 0.8  # of what is free: the rest is for those who work with the pictures


class Pictures:
    """uint8 (n, S, S, 3) in memory or on a GPU; what is decoded at first sight is there after.

    Raises ValueError where the stored pictures have no common size, or do not fit.
    """

    def __init__(self, graph: Graph, n: int, place: str) -> None:
        side = graph.geometry.stored
        if side is None:
            raise ValueError(
                f"cache={place} needs pictures of one size and these differ; write the shards "
                "with one (`--size`), or go on with cache=none"
            )
        device = None if place == "memory" else graph.device
        if place == "memory" and graph.device is not None:
            raise ValueError(
                "cache=memory serves training on a CPU and this one is on a GPU; choose "
                "cache=device or cache=none"
            )
        _fits(n * side * side * 3, device, place)
        self._pictures = torch.empty(
            (n, side, side, 3), dtype=torch.uint8, device="cpu" if device is None else device
        )
        self._here = np.zeros(n, bool)
        self._decoder = Decoder(graph.pictures, graph.device)

    def missing(self, positions: np.ndarray) -> list[int]:
        """Which of `positions` (0..n-1) have no picture yet."""
        return np.flatnonzero(~self._here[positions]).tolist()

    def keep(self, positions: np.ndarray, encoded: list[np.ndarray]) -> None:
        """Decode and keep these. Raises Undecodable, and keeps none, where one is broken."""
        self._decoder.put(encoded)
        found = self._decoder.get()
        self._pictures[torch.from_numpy(positions).to(found.device)] = found
        self._here[positions] = True

    def at(self, positions: np.ndarray) -> Any:
        """The pictures of `positions`: views in memory, a gathered copy on a GPU."""
        if self._pictures.is_cuda:
            return self._pictures[torch.from_numpy(positions).to(self._pictures.device)]
        return [self._pictures[position].numpy() for position in positions.tolist()]


def _fits(wanted: int, device: int | None, place: str) -> None:
    free = _free_memory() if device is None else torch.cuda.mem_get_info(device)[0]
    if wanted > _SHARE * free:
        raise ValueError(
            f"cache={place} needs {wanted / 1e9:,.1f} GB for the decoded pictures and "
            f"{free / 1e9:,.1f} GB are free; choose cache=none, fewer rows or smaller pictures"
        )


def _free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its cgroup if it has one."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no cgroup here, or "max"
        pass
    return free
