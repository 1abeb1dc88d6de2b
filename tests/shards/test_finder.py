"""The detector is optional; where it is, it finds a face in a photo and none in a wall."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards import finder
from shards.finder import FaceFinder, finder_for

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
