"""A command that was killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avce.inference.journal import Journal
from avce.inference.predictor import Face, Finder
from avce.inference.rows import Form
from avce.inference.sinks import sink_for
from avce.inference.sources import reading_of
from avce.inference.stream import predict_to
from avce.inference.video import UNSEEN, Frame, Skipped
from tests.shards.test_films import read

from .drawn import CONFIG, film, in_the_middle, picture, png

ROOT = Path(__file__).parents[3]
SAID = Face((1.5, 2, 3, 4), 0.9, 3, np.array([0.25, -0.5], np.float32), [1.0] * 10)


def frame(number: int) -> Frame:
    return Frame(UNSEEN, "film", number, number / 10, reason=None)


def test_what_was_committed_is_told_again_and_a_cut_line_is_not(tmp_path: Path):
    path = tmp_path / "o.csv.resume"
    journal = Journal(path, "me")
    journal.note(frame(0), [SAID])
    journal.note(frame(1), [])
    journal.commit([("no face found", "film frame 1")], (0, 2))
    journal.note(frame(2), [SAID])
    journal.close(keep=True)
    with path.open("ab") as file:
        file.write(b'{"frames": [["film", 2')
    again = Journal(path, "me")
    assert (again.frames, again.faces, again.at) == (2, 1, (0, 2))
    first, last = again.told()
    assert first.left == [("no face found", "film frame 1")] and not last.frames
    (known, (face,)), (empty, none) = first.frames
    assert known == frame(0) and (empty.number, none) == (1, [])
    np.testing.assert_array_equal(face.preds, SAID.preds)
    assert face._replace(preds=None) == SAID._replace(preds=None)
    again.close(keep=False)
    assert not path.exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".arrow", ".parquet", ".mp4"])
def test_a_full_disk_is_named_and_nothing_half_made_stays(predictor, tmp_path: Path, suffix: str):
    """The limit on file sizes stands for it: first the journal meets it, then the result."""
    out, source = tmp_path / f"o{suffix}", film(tmp_path / "v.mp4", 30)
    out.write_text("of before")

    def tried(least: int) -> str:
        sink = sink_for(out, CONFIG, {"run": "r"}, Form(again=True))
        frames, before = reading_of([source], Skipped()), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, before[1]))
        try:
            with pytest.raises(OSError) as caught:
                predict_to(sink, predictor, frames, find=in_the_middle, batch_size=4)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return str(caught.value.filename)

    places = {str(tmp_path / f"o{suffix}.{end}") for end in ("resume", "part", "part.mp4")}
    assert {tried(900), tried(1_500)} <= places
    left = [path.name for path in tmp_path.iterdir() if path.name.endswith((".part", ".part.mp4"))]
    assert out.read_text() == "of before" and not left
    sink = sink_for(out, CONFIG, {"run": "r"}, Form(again=True))
    done = predict_to(sink, predictor, reading_of([source], Skipped()), find=in_the_middle)
    assert done.frames == 30 and not list(tmp_path.glob("*.resume"))


def test_another_command_a_second_writer_and_damage_are_refused(tmp_path: Path):
    path = tmp_path / "o.csv.resume"
    first = Journal(path, "me")
    with pytest.raises(ValueError, match="being written by another process"):
        Journal(path, "me")
    first.note(frame(0), [SAID])
    first.commit([], (0, 1))
    first.close(keep=True)
    with pytest.raises(ValueError, match="another command, or other files"):
        Journal(path, "you")
    anew = Journal(path, "you", anew=True)
    assert anew.frames == 0
    anew.close(keep=True)
    path.write_bytes(b"you\n{}\n")
    with pytest.raises(ValueError, match=r"o\.csv\.resume is damaged; say --overwrite"):
        Journal(path, "you")


def command(run: Path, *words: str | Path) -> list[str]:
    whole = ("--faces", "whole", "--batch-size", "4")
    return [sys.executable, "cli.py", "predict", *map(str, words), "--run", str(run), *whole]


def predict(run: Path, *words: str | Path) -> None:
    done = subprocess.run(command(run, *words), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_interrupted_film_is_drawn_from_its_beginning_and_predicted_from_where_it_was(
    predictor, tmp_path: Path
):
    source, seen = film(tmp_path / "v.mp4", 24), []

    def find(found: np.ndarray) -> np.ndarray:
        seen.append(len(seen))
        if len(seen) == 14:
            raise KeyboardInterrupt
        return in_the_middle(found)

    def predicted(to: str, finder: Finder) -> bytes:
        sink = sink_for(tmp_path / to, CONFIG, {"run": "r"}, Form(again=True, smooth=0.2))
        reading = reading_of([source], Skipped())
        predict_to(sink, predictor, reading, find=finder, batch_size=4)
        return (tmp_path / to).read_bytes()

    whole, part = predicted("whole.mp4", in_the_middle), predicted("cut.mp4", find)
    assert len(read(tmp_path / "cut.mp4")[0]) == 12 and part != whole
    assert (tmp_path / "cut.mp4.resume").exists()
    assert predicted("cut.mp4", find) == whole and len(seen) == 14 + 12
    assert not (tmp_path / "cut.mp4.resume").exists()


def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(run: Path, tmp_path: Path):
    faces = tmp_path / "faces"
    faces.mkdir()
    for number in range(30):
        (faces / f"{number:02}.png").write_bytes(png(picture(number)))
    film(faces / "x.mp4", 40)
    (faces / "y.png").write_bytes(b"no picture")
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    predict(run, faces, "--out", whole)
    resume = tmp_path / "cut.csv.resume"
    begun = subprocess.Popen(command(run, faces, "--out", cut), cwd=ROOT, stderr=subprocess.PIPE)
    while not (resume.exists() and resume.read_bytes().count(b"\n") > 3):
        assert begun.poll() is None, begun.stderr.read() if begun.stderr else ""
        time.sleep(0.002)
    os.kill(begun.pid, signal.SIGKILL)
    begun.communicate()
    assert not cut.exists() and resume.exists()
    before = resume.read_bytes().count(b"\n") - 1
    done = subprocess.run(
        command(run, faces, "--out", cut), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and f"({4 * before} of them before)" in done.stderr, done.stderr
    assert "skipped: not an image: 1" in done.stderr
    assert cut.read_bytes() == whole.read_bytes() and not resume.exists()
