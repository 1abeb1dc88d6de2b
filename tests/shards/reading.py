"""Read drawn trees: drawn once, copied for each test that spoils its own."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from shards.findings import Findings
from shards.sample import Sample
from shards.standins.oddities import apply_oddities


@dataclass(frozen=True)
class Reading:
    """What a reader gave, and what it found."""

    samples: list[Sample]
    findings: Findings

    @property
    def sentence(self) -> str:
        return "\n".join(self.findings.failed)

    @property
    def warnings(self) -> str:
        checks = self.findings.checks
        return "\n".join(check["detail"] for check in checks if check["outcome"] == "warn")

    @property
    def skipped(self) -> dict[str, int]:
        return dict(self.findings.skipped)

    @property
    def by_key(self) -> dict[str, Sample]:
        return {sample.key: sample for sample in self.samples}


def read_tree(reader: ModuleType, root: Path, **options: object) -> Reading:
    """Run a reader to its end."""
    findings = Findings()
    return Reading(list(reader.read(root, findings, **options)), findings)


def spoiled(clean: Path, out: Path, dataset: str, *oddities: str) -> Path:
    """A copy of a clean tree with oddities."""
    root = out / clean.name
    shutil.copytree(clean, root)
    apply_oddities(root, dataset, oddities)
    return root


def assert_stops(reading: Reading, sentence: str) -> None:
    """Nothing was yielded, and a failed check says why."""
    assert not reading.samples
    assert re.search(sentence, reading.sentence)
