"""What reaches the terminal: sentences on stderr, results on stdout, tables and bars.

Ranks other than the first say nothing. Names of files, rows and people's words are shown as they
are, never obeyed: no markup is read in them, and control characters are spelled out.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from avce.scores.sheet import printable


class _Aside(Console):
    """What is said on the way: that nobody reads it is no reason to give up the work."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


out = Console(markup=False, emoji=False)  # results
err = _Aside(markup=False, emoji=False, stderr=True)  # everything else


def occupy() -> None:
    """Open what this process was started without: a file would else become its stdout, and get
    what libraries print."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w"))  # noqa: SIM115


def unread(stream: int) -> bool:
    """Whether this open file is a pipe whose reader has gone."""
    asked = select.poll()
    asked.register(stream, 0)
    return any(event & select.POLLERR for _, event in asked.poll(0))


def let_go() -> None:
    """Drop what nobody takes any more; Python, at its end, would complain of it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def plain(text: object) -> str:
    """Text that a terminal shows and does not obey: what steers one is spelled out."""
    return "\n".join(map(printable, str(text).split("\n")))


def leads() -> bool:
    """Whether this is the rank that speaks; RANK alone makes no rank."""
    return int(os.environ.get("WORLD_SIZE") or 1) < 2 or os.environ.get("RANK", "0") == "0"


def tell(sentence: object, style: str = "") -> None:
    """A sentence on stderr, from the leading rank alone; its first word in a style."""
    if leads():
        shown = Text(plain(sentence))
        shown.stylize(style, 0, shown.plain.find(" "))
        err.print(shown, soft_wrap=True)


def say(text: object) -> None:
    """A result on stdout."""
    print(plain(text), flush=True)


def shell(*words: object) -> str:
    """A command line as a shell reads it."""
    return shlex.join(map(str, words))


def program() -> tuple[str, ...]:
    """What this command line was started as, behind `python` or a launcher."""
    return ("-m", "avce") if Path(sys.argv[0]).name in ("avce", "__main__.py") else ("cli.py",)


def then(*words: object, what: str = "next", by: Sequence[str] = ("python",)) -> None:
    """What to type next."""
    tell(f"{what}: {shell(*by, *program(), *words)}")


_RULES = {
    errno.ENOENT: "does not exist; check the path",
    errno.EISDIR: "is a folder where a file is meant; name a file",
    errno.ENOTDIR: "passes through a file as if it were a folder; check the path",
    errno.EEXIST: "exists already; name another place, or move it away",
    errno.EACCES: "may not be read or written by you; change its permissions or name another place",
    errno.EPERM: "may not be changed by you; change its permissions or name another place",
    errno.EROFS: "lies on a disk that takes no writes; name another place",
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "your quota of the disk is used up; free some space and run it again",
    errno.EFBIG: "would be larger than you may write (`ulimit -f`); raise it and run it again",
    errno.ENAMETOOLONG: "is too long a name for this disk; name another place",
    errno.ELOOP: "is a link to itself; name what it should point to",
    errno.EMFILE: "too many files are open; raise `ulimit -n` and run it again",
}


