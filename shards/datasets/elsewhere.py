"""Readers that others wrote: named on the command line, or installed beside us."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from importlib.metadata import entry_points
from pathlib import Path
from traceback import FrameSummary, extract_tb
from typing import Any, cast

from shards.labels.rows import InRows
from shards.sample import Sample

Reader = Callable[..., Iterator[Sample]]
GROUP = "avce.readers"  # of entry points: a data set's name = "package.module:function"


def imported(place: str) -> Reader:
    """The function at `package.module:function`, also of a module in the working folder.

    Raises ValueError where there is none, and so does the function for whatever its writer has to
    mend: an error of its own, or what is no `Sample`.
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
    except (Exception, SystemExit) as error:
        raise _theirs(place, error) from error
    if not callable(reader):
        raise ValueError(f"reader {place!r} is no function read(root, findings) of samples")
    return reader if isinstance(reader, InRows) else _guarded(place, cast(Reader, reader))


def installed() -> dict[str, str]:
    """Where the readers of installed packages are, by the name of their data set."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def _guarded(place: str, reader: Reader) -> Reader:
    @wraps(reader)
    def read(*given: Any, **options: Any) -> Iterator[Sample]:
        try:
            for sample in reader(*given, **options):
                if not isinstance(sample, Sample):
                    kind = type(sample).__name__
                    raise TypeError(f"it yields a {kind} and no shards.Sample")
                yield sample
        except OSError:
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, ValueError) and _last(error).filename == _SAMPLE:
                raise
            raise _theirs(place, error) from error

    return read


_SAMPLE = sys.modules[Sample.__module__].__file__  # whose sentences say what to mend


def _last(error: BaseException) -> FrameSummary:
    return extract_tb(error.__traceback__)[-1]


def _theirs(place: str, error: BaseException) -> ValueError:
    last = _last(error)
    at = f" at {last.filename}:{last.lineno}" if last.filename != __file__ else ""
    return ValueError(
        f"reader {place!r}: {type(error).__name__}{at}: {error}; mend the reader (--debug shows "
        "how it came there)"
    )
