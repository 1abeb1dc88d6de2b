"""Files of ours with flipped bits, cut, emptied, swapped: refused by name, or the same result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow as pa

from tests.torture.child import Ended, run
from tests.torture.kills import again
from tests.torture.world import (
    Verdict,
    World,
    compared,
    done,
    judged,
    quiet,
    sharding,
    snapshot,
    training,
)

_JSON = (b"[]", b"null", b"{}", b"[1]", b'{"step": 1}', b"NaN", b"[" * 9000, b'{"version": 99}')
_VERIFIED = (".tar", ".idx", ".arrow")
SHARDS, RUN, HALF = "shards/*.*", "run/*.*", "half/**/*.*"
READERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    # words, files, how often
    "inspect": (("inspect", "shards", "--verify", "--json"), (SHARDS,), 3),
    "eval": (("eval", "run", "--shards", "shards", "--json"), (SHARDS, RUN), 3),
    "predict": (("predict", "shards", "--run", "run", "--out", "said.csv"), (SHARDS, RUN), 3),
    "report": (("report", "run", "--shards", "shards", "--out", "page.html"), (SHARDS, RUN), 0.2),
    "resume": (("train", "--resume", "half", "--shards", "shards"), (SHARDS, HALF), 3),
    "shard": ((), ("out/**/*",), 2),
}


def template(world: World) -> Path:
    """A folder with shards, a finished run, a half-trained run and half-written shards."""

    def make(place: Path) -> Path:
        shutil.copytree(world.shards, place / "shards")
        done(place, training(world))
        settings = "checkpoint_every_steps=2"
        half = training(world, settings)
        half_place = place.parent / "half"
        half_place.mkdir()
        run(half, half_place, at=95)
        shutil.copytree(half_place / "run", place / "half")
        run(sharding(world, "affectnet"), place, at=42)
        assert any((place / "half/checkpoints").glob("step-????????"))
        assert any((place / "out/.work").glob("0*.arrow"))
        return place

    return world.once("template", make)


def command(world: World, reader: str) -> Callable[[], object]:
    """What reads the files."""
    return sharding(world, "affectnet") if reader == "shard" else quiet(*READERS[reader][0])


def result(reader: str, place: Path, ended: Ended) -> dict[str, str]:
    """What a command gave, to be compared."""
    if reader == "shard":
        return snapshot(place / "out")
    if reader == "resume":
        found = snapshot(place / "half")
        return {n: d for n, d in found.items() if not n.startswith("checkpoints/")}
    if reader == "predict":
        return {"said.csv": (place / "said.csv").read_text()}
    if reader == "report":
        return {"page.html": "written"} if (place / "page.html").is_file() else {}
    return {"stdout": ended.out}


def damaged(world: World, rng: Random, folder: Path) -> Verdict:
    """One file, one damage, one command that reads it."""
    reader = rng.choices(list(READERS), [often for *_, often in READERS.values()])[0]
    whole = template(world)
    wanted = world.once(f"reads {reader}", lambda place: _undisturbed(world, reader, place))
    place = folder / "place"
    shutil.copytree(whole, place, dirs_exist_ok=True)
    found = (path for pattern in READERS[reader][1] for path in place.glob(pattern))
    files = sorted(path for path in found if path.is_file())
    path = rng.choice(files)
    what = damage(path, files, rng)
    said = f"{reader}: {path.relative_to(place)} {what}"
    ended = again(command(world, reader), place)
    verdict = judged(ended, path.name, path.stem, *_named_by(path, what))
    if verdict.outcome == "survived":
        verdict = compared(result(reader, place, ended), wanted)
        if verdict.detail == "other log.jsonl" and "log.jsonl is not the one" in told(ended):
            verdict = Verdict("refused")  # it went on, and said what of its past is lost
        if reader == "inspect" and verdict.outcome == "survived" and _matters(path, whole, place):
            verdict = Verdict("other", "verified")
    return verdict._replace(detail=f"{said}: {verdict.detail}")


def told(ended: Ended) -> str:
    """What was printed, its folded lines joined."""
    return " ".join(ended.text.split())


def _undisturbed(world: World, reader: str, place: Path) -> dict[str, str]:
    shutil.copytree(template(world), place, dirs_exist_ok=True)
    ended = run(command(world, reader), place)
    if ended.code or ended.fault:
        raise RuntimeError(f"{reader}, undamaged: {ended.fault} {ended.text}")
    return result(reader, place, ended)


def _named_by(path: Path, what: str) -> list[str]:
    """A checkpoint may be refused as a whole, and of two files that changed places the other."""
    other = what.partition("swapped with ")[2].rpartition("/")[2]
    step = [path.parent.name] if path.parent.name.startswith("step-") else []
    return [*step, *([other, other.partition(".")[0]] if other else [])]


def _matters(path: Path, whole: Path, place: Path) -> bool:
    """Whether a file that --verify answers for says something else now."""
    before = whole / path.relative_to(place)
    if path.suffix not in _VERIFIED:
        return False
    if path.suffix != ".arrow" or not path.exists():
        return not path.exists() or path.read_bytes() != before.read_bytes()
    tables = [pa.ipc.open_file(one.read_bytes()).read_all() for one in (path, before)]
    return not tables[0].equals(tables[1], check_metadata=True)


def damage(path: Path, files: list[Path], rng: Random) -> str:
    """Something else in the place of `path`; what."""
    content = path.read_bytes()
    kind = rng.choice(["flip", "flip", "flip", "cut", "swap", "blank", "gone", "empty", "more"])
    if path.suffix in (".json", ".jsonl"):
        kind = rng.choice([kind, "json", "digit"])
    place = rng.randrange(len(content) or 1)
    alike = [one for one in files if one.suffix == path.suffix and one != path]
    if kind == "flip" and content:
        bit = rng.randrange(8)
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        )
        return f"bit {bit} of byte {place} flipped"
    if kind == "cut":
        path.write_bytes(content[:place])
        return f"cut at {place}"
    if kind == "swap" and alike:
        other = rng.choice(alike)
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return f"swapped with {other.parent.name}/{other.name}"
    if kind == "blank":
        size = min(rng.choice([1, 8, 64, 512]), len(content) - place)
        path.write_bytes(content[:place] + bytes(size) + content[place + size :])
        return f"{size} zeros at {place}"
    if kind == "gone":
        path.unlink()
        return "removed"
    if kind == "more":
        path.write_bytes(content + rng.randbytes(rng.randrange(1, 600)))
        return "longer"
    if kind == "json":
        path.write_bytes(rng.choice(_JSON))
        return f"is {path.read_bytes()[:20]!r}"
    if kind == "digit":
        return _digit(path, content, rng)
    path.write_bytes(b"")
    return "emptied"


def _digit(path: Path, content: bytes, rng: Random) -> str:
    """Still JSON, with another number."""
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    if not places:
        path.write_bytes(json.dumps(None).encode())
        return "is null"
    place = rng.choice(places)
    digit = str((int(chr(content[place])) + rng.randint(1, 9)) % 10).encode()
    path.write_bytes(content[:place] + digit + content[place + 1 :])
    return f"digit at {place} is {digit.decode()}: {content[max(place - 30, 0) : place + 10]!r}"
