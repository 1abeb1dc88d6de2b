"""Conditions and settings from a grammar, held against a reading of their own or a promise."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.torture.child import Ended, run
from tests.torture.world import Verdict, World

NUMBERS = ("valence", "arousal", "expression", "frame_index", "fold", "width", "shard_offset")
WORDS = ("split", "dataset", "sample_key", "video_id", "subject_id", "official_split", "shard")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_ODD = (
    "1e400", "-1e400", "9" * 23, "9" * 400, "1e-400", "nan", "inf", "0x7f", "1_0", "True", "None",
    "''", "'\\ud800'", "'\\0'", "b'x'", "[]", "{[1]}", "()", "1j", "...", "f'{1}'", "lambda: 1",
    "__import__('os').system('true')", "valence.real", "valence[0]", "(" * 60, "not " * 300, "~",
    "-", "valence", "quality", "landmarks", "split_by_task", "sha256", "va_valid", "x" * 2000,
    "\u2028",
    "is", "in", "if", "else", ":=", "*", "**", "'val'", "0.5", "#", "\n", "\\", ";", "@", "'", '"',
)  # fmt: skip
_VALUES = (
    "", " ", "0", "-0", "1", "-1", "2", "0.5", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf",
    "9" * 25, "9" * 5000, "true", "false", "yes", "none", "None", "null", "1,2", "1,2,3",
    "(0.5,0.9)", "[]", ",", "../x", "/etc/passwd", "/dev/zero", ".", "~",
    "\u0663", "\u00bd", "\0", "\ud800",
    "timm/", "timm/x", "alexnet", "resnet18", "batch", "closed", "ecos", "batched", "x" * 3000,
    "=", "a=b", "0x10", "1_000", "1e3", "33", "64", "0.999999999", "1.0000001", "true ", "TRUE",
)  # fmt: skip


class Truth:
    """A random condition, and whether a row meets it: True, False or None (a value is missing)."""

    def __init__(self, rng: Random, depth: int = 3) -> None:
        self.rng = rng
        self.text, self.of = self.whole(depth)

    def whole(self, depth: int) -> tuple[str, Callable[[dict[str, Any]], bool | None]]:
        kind = self.rng.choice(["and", "or", "not", "leaf"]) if depth else "leaf"
        if kind == "leaf":
            return self.leaf()
        left, first = self.whole(depth - 1)
        if kind == "not":
            return f"not ({left})", lambda row: None if (x := first(row)) is None else not x
        right, second = self.whole(depth - 1)
        decisive = kind == "or"

        def both(row: dict[str, Any]) -> bool | None:
            found = (first(row), second(row))
            return decisive if decisive in found else None if None in found else not decisive

        return f"({left}) {kind} ({right})", both

    def leaf(self) -> tuple[str, Callable[[dict[str, Any]], bool | None]]:
        rng = self.rng
        kind = rng.choice(["number", "number", "word", "list", "null", "bool", "chain"])
        if kind == "bool":
            return "va_valid", lambda row: row["va_valid"]
        if kind == "null":
            name, there = rng.choice(NUMBERS + WORDS), rng.random() < 0.5
            return (
                f"{name} is {'not ' if there else ''}None",
                lambda row: (row[name] is not None) == there,
            )
        if kind == "chain":
            low, high = sorted(rng.uniform(-1, 1) for _ in range(2))
            name = rng.choice(["valence", "arousal"])
            return f"{low!r} < {name} <= {high!r}", lambda row: _chain(low, row[name], high)
        name = rng.choice(WORDS if kind == "word" else NUMBERS)
        sign = rng.choice(["==", "!="] if kind == "word" else list(_OPERATORS))
        if kind == "list":
            values = [rng.randint(0, 8) for _ in range(rng.randint(1, 4))]
            return f"expression in {values}", lambda row: _lifted(
                lambda x: x in values, row["expression"]
            )
        value: Any = rng.choice(["val", "train", "affectnet", "x", "00000.tar"])
        if kind == "number":
            value = rng.choice([rng.randint(-3, 9), rng.uniform(-1, 1), 0, 10**6, -(10**12)])
        compare = _OPERATORS[sign]
        return f"{name} {sign} {value!r}", lambda row: _lifted(
            lambda x: compare(x, value), row[name]
        )


def _lifted(test: Callable[[Any], bool], value: Any) -> bool | None:
    return None if value is None else test(value)


def _chain(low: float, value: Any, high: float) -> bool | None:
    return None if value is None else low < value <= high


def condition(world: World, rng: Random, folder: Path) -> Verdict:
    """A true sentence of the grammar, whose rows are known, or one with something odd in it."""
    truth = Truth(rng)
    text, known = truth.text, rng.random() < 0.4
    if not known:
        text = _spoilt(text, rng)
    shards = world.shards

    def ask() -> None:
        from shards import LabelIndex
        from shards.where import condition as filter_of

        index = LabelIndex.open(shards)
        try:
            found = index.where(filter=filter_of(text)).rows.tolist()
        except ValueError as error:
            print("REFUSED", ascii(str(error))[:300])
            return
        rows = index.table.select([*NUMBERS, *WORDS, "va_valid"]).to_pylist()
        wanted = [number for number, row in enumerate(rows) if truth.of(row)]
        print("READ" if not known or found == wanted else f"OTHER {found} is not {wanted}")

    return _spoken(run(ask, folder / "place", limit=30), text, must_read=known)


def _spoilt(text: str, rng: Random) -> str:
    for _ in range(rng.randint(1, 3)):
        parts = text.split(" ")
        place = rng.randrange(len(parts))
        kind = rng.randrange(4)
        if kind == 0:
            parts[place] = rng.choice(_ODD)
        elif kind == 1:
            parts.insert(place, rng.choice(_ODD))
        elif kind == 2:
            del parts[place]
        else:
            other = rng.randrange(len(parts))
            parts[place], parts[other] = parts[other], parts[place]
        text = " ".join(parts)
    return text if rng.random() < 0.98 else f" {rng.choice(['and', 'or'])} ".join([text] * 400)


def _spoken(ended: Ended, text: str, *, must_read: bool = False) -> Verdict:
    said = f"{ascii(text)[:300]}: {ended.text[-1200:]}"
    if ended.fault or ended.code:
        return Verdict(ended.fault or "tracebacks", said)
    word = ended.out.split()[-1] if ended.out.strip() == "READ" else ended.out.split()[0]
    if word == "REFUSED" and must_read:
        return Verdict("other", f"refused, and it is a condition: {said}")
    return Verdict({"READ": "survived", "REFUSED": "refused"}.get(word, "other"), said)


# ---------------------------------------------------------------------------------- settings


def setting(world: World, rng: Random, folder: Path) -> Verdict:
    """`--set` of any field to anything: refused by name, or a config that takes a step."""
    from avce.config import Config, describe

    known = describe(Config())
    typed = [_assignment(known, rng) for _ in range(rng.choice([1, 1, 2, 3]))]

    def ask() -> None:
        from avce.config import with_settings
        from avce.recipes import recipe

        base = with_settings(recipe("paper"), ["encoder=timm/test_efficientnet", "weights=none"])
        base = with_settings(base, ["image_size=32"])
        try:
            config = with_settings(base, typed)
            assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
            if config.image_size <= 64:
                _step(config)
        except ValueError as error:
            print("REFUSED", ascii(str(error))[:600])
            return
        print("READ")

    return _spoken(run(ask, folder / "place", limit=60), " ".join(typed))


def _assignment(known: list[Any], rng: Random) -> str:
    """A field and a value, more often than not one that it may hold."""
    one = rng.choice(known)
    name = one.name if rng.random() < 0.95 else rng.choice(_ODD)
    if rng.random() < 0.4:
        return f"{name}={rng.choice(_VALUES)}"
    if one.choices.startswith("one of "):
        return f"{name}={rng.choice(one.choices.removeprefix('one of ').split(', '))}"
    if one.choices == "true or false":
        return f"{name}={rng.choice(['true', 'false'])}"
    numbers = [0, 1, 2, 3, 8, 33, 64, 300, -1, 1e-9, 0.1, 0.5, 0.9, 1.5, 1e6, 1e30, -0.5]
    return f"{name}={rng.choice(numbers)!r}"


def _step(config: Any) -> None:
    """Losses and gradients of one batch in every phase."""
    import torch

    from avce.method.build import build_method

    method = build_method(config, pretrained=False).train()
    image = torch.randn(8, 3, config.image_size, config.image_size)
    target = torch.rand(8, 2) * 2 - 1
    if config.task == "expression":
        target = torch.randint(0, config.classes, (8,))
    method.optimizers(config)
    for phase in method.phases:
        torch.stack(list(method(image, target, phase=phase).values())).sum().backward()
