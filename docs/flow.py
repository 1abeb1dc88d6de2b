"""Draws docs/flow.svg, the way of a picture from disk to page: `python docs/flow.py`."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
WIDE, HIGH, GAP = 208, 58, 34  # of a box, and between two
LANES = {  # room -> its stations: what lies or works there, and what it is
    "shards": (
        ("raw data set", "as its owner ships it"),
        ("reader", "one Sample a face"),
        ("crop", "decoded, cut, encoded"),
        ("00000.tar ...", "KEY.jpg, KEY.row"),
        ("labels.arrow", "every label, every offset"),
    ),
    "pipelines": (
        ("order", "rows of an epoch, from a seed"),
        ("decode", "DALI: crop, flip, normalise"),
        ("batches", "image, target, row, mask"),
    ),
    "avce": (
        ("fit", "phases, optimisers, checkpoints"),
        ("Method.forward", "losses"),
        ("AVModel.forward", "encoder, compressor, regressor"),
        ("run folder", "run.json, best, last, log"),
        ("predictions", "row by row"),
        ("scores", "RMSE, SAGR, PCC, CCC"),
        ("page, figures", "one file, no network"),
    ),
}
COLOURS = {"shards": "#3b6ea5", "pipelines": "#4f8a5b", "avce": "#a5603b"}
STYLE = "font-family='sans-serif' text-anchor='middle'"


def box(x: int, y: int, head: str, words: str, colour: str) -> str:
    """A station, its upper left corner at (x, y)."""
    middle = x + WIDE // 2
    return (
        f"<rect x='{x}' y='{y}' width='{WIDE}' height='{HIGH}' rx='8' fill='white' "
        f"stroke='{colour}' stroke-width='2'/>"
        f"<text x='{middle}' y='{y + 25}' {STYLE} font-size='15' font-weight='bold' "
        f"fill='{colour}'>{escape(head)}</text>"
        f"<text x='{middle}' y='{y + 44}' {STYLE} font-size='12' fill='#444'>{escape(words)}</text>"
    )


def arrow(points: list[tuple[int, int]]) -> str:
    """A line with a head at its end."""
    way = " ".join(f"{x},{y}" for x, y in points)
    line = "fill='none' stroke='#666' stroke-width='2' marker-end='url(#end)'"
    return f"<polyline points='{way}' {line}/>"


def drawn() -> str:
    """The picture: a column a room, read downwards, then to the right."""
    parts, tops = [], {}
    bottom = 60 + max(map(len, LANES.values())) * (HIGH + GAP)
    for column, (room, stations) in enumerate(LANES.items()):
        x = 20 + column * (WIDE + 90)
        tops[room] = x
        parts.append(
            f"<text x='{x + WIDE // 2}' y='36' {STYLE} font-size='18' "
            f"fill='{COLOURS[room]}'>{room}/</text>"
        )
        for row, (head, words) in enumerate(stations):
            y = 60 + row * (HIGH + GAP)
            parts.append(box(x, y, head, words, COLOURS[room]))
            if row:
                middle = x + WIDE // 2
                parts.append(arrow([(middle, y - GAP), (middle, y - 4)]))
    for left, right in (("shards", "pipelines"), ("pipelines", "avce")):
        start, end = tops[left] + WIDE, tops[right]
        y = 60 + (len(LANES[left]) - 1) * (HIGH + GAP) + HIGH // 2
        turn = (start + end) // 2
        parts.append(
            arrow([(start, y), (turn, y), (turn, 60 + HIGH // 2), (end - 4, 60 + HIGH // 2)])
        )
    width = 40 + 3 * WIDE + 2 * 90
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {bottom}' role='img'>"
        "<title>From raw data to page, through shards, pipelines and avce</title>"
        "<defs><marker id='end' markerWidth='9' markerHeight='8' refX='6' refY='4' orient='auto'>"
        "<path d='M0,0 L8,4 L0,8 z' fill='#666'/></marker></defs>"
        f"<rect width='{width}' height='{bottom}' fill='white'/>"
    )
    return "\n".join([head, *parts, "</svg>", ""])


if __name__ == "__main__":
    (HERE / "flow.svg").write_text(drawn())
