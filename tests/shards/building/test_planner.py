"""The plan is made once: found again while nothing changed, and never where anything did."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shards import READERS, BuildOptions, Crop, Engine, Sample, build
from shards.building.plan import Plan
from shards.building.planner import Planner
from shards.building.store import Store
from shards.findings import Findings
from shards.standins.layouts import draw_raf_db
from tests.shards.building.test_build import contents

OPTIONS = BuildOptions(
    crop=Crop(mode="none"), engine=Engine(jobs=1), samples_per_shard=8, part=(0, 2)
)


def refuse(root: Path, findings: Findings, **options: Any) -> Iterator[Sample]:
    raise AssertionError("planned again")


refuse.__module__ = "shards.datasets.refuse"  # as if it were ours


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "raf"
    draw_raf_db(root, 24, seed=0)
    return root


@pytest.fixture
def raw(drawn: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(drawn, tmp_path / "raw"))


def planner(raw: Path, out: Path, **changes: Any) -> Planner:
    options = replace(OPTIONS, **changes)
    out.mkdir(exist_ok=True)
    return Planner("raf-db", raw, Store(out), options, Findings())


def key(raw: Path, out: Path, **changes: Any) -> str | None:
    return planner(raw, out, **changes).key(READERS["raf-db"])


def planned(raw: Path, out: Path, reader: Callable[..., Any] = refuse) -> tuple[Plan, Findings]:
    made = planner(raw, out)
    return made.plan(reader, made.key(READERS["raf-db"])), made.findings


def test_parts_a_merge_and_a_rerun_plan_once(raw: Path, tmp_path: Path, monkeypatch: Any):
    out = tmp_path / "out"
    build("raf-db", raw, out, OPTIONS)
    monkeypatch.setitem(READERS, "raf-db", refuse)
    build("raf-db", raw, out, replace(OPTIONS, part=(1, 2)))
    merged = build("raf-db", raw, out, replace(OPTIONS, part=None))
    again = build("raf-db", raw, out, replace(OPTIONS, part=None))
    assert merged.complete and again.complete and again.reused == merged.shards
    assert again.findings.checks == merged.findings.checks != []
    assert (again.plan, again.sources, again.inputs) == (
        merged.plan,
        merged.sources,
        merged.inputs,
    )
    monkeypatch.undo()
    build("raf-db", raw, tmp_path / "new", replace(OPTIONS, part=None))
    for report in out.glob("report-*-of-2.json"):
        report.unlink()
    assert contents(out) == contents(tmp_path / "new")


def image(raw: Path) -> Path:
    return sorted(raw.rglob("*.jpg"))[0]


def labels(raw: Path) -> Path:
    return next(raw.rglob("list_patition_label.txt"))


def swap(path: Path) -> None:
    """Other bytes of equal size, and the old time put back."""
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "an image is added": lambda raw: (image(raw).parent / "new.jpg").write_bytes(b"x"),
    "an image is removed": lambda raw: image(raw).unlink(),
    "an image is renamed": lambda raw: image(raw).rename(image(raw).with_name("new.jpg")),
    "an image is swapped for one of its size and time": lambda raw: swap(image(raw)),
    "labels are swapped for some of their size and time": lambda raw: swap(labels(raw)),
    "a folder is added": lambda raw: (raw / "new").mkdir(),
    "a file becomes a link": lambda raw: linked(image(raw)),
}


def linked(path: Path) -> None:
    path.rename(path.with_name("moved.jpg"))
    path.symlink_to("moved.jpg")


@pytest.mark.parametrize("change", CHANGES)
def test_changed_inputs_have_another_key(change: str, raw: Path, tmp_path: Path):
    before = key(raw, tmp_path / "out")
    CHANGES[change](raw)
    assert before is not None and key(raw, tmp_path / "out") not in (None, before)


def test_other_options_have_another_key_and_parts_the_same(raw: Path, tmp_path: Path):
    out = tmp_path / "out"
    (tmp_path / "list.txt").write_text("a")
    named = {"labels": str(tmp_path / "list.txt")}
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"samples_per_shard": 9},
        {"crop": Crop(mode="box")},
        {"reader": {"allow_count": True}},
        {"reader": named},
        {"with_json": True},
    ]
    keys = [key(raw, out), *(key(raw, out, **other) for other in others)]
    (tmp_path / "list.txt").write_text("b")
    keys.append(key(raw, out, reader=named))  # a file outside the root that an option names
    assert len({*keys}) == len(keys)
    assert key(raw, out, part=None) == key(raw, out, part=(1, 2)) == keys[0]


def test_the_output_below_the_root_and_links_in_circles_are_no_inputs(raw: Path):
    (raw / "circle").symlink_to(raw)
    (raw / "itself").symlink_to("itself")
    out = raw / "out"
    before = key(raw, out)
    (out / "00000.tar").write_bytes(b"x")
    assert before is not None and key(raw, out) == before


@pytest.mark.parametrize("ending", [".arrow", ".json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_seal_is_no_plan(ending: str, damage: str, raw: Path, tmp_path: Path):
    out = tmp_path / "out"
    (out / ".work").mkdir(parents=True)
    first, found = planned(raw, out, READERS["raf-db"])
    known, recalled = planned(raw, out)  # of the seal alone
    assert known == first and recalled.as_dict() == json.loads(json.dumps(found.as_dict()))
    path = first.path.with_suffix(ending)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"flip": content, "cut": content[:-9], "gone": b""}[damage])
    with pytest.raises(AssertionError, match="planned again"):
        planned(raw, out)
    assert planned(raw, out, READERS["raf-db"])[0] == first
    assert planned(raw, out)[0] == first


def test_readers_of_others_are_asked_every_time(raw: Path, tmp_path: Path):
    def theirs(root: Path, findings: Findings) -> Iterator[Sample]:
        yield from ()

    assert planner(raw, tmp_path / "out").key(theirs) is None
