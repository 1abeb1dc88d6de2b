"""Files that others wrote, changed by their structure: read, or refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

from tests.shards.datasets.test_mutations import DRAW, FORMATS, finite, outcome
from tests.shards.mutations import mutated
from tests.torture.child import run
from tests.torture.world import Verdict, World


def foreign(world: World, rng: Random, folder: Path) -> Verdict:
    """One file of a stand-in, changed and put back."""
    format_ = rng.choice(list(FORMATS))
    reader, pattern, oddities, options = FORMATS[format_]
    root = world.once(f"foreign {'-'.join([format_.partition('/')[0], *oddities])}", _drawn)
    place, allowed = folder / "place", rng.random() < 0.5
    files = sorted(root.glob(pattern))
    path = rng.choice(files)
    kept = path.read_bytes()

    def read() -> None:
        samples, sentence = outcome(reader, root, {**options, "allow_count": allowed})
        if not all(map(finite, samples)):
            print("NOT FINITE")
        named = any(part in sentence for part in (path.name, path.stem, str(root)))
        print("READ" if samples else "REFUSED" if named else f"UNNAMED {sentence}")

    try:
        mutated(path, rng)
        ended = run(read, place, limit=30)
    finally:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(True)
        path.write_bytes(kept)
    if ended.fault or ended.code:
        return Verdict(ended.fault or "tracebacks", f"{format_} {path.name}: {ended.text[-1500:]}")
    outcomes = {"READ": "survived", "REFUSED": "refused", "UNNAMED": "unnamed", "NOT": "other"}
    return Verdict(outcomes[ended.out.split()[0]], f"{format_} {path.name}: {ended.out[:500]}")


def _drawn(place: Path) -> Path:
    from shards.standins.oddities import apply_oddities

    name, *oddities = place.parent.name.removeprefix("foreign ").split("-")
    root = place / "raw"
    DRAW[name](root)
    apply_oddities(root, name, oddities)
    return root
