"""Random choices: the same however they are split up, and of their distributions."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.augment import Augment, draw

EVERYTHING = Augment(brightness=0.4, contrast=0.5, saturation=2.0)


def test_draws_do_not_depend_on_how_they_are_split():
    whole = draw(EVERYTHING, 3, 1, 0, 100)
    for field, part in zip(whole, draw(EVERYTHING, 3, 1, 37, 20), strict=True):
        assert np.array_equal(field[37:57], part)
    assert not np.array_equal(whole.crop, draw(EVERYTHING, 3, 2, 0, 100).crop)
    assert not np.array_equal(whole.crop, draw(EVERYTHING, 4, 1, 0, 100).crop)


def test_draws_have_their_distributions():
    n = 20_000
    drawn = draw(Augment(flip=0.3, brightness=0.4, contrast=2.0), 0, 0, 0, n)
    assert drawn.flip.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / n))
    for values, low, high in (
        (drawn.crop[:, 0], 0, 1),
        (drawn.crop[:, 1], 0, 1),
        (drawn.brightness, 0.6, 1.4),
        (drawn.contrast, 0, 3),  # a factor is never negative
        (drawn.saturation, 1, 1),
    ):
        assert low <= values.min() and values.max() <= high
        sigma = (high - low) / np.sqrt(12 * n)
        assert values.mean() == pytest.approx((low + high) / 2, abs=5 * sigma + 1e-6)
    columns = np.stack([drawn.crop[:, 0], drawn.crop[:, 1], drawn.brightness, drawn.contrast])
    assert np.abs(np.corrcoef(columns) - np.eye(4)).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize(
    ("field", "value"), [("flip", 1.5), ("brightness", -0.1), ("contrast", -1.0)]
)
def test_impossible_augmentation_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} {value}"):
        Augment(**{field: value})
