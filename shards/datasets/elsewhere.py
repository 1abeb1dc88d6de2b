"""Readers that others wrote: named on the command line, or installed beside us."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from shards.sample import Sample

Reader = Callable[..., Iterator[Sample]]
GROUP = "avce.readers"  # of entry points: a data set's name = "package.module:function"


def imported(place: str) -> Reader:
    """The function at `package.module:function`, also of a module in the working folder.

    Raises ValueError where there is none.
    """
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise ValueError(f"reader {place!r}: write package.module:function")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        reader: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"reader {place!r}: {error}; install it or run where it lies") from None
    if callable(reader):
        return cast(Reader, reader)
    raise ValueError(f"reader {place!r} is no function read(root, findings) of samples")


def installed() -> dict[str, Reader]:
    """The readers of installed packages by the name of their data set."""
    return {point.name: imported(point.value) for point in entry_points(group=GROUP)}
