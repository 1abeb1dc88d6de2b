"""`report.json`: what became of a data set, in any case and on every rerun."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shards.building.store import Store
from shards.building.tars import Fragment
from shards.durable import write_aside
from shards.findings import Findings

REPORT = "report.json"


@dataclass(slots=True)
class Report:
    """What became of a data set; `report.json` holds the same."""

    name: str
    out: str
    findings: Findings
    complete: bool = False  # False for one part of several
    reused: int = 0  # shards that an earlier run had finished
    shards: int = 0
    rows: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    digest: str | None = None
    plan: str | None = None
    stand_in: bool | None = None  # drawn faces, not the data set itself
    sources: str | None = None  # hash of the images' time stamps, which copies need not share
    inputs: str | None = None  # hash of all that the plan was made from; null if not ours to know
    seconds: float = 0.0
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        own = {name: getattr(self, name) for name in self.__slots__ if name != "findings"}
        return {**own, **self.findings.as_dict()}

    def recall(self, before: dict[str, Any]) -> None:
        """Take over what only the run that wrote the shards could find out."""
        findings = self.findings
        known = {check["check"] for check in findings.checks}
        findings.checks += [c for c in before.get("checks", []) if c["check"] not in known]
        findings.skipped |= before.get("skipped", {})
        findings.examples = {**before.get("examples", {}), **findings.examples}


def write_report(store: Store, report: Report, part: tuple[int, int] | None) -> None:
    """Write it whole or not at all; a failure speaks only where nothing else has."""
    name = name_of_part("report", part) + ".json"
    try:
        store.local.mkdir(parents=True, exist_ok=True)
        write_aside(store.local / name, json.dumps(report.as_dict(), indent=2).encode() + b"\n")
        store.publish(name)
    except OSError:
        if report.error is None:
            raise


def read_report(store: Store) -> dict[str, Any]:
    """The report of the run before, or nothing where there is none that could be read."""
    try:
        found = json.loads(store.read(REPORT))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def name_of_part(name: str, part: tuple[int, int] | None) -> str:
    """`name`, or what it is called for one part of several."""
    return name if part is None else f"{name}-{part[0]}-of-{part[1]}"


def check_leaks(fragments: Callable[[], Iterable[Fragment]], findings: Findings) -> None:
    """Warn where the very same stored image stands in more than one split, and name the first."""
    both = [_images_and_splits(fragment) for fragment in fragments()]
    images, splits = (np.concatenate(column) for column in zip(*both, strict=True))
    pairs = np.unique(np.rec.fromarrays([images, splits]))["f0"]
    shared = np.unique(pairs[1:][pairs[1:] == pairs[:-1]])
    named = ", ".join(_named(fragments(), shared[0])) if len(shared) else ""
    findings.check(
        "images in several splits",
        not len(shared),
        f"{len(shared):,} images stand in more than one split, pixel by pixel"
        + (
            f", the first as {named}; scores on them are of memory, leave them out" if named else ""
        ),
        level="warn",
    )


def _images_and_splits(fragment: Fragment) -> tuple[np.ndarray, np.ndarray]:
    digests = b"".join(fragment.rows["sha256"].to_pylist())
    codes = fragment.rows["split"].indices.to_numpy().copy()  # a view holds all
    return np.frombuffer(digests, np.uint64)[::4].copy(), codes


def _named(fragments: Iterable[Fragment], image: np.uint64) -> Iterator[str]:
    """Key and split of an image wherever it stands."""
    for fragment in fragments:
        for row in np.flatnonzero(_images_and_splits(fragment)[0] == image).tolist():
            yield f"{fragment.rows['sample_key'][row]} ({fragment.rows['split'][row]})"
