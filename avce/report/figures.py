"""Figures for papers and reports; each function returns a matplotlib Figure and draws nothing else.

No pyplot: nothing global is open, and a server or a notebook may draw at the same time. Draw inside
`theme("light")` or `theme("dark")`, or let `png` and `save` do so.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from avce.durable import write_aside
from avce.report.embedding import Embedding, quadrant
from avce.scores import AXES, defined
from avce.scores.circumplex import NAMED

_OWN_COLOURS = {"caf": "#2e9d5b", "avce": "#2f6fde"}  # as in the paper; the baseline is ink
_OTHERS = ("#d9822b", "#a03fb0", "#c7383f", "#1f9aa8", "#7a6a2c", "#e0609a")
_THEMES = {
    "light": {"paper": "#ffffff", "ink": "#1c2430", "faint": "#d5dae2", "label": "#98a1ae"},
    "dark": {"paper": "#14181f", "ink": "#e6eaf0", "faint": "#343c49", "label": "#7f8998"},
}
_DENSITY = {
    "light": ("#ffffff", "#cfe0fb", "#7fb0f2", "#2f6fde", "#123a86"),
    "dark": ("#14181f", "#173262", "#2a61c4", "#74aef7", "#e2f0ff"),
}

Theme = Literal["light", "dark"]


@contextmanager
def theme(name: Theme = "light") -> Iterator[None]:
    """Fonts, sizes and colours of every figure drawn in the block."""
    paper, ink, faint = (_THEMES[name][role] for role in ("paper", "ink", "faint"))
    roles = {
        paper: ("figure.facecolor", "savefig.facecolor", "axes.facecolor"),
        ink: ("axes.labelcolor", "text.color", "xtick.color", "ytick.color"),
        faint: ("axes.edgecolor", "grid.color"),
    }
    settings: dict[Any, Any] = {key: colour for colour, keys in roles.items() for key in keys}
    with matplotlib.rc_context(settings, Path(__file__).parent / "assets" / "figures.mplstyle"):
        yield


def _dark() -> bool:
    return matplotlib.rcParams["figure.facecolor"] == _THEMES["dark"]["paper"]


def colour_of(role: str) -> str:
    """Of the theme in force: paper, ink, faint or label."""
    return _THEMES["dark" if _dark() else "light"][role]


def _ramp() -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("density", _DENSITY["dark" if _dark() else "light"])


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour a run: AVCE blue, CAF green, a baseline in ink as in the paper, then others."""
    chosen: dict[str, str] = {}
    free = iter(_OTHERS * (1 + len(names) // len(_OTHERS)))
    for name in names:
        own = next((c for word, c in _OWN_COLOURS.items() if word in name.lower()), None)
        own = colour_of("ink") if own is None and "baseline" in name.lower() else own
        chosen[name] = own if own and own not in chosen.values() else next(free)
    return chosen


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, drawn without pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(draw: Callable[[], Figure], name: Theme = "light", dpi: int = 160) -> bytes:
    """The figure that `draw` makes, as a PNG in a theme."""
    return _rendered(draw, name, "png", dpi)


def svg(draw: Callable[[], Figure], name: Theme = "light") -> bytes:
    """The figure that `draw` makes, as an SVG whose text stays text."""
    return _rendered(draw, name, "svg", 200)


def _rendered(draw: Callable[[], Figure], name: Theme, kind: str, dpi: int) -> bytes:
    page = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with theme(name):
        draw().savefig(page, format=kind, dpi=dpi, metadata=metadata)
    return page.getvalue()


def save(draw: Callable[[], Figure], stem: Path | str, dpi: int = 300) -> list[Path]:
    """Write STEM.png and STEM.svg in the light theme; gives their paths."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    write_aside(paths[0], png(draw, dpi=dpi))
    write_aside(paths[1], svg(draw))
    return paths


class Picture(NamedTuple):
    """A figure that can be drawn again, for another theme or format."""

    name: str  # of its files
    title: str
    caption: str
    draw: Callable[[], Figure]
    numbers: Mapping[str, Any] = {}


def by_axis(values: Sequence[float]) -> dict[str, float | None]:
    """Numbers of valence and arousal as `Picture` holds them."""
    return dict(zip(AXES, map(defined, values), strict=True))


def plain(name: str) -> str:
    """A name of a run as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)


def short(name: str, most: int = 24) -> str:
    """A name of a run as it stands in a figure: what is too long loses its middle.

    Names begin with what was tried and end with when, which is what tells runs apart.
    """
    head = (most - 1) // 2
    return name if len(name) <= most else f"{name[:head]}\u2026{name[head + 1 - most :]}"


# ---------------------------------------------------------------------------- the plane


def plane(
    target: Float[np.ndarray, "n 2"], preds: Float[np.ndarray, "n 2"], *, name: str = ""
) -> Figure:
    """Three views of the valence-arousal plane: labels, predictions, and the error field.

    Density is on a log scale. An arrow leads from the mean label of a cell to its mean prediction;
    cells with fewer than 5 samples are left out, or 1 where the set is small.
    """
    figure = blank(7.2, 2.7)
    panels = figure.subplots(1, 3)
    for panel, points, text in zip(
        panels[:2],
        (target, preds),
        ("labels", f"{short(name, 20)}\npredictions".strip()),
        strict=True,
    ):
        _circumplex(panel, text)
        _density(panel, points)
    halo = [withStroke(linewidth=1.6, foreground=colour_of("paper"))]
    for word, (x, y) in NAMED.items():
        panels[0].text(x, y, word, fontsize=5.6, ha="center", va="center", path_effects=halo)
    _circumplex(panels[2], "from label to prediction")
    _error_field(panels[2], target, preds)
    return figure


def labels(target: Float[np.ndarray, "n 2"], counts: Mapping[str, int]) -> Figure:
    """What a data set holds: the density of its labels, and how many faces each class has."""
    figure = blank(6.4, 2.8)
    left, right = figure.subplots(1, 2)
    _circumplex(left, f"{len(target):,} labels")
    _density(left, target)
    right.barh(list(counts), list(counts.values()), color=colour_of("faint"))
    right.invert_yaxis()
    right.set_title("expressions")
    return figure


def _circumplex(panel: Axes, title: str) -> None:
    panel.set(title=title, xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xlabel="valence")
    panel.set_aspect("equal")
    panel.set_ylabel("arousal", labelpad=-2)
    panel.add_patch(Circle((0, 0), 1, fill=False, color=colour_of("faint"), lw=0.8))
    panel.axhline(0, color=colour_of("faint"), lw=0.6, zorder=1)
    panel.axvline(0, color=colour_of("faint"), lw=0.6, zorder=1)
    panel.set_xticks([-1, 0, 1])
    panel.set_yticks([-1, 0, 1])


def _density(panel: Axes, points: np.ndarray) -> None:
    edges = np.linspace(-1.05, 1.05, 64)
    counts = np.histogram2d(points[:, 0], points[:, 1], [edges, edges])[0].T
    shown = np.ma.masked_less(np.log1p(counts), 1e-9)
    panel.pcolormesh(edges, edges, shown, cmap=_ramp(), vmin=-0.3, rasterized=True, zorder=0)


def _error_field(panel: Axes, target: np.ndarray, preds: np.ndarray) -> None:
    edges = np.linspace(-1, 1, 12)
    cell = np.clip(np.digitize(target, edges) - 1, 0, len(edges) - 2)
    code = cell[:, 0] * (len(edges) - 1) + cell[:, 1]
    least = 5 if len(target) >= 500 else 1
    starts, ends = [], []
    for one in np.unique(code):
        inside = code == one
        if inside.sum() >= least:
            starts.append(target[inside].mean(0))
            ends.append(preds[inside].mean(0))
    if not starts:
        return
    start, moved = np.array(starts), np.array(ends) - np.array(starts)
    length = np.hypot(*moved.T)
    drawn = panel.quiver(
        *start.T, *moved.T, length, angles="xy", scale_units="xy", scale=1, width=0.009,
        cmap="plasma" if _dark() else "plasma_r", zorder=2, clim=(0, max(0.4, float(length.max()))),
    )  # fmt: skip
    figure = panel.get_figure()
    assert isinstance(figure, Figure)
    bar = figure.colorbar(drawn, ax=panel, shrink=0.72, aspect=18, pad=0.03)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label("length", fontsize=7)


def calibration(
    target: Float[np.ndarray, "n 2"], preds: Mapping[str, Float[np.ndarray, "n 2"]], bins: int = 15
) -> Figure:
    """Per axis: the mean label of samples predicted alike. Honest predictions lie on the diagonal.

    Bins hold equally many samples; bars are one standard deviation of the labels in the bin. A
    line flatter than the diagonal says too much, a steeper one too little.
    """
    figure = blank(5.4, 2.8)
    colours = colours_of(list(preds))
    panels = figure.subplots(1, 2)
    for k, panel in enumerate(panels):
        panel.plot([-1, 1], [-1, 1], color=colour_of("label"), lw=0.8, ls=(0, (4, 3)))
        for name, values in preds.items():
            x, y, spread = binned(values[:, k], target[:, k], bins)
            panel.fill_between(x, y - spread, y + spread, color=colours[name], alpha=0.12, lw=0)
            panel.plot(x, y, color=colours[name], marker="o", ms=2.5, label=short(name))
        panel.set(title=AXES[k], xlabel="predicted", ylabel="labelled (mean of bin)")
        panel.set(xlim=(-1, 1), ylim=(-1, 1))
        panel.set_aspect("equal")
        panel.grid()
    drawn = panels[0].get_legend_handles_labels()
    figure.legend(*drawn, loc="outside lower center", ncols=2)
    return figure


def binned(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of x, mean and deviation of y in at most `bins` groups of equal size along x."""
    groups = np.array_split(np.argsort(x, kind="stable"), min(bins, len(x)))
    means = [(x[g].mean(), y[g].mean(), y[g].std()) for g in groups]
    return tuple(np.array(means).T)  # type: ignore[return-value]


# ---------------------------------------------------------------------------- images and z


class Sheet(NamedTuple):
    """One image of the map sheet and the maps of each run on it."""

    image: np.ndarray  # (h, w, 3) uint8
    maps: Mapping[str, Float[np.ndarray, "2 h w"]]  # run -> valence and arousal in [0, 1]
    label: tuple[float, float] | None = None


def activation_maps(sheets: Sequence[Sheet]) -> Figure:
    """A row an image: the image, then the valence and the arousal map of every run."""
    names = list(sheets[0].maps)
    figure = blank(1.15 * (1 + 2 * len(names)), 1.2 * len(sheets) + 0.35)
    panels = figure.subplots(len(sheets), 1 + 2 * len(names), squeeze=False)
    for row, sheet in zip(panels, sheets, strict=True):
        row[0].imshow(sheet.image)
        if sheet.label:
            row[0].set_ylabel("v {:+.2f}\na {:+.2f}".format(*sheet.label), rotation=0, labelpad=18)
        for j, name in enumerate(names):
            for k in range(2):
                row[1 + 2 * j + k].imshow(overlaid(sheet.image, sheet.maps[name][k]))
    for j, name in enumerate(names):
        run, *head = name.rsplit(" ", 1)  # "my run (R)"
        for k in range(2):
            title = " ".join([f"{short(run, 14)}\n{AXES[k]}", *head])
            panels[0, 1 + 2 * j + k].set_title(title, fontsize=7)
    for panel in panels.flat:
        panel.set_xticks([])
        panel.set_yticks([])
        for spine in panel.spines.values():
            spine.set_visible(False)
    return figure


def overlaid(
    image: Shaped[np.ndarray, "h w 3"], shown: Float[np.ndarray, "h w"], alpha: float = 0.5
) -> Shaped[np.ndarray, "h w 3"]:
    """The map over the image, uint8, in a scale whose brightness rises with the value."""
    heat = matplotlib.colormaps["inferno"](shown)[..., :3] * 255
    return ((1 - alpha) * image + alpha * heat).round().astype(np.uint8)


def tsne(
    embedding: Embedding,
    target: Float[np.ndarray, "n 2"],
    thumbnails: Mapping[int, np.ndarray] | None = None,
) -> Figure:
    """The embedding by intensity, or with `thumbnails` (position -> image), and by quadrant.

    Turned so that its longest way lies along the sheet, whose height is that of the points.
    """
    centred = embedding.points - embedding.points.mean(0)
    points = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    x, y = points.T
    figure = blank(7.2, 0.9 + 3.0 * float(np.clip(np.ptp(y) / max(np.ptp(x), 1e-9), 0.4, 1.0)))
    left, right = figure.subplots(1, 2)
    intensity = np.hypot(*target.T)
    if thumbnails:
        left.scatter(x, y, s=3, color=colour_of("faint"), lw=0)
        _faces(left, points, thumbnails)
        left.set_title("faces")
    else:
        drawn = left.scatter(x, y, c=intensity, s=7, lw=0, cmap="plasma")
        figure.colorbar(drawn, ax=left, shrink=0.7, aspect=22, pad=0.01).outline.set_visible(False)  # type: ignore[operator]
        left.set_title("intensity")
    names = ("v+ a+", "v- a+", "v- a-", "v+ a-")
    for code, colour in enumerate(("#e8a33d", "#d8414a", "#5670c9", "#43a873")):
        inside = quadrant(target) == code
        right.scatter(x[inside], y[inside], s=7, color=colour, lw=0, label=names[code])
    right.set_title("quadrant")
    right.legend(loc="upper right", bbox_to_anchor=(1, 1.09), ncols=4, handletextpad=0.1)
    notes = {
        left: f"intensity with distance to the middle: Spearman {embedding.spearman:+.2f}",
        right: f"{embedding.purity:.0%} of 10 neighbours agree (chance {embedding.chance:.0%})",
    }
    for panel, note in notes.items():
        panel.set_xlabel(note, loc="left")
    for panel in (left, right):
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_aspect("equal", adjustable="datalim")
        for spine in panel.spines.values():
            spine.set_visible(False)
    return figure


def _faces(panel: Axes, points: np.ndarray, thumbnails: Mapping[int, np.ndarray]) -> None:
    """Thumbnails at their points, those left out that would cover one drawn before."""
    span = np.ptp(points, axis=0).max()
    taken: list[np.ndarray] = []
    for position, image in thumbnails.items():
        point = points[position]
        if all(np.abs(point - other).max() > 0.055 * span for other in taken):
            taken.append(point)
            box = OffsetImage(image, zoom=13 / image.shape[0], resample=True)
            panel.add_artist(AnnotationBbox(box, tuple(point), frameon=False, pad=0))


# ---------------------------------------------------------------------------- tables as pictures


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Who was taken for whom: each row a label, in per cent of that label, with the counts."""
    table = np.array(counts, float)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure = blank(0.52 * len(names) + 1.4, 0.46 * len(names) + 1.0)
    panel = figure.subplots()
    panel.imshow(share, cmap=_ramp(), vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(share):
        if table[i, j]:
            colour = colour_of("paper") if value > 0.5 else colour_of("ink")
            text = f"{100 * value:.0f}\n({int(table[i, j])})"
            panel.text(j, i, text, ha="center", va="center", fontsize=6, color=colour)
    panel.set_xticks(range(len(names)), names, rotation=40, ha="right")
    panel.set_yticks(range(len(names)), names)
    panel.set(xlabel="predicted", ylabel="labelled")
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    return figure


UNFAIR = "\u00d7 printed on other data or otherwise: not comparable with ours"


class Bar(NamedTuple):
    """One score with its interval, or a printed one without."""

    name: str
    value: Sequence[float | None]  # valence, arousal
    low: Sequence[float | None] = (None, None)
    high: Sequence[float | None] = (None, None)
    published: bool = False
    unfair: bool = False  # printed, and nothing that ours can be compared with


def forest(bars: Sequence[Bar], metric: str = "CCC") -> Figure:
    """Scores as points with their intervals, one line a run; printed rows hollow and fainter, and
    a cross where ours cannot be compared with them, which a line below says."""
    figure = blank(7.2, 0.27 * len(bars) + 0.9)
    panels = figure.subplots(1, 2, sharey=True)
    colours = colours_of([bar.name for bar in bars if not bar.published])
    for k, panel in enumerate(panels):
        for line, bar in enumerate(reversed(bars)):
            _forest_line(panel, line, bar, k, colours.get(bar.name, colour_of("label")))
        panel.set(title=f"{metric} {AXES[k]}")
        panel.grid(axis="x")
        panel.margins(x=0.08)
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(bars)), [short(bar.name, 32) for bar in reversed(bars)])
    panels[0].set_ylim(-0.6, len(bars) - 0.4)
    if any(bar.unfair for bar in bars):
        figure.supxlabel(UNFAIR, fontsize=6.5, x=0.01, ha="left")
    return figure


def _forest_line(panel: Axes, line: int, bar: Bar, k: int, colour: str) -> None:
    value, low, high = bar.value[k], bar.low[k], bar.high[k]
    if value is None:
        return
    if low is not None and high is not None:
        panel.plot([low, high], [line, line], color=colour, lw=1.8, alpha=0.55)
    fill = colour_of("paper") if bar.published else colour
    panel.plot(value, line, "x" if bar.unfair else "o", ms=4.5, mfc=fill, mec=colour, mew=1.2)
