"""Courses over time draw in both themes, and a moving average moves nothing else."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from avce.report import curves
from tests.avce.report.test_figures import FACE, HEAT, PREDS, TARGET, assert_drawn

LOGS = {
    "a": [
        {"step": 1, "losses": {"mse": 0.4}},
        {"step": 2, "losses": {"mse": 0.3, "contrast": -0.01}},
        {"step": 2, "val": {"valence": {"ccc": 0.2}, "arousal": {"ccc": None}}},
    ],
    "classes": [{"step": 2, "val": {"accuracy": 0.5}}],
}
DRAWN = {
    "fluctuation": partial(
        curves.fluctuation,
        np.arange(60), TARGET, PREDS,
        [curves.Moment(9, FACE, {"AVCE": HEAT}), curves.Moment(30, FACE)],
        title="a video", average=5, notes={"AVCE": "CCC .7"},
    ),
    "training": partial(curves.training_curves, LOGS),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_each_draws_in_both_themes(name):
    assert_drawn(DRAWN[name])


def test_a_moving_average_keeps_the_length_and_a_constant():
    values = np.random.default_rng(0).normal(0, 1, 30)
    assert curves.smoothed(values, 1) is values
    np.testing.assert_allclose(curves.smoothed(np.full(30, 0.3), 7), 0.3)
    assert curves.smoothed(values, 7)[15] == pytest.approx(values[12:19].mean())
