"""Figures: they draw in both themes without global state, and their numbers mean what they say."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from avce.report import embedding, figures

RNG = np.random.default_rng(0)
TARGET = np.clip(RNG.normal(0, 0.5, (60, 2)), -1, 1)
PREDS = {"AVCE": 0.8 * TARGET, "baseline": 0.5 * TARGET}
FACE = np.full((32, 32, 3), 90, np.uint8)
HEAT = np.linspace(0, 1, 32 * 32).reshape(32, 32)
EMBEDDING = embedding.Embedding(RNG.normal(0, 1, (60, 2)), 0.4, 0.5, 0.3)
DRAWN = {
    "plane": partial(figures.plane, TARGET, PREDS["AVCE"], name="AVCE"),
    "calibration": partial(figures.calibration, TARGET, PREDS),
    "maps": partial(
        figures.activation_maps,
        [figures.Sheet(FACE, {"AVCE": np.stack([HEAT, HEAT])}, (0.1, -0.2))],
    ),
    "tsne": partial(figures.tsne, EMBEDDING, TARGET),
    "faces": partial(figures.tsne, EMBEDDING, TARGET, {0: FACE, 7: FACE}),
    "confusion": partial(figures.confusion, [[8, 2], [0, 0]], ["calm", "angry"]),
    "forest": partial(
        figures.forest,
        [
            figures.Bar("AVCE", (0.7, None), (0.6, None), (0.8, None)),
            figures.Bar("printed", (0.68, 0.59), published=True),
        ],
    ),
}  # fmt: skip


def assert_drawn(draw: Callable[[], Figure]) -> None:
    """It has a light page in the light theme and a dark one in the dark."""
    light, dark = (figures.png(draw, theme, dpi=50) for theme in ("light", "dark"))
    corners = [np.array(Image.open(io.BytesIO(p)).convert("RGB"))[0, 0] for p in (light, dark)]
    assert corners[0].tolist() == [255, 255, 255] and max(corners[1]) < 40


@pytest.mark.parametrize("name", DRAWN)
def test_each_figure_draws_in_both_themes(name):
    assert_drawn(DRAWN[name])


def test_the_same_figure_is_the_same_bytes():
    assert figures.svg(DRAWN["forest"]) == figures.svg(DRAWN["forest"])


def test_save_writes_both_formats(tmp_path):
    paths = figures.save(DRAWN["confusion"], tmp_path / "deep" / "v1.0", dpi=40)
    assert [p.name for p in paths] == ["v1.0.png", "v1.0.svg"]
    assert paths[1].read_text().startswith("<?xml") and "angry" in paths[1].read_text()


def test_nothing_global_is_opened():
    code = "import avce.report.figures, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_runs_have_the_colours_of_the_paper_and_never_the_same():
    names = ["avce", "CAF resnet", "baseline", "avce_hard", *"abcdef"]
    chosen = figures.colours_of(names)
    assert chosen["avce"] == "#2f6fde" and chosen["CAF resnet"] == "#2e9d5b"
    assert len(set(chosen.values())) >= len(names) - 1  # six spare colours for seven others


def test_bins_hold_equally_many():
    x = RNG.normal(0, 1, 100)
    mean, label, spread = figures.binned(x, 2 * x, 10)
    np.testing.assert_allclose(label, 2 * mean)
    assert len(mean) == 10 and (np.diff(mean) > 0).all() and (spread > 0).all()


def test_an_overlay_is_half_image_half_jet():
    cold = figures.overlaid(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)))
    assert cold[0, 0].tolist() == [0, 0, 64]  # jet begins at (0, 0, 0.5)


def test_figures_are_figures():
    with figures.theme("light"):
        assert isinstance(DRAWN["plane"](), Figure)
