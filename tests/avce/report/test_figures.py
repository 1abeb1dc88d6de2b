"""Figures: they draw in both themes without global state, and their numbers mean what they say."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
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


def test_an_overlay_is_half_image_and_brighter_where_more_is():
    shown = figures.overlaid(np.full((1, 64, 3), 80, np.uint8), np.linspace(0, 1, 64)[None])
    assert np.abs(shown[0, 0].astype(int) - 40).max() <= 2  # the scale begins black
    brightness = shown[0] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(brightness) > -1).all() and brightness[-1] > 150  # of jet it falls halfway


@pytest.mark.parametrize("name", ["paper", "x" * 24])
def test_a_name_that_fits_stays(name):
    assert figures.short(name) == name


def test_long_names_are_told_apart_and_print_over_nothing():
    """Two runs of a sweep, each longer than a panel is wide: no text lies on another."""
    names = [f"avce_debiased_select-lr-0.0003-{'seed-0-' * 6}20260101-12000{k}" for k in range(2)]
    assert len({figures.short(name) for name in names}) == 2
    bars = [figures.Bar(name, (0.7, 0.6), (0.6, 0.5), (0.8, 0.7)) for name in names]
    lines = dict.fromkeys(names, PREDS["AVCE"])
    for draw in (
        partial(figures.forest, [*bars, figures.Bar("printed", (0.6, 0.5), published=True)]),
        partial(figures.calibration, TARGET, lines),
    ):
        with figures.theme("light"):
            figure = draw()
            assert_legible(figure)
            assert all(axes.get_window_extent().width > 100 for axes in figure.axes)


@pytest.mark.parametrize("name", ["demo-20261125-185157", f"avce-{'seed-' * 6}20261125-185157"])
def test_the_names_that_runs_are_given_print_over_nothing(name):
    dark = np.zeros((32, 32, 3), np.uint8)
    maps = {f"{name} ({head})": np.zeros((2, 32, 32)) for head in "RH"}
    with figures.theme("light"):
        assert_legible(figures.plane(TARGET, PREDS["AVCE"], name=name))
        assert_legible(figures.activation_maps([figures.Sheet(dark, maps)]))


def test_a_map_is_named_by_all_of_its_run_and_by_its_head():
    maps = {name: np.stack([HEAT, HEAT]) for name in ("my run (R)", "AVCE")}
    with figures.theme("light"):
        figure = figures.activation_maps([figures.Sheet(FACE, maps)])
    titles = [axes.get_title("left") for axes in figure.axes]
    assert [t for t in titles if "valence" in t] == ["my run\nvalence (R)", "AVCE\nvalence"]


def assert_legible(figure):
    """No text lies on another, or out of the picture."""
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_visible()]
    words = [t for t in texts if any(map(str.isalpha, t.get_text()))]
    shown = [word.get_window_extent() for word in words]  # numbers may lie out of view
    assert not any(a.overlaps(b) for a, b in combinations(shown, 2))
    assert all(one.x1 <= figure.bbox.x1 and one.y1 <= figure.bbox.y1 for one in shown)


def test_printed_rows_that_are_not_comparable_are_marked_in_the_picture():
    bars = [figures.Bar("ours", (0.7, 0.6)), figures.Bar("theirs", (0.8, 0.7), published=True)]
    fair, unfair = (
        figures.svg(partial(figures.forest, [bars[0], bars[1]._replace(unfair=unfair)])).decode()
        for unfair in (False, True)
    )
    assert "not comparable" in unfair and "not comparable" not in fair


def test_figures_are_figures():
    with figures.theme("light"):
        assert isinstance(DRAWN["plane"](), Figure)
