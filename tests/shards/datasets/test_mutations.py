"""Damaged label files of all five data sets: read, or refused in a sentence that names the file.

`AVCE_MUTATIONS=1000` damages that many files a format instead of a few.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from shards.datasets import afew_va, aff_wild, aff_wild2, affectnet, raf_db, table
from shards.findings import Findings
from shards.sample import Sample
from shards.standins import layouts
from shards.standins.affectnet import draw_affectnet
from shards.standins.oddities import apply_oddities
from tests.shards.mutations import mutated

COUNT = int(os.environ.get("AVCE_MUTATIONS", "12"))
FORMATS: dict[str, tuple[ModuleType, str, list[str], dict[str, object]]] = {
    # tree, files, oddities, options
    "2017/csv": (affectnet, "Manually_Annotated_file_lists/*.csv", [], {}),
    "2017/card": (affectnet, "data_card.json", [], {}),
    "2021/npy": (affectnet, "*/annotations/*.npy", [], {}),
    "affwild/axis": (aff_wild, "annotations/*/*/*.txt", [], {"unlabelled": True}),
    "affwild/pts": (aff_wild, "bboxes/*/*/*.pts", [], {}),
    "affwild2/table": (aff_wild2, "*/*/*/*.txt", [], {"unlabelled": True}),
    "affwild2/mtl": (aff_wild2, "*/MTL*/*/*.txt", ["mtl"], {}),
    "afew_va/json": (afew_va, "*/*.json", [], {}),
    "raf_db/list": (raf_db, "basic/EmoLabel/*.txt", [], {}),
    "table/csv": (table, "labels.csv", [], {}),
    "raf_db/points": (
        raf_db, "basic/Annotation/*/*.txt", [], {"images": "original", "attributes": True},
    ),
}  # fmt: skip
DRAW: dict[str, Callable[[Path], object]] = {
    "2017": lambda root: draw_affectnet(root, n=24, level="easy", jobs=1),
    "2021": lambda root: layouts.draw_affectnet_2021(root, 6),
    "affwild": lambda root: layouts.draw_aff_wild(root, 2, 3),
    "affwild2": lambda root: layouts.draw_aff_wild2(root, 2, 3),
    "afew_va": lambda root: layouts.draw_afew_va(root, 2, 2),
    "raf_db": lambda root: layouts.draw_raf_db(root, 6),
    "table": lambda root: layouts.draw_table(root, 8, level="easy"),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list[str]], Path]:
    top, trees = tmp_path_factory.mktemp("mutated"), {}

    def tree(name: str, oddities: list[str]) -> Path:
        root = top / "-".join([name, *oddities])
        if root not in trees:
            DRAW[name](root)
            apply_oddities(root, name, oddities)
        trees[root] = True
        return root

    return tree


def outcome(reader: ModuleType, root: Path, options: dict[str, object]) -> tuple[list[Sample], str]:
    findings = Findings()
    try:
        samples = list(reader.read(root, findings, **options))
    except (ValueError, OSError) as error:
        return [], f"{error} {getattr(error, 'filename', '')}"
    return samples, "\n".join(findings.failed)


def finite(sample: Sample) -> bool:
    numbers = [sample.valence_raw or 0, sample.arousal_raw or 0]
    for many in (sample.bbox_xyxy, sample.landmarks, sample.landmarks5, sample.landmarks37):
        numbers += many or ()
    return all(math.isfinite(x) and abs(x) < 1e7 for x in numbers)


TREES = {
    "2017": affectnet, "2021": affectnet, "affwild": aff_wild, "affwild2": aff_wild2,
    "afew_va": afew_va, "raf_db": raf_db, "table": table,
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_what_systems_leave_in_folders_changes_nothing(
    name: str, drawn: Callable[[str, list[str]], Path], tmp_path: Path
) -> None:
    clean, littered = drawn(name, []), tmp_path / "littered"
    shutil.copytree(clean, littered)
    folders = [littered, *(path for path in littered.rglob("*") if path.is_dir())]
    for folder in folders:
        for path in sorted(folder.iterdir()):
            (folder / f"._{path.name}").write_bytes(b"\0\5\x16\7")  # AppleDouble's first bytes
        for stray in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / stray).write_bytes(b"stray")
    readings = []
    for root in (clean, littered):
        findings = Findings()
        samples = list(TREES[name].read(root, findings))
        assert not findings.failed
        readings.append((samples, dict(findings.skipped)))
    assert readings[0] == readings[1]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_damaged_file_is_read_or_named(
    format_: str, drawn: Callable[[str, list[str]], Path]
) -> None:
    reader, pattern, oddities, options = FORMATS[format_]
    root = drawn(format_.partition("/")[0], oddities)
    files = sorted(root.glob(pattern))
    assert files
    for seed in range(COUNT):
        rng = Random(f"{format_} {seed}")
        path = rng.choice(files)
        kept = path.read_bytes()
        signal.alarm(20)  # whoever waits for a pipe is ended
        try:
            mutated(path, rng)
            partial = rng.random() < 0.5
            samples, sentence = outcome(reader, root, {**options, "allow_count": partial})
        finally:
            signal.alarm(0)
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(True)
            path.write_bytes(kept)
        assert all(map(finite, samples)), seed
        named = any(part in sentence for part in (path.name, path.stem, str(root)))
        # of an empty but allowed list, `build` says that the folder gave no sample
        assert samples or named or (partial and not sentence), (
            f"{seed}: {sentence!r} names no {path}"
        )
    assert outcome(reader, root, options)[0]  # nothing of the last tree is left
