"""What people, files and systems say is shown, never obeyed; every error is a sentence."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cli
from avce.commands import data, terminal
from avce.scores.intervals import assess
from tests.avce.scores.verdicts import video_table

ROOT = Path(__file__).parents[3]
TURNS = {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}  # of the direction
HOSTILE = ["x [/y]", "[faces]", "a\x1b[31mred", "bell\x07", "caf\udce9", "a\rb", "\x9b31m", "‮"]


def process(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    known = os.environ | {"PYTHONPATH": str(ROOT)} | settings
    command = [sys.executable, str(ROOT / "cli.py"), *words]
    return subprocess.run(command, cwd=folder, env=known, capture_output=True, timeout=120)


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_plain_text_moves_no_cursor_and_can_be_encoded(text):
    shown = terminal.plain(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in shown if c != "\n")
    assert all(unicodedata.bidirectional(c) not in TURNS for c in shown)
    shown.encode("utf-8")
    assert terminal.plain(shown) == shown


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "{}"),
        ("cartoon", "{}"),
        ("shard", "{}"),
        ("shard", "affectnet", "--raw", "{}"),
        ("train", "--recipe", "{}"),
        ("train", "--set", "lr={}"),
        ("train", "--nothing{}", "1"),
        ("cartoon", "affectnet", "--level", "{}"),
    ],
    ids=" ".join,
)
def test_a_hostile_name_is_shown_and_not_obeyed(name, words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cli.py", *(word.format(name) for word in words)])
    monkeypatch.setattr(terminal.err, "width", 400, raising=False)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = capsys.readouterr()
    assert stopped.value.code in (1, 2) and not shown.out
    assert all(c.isprintable() or c == "\n" for c in shown.err), ascii(shown.err)
    assert "bug:" not in shown.err and "Traceback" not in shown.err
    if not {"\x1b", "\r"} & set(name):  # typer spells these out its own way
        assert terminal.plain(name) in " ".join(shown.err.replace("│", " ").split())


@pytest.mark.parametrize("name", ["with space", "it's", "-dash", "a;rm -rf b", "$HOME", "x [/y]"])
def test_the_next_command_can_be_pasted(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cli.py"])
    terminal.then("train", "--resume", Path(name))
    line = capsys.readouterr().err.removeprefix("next: ").strip()
    assert shlex.split(line) == ["python", "cli.py", "train", "--resume", name]


@pytest.mark.parametrize(
    ("started", "words"),
    [
        ("/usr/bin/avce", ["-m", "avce"]),
        ("/a/avce/__main__.py", ["-m", "avce"]),
        ("cli.py", ["cli.py"]),
    ],
)
def test_what_is_typed_next_starts_as_this_was_started(started, words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    terminal.then("train", by=("accelerate", "launch"))
    assert capsys.readouterr().err.split() == ["next:", "accelerate", "launch", *words, "train"]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.csv"),
        IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), Path("a.csv")),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a.csv"),
        NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "a.csv", None, "b"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EIO, os.strerror(errno.EIO), "a.csv"),
        OSError(errno.ENOENT, "Failed to open local file 'a.csv'. Detail: [errno 2] No such file"),
    ],
    ids=lambda error: errno.errorcode[error.errno],
)
def test_no_errno_is_printed_bare(error):
    sentence = terminal.sentence_of(error)
    assert "rrno" not in sentence and "; " in sentence
    assert error.filename is None or "a.csv" in sentence


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyError("x"), 1, "bug: KeyError at "),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "out"), 1, "error: out: is a folder"),
        (ValueError("one [/] sentence"), 1, "error: one [/] sentence"),
        (ModuleNotFoundError("No module named 'timm'"), 1, "just setup"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_is_raised_ends_in_a_sentence(error, code, sentence, capsys, monkeypatch):
    (inspect,) = [c for c in data.app.registered_commands if c.callback is data.inspect]
    monkeypatch.setattr(inspect, "callback", raising(error))
    monkeypatch.setattr(inspect, "name", "inspect")
    monkeypatch.setattr(sys, "argv", ["cli.py", "inspect"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == code
    assert sentence in capsys.readouterr().err


def test_an_ascii_terminal_is_no_reason_to_fail(tmp_path):
    done = process(tmp_path, "table", "1", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")
    done = process(tmp_path, "inspect", "caf\u00e9", PYTHONIOENCODING="ascii:strict", LC_ALL="C")
    assert done.returncode == 1 and b"caf\\xe9" in done.stderr


def test_in_a_pipe_a_long_work_says_every_half_minute_how_far_it_is(capsys, monkeypatch):
    clock = iter([0.0, 0.0, *range(100)])  # seconds
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.bar("reading") as progress:
        assert progress is not None
        for second in range(70):
            progress(10 * second, 1200)
    told = capsys.readouterr().err.splitlines()
    assert told == ["reading: 300 of 1,200, 2 min left", "reading: 600 of 1,200, 1 min left"]


def test_a_training_in_a_pipe_shows_its_first_evaluation_and_its_steps(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.0)
    axis = {"ccc": 0.25}
    with terminal.training_bar(400) as progress:
        assert progress is not None
        progress({"step": 0, "evaluated": 1, "batches": 2})
        progress({"step": 0, "val": {"n": 512, "valence": axis, "arousal": axis}})
        progress({"step": 50, "steps": 400, "losses": {"mse": 0.5}, "images_per_s": 70.0})
    told = capsys.readouterr().err
    assert "training: 0 of 400, evaluating 1/2\n" in told
    assert "step 0: CCC valence 0.250 arousal 0.250 of 512 samples\n" in told
    assert "training: 50 of 400, loss 0.500, 70 images/s" in told


def test_balanced_draws_are_told_group_by_group_or_in_short(capsys, monkeypatch):
    monkeypatch.setattr(terminal.err, "width", 120, raising=False)
    terminal.tell_draws("none", [])
    terminal.tell_draws("expression", [("contempt", 10, 500.0), ("happy", 4000, 500.0)])
    told = capsys.readouterr().err
    assert told.startswith("balance=expression: expected in an epoch\n")
    assert re.search(r"happy\D+4,000\D+500\.0\D+0\.125(.|\n)+contempt\D+10\D+500\.0\D+50\b", told)
    terminal.tell_draws("subject_id", [(f"s{n}", n, 7.0) for n in range(1, 101)])
    told = capsys.readouterr().err
    assert "of 100 groups the largest and the smallest" in told
    assert "s100 " in told and "s1 " in told and "s50 " not in told


def test_who_has_read_enough_hears_no_complaint(tmp_path):
    for words in ("table 1", "recipes", "recipes --json", "--help"):
        shell = f"set -o pipefail; {sys.executable} {ROOT / 'cli.py'} {words} 2>&1 | true"
        done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, b""), words


@pytest.mark.parametrize("width", [10, 40, 200])
def test_a_path_is_not_broken_where_a_table_ends(width, capsys, monkeypatch):
    """It could not be pasted."""
    monkeypatch.setattr(terminal.out, "width", width, raising=False)
    title = f"{'folder/' * 20}run: 3 samples"
    terminal.print_table(title, ("split", "n"), [("train", "-0.123456")])
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == title
    assert "-0.123456" in "".join(line.split("│")[-2].strip() for line in rest if "│" in line)


def test_each_phase_is_counted_anew_and_never_goes_back(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.0)
    clock = iter(map(float, range(100)))  # seconds
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.phases("sharding x") as course:
        assert course is not None
        course("checking files", 1200, 0)
        for done in (4000, 5000, 4500):  # 4,000 of an earlier run tell nothing of the pace
            course("writing", done, 65_000)
    assert capsys.readouterr().err.splitlines() == [
        "sharding x: checking files: 1,200",
        "sharding x: writing: 4,000 of 65,000 images",
        "sharding x: writing: 5,000 of 65,000 images, 1 min left",
        "sharding x: writing: 5,000 of 65,000 images, 2 min left",
    ]


def test_what_is_done_at_once_is_done_quietly(capsys):
    with terminal.bar("drawing") as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_without_its_streams_writes_into_no_file_of_its_own(closed, tmp_path):
    shell = f"{sys.executable} {ROOT / 'cli.py'} cartoon afew-va --n 2 --level easy {closed}"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not [file for file in tmp_path.rglob("*.json") if b"drew" in file.read_bytes()]


def test_debug_shows_where_an_error_comes_from(tmp_path):
    done = process(tmp_path, "--debug", "inspect", "nothing")
    assert done.returncode == 1 and b"Traceback" in done.stderr


@pytest.mark.parametrize("words", [("-h",), ("train", "-h"), ("--version",)])
def test_what_is_asked_of_a_command_line_is_answered(words, tmp_path):
    done = process(tmp_path, *words)
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_a_shell_can_complete(tmp_path):
    asked = {"_CLI.PY_COMPLETE": "complete_bash", "COMP_WORDS": "cli.py ins", "COMP_CWORD": "1"}
    assert process(tmp_path, **asked).stdout.decode().split() == ["inspect"]


def test_intervals_drawn_twice_are_counted_twice(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.0)
    with terminal.resampling():
        for run in ("first", "second"):
            assess(video_table(), run, resamples=30)
    said = capsys.readouterr().err
    assert "intervals: drawing: 30 of 30 draws" in said
    assert "intervals: round 2: 30 of 30 draws" in said


def test_a_work_that_counts_nothing_is_not_silent_in_a_pipe(capsys, monkeypatch):
    """One tar, or one check of a million labels, may take minutes."""
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.1)
    with terminal.phases("sharding x") as course:
        assert course is not None
        course("reading labels", 7, 20)
        time.sleep(1.0)
    assert "sharding x: reading labels: 7 of 20 images, at work for" in capsys.readouterr().err
