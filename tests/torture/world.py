"""What a campaign draws once: stand-ins, shards, a finished run; and how outcomes are compared."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from shards.standins import layouts
from shards.standins.affectnet import draw_affectnet
from tests.torture.child import Ended, run, typed

RAWS: dict[str, Callable[[Path], object]] = {
    "affectnet": lambda root: draw_affectnet(root, n=48, level="easy", jobs=1),
    "aff-wild": lambda root: layouts.draw_aff_wild(root, 2, 3),
    "aff-wild2": lambda root: layouts.draw_aff_wild2(root, 2, 3),
    "afew-va": lambda root: layouts.draw_afew_va(root, 3, 2),
    "raf-db": lambda root: layouts.draw_raf_db(root, 12),
}
TINY = {
    "encoder": "timm/test_efficientnet", "weights": "none", "image_size": 32, "batch_size": 8,
    "epochs": 2, "checkpoint_every_steps": 2, "eval_every": 3, "log_every": 1, "log_with": "none",
}  # fmt: skip
# what two equal runs differ in
_CLOCKS = {"seconds", "reused", "started", "finished", "sessions", "sha256"}


class Verdict(NamedTuple):
    """survived, refused; or a fault: tracebacks, crashes, hangs, other, leftovers, unnamed."""

    outcome: str
    detail: str = ""


@dataclass
class World:
    """The folder of a campaign."""

    base: Path
    alone: bool  # mounts and /dev/shm are our own
    references: dict[str, Any] = field(default_factory=dict)

    def raw(self, name: str) -> Path:
        """A stand-in, drawn when it is first asked for."""
        path = self.base / "raw" / name
        if not path.exists():
            RAWS[name](path)
        return path

    def once(self, name: str, make: Callable[[Path], Any]) -> Any:
        """What `make` gives for a new folder, made once and kept."""
        if name not in self.references:
            folder = self.base / "once" / name / "place"
            folder.mkdir(parents=True)
            self.references[name] = make(folder)
        return self.references[name]

    @property
    def shards(self) -> Path:
        """Finished shards of 48 drawn faces."""
        return self.once("shards", lambda place: done(place, sharding(self, "affectnet")) / "out")

    @property
    def trained(self) -> Path:
        """A finished run on them."""
        return self.once("trained", lambda place: done(place, training(self)) / "run")


def done(place: Path, work: Callable[[], object]) -> Path:
    """`place`, after a command that must succeed."""
    ended = run(work, place)
    if ended.code != 0 or ended.fault:
        raise RuntimeError(f"undisturbed, and yet {ended.fault or ended.code}: {ended.text}")
    return place


def sharding(world: World, name: str, jobs: int = 1) -> Callable[[], object]:
    """`shard` in tars of a few samples."""
    raw = world.raw(name)

    def work() -> None:
        from shards.building import plan

        assert hasattr(plan, "_FEWEST")
        plan._FEWEST = 6  # samples a tar: as a data set of 48 would otherwise be two tars
        words = ("--raw", raw, "--out", "out", "--size", 32, "--jobs", jobs)
        typed("shard", name, *words)()

    return work


def training(world: World, *settings: str, resume: bool = False) -> Callable[[], object]:
    """`train` of the smallest encoder for ten steps, or its `--resume`."""
    words = [f"--set={name}={value}" for name, value in TINY.items()]
    words += [f"--set={setting}" for setting in settings]
    new = ("train", "--shards", world.shards, "--run", "run", *words)
    return quiet("train", "--resume", "run") if resume else quiet(*new)


def quiet(*words: object) -> Callable[[], object]:
    """A command, without the warnings of libraries, which are not what is tried here."""

    def work() -> None:
        warnings.simplefilter("ignore")
        typed(*words)()

    return work


def snapshot(folder: Path) -> dict[str, str]:
    """What a folder holds, without clocks: name to digest."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if any(part.endswith(".damaged") for part in path.parts):
        return "put aside"
    if path.name in ("report.json", "run.json"):
        values = json.loads(content)
        content = json.dumps({k: v for k, v in values.items() if k not in _CLOCKS}).encode()
    elif path.suffix == ".safetensors":
        content = _unordered(content)
    elif path.name == "log.jsonl":
        records = map(json.loads, content.splitlines())
        kept = [{k: r.get(k) for k in ("step", "losses", "lr", "val")} for r in records]
        content = json.dumps(kept).encode()
    elif path.parent.parent.name == "checkpoints" and path.suffix == ".json":
        return "kept"  # sums and lines of a log whose clocks differ
    return hashlib.sha256(content).hexdigest()[:16]


def _unordered(content: bytes) -> bytes:
    """Tensors and facts; safetensors writes facts in any order, and their seal follows it."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.get("__metadata__", {}).pop("sha256", None)
    return json.dumps(header, sort_keys=True).encode() + content[start:]


def differences(found: dict[str, str], wanted: dict[str, str]) -> str:
    """In words; empty where both are equal."""
    extra, missing = sorted(found.keys() - wanted.keys()), sorted(wanted.keys() - found.keys())
    other = sorted(name for name in found.keys() & wanted.keys() if found[name] != wanted[name])
    named = (("extra", extra), ("missing", missing), ("other", other))
    return "; ".join(f"{word} {', '.join(names[:6])}" for word, names in named if names)


def compared(found: dict[str, str], wanted: dict[str, str]) -> Verdict:
    """survived; leftovers where there is only more than there should be; else other."""
    said = differences(found, wanted)
    if not said:
        return Verdict("survived")
    only_more = said.startswith("extra") and ";" not in said
    return Verdict("leftovers" if only_more else "other", said)


def leftovers(world: World, folder: Path) -> str:
    """What lies in the temporary folder of a case, and in shared memory where that is our own."""
    left = [f"tmp/{path.name}" for path in (folder / "tmp").glob("*")]
    if world.alone:
        for path in Path("/dev/shm").iterdir():
            left.append(str(path))
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return ", ".join(left)


def judged(ended: Ended, *names: str) -> Verdict:
    """Of a command that may refuse: cleanly, naming one of `names`."""
    if ended.fault:
        return Verdict(ended.fault, ended.text[-2000:])
    if ended.code == 0:
        return Verdict("survived")
    flat = "".join(ended.text.split())  # long lines are folded
    named = not names or any("".join(name.split()) in flat for name in names)
    return Verdict("refused" if named else "unnamed", ended.text[-600:])


def some(rng: Random, most: int) -> int:
    """Of 1 to `most`, any as likely."""
    return rng.randint(1, max(most, 1))


def port() -> str:
    """A free port of this machine."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def emptied(folder: Path) -> Path:
    """`folder`, new."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)  # noqa: PTH103
    return folder
