"""`is_whole`: whether bytes are a JPEG or PNG from the first marker to the last one a parser needs.

DALI 2.4 ends the whole process, with nothing to catch, when its parser refuses an image of a batch
other than the last, or when a crop does not fit into it; what its decoders refuse it reports. So
what the parsers walk is walked here first. Shards hold these two codings only.
"""

from __future__ import annotations

import zlib

Bytes = bytes | memoryview

_PNG = b"\x89PNG\r\n\x1a\n"
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))  # baseline to progressive, of 8 bit
_SCAN = 0xDA
_BARE = frozenset(range(0xD0, 0xDA))  # restarts, start and end: no length follows, none comes here
_SAMPLING = frozenset(16 * h + v for h in (1, 2, 3, 4) for v in (1, 2, 3, 4))


def is_whole(content: Bytes, width: int, height: int) -> bool:
    """Whether `content` has the markers of a JPEG or PNG of this size; 4 us an image.

    A JPEG: segment after segment to a frame of this size, then a scan. A PNG: header with its CRC,
    chunk after chunk to the end. What lies inside a scan is not looked at: a checksum does that.
    """
    try:
        if content[:2] == b"\xff\xd8":
            return _is_jpeg(content, width, height)
        return content[:8] == _PNG and _is_png(content, width, height)
    except IndexError:  # a header that ends before its own fields
        return False


def _is_jpeg(content: Bytes, width: int, height: int) -> bool:
    at, framed = 2, False
    while True:
        while content[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker, length = content[at + 1], content[at + 2] << 8 | content[at + 3]
        end = at + 2 + length
        if content[at] != 0xFF or marker < 0xC0 or marker in _BARE:
            return False
        if length < 2 or end >= len(content):
            return False
        if marker == _SCAN:
            return framed and length == 6 + 2 * content[at + 4]
        if marker in _FRAMES:
            framed = _is_frame(content[at + 4 : end], width, height)
            if not framed:
                return False
        at = end


def _is_frame(frame: Bytes, width: int, height: int) -> bool:
    size = frame[3] << 8 | frame[4], frame[1] << 8 | frame[2]
    channels = frame[5]
    return (
        frame[0] == 8
        and size == (width, height)
        and channels in (1, 3)
        and len(frame) == 6 + 3 * channels
        and all(sampling in _SAMPLING for sampling in frame[7::3])
    )


def _is_png(content: Bytes, width: int, height: int) -> bool:
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    if content[8:16] != b"\0\0\0\x0dIHDR" or content[16:24] != size:
        return False
    if zlib.crc32(content[12:29]) != int.from_bytes(content[29:33], "big"):
        return False
    at, data = 33, False
    while True:
        kind = bytes(content[at + 4 : at + 8])
        at += 12 + int.from_bytes(content[at : at + 4], "big")
        if kind == b"IEND":
            return data and at <= len(content)
        if at >= len(content):
            return False
        data = data or kind == b"IDAT"
