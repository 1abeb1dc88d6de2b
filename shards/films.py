"""Films in and out: the one place that opens them. Pictures come upright, with square pixels.

A film is told by its first bytes, never by its name, and only a regular file is opened: formats
that name other files or addresses (playlists) are none. Of its streams the first that is no cover
picture is read. Times are seconds on that stream's own clock, from its start; no header is believed
about how many frames there are, the end of the file is the end. Frames are numbered in the order
in which they are shown; one that damage has cost keeps its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image, ImageOps

from shards.image import Unreadable, bounded, turned

NO_FILM = "not a readable video"
HEAD = 2048  # bytes that tell a film
_BARE = ("mpegvideo", "m4v", "h264", "hevc")  # streams of no clock; their own headers know the rate
CLOCK = 90_000  # ticks a second of films with times: MPEG's clock, whole for all usual rates
_FILM = re.compile(
    rb".{4}(?:ftyp|moov|mdat|wide|free|skip|pnot)"  # MP4, MOV, 3GP
    rb"|RIFF.{4}AVI |\x1a\x45\xdf\xa3|\x30\x26\xb2\x75\x8e\x66\xcf\x11|FLV\x01|OggS|\.RMF"
    rb"|\0\0\x01[\xb0\xb3\xba]|\0\0\0\x01[\x06\x09\x40\x46\x67]|\x06\x0e\x2b\x34\x02\x05\x01\x01"
    rb"|.{0,191}?(?:(?:G.{187}){4}G|(?:G.{191}){4}G)"  # MPEG-TS, cut anywhere, or with clocks
    rb"|YUV4MPEG2 |DKIF|nut/multimedia|\x1f\x07\0|\x12\0\x0a[\x0a-\x20]|[CF]WS[\x01-\x14]"
    rb"|\0\0\0\0\x01\xbc.{8}\xe1\xe2|\xb7\xd8\0\x20\x37\x49\xda\x11",  # GXF, WTV
    re.S,
)
_ORIENTATION = {  # x' = a x + c y, y' = b x + d y -> EXIF's number
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


class Shot(NamedTuple):
    """A decoded frame: `frame.to_ndarray(format="rgb24")` are its pixels as stored."""

    frame: Any  # av.VideoFrame
    number: int
    time: float | None  # seconds


def is_film(head: bytes) -> bool:
    """Whether a file that begins with these bytes (`HEAD` of them) is a film or a sound."""
    return _FILM.match(head) is not None


class FilmReader:
    """An open film. `decoded` counts its frames so far, `damaged` what was left out or painted
    over, and `cut` says before which frame first. `others` are video streams that are not read,
    `bright` is a film of high dynamic range.

    Raises Unreadable where `path` is no regular file, no film, or has no pictures.
    """

    def __init__(self, path: Path | str, *, device: str | None = None) -> None:
        self.damaged, self.cut, self.decoded = 0, 0, 0
        self._open = ExitStack()
        with self._open:  # closed again, unless all goes well
            source = str(path) if device else self._open.enter_context(_regular(Path(path)))
            try:
                self.container: Any = self._open.enter_context(av.open(source, format=device))
            except FFmpegError as error:
                raise Unreadable(error.strerror or "" if device else NO_FILM) from None
            self.stream, *self.others = _pictures(self.container)
            self._open = self._open.pop_all()
        self.bright = self.stream.codec_context.color_trc in (16, 18)  # PQ, HLG
        rates = self.stream.average_rate, self.stream.guessed_rate
        self.rate = rates[self.container.format.name in _BARE] or rates[1]
        self.pixel_aspect = self.stream.sample_aspect_ratio  # width of a pixel over its height

    def __enter__(self) -> FilmReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def pictures(self) -> Iterator[tuple[np.ndarray, int, float | None]]:
        """Every frame that decodes: uint8 (H, W, 3) RGB as seen, its number and its seconds."""
        for frame, number, time in self.shots():
            yield self.picture(frame), number, time

    def picture(self, frame: Any) -> np.ndarray:
        """A decoded frame as seen: uint8 (H, W, 3) RGB, upright, of square pixels."""
        width = max(1, round(frame.width * float(self.pixel_aspect or 1)))
        bounded(width, frame.height)
        flat = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
        return turned(flat, self.orientation(frame))

    @staticmethod
    def orientation(frame: Any) -> int:
        """EXIF's number for the display matrix of a frame."""
        for data in frame.side_data:
            if data.type.name == "DISPLAYMATRIX":
                a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.int64).tolist()
                flat = abs(a) + abs(d) >= abs(b) + abs(c)
                turn = (a, 0, 0, d) if flat else (0, b, c, 0)
                return _ORIENTATION.get(cast(Any, tuple(np.sign(turn).tolist())), 1)
        return 1

    @property
    def seconds(self) -> float | None:
        """How long the film is by its header, for those who only want to know how long to wait."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / 1e6 if self.container.duration else None

    def shots(self, *, strict: bool = False) -> Iterator[Shot]:
        """Every frame that decodes, in the order shown, past damage; `strict` ends there.

        What is damaged up to the end of the file is a film cut short, and that is the end of it.
        Elsewhere `strict` raises Unreadable.
        """
        numbers, first = _Numbers(self.stream, self.rate), self.stream.start_time
        packets = self._packets()
        for packet in packets:
            numbers.expect(packet)
            try:
                frames = self._decoded(packet)
            except FFmpegError:
                self._hurt(numbers, lost=True)
                if strict and any(later is not None and later.size for later in packets):
                    raise Unreadable("video is damaged before this frame") from None
                if strict:
                    return
                continue
            for frame in frames:
                bounded(frame.width, frame.height)
                if frame.is_corrupt and not strict:  # its damage was painted over
                    self._hurt(numbers, lost=False)
                first = frame.pts if first is None else first
                number = numbers.of(frame)
                self.decoded += 1
                yield Shot(frame, number, numbers.time(frame, number, first))
            if packet is not None and packet.is_corrupt:
                self._hurt(numbers, lost=numbers.clocked and not strict)
        if not self.damaged and self._is_short():
            self._hurt(numbers, lost=False)

    def _is_short(self) -> bool:
        """Whether a Matroska file has fewer bytes than its segment, which FFmpeg does not mind."""
        if self.container.format.name != "matroska,webm" or self.container.size <= 0:
            return False
        with open(self.container.name, "rb") as file:
            head = file.read(HEAD)
        at = head.find(b"\x18\x53\x80\x67\x01") + 5  # a size of eight bytes; all ones: unknown
        size = int.from_bytes(head[at : at + 7], "big")
        return at > 4 and size < 2**56 - 1 and at + 7 + size > self.container.size

    def _packets(self) -> Iterator[Any]:
        """The packets and a last None, by which the decoder gives what it still holds."""
        try:
            yield from self.container.demux(self.stream)
        except FFmpegError:
            self.damaged += 1
        yield None

    def _decoded(self, packet: Any) -> Sequence[Any]:
        try:
            return packet.decode() if packet else self.stream.codec_context.decode(None)
        except EOFError:
            return []

    def _hurt(self, numbers: _Numbers, lost: bool) -> None:
        self.cut = self.cut if self.damaged else numbers.next
        self.damaged += 1
        numbers.owed += lost


class _Numbers:
    """Which frame of the film a decoded one is, though others were lost before it."""

    def __init__(self, stream: Any, rate: Any) -> None:
        self.stream, self.rate, self.next = stream, rate, 0
        self.clocked = stream.container.format.name not in ("avi", *_BARE)
        self.waiting: set[int] = set()
        self.owed = 0  # lost to damage; of those the clock shows which are missing

    def expect(self, packet: Any) -> None:
        if packet is not None and packet.size and packet.pts is not None and not packet.is_discard:
            self.waiting |= {packet.pts} if self.clocked else set()

    def of(self, frame: Any) -> int:
        missing = self.owed
        if self.clocked and frame.pts is not None:
            self.waiting.discard(frame.pts)
            passed = {pts for pts in self.waiting if pts < frame.pts}
            missing = min(self.owed, len(passed))
            self.waiting -= passed
        self.owed -= missing
        number = self.next + missing
        self.next = number + 1
        return number

    def time(self, frame: Any, number: int, first: int | None) -> float | None:
        if self.clocked and frame.pts is not None:
            return float((frame.pts - (first or 0)) * self.stream.time_base)
        return float(number / self.rate) if self.rate else None


def frame_count(path: Path) -> tuple[int, float | None, float | None]:
    """How many frames a film has, its mean rate and the aspect of its pixels.

    Every packet is one frame where each has a time and a body and their number is what the header
    says; then counting packets (reading the file, no decoding) is exact. Otherwise it is decoded,
    up to damage. Raises Unreadable where it is no film.
    """
    with FilmReader(path) as film:
        rate, aspect = film.rate, film.pixel_aspect
        try:
            frames = _packet_count(film.container.demux(film.stream), film.stream.frames)
        except FFmpegError:
            frames = None
    if frames is None:
        frames = len(_decoded_times(path))
    return frames, float(rate) if rate else None, float(aspect) if aspect else None


def frame_times(path: Path) -> list[float | None]:
    """When each frame is shown, in seconds, as `shots` says: each its own time, not a mean rate's.

    Read from the packets where those are the frames, else decoded up to damage. Raises Unreadable
    where it is no film.
    """
    frames, rate, _ = frame_count(path)
    with FilmReader(path) as film:
        if film.container.format.name in ("avi", *_BARE) and rate:
            return [number / rate for number in range(frames)]
        start, base = film.stream.start_time, film.stream.time_base
        try:
            found = film.container.demux(film.stream)
            packets = [p.pts for p in found if p.size and p.pts is not None]
        except FFmpegError:
            packets = []
    if packets and len(packets) == frames:
        first = min(packets) if start is None else start
        return [float((pts - first) * base) for pts in sorted(packets)]
    return _decoded_times(path)


def _decoded_times(path: Path) -> list[float | None]:
    """Up to damage: what came before it is all that can be labelled."""
    times: list[float | None] = []
    with FilmReader(path) as film:
        try:
            for shot in film.shots(strict=True):
                times.append(shot.time)
        except Unreadable:
            pass
    return times


def _packet_count(packets: Iterable[Any], promised: int) -> int | None:
    """Packets of a stream, or None where packets and frames may not be one to one."""
    count = 0
    for packet in packets:
        if packet.size == 0 and packet.pts is None and packet.dts is None:
            continue  # the flush at the end of the file
        if packet.size == 0 or packet.is_corrupt or packet.is_discard:
            return None
        count += 1
    return count if count == promised else None


def _regular(path: Path) -> BinaryIO:
    if not path.is_file():
        raise Unreadable("not a regular file")
    try:
        file = open(path, "rb")  # noqa: SIM115 (whoever asks closes it)
    except OSError as error:
        raise Unreadable(f"not readable ({error.strerror})") from None
    known = is_film(file.read(HEAD))
    file.seek(0)
    if not known:
        file.close()
        raise Unreadable(NO_FILM)
    return file


def _pictures(container: Any) -> list[Any]:
    """The streams that are no cover pictures."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    films = [s for s in container.streams.video if s.codec_context and not s.disposition & covers]
    if not films:
        raise Unreadable("no pictures in this file")
    bounded(films[0].codec_context.width, films[0].codec_context.height)
    films[0].thread_type = "AUTO"
    return films


