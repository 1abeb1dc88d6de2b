"""Damage of files by their structure: fields, tokens, lines, encodings, headers, kinds of file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

TOKENS = (
    "inf", "-inf", "nan", "NaN", "Infinity", "1e308", "-1e308", "1e999", "2.7", "true", "null",
    "", " ", "1_0", "\u0663", "\u00bd", "\u00b2", "0x10", "9" * 400, "9" * 5000, "-1", "-2",
    "-5", "11", "8", "1e0", "../../../etc/passwd", "..\\x.jpg", "1\\a.jpg", "/etc/passwd", "a\0b",
    "=1+1", "[" * 5000, "{}", '{"a":1,"a":2}', "\u2028", "x" * 300, "\x1b[2J", "NULL", "1e-400",
    "0", "00000", "-0.0", "1,2", '"', ";", "'",
)  # fmt: skip
HEADERS = (
    b"'|O'", b"'<U0'", b"'<f8'", b"'<U4'", b"'|V8'", b"'<M8[s]'", b"'|S3'", b"'<c16'", b"'|b1'",
    b"'x'", b"3", b"[('a','<f8')]", b"(1000000000000,)", b"(-1,)", b"(0,)", b"(2,3)", b"(1e9,)",
    b"(((((", b"None", b"True", b"__import__('os')", b"'\\d'", b"{" * 90,
)  # fmt: skip


def _token(content: bytes, rng: Random) -> bytes:
    """One word of a text replaced by a hostile one."""
    words = list(re.finditer(rb"[^\s,;:{}\[\]/\"]+", content[:200_000]))
    if not words:
        return rng.choice(TOKENS).encode("utf-8", "surrogatepass")
    word = rng.choice(words)
    return content[: word.start()] + rng.choice(TOKENS).encode() + content[word.end() :]


def _line(content: bytes, rng: Random) -> bytes:
    lines = content.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[other])
    elif kind == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == 3:
        lines[place] = lines[place][: rng.randrange(len(lines[place]) + 1)]
    elif kind == 4:
        lines.insert(place, rng.choice(TOKENS).encode())
    else:
        separator = rng.choice([b",", b" ", b";"])
        fields = lines[place].split(separator)
        rng.shuffle(fields)
        lines[place] = separator.join(fields)
    return b"\n".join(lines)


def _bytes(content: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    kind = rng.randrange(5)
    if kind == 0:
        return content[:place]
    if kind == 1 and content:
        place = min(place, len(content) - 1)
        return (
            content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
        )
    if kind == 2:
        return content[:place] + rng.randbytes(rng.randrange(1, 9)) + content[place:]
    return content[:place] + rng.choice([b"\xff", b"\0", b"\xe9", b"\r", b"\x85"]) + content[place:]


def _encoding(content: bytes, rng: Random) -> bytes:
    text = content.decode("utf-8", "replace")
    kind = rng.choice(["utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp500", "crlf", "cr"])
    if kind in ("crlf", "cr"):
        return content.replace(b"\n", b"\r\n" if kind == "crlf" else b"\r")
    return text.encode(kind, "replace")


def _header(content: bytes, rng: Random) -> bytes:
    """A value in the header of a `.npy` file, or its length."""
    if rng.random() < 0.2:
        return content[:8] + rng.randbytes(2) + content[10:]
    values = list(re.finditer(rb"('[<|][^']*'|False|\([^)]*\))", content[:128]))
    if not values:
        return b""
    value = rng.choice(values)
    return content[: value.start()] + rng.choice(HEADERS) + content[value.end() :]


TEXT: tuple[Callable[[bytes, Random], bytes], ...] = (
    _token,
    _token,
    _token,
    _line,
    _bytes,
    _encoding,
)
ARRAY = (_header, _header, _bytes)


def mutated(path: Path, rng: Random) -> None:
    """Put something else in the place of `path`: other content, or another kind of file."""
    content = path.read_bytes()
    if rng.random() < 0.12:
        path.unlink()
        kind = rng.randrange(7)
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            path.mkdir()
        elif kind == 2:
            path.symlink_to("/dev/zero")
        elif kind == 3:
            path.symlink_to("/etc/hostname")
        elif kind == 4:
            path.symlink_to(path.name)
        elif kind == 5:
            path.write_bytes(b"")
        return  # kind 6: missing
    change = rng.choice(ARRAY if path.suffix == ".npy" else TEXT)
    path.write_bytes(change(content, rng))