def sentence_of(error: BaseException) -> str:
    """What went wrong and what to do, without the errno that the system gave."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error) or type(error).__name__
    found = (error.strerror or type(error).__name__).split(". Detail")[0]
    rule = _RULES.get(error.errno, f"{found}; check the path and the disk it lies on")
    known = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([" to ".join(known) or found, rule])


def print_json(value: dict[str, Any]) -> None:
    """One object on stdout."""
    print(json.dumps(value))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], on: Console = out
) -> None:
    """A table whose first column is words and whose numbers line up on the right.

    The title is a line of its own: a path in it must not be broken where the table ends. Nor does
    a narrow terminal cost a digit.
    """
    drawn = Table()
    drawn.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        drawn.add_column(column, justify="right", overflow="fold")
    for row in rows:
        drawn.add_row(*map(plain, row))
    if title:
        on.print(Text(plain(title), "bold"), soft_wrap=True)
    on.print(drawn)


def print_report(report: Any) -> None:
    """Of a `shards.Report`: checks not passed, samples per split, what was left out and why."""
    for check in report.findings.checks:
        if check["outcome"] != "ok":
            tell(f"{check['outcome']}: {check['detail']}")
    rows = [(split, f"{n:,}") for split, n in report.splits.items()]
    rows += [(f"left out: {reason}", f"{n:,}") for reason, n in report.findings.skipped.items()]
    kept = f", {report.reused} of an earlier run" if report.reused else ""
    title = f"{report.out}: {report.rows:,} samples in {report.shards} shards{kept}"
    print_table(title, ("split", "samples"), rows)


_FEW = 12  # groups that a table names one by one


def tell_draws(by: str, groups: Sequence[tuple[str, int, float]]) -> None:
    """How often each group of a balanced order is drawn: name, samples, draws in an epoch."""
    if not groups or not leads():
        return
    ordered = sorted(groups, key=lambda group: group[1], reverse=True)
    shown = ordered if len(ordered) <= _FEW else [*ordered[: _FEW // 2], *ordered[-_FEW // 2 :]]
    rows = [(name, f"{n:,}", f"{each:,.1f}", f"{each / n:.3g}") for name, n, each in shown]
    some = f", of {len(ordered):,} groups the largest and the smallest" if shown != ordered else ""
    tell(f"balance={by}: expected in an epoch{some}")
    print_table("", ("", "samples", "draws", "draws of a sample"), rows, on=err)


def print_facts(folder: Path, facts: dict[str, Any]) -> None:
    """An index as tables: splits, classes, ranges and the plane of valence and arousal."""
    say(f"{folder}: {facts['rows']:,} rows in {facts['shards']} shards\ndigest {facts['digest']}")
    for kind in ("splits", "datasets", "expressions", "classes"):
        counts = facts[kind]
        if counts:
            rows = [(word, f"{n:,}", f"{n / facts['rows']:.1%}") for word, n in counts.items()]
            print_table("", (kind, "rows", "share"), rows)
    if facts["extra"]:
        say("extra columns: " + ", ".join(f"{k} ({v})" for k, v in facts["extra"].items()))
    ranges = [
        (axis, *(f"{facts[axis][key]:.3f}" for key in ("min", "mean", "max", "std")))
        for axis in ("valence", "arousal")
        if facts[axis]
    ]
    if ranges:
        print_table("", ("axis", "min", "mean", "max", "std"), ranges)
        say(plane(facts["plane"]))
    if "duplicates" in facts:
        print_alike(facts["duplicates"])


def print_alike(found: dict[str, Any]) -> None:
    """Pictures that are nearly the same in two splits: how many, by which rule, and the nearest."""
    rule = found["threshold"]
    say(
        f"{found['pairs']:,} pairs of {found['images']:,} images are nearly the same in different "
        f"splits (at most {rule['bits']} of {rule['of']} bits of a difference hash differ, "
        f"correlation {rule['correlation']} or more)"
    )
    rows = [
        (*sum(zip(pair["keys"], pair["splits"], strict=True), ()), str(pair["bits"]))
        for pair in found["nearest"][:20]
    ]
    if rows:
        print_table("", ("image", "split", "nearly", "split", "bits"), rows)


def plane(counts: list[list[int]]) -> str:
    """A histogram of valence (across) and arousal (up) in shades."""
    shades = " .:-=+*#%@"
    most = max(max(row) for row in counts) or 1
    lines = [
        "".join(2 * shades[min(9, -(-9 * n // most))] for n in row) for row in reversed(counts)
    ]
    return "\n".join(["arousal +1", *(f"|{line}|" for line in lines), "valence -1 to +1"])


def score_cells(axis: dict[str, Any]) -> list[str]:
    """Four numbers as text; an undefined one says so."""
    values = (axis[metric] for metric in ("rmse", "sagr", "pcc", "ccc"))
    return ["undefined" if value is None else f"{value:.3f}" for value in values]


def print_scores(title: str, before: dict[str, Any] | None, after: dict[str, Any]) -> None:
    """What training brought, from scores as run.json has them."""
    if "valence" not in after:
        print_table(title, ("", "accuracy"), [("expression", f"{after['accuracy']:.4f}")])
        return
    rows = [
        (f"{axis}, {when}", *score_cells(scores[axis]))
        for axis in ("valence", "arousal")
        for when, scores in (("before", before), ("after", after))
        if scores
    ]
    print_table(title, ("", "RMSE", "SAGR", "PCC", "CCC"), rows)


COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[note]}", markup=False),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


LINE_EVERY = 30.0  # seconds


class _Lines:
    """A line every half minute, where there is no terminal to draw a bar on."""

    def __init__(self, what: str, unit: str = "", told: float | None = None) -> None:
        self.what, self.unit, self.first = what, unit, (time.monotonic(), 0)
        self.told = time.monotonic() if told is None else told
        self.last: tuple[int, int | None] = (0, None)
        self.begun = self.first[0]

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        self.last = done, total
        now, (begun, first) = time.monotonic(), self.first
        if done < first or not first:
            self.first = now, done
        if err.is_terminal or now - self.told < LINE_EVERY:
            return
        self.told = now
        words = [f"{self.what}: {done:,}" + (f" of {total:,}" if total else "") + self.unit]
        words.append(note)
        if total and 0 < first < done < total:
            words.append(f"{(now - begun) / (done - first) * (total - done) / 60:,.0f} min left")
        tell(", ".join(filter(None, words)))

    def remind(self) -> None:
        """The last line again where nothing was counted for longer: it still works."""
        if time.monotonic() - self.told > 1.2 * LINE_EVERY:
            seconds = time.monotonic() - self.begun
            self(*self.last, note=f"at work for {seconds:,.0f} s")


@contextmanager
def _reminding(lines: Callable[[], _Lines]) -> Iterator[None]:
    """Around a work that may count nothing for minutes, where there is no terminal."""
    ended, pause = threading.Event(), LINE_EVERY / 10

    def wait() -> None:
        while not ended.wait(pause):
            lines().remind()

    watch = threading.Thread(target=wait, daemon=True)
    if pause and not err.is_terminal:
        watch.start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def phases(what: str, counted: str = " images") -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar with rate and ETA, begun anew by each phase, which never goes back; lines in a pipe,
    nothing on other ranks."""
    if not leads():
        yield None
        return
    name, most, lines = "", 0, _Lines(what)
    with Progress(*COLUMNS, console=err, disable=not err.is_terminal) as drawn:
        task = drawn.add_task(plain(what), total=None, note="")

        def course(phase: str, done: int, total: int) -> None:
            nonlocal name, most, lines
            if phase != name:
                unit = "" if phase == "checking files" else counted
                name, most, lines = phase, 0, _Lines(f"{what}: {phase}", unit, lines.told)
                drawn.reset(task, total=None, description=plain(lines.what), note="")
            most = max(most, done)
            lines(most, total)
            if err.is_terminal:
                speed = drawn.tasks[0].speed
                note = f"{speed:,.0f}/s" if speed else ""
                drawn.update(task, completed=most, total=total or None, note=note)

        with _reminding(lambda: lines):
            yield course


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """`phases` of a work that has but one."""
    with phases(what) as course:
        yield course and partial(course, "")


