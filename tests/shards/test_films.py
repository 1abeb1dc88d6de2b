"""Films as they are shown: upright, square pixels, their own clock, past damage; and written so."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from shards.films import Coding, FilmReader, FilmWriter, frame_count, frame_times, is_film
from shards.image import Unreadable

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (40, 40, 220), (240, 240, 240)


def quarters(number: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    """Four colours, so that a turn or a cut shows; a bar in the middle tells the number."""
    picture = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:] = RED, GREEN
    picture[top:, :left], picture[top:, left:] = BLUE, WHITE
    picture[top - 8 : top + 8, left - 8 : left + 8] = number % 250
    return picture


def corners(picture: np.ndarray) -> list[str]:
    """The colours of the four corners, row by row."""
    height, width = picture.shape[:2]
    names = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    seen = [picture[y, x] for y in (9, height - 10) for x in (9, width - 10)]
    return [min(names, key=lambda n: np.abs(names[n] - c.astype(int)).sum()) for c in seen]


def film(
    path: Path,
    codec: str = "libx264",
    n: int = 20,
    *,
    rate: int = 25,
    ticks: Sequence[int] | None = None,
    aspect: Fraction | None = None,
    turn: tuple[int, bool] | None = None,
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    sound: bool = False,
    container: dict[str, str] | None = None,
    start: int = 0,
) -> Path:
    """A film by PyAV alone."""
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 128, 96, pixels
        stream.codec_context.time_base = Fraction(1, rate)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(turn[0], hflip=turn[1])
        tones = out.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number, tick in enumerate(ticks or range(start, start + n)):
            frame = av.VideoFrame.from_ndarray(quarters(number), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if tones:
            wave = np.sin(np.arange(16000 * n // rate) / 20)[None].astype(np.float32)
            heard = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            heard.rate = 16000
            out.mux(tones.encode(heard))
            out.mux(tones.encode())
    return path


def read(path: Path) -> tuple[list[np.ndarray], list[int], list[float | None], FilmReader]:
    with FilmReader(path) as reader:
        shots = list(reader.pictures())
    pictures, numbers, times = (list(column) for column in zip(*shots, strict=True))
    return pictures, numbers, times, reader


CONTAINERS = [
    ("a.mp4", "libx264"), ("a.mov", "mjpeg"), ("a.3gp", "h263"), ("a.avi", "mpeg4"),
    ("b.avi", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.flv", "flv1"),
    ("a.wmv", "wmv2"), ("a.mpg", "mpeg2video"), ("a.mts", "libx264"), ("a.ts", "mpeg2video"),
    ("a.h264", "libx264"), ("a.wtv", "mpeg2video"), ("a.swf", "flv"), ("a.obu", "libsvtav1"),
    ("a.m1v", "mpeg1video"), ("a.m2v", "mpeg2video"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
def test_every_container_is_told_by_its_content(tmp_path, name, codec):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = film(tmp_path / name, codec, pixels=pixels).rename(tmp_path / "film")
    pictures, numbers, times, reader = read(path)
    assert numbers == list(range(20)) and not reader.damaged
    np.testing.assert_allclose(times, np.arange(20) / 25, atol=0.001)
    assert corners(pictures[0]) == ["red", "green", "blue", "white"]
    assert frame_count(path)[0] == 20


def test_a_transport_stream_may_begin_anywhere(tmp_path):
    path = film(tmp_path / "v.mts", n=40, options={"g": "5"})
    path.write_bytes(path.read_bytes()[777:])
    _, numbers, _, _ = read(path)
    assert len(numbers) >= 30


TURNS = {
    (0, False): ["red", "green", "blue", "white"],
    (90, False): ["green", "white", "red", "blue"],
    (180, False): ["white", "blue", "green", "red"],
    (-90, False): ["blue", "red", "white", "green"],
    (0, True): ["green", "red", "white", "blue"],
    (90, True): ["white", "green", "blue", "red"],
    (180, True): ["blue", "white", "red", "green"],
    (-90, True): ["red", "blue", "green", "white"],
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_film_held_sideways_is_upright(tmp_path, turn):
    """Rotations against the clock, then mirrored: the eight ways of a display matrix."""
    pictures, _, _, _ = read(film(tmp_path / "v.mp4", n=2, turn=turn))
    assert corners(pictures[0]) == TURNS[turn]
    assert pictures[0].shape == ((96, 128, 3) if turn[0] % 180 == 0 else (128, 96, 3))


@pytest.mark.parametrize(("aspect", "width"), [((4, 3), 171), ((2, 1), 256), ((1, 2), 64)])
def test_pixels_become_square(tmp_path, aspect, width):
    path = film(tmp_path / "v.mp4", n=2, aspect=Fraction(*aspect), turn=(90, False))
    assert read(path)[0][0].shape == (width, 96, 3)  # squared first, then turned
    assert frame_count(path)[2] == pytest.approx(aspect[0] / aspect[1])


@pytest.mark.parametrize(
    ("name", "codec"), [("v.m1v", "mpeg1video"), ("v.h264", "libx264"), ("v.hevc", "libx265")]
)
def test_a_stream_without_a_clock_has_the_rate_of_its_own_headers(tmp_path, name, codec):
    """FFmpeg calls it 25, whatever it is, and guesses some frames one too late."""
    path = film(tmp_path / name, codec, rate=30)
    np.testing.assert_allclose(read(path)[2], np.arange(20) / 30)
    np.testing.assert_allclose(np.array(frame_times(path), float), np.arange(20) / 30)


def test_a_cover_picture_is_no_film(tmp_path):
    source = film(tmp_path / "v.mp4", n=5)
    with av.open(str(source)) as known, av.open(str(tmp_path / "film.mp4"), "w") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        moving = out.add_stream_from_template(known.streams.video[0])
        grey = np.full((64, 64, 3), 99, np.uint8)
        out.mux(cover.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        out.mux(cover.encode())
        for packet in known.demux(video=0):
            if packet.size:
                packet.stream = moving
                out.mux(packet)
    pictures = read(tmp_path / "film.mp4")[0]
    assert len(pictures) == 5 and pictures[0].shape == (96, 128, 3)


def test_colours_follow_the_stream(tmp_path):
    """One grey and one red in four ways of writing them: limited and full range, BT.601 and 709."""
    for space, code in (("bt470bg", 5), ("bt709", 1)):
        for span in ("tv", "pc"):
            path = tmp_path / f"{space}-{span}.mkv"
            kr, kb = (0.2126, 0.0722) if code == 1 else (0.299, 0.114)
            r, g, b = (c / 255 for c in RED)
            y = kr * r + (1 - kr - kb) * g + kb * b
            cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
            low, wide, spread = (16, 219, 224) if span == "tv" else (0, 255, 255)
            levels = (low + wide * y, 128 + spread * cb, 128 + spread * cr)
            with av.open(str(path), "w") as out:
                options = {"colorspace": space, "color_range": span, "qp": "0"}
                stream = out.add_stream("libx264", rate=5, options=options)
                stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
                stream.codec_context.colorspace = code
                stream.codec_context.color_range = 1 if span == "tv" else 2
                frame = av.VideoFrame(64, 64, "yuv420p")
                frame.colorspace, frame.color_range = code, 1 if span == "tv" else 2
                for plane, level in zip(frame.planes, levels, strict=True):
                    plane.update(bytes([round(level)]) * plane.buffer_size)
                out.mux(stream.encode(frame))
                out.mux(stream.encode())
            seen = read(path)[0][0][32, 32].astype(int)
            assert np.abs(seen - RED).max() <= 3, (space, span, seen)


# ------------------------------------------------------------------------------- the clock


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts"])
def test_a_variable_rate_and_a_late_start_are_kept(tmp_path, name):
    ticks = [500, 510, 520, 590, 600, 700, 701, 702, 900]
    _, numbers, times, reader = read(film(tmp_path / name, rate=100, ticks=ticks))
    assert numbers == list(range(9)) and not reader.damaged
    np.testing.assert_allclose(times, (np.array(ticks) - 500) / 100, atol=0.001)


def test_no_header_is_believed(tmp_path):
    """An AVI that promises 4,000 frames and an MP4 whose headers say an hour."""
    avi = film(tmp_path / "v.avi", "mpeg4", 20)
    content = bytearray(avi.read_bytes())
    at = content.index(b"avih") + 8
    content[at + 16 : at + 20] = struct.pack("<I", 4000)
    at = content.index(b"strh") + 8
    content[at + 32 : at + 36] = struct.pack("<I", 4000)
    avi.write_bytes(content)
    mp4 = film(tmp_path / "v.mp4", n=20)
    content = bytearray(mp4.read_bytes())
    for box, at_version_0 in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = content.index(box) + at_version_0
        content[at : at + 4] = struct.pack(">I", 3_600_000)
    mp4.write_bytes(content)
    for path in (avi, mp4):
        _, numbers, _, reader = read(path)
        assert numbers == list(range(20)) and not reader.damaged
        assert frame_count(path)[0] == 20


def test_an_edit_list_shortens_a_film_without_damage(tmp_path):
    path = film(tmp_path / "v.mp4", n=50, options={"g": "10", "bf": "0"})
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 8
    units, shift = struct.unpack(">Ii", content[at + 4 : at + 12])
    content[at + 4 : at + 12] = struct.pack(">Ii", units * 3 // 5, shift + 12800 * 20 // 25)
    path.write_bytes(content)
    pictures, numbers, times, reader = read(path)
    assert len(numbers) == 30 and numbers == list(range(30)) and not reader.damaged
    assert times[0] == 0 and abs(int(pictures[0][48, 64, 0]) - 20) < 4  # the bar says frame 20


# ------------------------------------------------------------------------------- damage


def spoiled(path: Path, number: int) -> Path:
    """The same film with one packet of noise, none the wiser about it."""
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    at, size = packets[number]
    content = bytearray(path.read_bytes())
    content[at : at + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mp4", "libx264"), ("v.avi", "mpeg4"), ("v.mov", "mjpeg")]
)
def test_a_bad_packet_costs_its_frame_only(tmp_path, name, codec):
    pixels, options = ("yuvj420p", {}) if codec == "mjpeg" else ("yuv420p", {"bf": "0"})
    path = film(tmp_path / name, codec, 60, pixels=pixels, options=options)
    _, numbers, times, reader = read(spoiled(path, 30))
    assert numbers == [n for n in range(60) if n != 30]
    np.testing.assert_allclose(times, np.array(numbers) / 25, atol=1e-6)
    assert (reader.damaged, reader.cut) == (1, 30)


def test_a_bad_packet_among_frames_out_of_order(tmp_path):
    """B frames are decoded late: the lost one keeps its number by the clock."""
    path = film(tmp_path / "v.mp4", n=60, options={"bf": "3", "b-adapt": "0"})
    _, numbers, times, reader = read(spoiled(path, 30))
    assert len(numbers) == 59 and reader.damaged == 1
    np.testing.assert_allclose(times, np.array(numbers) / 25, atol=1e-6)


def test_damage_that_the_decoder_paints_over_is_counted(tmp_path):
    """The frame is there, the end of its packet is not: the rest of it is of the frame before."""
    path = film(tmp_path / "v.avi", "mpeg4", 20, options={"g": "1", "qmax": "2"})
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    at, size = packets[7]
    content = bytearray(path.read_bytes())
    content[at + size // 2 : at + size] = bytes(size - size // 2)
    path.write_bytes(content)
    _, numbers, _, reader = read(path)
    assert numbers == list(range(20)) and (reader.damaged, reader.cut) == (1, 7)


def test_sharding_stops_at_damage_with_the_true_reason(tmp_path):
    path = spoiled(film(tmp_path / "v.mp4", n=60, options={"bf": "0"}), 30)
    numbers = []
    with FilmReader(path) as reader, pytest.raises(Unreadable, match="video is damaged before"):
        for shot in reader.shots(strict=True):
            numbers.append(shot.number)
    assert numbers == list(range(30))


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("v.avi", "mpeg4", {}),
        ("v.mkv", "libx264", {}),
        ("v.mp4", "libx264", {"movflags": "faststart"}),
    ],
)  # fmt: skip
def test_a_film_cut_short_ends_there_and_says_so(tmp_path, name, codec, container):
    path = film(tmp_path / name, codec, 60, container=container, options={"bf": "0"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    _, numbers, _, reader = read(path)
    assert 10 < len(numbers) < 60 and numbers == list(range(len(numbers)))
    assert reader.damaged


# ------------------------------------------------------------------------------- what is refused


def test_only_regular_files_that_are_films_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    (tmp_path / "files.mp4").write_text("ffconcat version 1.0\nfile /etc/hostname\n")
    (tmp_path / "text.avi").write_text("nothing")
    (tmp_path / "folder.mkv").mkdir()
    for path in tmp_path.iterdir():
        with pytest.raises(Unreadable, match=r"not a (regular file|readable video)"):
            FilmReader(path)
    with pytest.raises(Unreadable):
        FilmReader("concat:/etc/hostname")


def test_a_sound_has_no_pictures(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        heard.rate = 16000
        out.mux(stream.encode(heard))
        out.mux(stream.encode())
    with pytest.raises(Unreadable, match="no pictures in this file"):
        FilmReader(path)


def test_what_is_told_by_first_bytes():
    assert not any(map(is_film, (b"", b"GIF89a", b"\xff\xd8\xff", b"Good morning, " * 40)))


# ------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "adpcm_ms"), ("a.mov", "pcm_mulaw")])
def test_sound_that_mp4_cannot_hold_is_coded_anew(tmp_path, name, codec):
    """A tone of 400 Hz for two seconds is one again, within what AAC pads (2048 samples)."""
    rate, source = 8000, tmp_path / name
    tone = (9000 * np.sin(2 * np.pi * 400 * np.arange(2 * rate) / rate)).astype(np.int16)
    with av.open(str(source), "w") as out:
        stream, tones = out.add_stream("mpeg4", rate=10), out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        tones.layout = "mono"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(quarters(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        heard = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        heard.rate = rate
        out.mux([*tones.encode(heard), *tones.encode(), *stream.encode()])
    film = FilmWriter(tmp_path / "o.mp4", Fraction(10), sound=source)
    for number in range(20):
        film.add(quarters(number), number / 10)
    film.close()
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        wave = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(len(wave) - 2 * rate) <= 2048
    spectrum = np.abs(np.fft.rfft(wave[2048 : 2048 + rate]))
    assert spectrum.argmax() == 400


def test_times_and_sound_go_along(tmp_path):
    source = film(tmp_path / "v.mp4", n=50, sound=True, turn=(90, False))
    times = [0.0, 0.04, 0.2, 0.21, 1.9]
    out = FilmWriter(tmp_path / "o.mp4", Fraction(25), sound=source, facts="who said it")
    for number, time in enumerate(times):
        out.add(quarters(number), time)
    assert not (tmp_path / "o.mp4").exists()
    out.close()
    _, numbers, found, _ = read(tmp_path / "o.mp4")
    assert numbers == list(range(5))
    np.testing.assert_allclose(found, times, atol=1e-4)
    with av.open(str(source)) as one, av.open(str(tmp_path / "o.mp4")) as other:
        assert other.metadata["comment"] == "who said it"
        heard = [[bytes(p) for p in c.demux(audio=0) if p.size] for c in (one, other)]
    assert heard[0] == heard[1]


def test_a_picture_of_another_size_is_shown_whole(tmp_path):
    out = FilmWriter(tmp_path / "o.mp4", Fraction(5))
    for height, width in ((96, 128), (192, 256), (97, 129), (128, 96)):
        out.add(quarters(0, height, width))
    out.close()
    pictures = read(tmp_path / "o.mp4")[0]
    for picture in pictures[:3]:
        assert picture.shape == (96, 128, 3)
        assert corners(picture) == ["red", "green", "blue", "white"]
    upright = pictures[3][:, 28:100]  # between black bars
    assert corners(upright) == ["red", "green", "blue", "white"]


def test_one_thread_writes_the_same_bytes(tmp_path):
    coding = Coding("libx264", {"x264-params": "asm=0"}, threads=1)
    for name in ("a.mp4", "b.mp4"):
        out = FilmWriter(tmp_path / name, Fraction(5), coding)
        for number in range(9):
            out.add(quarters(number))
        out.close()
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_what_is_not_kept_leaves_nothing(tmp_path):
    out = FilmWriter(tmp_path / "o.mp4", Fraction(5))
    out.add(quarters())
    out.close(keep=False)
    FilmWriter(tmp_path / "p.mp4", None).close()
    assert not list(tmp_path.iterdir())
