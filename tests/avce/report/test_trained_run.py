"""Runs give the images that were asked for, as pictures too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avce.inference.predictor import normalised
from avce.report import trained_run
from avce.report.trained_run import TrainedRun
from tests.avce.faces import faces
from tests.avce.report.runs import COUNT, two_runs


@pytest.fixture(scope="module")
def two() -> list[TrainedRun]:
    return two_runs()


def test_rows_come_in_the_order_asked_for(two):
    rows = np.array([9, 2, 17])
    stack = trained_run.stack_of(two[0], rows)
    image, target, _ = faces(COUNT)
    torch.testing.assert_close(stack.image, image[[9, 2, 17]])
    np.testing.assert_array_equal(stack.target, target[[9, 2, 17]].numpy())


def test_normalised_images_become_pictures_again():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    image = normalised(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    np.testing.assert_array_equal(trained_run.pixels_of(image), pixels)
