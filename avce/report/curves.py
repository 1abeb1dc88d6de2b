"""Figures over time: a video frame by frame, a training step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from avce.report.figures import AXES, blank, colour_of, colours_of, overlaid, short


class Moment(NamedTuple):
    """One chosen frame above the fluctuation plot."""

    frame: int
    image: np.ndarray  # (h, w, 3) uint8
    maps: Mapping[str, np.ndarray] = {}  # run -> (h, w) in [0, 1], the mean of both axes' maps


def fluctuation(
    frames: Int[np.ndarray, " n"],
    target: Float[np.ndarray, "n 2"] | None,
    preds: Mapping[str, Float[np.ndarray, "n 2"]],
    moments: Sequence[Moment] = (),
    *,
    title: str = "",
    average: int = 1,
    notes: Mapping[str, str] | None = None,
) -> Figure:
    """Valence and arousal of one video, labelled and predicted, frame by frame.

    Runs are drawn over the label (grey). A `moments` frame gets a dashed red line and, above it,
    the maps of the runs beside the raw frame. `average` is a centred moving average in frames
    (1: raw). `notes` adds a text to a run's legend, such as its CCC. Frames must ascend; a run
    that is NaN at a frame has a gap there. Nobody labelled a video whose target is None.
    """
    figure = blank(7.2, 3.4 + (1.4 if moments else 0.0))
    heights = [1.0, 1.5, 1.5] if moments else [1.0, 1.0]
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    colours = colours_of(list(preds))
    panels = [figure.add_subplot(grid[len(heights) - 2 + k]) for k in range(2)]
    for k, panel in enumerate(panels):
        lines = [values[:, k] for values in preds.values()]
        if target is not None:
            lines.append(target[:, k])
            panel.plot(frames, lines[-1], color=colour_of("label"), lw=2.4, label="label", zorder=1)
        for name, values in preds.items():
            text = " ".join([short(name), *([notes[name]] if notes and name in notes else [])])
            drawn = smoothed(values[:, k], average)
            panel.plot(frames, drawn, color=colours[name], lw=0.9, label=text, zorder=2)
        _time_panel(panel, AXES[k], frames, lines)
        for moment in moments:
            panel.axvline(moment.frame, color="#d8323c", lw=0.9, ls=(0, (4, 3)), zorder=3)
    panels[0].tick_params(labelbottom=False)
    panels[1].set_xlabel("frame")
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(len(preds) + 1, 3))
    if moments:
        _tiles(figure.add_subplot(grid[0]), moments, frames)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def _time_panel(panel: Axes, axis: str, frames: np.ndarray, lines: Sequence[np.ndarray]) -> None:
    low, high = min(np.nanmin(v) for v in lines), max(np.nanmax(v) for v in lines)
    room = 0.08 * max(high - low, 0.2)
    panel.set_ylim(min(low - room, -0.1), max(high + room, 0.1))
    panel.set_xlim(frames[0], max(frames[-1], frames[0] + 1))
    panel.axhline(0, color=colour_of("faint"), lw=0.8, zorder=0)
    panel.set_ylabel(axis)


def _tiles(panel: Axes, moments: Sequence[Moment], frames: np.ndarray) -> None:
    """One tile of maps and the raw frame per moment, side by side in frame order."""
    panel.set_axis_off()
    panel.set_xlim(0, len(moments))
    panel.set_ylim(0, 1)
    # 62 points of picture leave room for the frame's number above it
    for place, moment in enumerate(sorted(moments, key=lambda m: m.frame)):
        tile = _tile(moment)
        box = OffsetImage(tile, zoom=62 / tile.shape[0], resample=True)
        panel.add_artist(
            AnnotationBbox(box, (place + 0.5, 0.4), frameon=False, box_alignment=(0.5, 0.5))
        )
        panel.text(place + 0.5, 1.02, f"frame {moment.frame}", ha="center", fontsize=7)


def _tile(moment: Moment) -> np.ndarray:
    """Maps over the frame, then the frame itself, two in a row with a thin gap."""
    shown = [overlaid(moment.image, m) for m in moment.maps.values()][:3]
    shown.append(moment.image)
    height, width = moment.image.shape[:2]
    across, gap = min(2, len(shown)), max(1, width // 40)
    down = -(-len(shown) // across)
    canvas = np.full(
        (down * height + (down - 1) * gap, across * width + (across - 1) * gap, 3), 255, np.uint8
    )
    for place, image in enumerate(shown):
        y, x = divmod(place, across)
        top, left = y * (height + gap), x * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def smoothed(values: Float[np.ndarray, " n"], width: int) -> Float[np.ndarray, " n"]:
    """Centred moving average over `width` frames, narrower at both ends; 1 leaves all as it is."""
    width = min(width, len(values))
    if width <= 1:
        return values
    sums = np.convolve(values, np.ones(width), "same")
    return sums / np.convolve(np.ones(len(values)), np.ones(width), "same")


def training_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Losses and validation CCC of each run from the records of its log.jsonl."""
    figure = blank(7.2, 2.6)
    left, right = figure.subplots(1, 2)
    colours = colours_of(list(logs))
    for name, records in logs.items():
        losses = [(r["step"], sum(r["losses"].values())) for r in records if "losses" in r]
        if losses:
            steps, values = np.array(losses, float).T
            left.plot(steps, values, color=colours[name], lw=0.6, alpha=0.35)
            left.plot(steps, smoothed(values, 9), color=colours[name], label=short(name))
        _validation(right, name, records, colours[name])
    left.set(title="training loss, all terms", xlabel="step")
    right.set(xlabel="step")
    right.set_ylim(top=1)
    right.grid(axis="y")
    for panel in (left, right):
        panel.margins(x=0.01)
        if panel.get_legend_handles_labels()[0]:
            panel.legend()
    return figure


def _validation(panel: Axes, name: str, records: Sequence[Mapping[str, Any]], colour: str) -> None:
    scored = [r for r in records if "val" in r]
    if scored and "accuracy" in scored[0]["val"]:
        values = [(r["step"], r["val"]["accuracy"]) for r in scored]
        panel.plot(*np.array(values, float).T, color=colour, marker="o", ms=2, label=short(name))
        panel.set_title("validation accuracy")
        return
    for axis, style in zip(AXES, ("-", (0, (3, 2))), strict=True):
        values = [(r["step"], r["val"][axis]["ccc"]) for r in scored]
        values = [(step, ccc) for step, ccc in values if ccc is not None]
        if values:
            points = np.array(values, float).T
            panel.plot(
                *points, color=colour, ls=style, marker="o", ms=2, label=f"{short(name)} {axis}"
            )
    panel.set_title("validation CCC")
