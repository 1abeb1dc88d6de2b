"""Checks that every reader makes the same way, before it yields its first sample."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from shards.datasets import foreign
from shards.datasets.card import expected_counts
from shards.findings import Findings
from shards.image import probe

_NAMED = 20  # problems written out one by one; the rest is a number


def require_folder(root: Path, name: str) -> None:
    """Raise FileNotFoundError unless `root` is a folder; `name` is the command line's word."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is no folder; unpack {name} there or pass its folder with --raw "
            "(docs/datasets.md says how to get it)"
        )


def unpacked(root: Path, *parts: str) -> Path:
    """`root/videos/train`, or `root/videos/train/train` where an inner archive made a folder."""
    path = root.joinpath(*parts)
    while (path / path.name).is_dir():
        path /= path.name
    return path


def size_of(root: Path, path: Path) -> tuple[int, int] | None:
    """Width and height by an image's header; None where it is missing or is none."""
    try:
        header = probe(foreign.content(root, path))
    except (ValueError, OSError):
        return None  # whoever decodes every image lists it
    return header.width, header.height


def strictness(allow_count: bool) -> Literal["fail", "warn"]:
    """What a partial or damaged copy is: an error, unless the user asked to go on with it."""
    return "warn" if allow_count else "fail"


def check_counts(
    findings: Findings,
    root: Path,
    dataset: str,
    published: Mapping[str, int],
    found: Mapping[str, int],
    *,
    allow_count: bool,
    soft: Collection[str] = (),
) -> None:
    """Compare what was found with the published counts, or with a stand-in's own.

    Names in `soft` only warn: their published numbers rest on one paper.
    """
    expected, source = expected_counts(root, dataset, published)
    for name in sorted(expected.keys() & published.keys()):
        have, number = found.get(name, 0), expected[name]
        findings.check(
            f"count: {name}",
            have == number,
            f"{root} has {have} of {name} and {source} has {number}"
            + (
                ""
                if have == number
                else "; a partial copy is usually a broken one, so complete it, or pass "
                "--allow-count to convert what is there"
            ),
            level=strictness(allow_count or name in soft),
        )


def check_each(
    findings: Findings,
    name: str,
    problems: Sequence[str],
    fine: str,
    *,
    level: Literal["fail", "warn"] = "fail",
) -> None:
    """One passed check saying `fine`, or one check for each problem (the first twenty)."""
    if not problems:
        findings.check(name, True, fine)
    for problem in problems[:_NAMED]:
        findings.check(name, False, problem, level=level)
    if len(problems) > _NAMED:
        findings.check(
            name, False, f"{len(problems) - _NAMED} more problems of this kind", level=level
        )


def check_unique(findings: Findings, name: str, keys: Iterable[str], where: Path) -> None:
    """Two sources under one key would overwrite each other in a tar."""
    seen: set[str] = set()
    twice = sorted({key for key in keys if key in seen or seen.add(key)})
    check_each(
        findings,
        name,
        [f"{key} is found twice below the root ({where}); keep one of the two" for key in twice],
        "every name is found once",
    )