# ------------------------------------------------------------------------------------ writing


class Coding(NamedTuple):
    """How a film is encoded; one thread makes the same bytes of the same pictures."""

    codec: str = "libx264"
    options: dict[str, str] = {}  # noqa: RUF012 (of a tuple, never written to)
    bit_rate: int | None = None
    threads: int = 0  # of this machine


class FilmWriter:
    """A film in the making, at `path` only once `close` was called.

    All pictures get the size of the first, whole. With times each keeps its own; without, they
    come at `rate`. `sound` is the film whose sound is copied, `facts` go into its metadata.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction | None,
        coding: Coding | None = None,
        *,
        sound: Path | None = None,
        facts: str | None = None,
    ) -> None:
        self.path, self.part = path, path.with_name(f"{path.name}.part{path.suffix}")
        self.rate, self.coding = Fraction(rate or 25), coding or Coding()
        self.facts, self.sound = facts, sound
        self._container: Any = None
        self._stream: Any = None
        self._sound: _Sound | None = None
        self._tick = -1

    def add(self, picture: np.ndarray, time: float | None = None) -> None:
        """Append a picture, uint8 (H, W, 3), shown from `time` on, in seconds."""
        if not self._container:
            self._begin(picture, time is not None)
        if picture.shape[:2] != self._seen:
            whole = ImageOps.pad(Image.fromarray(picture), self._seen[::-1])
            picture = np.asarray(whole)
        height, width = self._stream.height, self._stream.width  # even, as H.264 wants them
        pixels = np.ascontiguousarray(picture[:height, :width])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        if time is not None:
            self._tick = max(self._tick + 1, round(time * CLOCK))
            frame.pts, frame.time_base = self._tick, Fraction(1, CLOCK)
        self._container.mux(self._stream.encode(frame))
        if self._sound is not None:
            self._sound.copy(until=time)

    def _begin(self, picture: np.ndarray, timed: bool) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._seen = picture.shape[:2]
        self._container = av.open(str(self.part), "w")
        if self.facts:
            self._container.metadata["comment"] = self.facts
        coding = self.coding
        stream = cast(
            VideoStream,
            self._container.add_stream(coding.codec, rate=self.rate, options=dict(coding.options)),
        )
        stream.height, stream.width = (side // 2 * 2 for side in self._seen)
        stream.pix_fmt = "yuv420p"
        if coding.bit_rate:
            stream.bit_rate = coding.bit_rate
        stream.codec_context.time_base = Fraction(1, CLOCK) if timed else 1 / self.rate
        stream.codec_context.thread_count = coding.threads
        self._stream = stream
        if self.sound is not None and timed:
            self._sound = _Sound(self.sound, self._container)

    def close(self, *, keep: bool = True) -> None:
        """Finish the file; without a picture, or not to `keep`, there is none."""
        if self._container is None:
            return
        self._container.mux(self._stream.encode())
        if self._sound is not None:
            self._sound.close(rest=keep)
        self._container.close()
        if keep:
            self.part.replace(self.path)
        else:
            self.part.unlink()


class _Sound:
    """The sound of a film on its way into another, which begins at 0; as it is coded, or as AAC."""

    def __init__(self, source: Path, target: Any) -> None:
        self._film, self._target = FilmReader(source), target
        video = self._film.stream
        self._start = float((video.start_time or 0) * video.time_base)
        heard = [s for s in self._film.container.streams.audio if s.codec_context is not None]
        self._recoded = {
            s.index for s in heard if s.codec_context.name not in target.supported_codecs
        }
        self._streams = {s.index: self._stream(s) for s in heard}
        self._packets = self._film.container.demux(*heard) if heard else iter(())
        self._held: Any = None

    def _stream(self, sound: Any) -> Any:
        if sound.index not in self._recoded:
            return self._target.add_stream_from_template(sound)
        layout = "mono" if sound.channels == 1 else "stereo"
        rate = sound.rate if sound.rate in (8000, 16000, 22050, 32000, 44100) else 48000
        return self._target.add_stream("aac", rate=rate, layout=layout)

    def copy(self, until: float | None) -> None:
        """Everything before a time; None: all there is."""
        while (packet := self._held or next(self._packets, None)) is not None:
            self._held = None
            if packet.dts is None:
                continue  # the flush at the end
            stream, shift = self._streams[packet.stream_index], self._start / packet.time_base
            if until is not None and packet.dts - shift > until / packet.time_base:
                self._held = packet
                return
            if packet.stream_index in self._recoded:
                self._recode(packet, stream)
                continue
            packet.pts, packet.dts = (round(t - shift) for t in (packet.pts, packet.dts))
            packet.stream = stream
            self._target.mux(packet)

    def _recode(self, packet: Any, stream: Any) -> None:
        try:
            frames = packet.decode()
        except FFmpegError:  # a moment of silence
            return
        for frame in frames:
            frame.pts = frame.pts and frame.pts - round(self._start / frame.time_base)
            self._target.mux(stream.encode(frame))

    def close(self, *, rest: bool) -> None:
        if rest:
            self.copy(until=None)
            for index in self._recoded:
                self._target.mux(self._streams[index].encode())
        self._film.__exit__()
