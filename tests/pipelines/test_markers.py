"""No bytes end a training: what DALI's parsers would refuse is seen before they see it."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.markers import is_whole
from tests.pipelines.conftest import SIDE, damage, encoded, picture, write


def saved(kind: str, **how) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(5)).save(file, kind, **how)
    return file.getvalue()


def upright() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 1, "a face"
    return exif


WHOLE = {
    "baseline": encoded(1),
    "progressive": saved("JPEG", progressive=True),
    "not subsampled, with comment": saved("JPEG", subsampling=0, comment=b"drawn"),
    "with EXIF": saved("JPEG", exif=upright()),
    "with restarts": saved("JPEG", restart_marker_blocks=2),
    "with a colour profile": saved("JPEG", icc_profile=bytes(300)),
    "fill bytes": encoded(1)[:2] + b"\xff\xff" + encoded(1)[2:],
    "PNG": encoded(10),
    "PNG with EXIF": saved("PNG", exif=upright()),
    "palette PNG": saved("PNG", icc_profile=bytes(99)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_images_pass(name):
    assert is_whole(WHOLE[name], SIDE, SIDE)
    assert is_whole(memoryview(WHOLE[name]), SIDE, SIDE)


@pytest.mark.parametrize("name", WHOLE)
def test_another_size_than_the_index_has_is_not_whole(name):
    assert not is_whole(WHOLE[name], SIDE, SIDE + 1)
    assert not is_whole(WHOLE[name], SIDE - 1, SIDE)


def put(content: bytes, at: int, by: bytes) -> bytes:
    return content[:at] + by + content[at + len(by) :]


def zeroed(content: bytes, behind: int) -> bytes:
    return put(content, behind, bytes(len(content) - behind))


def damages() -> dict[str, bytes]:
    """Kinds of damage, none of which may reach a parser of DALI."""
    jpeg, png = encoded(1), encoded(10)
    frame, scan = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    noise = np.random.default_rng(0).bytes(len(jpeg))
    return {
        "nothing": b"",
        "one byte": jpeg[:1],
        "zeros": bytes(len(jpeg)),
        "text": (b"not a picture " * len(jpeg))[: len(jpeg)],
        "start alone": jpeg[:2],
        "zeros behind 2": zeroed(jpeg, 2),
        "zeros behind 4": zeroed(jpeg, 4),
        "zeros behind 20": zeroed(jpeg, 20),
        "noise behind 2": jpeg[:2] + noise[2:],
        "noise behind 20": jpeg[:20] + noise[20:],
        "cut in a segment": jpeg[:30],
        "cut before the frame": jpeg[:frame],
        "cut in the frame": jpeg[: frame + 6],
        "header alone": jpeg[:scan],
        "cut in the scan's header": jpeg[: scan + 5],
        "no size": put(jpeg, frame + 5, bytes(4)),
        "a small size": put(jpeg, frame + 5, b"\0\x08\0\x08"),
        "a huge size": put(jpeg, frame + 5, b"\xff\xff\xff\xff"),
        "no channels": put(jpeg, frame + 9, b"\0"),
        "sampled by nothing": put(jpeg, frame + 11, b"\0"),
        "a segment of no length": put(jpeg, 4, b"\0\0"),
        "a segment past the end": put(jpeg, 4, b"\xff\xff"),
        "another marker behind the start": put(jpeg, 2, b"\x12\x34"),
        "lossless frame": put(jpeg, frame + 1, b"\xc3"),
        "PNG signature alone": png[:8],
        "PNG header zeroed": put(png, 12, bytes(13)),
        "PNG of no width": put(png, 16, bytes(4)),
        "PNG of huge size": put(png, 16, b"\x7f\xff\xff\xff" * 2),
        "PNG header of another CRC": put(png, 29, bytes(4)),
        "PNG cut in its data": png[: len(png) // 2],
        "PNG without end": png[:-12],
        "PNG zeroed behind its header": zeroed(png, 33),
        "GIF": saved("GIF"),
        "BMP": saved("BMP"),
        "TIFF": saved("TIFF"),
        "WebP": saved("WEBP"),
    }


@pytest.mark.parametrize("name", damages())
def test_damage_is_seen(name):
    assert not is_whole(damages()[name], SIDE, SIDE)


def left_to_decoders() -> dict[str, bytes]:
    """Damage behind the markers, which DALI's decoders refuse by an exception."""
    jpeg, progressive, png = encoded(1), WHOLE["progressive"], encoded(10)
    tables = jpeg.index(b"\xff\xc4")
    return {
        "cut in the scan": jpeg[: len(jpeg) // 2],
        "cut at the end": jpeg[:-2],
        "progressive, cut": progressive[: len(progressive) // 2],
        "progressive, cut in its first scan": progressive[: progressive.index(b"\xff\xda") + 30],
        "impossible Huffman table": put(jpeg, tables + 5, b"\xff" * 16),
        "no quantisation": jpeg.replace(b"\xff\xdb", b"\xff\xfe"),
        "PNG data of another checksum": put(png, len(png) - 20, b"\1\2"),
    }


@pytest.mark.parametrize("name", left_to_decoders())
def test_scans_are_not_looked_at(name):
    assert is_whole(left_to_decoders()[name], SIDE, SIDE)


TORTURE = """
import sys
from pathlib import Path
from tests.pipelines.test_markers import torture
torture(Path(sys.argv[1]))
"""


def torture(folder) -> None:
    """Every slot of a batch damaged in turn, by every kind, under DALI in this process."""
    import torch

    from pipelines import Augment, batches

    index = write(folder, range(18), SIDE)
    selection = index.where()
    options = {"augment": Augment(brightness=0.3), "drop_last": False, "image_size": 56}
    expected = next(iter(batches(selection, 18, threads=2, **options)))
    sizes = selection.column("image_size")
    kinds = {**damages(), **left_to_decoders()}
    stored = {row: index.read(row) for row in range(18)}
    for number, (name, content) in enumerate(kinds.items()):
        row = int(expected.row[number % 18])
        place = damage(index, row, content[: sizes[row]].ljust(sizes[row], b"\0"))
        loader = batches(selection, 18, threads=2, on_corrupt="skip", **options)
        found = next(iter(loader))
        loader.close()
        damage(index, row, stored[row])
        lost = expected.row == row
        if name in ("cut at the end", "cut in the scan") and torch.equal(found.mask, expected.mask):
            continue  # zeros filled up to the stored size may pass for the rest of a scan
        assert loader.corrupt == [place], name
        assert torch.equal(found.mask, expected.mask & ~lost), name
        assert torch.equal(found.image[~lost], expected.image[~lost]), name
        assert not (found.row == row).any(), name


def test_no_image_ends_a_process(tmp_path):
    command = [sys.executable, "-c", TORTURE, str(tmp_path / "shards")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
