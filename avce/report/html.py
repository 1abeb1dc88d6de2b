"""HTML in which every text is escaped: names of runs, videos and samples come from other people."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape


class Html(str):
    """Text that is markup already and goes into a page as it is."""


def tag(name: str, *content: str | None, **attributes: str | bool) -> Html:
    """An element; plain strings are escaped, None is left out, a trailing `_` of names dropped."""
    written = "".join(_attribute(n.rstrip("_").replace("_", "-"), v) for n, v in attributes.items())
    inner = joined(*content)
    return Html(f"<{name}{written}>{inner}</{name}>")


def void(name: str, **attributes: str | bool) -> Html:
    """An element without content or end, such as img."""
    written = "".join(_attribute(n.rstrip("_").replace("_", "-"), v) for n, v in attributes.items())
    return Html(f"<{name}{written}>")


def _attribute(name: str, value: str | bool) -> str:
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{escape(value)}"'


def joined(*content: str | None) -> Html:
    """Pieces one after another; plain strings are escaped."""
    return Html("".join(c if isinstance(c, Html) else escape(c) for c in content if c is not None))


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address, such as data:image/png;base64,..."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], **attributes: str) -> Html:
    """A table that scrolls sideways where it is wider than the screen."""
    first = tag("tr", *(tag("th", name, scope="col") for name in head))
    lines = [
        tag("tr", tag("th", line[0], scope="row"), *(tag("td", c) for c in line[1:]))
        for line in rows
    ]
    whole = tag("table", tag("thead", first), tag("tbody", *lines), **attributes)
    return tag("div", whole, class_="scroll", tabindex="0")


def facts(pairs: Sequence[tuple[str, str]]) -> Html:
    """Names and values under each other."""
    return tag("dl", *(joined(tag("dt", name), tag("dd", value)) for name, value in pairs))


def section(name: str, title: str, *content: str | None) -> Html:
    """A part of the page with an anchor."""
    return tag("section", tag("h2", title), *content, id=name)