@contextmanager
def resampling() -> Iterator[None]:
    """Around whatever draws intervals, once or often: a bar for each, since many images take
    seconds."""
    from avce.scores.intervals import progress

    rounds, last = 0, 0
    with phases("intervals", " draws") as course:

        def told(done: int, total: int) -> None:
            nonlocal rounds, last
            rounds, last = rounds + (done <= last), done
            if course:
                course(f"round {rounds + 1}" if rounds else "drawing", done, total)

        before = progress.set(told)
        try:
            yield
        finally:
            progress.reset(before)


ONE_HOT = (
    "SparseMax keeps one entry of z for every face: no gradient passes through the attentive view, "
    "and the contrastive terms teach the encoder through the others alone; docs/method.md says "
    "when this happens, what was measured, and which settings prevent it"
)
STAYS = 5  # records of the log in a row: a single batch may come to a vertex and leave it


@contextmanager
def training_bar(steps: int | None = None) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """The same for records of the log of `steps`; in a pipe a line for each evaluation too."""
    if not leads():
        yield None
        return
    with Progress(*COLUMNS, console=err, disable=not err.is_terminal) as drawn:
        task = drawn.add_task("training", total=steps, note="evaluating")
        lines = _Lines("training")
        notes: dict[str, str] = {}
        vertices = 0

        def progress(record: dict[str, Any]) -> None:
            nonlocal vertices
            if "note" in record:
                tell(record["note"])
            if "evaluated" in record:
                note = f"evaluating {record['evaluated']}/{record['batches']}"
                drawn.update(task, note=note)
                lines(record["step"], steps, note)
                return
            if "val" in record:
                line = f"step {record['step']}: {in_short(record['val'])}"
                line += f" of {record['val']['n']:,} samples" if record["step"] == 0 else ""
                drawn.console.print(line, highlight=False)  # above the bar, which has no room
            if "losses" in record:
                notes["loss"] = f"loss {sum(record['losses'].values()):.3f}"
                notes["rate"] = f"{record['images_per_s']:,.0f} images/s"
                drawn.update(task, total=record["steps"])
                lines(record["step"], record["steps"], ", ".join(notes.values()))
            if "support" in record and vertices < STAYS:  # later there is no more to say
                vertices = vertices + 1 if record["support"] == 1 else 0
                if vertices == STAYS:
                    drawn.console.print(ONE_HOT, highlight=False, soft_wrap=True)
            drawn.update(task, completed=record["step"], note="  ".join(notes.values()))

        yield progress


def in_short(scores: dict[str, Any]) -> str:
    """Scores in a line."""
    if "accuracy" in scores:
        return f"accuracy {scores['accuracy']:.3f}"
    pairs = ((axis, scores[axis]["ccc"]) for axis in ("valence", "arousal"))
    return "CCC " + " ".join(
        f"{axis} {'undefined' if ccc is None else f'{ccc:.3f}'}" for axis, ccc in pairs
    )
