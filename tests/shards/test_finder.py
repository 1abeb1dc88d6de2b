"""The detector is optional; where it is, it finds a face in a photo and none in a wall."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards import BuildOptions, Crop, Engine, LabelIndex, Sample, build, finder
from shards.building.tars import planned_rows, write_tar
from shards.crop import store_found, store_picture
from shards.finder import FaceFinder, finder_for
from shards.image import Stored
from shards.standins.layouts import draw_affectnet_2021

WITHOUT = pytest.mark.skipif(not finder.installed(), reason="facenet-pytorch is not installed")


@pytest.fixture(scope="module")
def found() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """A real photograph, from a package: Eileen Collins, NASA, 512 x 512."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        pytest.skip("the photo comes with scikit-image, which is not installed")
    path = Path(package.origin).parent / "data" / "astronaut.png"
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB"))


@WITHOUT
def test_it_finds_the_face_of_a_photo_at_any_size(found, astronaut):
    (face,) = found(astronaut)
    assert face[:4] == pytest.approx([181, 62, 268, 172], abs=6) and face[4] > 0.99
    large = np.asarray(Image.fromarray(astronaut).resize((1536, 1536)))
    assert found(large)[0, :4] == pytest.approx(3 * face[:4], abs=30)


@WITHOUT
def test_many_faces_come_largest_first(found, astronaut):
    small = np.asarray(Image.fromarray(astronaut).resize((256, 256)))
    both = np.zeros((512, 768, 3), np.uint8)
    both[:256, :256], both[:, 256:] = small, astronaut
    faces = found(both)
    assert len(faces) == 2 and faces[0, 0] > 256 > faces[1, 2]


@WITHOUT
@pytest.mark.parametrize("shape", [(4, 4, 3), (40, 400, 3), (90, 90, 3)])
def test_a_wall_has_no_face(found, shape):
    assert found(np.full(shape, 90, np.uint8)).shape == (0, 5)


@WITHOUT
def test_a_box_that_nobody_published_is_found_and_recorded(astronaut, tmp_path):
    def sample(key: str, box: tuple[float, ...] | None) -> Sample:
        return Sample(
            key=key, original_path=f"{key}.png", dataset="raf_db", variant="basic", split="val",
            bbox_xyxy=box, bbox_source=box and "published",
        )  # fmt: skip

    samples = [sample("boxed", (180.0, 60.0, 270.0, 170.0)), sample("found", None)]
    samples.append(sample("wall", None))
    pictures = [astronaut, astronaut, np.zeros_like(astronaut)]
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
    assert shard.rows["bbox_source"].to_pylist() == ["published", "mtcnn"]
    assert shard.rows["bbox_xyxy"].to_pylist()[1] == pytest.approx([181, 62, 268, 172], abs=6)
    assert shard.rows["crop_affine"].null_count == 0
    assert shard.skipped == [("no face found", "wall.png")]


@WITHOUT
def test_a_data_set_without_boxes_is_sharded(astronaut, tmp_path):
    draw_affectnet_2021(tmp_path / "raw", 12)
    for path in tmp_path.rglob("*.jpg"):
        Image.fromarray(astronaut).save(path)
    options = BuildOptions(
        crop=Crop(mode="box", detect=True), engine=Engine("joblib", jobs=1),
        reader={"allow_count": True},
    )  # fmt: skip
    build("affectnet", tmp_path / "raw", str(tmp_path / "out"), options)
    table = LabelIndex.open(tmp_path / "out").table
    assert set(table["bbox_source"].to_pylist()) == {"mtcnn"}
    assert set(table["width"].to_pylist()) == {256}


def test_whole_needs_no_detector():
    assert finder_for("whole") is None
    with pytest.raises(ValueError, match="neither whole nor detect"):
        finder_for("some")


@pytest.mark.skipif(finder.installed(), reason="facenet-pytorch is installed")
def test_without_a_detector_both_ways_out_are_named():
    with pytest.raises(ValueError, match=r"facenet-pytorch.*--faces whole"):
        finder_for(None)
    with pytest.raises(ValueError, match="not installed"):
        finder_for("detect")
