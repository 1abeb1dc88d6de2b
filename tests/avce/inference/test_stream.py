"""Frames in, faces out: in order, with their tracks, and kept whatever happens."""

from __future__ import annotations

import itertools
import signal
import threading

import numpy as np
import pyarrow as pa
import pytest

from avce.inference.sinks import ArrowSink, CsvSink, sink_for
from avce.inference.sources import encoded_frames, frames_of
from avce.inference.stream import ahead, predict_stream, predict_to
from avce.inference.video import Frame, Skipped
from tests.avce.inference.drawn import CONFIG, film, in_the_middle, picture


def test_a_box_without_a_face_costs_that_box_only(predictor):
    boxes = np.float32([[500, 500, 600, 600, 1], [10, 10, 60, 60, 1]])
    skipped = Skipped()
    ((_, faces),) = predict_stream(
        predictor, [Frame(picture(), "a.png")], find=lambda _: boxes, skipped=skipped
    )
    assert len(faces) == 1 and faces[0].box == (10, 10, 60, 60)
    assert skipped.lines() == ["face outside the image: 1, such as a.png"]


def test_a_video_frame_by_frame(predictor, tmp_path):
    path, skipped = film(tmp_path / "v.mp4"), Skipped()
    frames = frames_of([path], skipped)
    found = list(predict_stream(predictor, frames, skipped=skipped, batch_size=5))
    assert [frame.number for frame, _ in found] == list(range(12))
    assert found[3][0].time == pytest.approx(0.3)
    assert all(len(faces) == 1 and faces[0].track == 0 for _, faces in found)
    assert not skipped.counts


def test_a_video_cut_off_gives_what_it_has(predictor, tmp_path):
    whole = film(tmp_path / "v.avi", 60)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    skipped = Skipped()
    found = list(predict_stream(predictor, frames_of([whole], skipped), skipped=skipped))
    assert 10 < len(found) < 60
    assert list(skipped.counts) == ["video cut off or damaged"]
    assert "after" in skipped.lines()[0]


def test_faces_keep_their_track(predictor, tmp_path):
    found = predict_stream(
        predictor, frames_of([film(tmp_path / "v.mp4")], Skipped()), find=in_the_middle
    )
    assert [[face.track for face in faces] for _, faces in found] == [[0]] * 12


def test_frames_without_and_with_many_faces(predictor):
    boxes = iter(
        [np.zeros((0, 5), np.float32), np.float32([[0, 0, 50, 50, 1], [40, 40, 90, 90, 1]])]
    )
    frames = [Frame(picture(n), "film", n) for n in range(2)]
    skipped = Skipped()
    found = list(predict_stream(predictor, frames, find=lambda _: next(boxes), skipped=skipped))
    assert [len(faces) for _, faces in found] == [0, 2]
    assert skipped.lines() == ["no face found: 1, such as film frame 0"]
    expected = predictor.prepare(picture(1), (40.0, 40.0, 90.0, 90.0))
    np.testing.assert_allclose(found[1][1][1].preds, predictor.encode(expected[None])[0], atol=1e-6)


def test_reading_ahead_stops_with_its_reader_and_passes_errors():
    made = []

    def numbers():
        for n in range(100):
            made.append(n)
            yield n
        raise OSError("gone")

    stream = ahead(numbers())
    assert next(stream) == 0
    stream.close()
    assert len(made) < 10
    with pytest.raises(OSError, match="gone"):
        list(ahead(numbers()))


def test_what_was_predicted_before_a_failure_is_kept(predictor, tmp_path):
    def frames():
        for n in range(130):
            yield Frame(picture(n), "film", n)
        raise OSError("the camera was pulled out")

    with pytest.raises(OSError, match="pulled out"):
        predict_to(ArrowSink(path := tmp_path / "o.arrow", CONFIG), predictor, frames())
    with pa.memory_map(str(path)) as source:
        assert pa.ipc.open_file(source).read_all().num_rows == 128  # two batches of 64


def test_nothing_found_is_an_error_that_says_why(predictor, tmp_path):
    empty = np.zeros((0, 5), np.float32)
    with pytest.raises(ValueError, match="no face found: 1, such as a"):
        predict_to(
            CsvSink(tmp_path / "o.csv", CONFIG),
            predictor,
            [Frame(picture(), "a.png")],
            find=lambda _: empty,
        )


def test_what_is_no_picture_is_told_which_are(predictor, tmp_path):
    with pytest.raises(ValueError, match=r"such as a\.tga; read are JPEG, PNG"):
        predict_to(
            CsvSink(tmp_path / "o.csv", CONFIG),
            predictor,
            encoded_frames([("a.tga", b"no")], skipped := Skipped()),
            skipped=skipped,
        )


def test_ctrl_c_ends_a_film_and_keeps_what_was_predicted(predictor, tmp_path):
    """A real interrupt in the midst of an endless source, as of a camera."""
    seen = threading.Event()

    def camera():
        for number in itertools.count():
            if number == 20:
                seen.set()
            yield Frame(np.full((64, 64, 3), number % 250, np.uint8), "camera", number, None, None)

    def press():
        seen.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    path = tmp_path / "said.csv"
    done = predict_to(sink_for(path, predictor.config), predictor, camera(), batch_size=4)
    assert done.interrupted
    assert len(path.read_text().splitlines()) == 1 + done.faces
    assert "interrupted" in str(done)
