"""The report: safe, self-contained, small, and alive in a real browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from avce.config import Config
from avce.report.page import Run, Subject, write_report
from avce.scores.scoreboard import Published, Setting
from avce.training.record import RunRecord
from tests.avce.report.chromium import BINARY, Chromium
from tests.avce.report.runs import encoded_faces
from tests.avce.scores.verdicts import class_table, video_table

NASTY = "</script><img src=x onerror=alert(1)>"
ODD = "$a_$<!--<script>\u2028'\"&amp;]]>{{ 7 * 7 }}"  # ends or opens scripts, templates, formulas
PRINTED = Published("AVCE", "supplement, Table 5", "affwild", {"ccc": (0.682, 0.594)}, "AlexNet")


def named(table: pa.Table, column: str, first: str) -> pa.Table:
    """The table with another name for its first video or key."""
    old = table[column].to_pylist()
    new = [first if value == old[0] else value for value in old]
    return table.set_column(table.column_names.index(column), column, pa.array(new))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two runs on four videos, with names that try to break out of the page."""
    runs = []
    for model, name in enumerate(("baseline", NASTY)):
        table = video_table(4, 60, model=model, noise=0.2)
        table = named(named(table, "video_id", f"video {NASTY}"), "sample_key", NASTY)
        log = [{"step": 1, "losses": {"mse": 0.4}}]
        record = RunRecord(config=Config(), git_commit=NASTY, versions={NASTY: NASTY})
        runs.append(Run(name, table, record, log))

    def thumbnail(row: int) -> bytes:
        return b"torn" if row % 7 == 0 else encoded_faces()[row % 4]

    subject = Subject(
        runs,
        title=NASTY,
        published=[PRINTED],
        setting=Setting("affwild", "val", stand_in=True),
        data_card={NASTY: NASTY},
        commands=[f"python cli.py eval {NASTY}"],
        thumbnail=thumbnail,
        n_thumbnails=60,
        resamples=50,
    )
    return write_report(tmp_path_factory.mktemp("report") / "deep" / "report.html", subject)


def test_the_page_is_one_file_that_asks_for_nothing(page):
    text = page.read_text()
    assert [p.name for p in page.parent.iterdir()] == ["report.html"]
    assert not re.findall(r"""(?:src|href|srcset)=["'](?!data:|#)""", text)
    assert "default-src 'none'" in text


def test_names_cannot_break_out(page):
    text = page.read_text()
    assert "<img src=x" not in text and text.count("</script>") == 2  # the store's and the script's


class Texts(HTMLParser):
    """What a browser would show, and the elements it would make."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.made: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.made |= {tag, *(f"{tag} {name}" for name, _ in attrs)}

    def handle_data(self, data: str) -> None:
        self.shown.append(data.strip())


def test_odd_names_are_shown_as_they_are(tmp_path):
    ends = b"\xff.jpg".decode("utf-8", "surrogateescape")  # a file's name that is no text
    table = named(video_table(2, 12), "video_id", ODD)
    runs = [Run("baseline", table), Run(f"{ODD}\x1b[2J{ends}", table)]
    subject = Subject(runs, title=ODD, data_card={ODD: ODD}, commands=[ODD], resamples=5)
    text = write_report(tmp_path / "r.html", subject).read_text()
    found = Texts(text)
    written = ODD.replace("\u2028", r"\u2028")
    assert found.shown.count(written) >= 5  # title, heading, two of the card, command
    assert any(rf"{written}\x1b[2J\udcff.jpg" in shown for shown in found.shown)
    assert not any(
        made.startswith("script ") and made != "script type" and made != "script id"
        for made in found.made
    )
    store = json.loads(text.split('id="store">')[1].split("</script>")[0])
    assert [run["name"] for run in store["runs"]][1].startswith(written)
    assert "\u2028" not in text and "\x1b" not in text and "49" not in found.shown


def test_many_samples_are_thinned_and_the_page_says_so(tmp_path):
    tables = [video_table(100, 2400, model=model) for model in range(2)]
    runs = [Run(f"run {k}", table) for k, table in enumerate(tables)]
    path = write_report(tmp_path / "r.html", Subject(runs, resamples=2))
    text = path.read_text()
    assert path.stat().st_size < 8e6
    assert "of 240,000 samples are drawn" in text
    assert "240,000 samples." in text  # scored are all
    assert "(2,400 frames)" in text


def test_everything_is_there(page):
    text = page.read_text()
    for word in ("Summary", "Scores", "Worst errors", "Data card", "Model card", "Commands"):
        assert f">{word}</h2>" in text
    assert "not comparable" in text and "0.682" in text
    assert "on drawn stand-ins of affwild, val" in text


def test_classes_get_a_page_too(tmp_path):
    subject = Subject([Run("discrete", class_table())], classes=["happy", "sad"], resamples=20)
    text = write_report(tmp_path / "r.html", subject).read_text()
    assert "Who was taken for whom" in text and "The plane" not in text


def test_runs_need_names_of_their_own(tmp_path):
    with pytest.raises(ValueError, match="different names"):
        write_report(tmp_path / "r.html", Subject([]))
    with pytest.raises(ValueError, match="different names"):
        write_report(tmp_path / "r.html", Subject([Run("a", video_table())] * 2))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not BINARY:
        pytest.skip("no Chromium on this machine; install one to test the page's script")
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (1280, True)])
def test_the_page_lives_in_a_browser(browser, page, width, dark):
    """No complaint, nothing asked of a network, no sideways scroll; pointing and scrubbing work."""
    browser.complaints.clear()
    browser.open(page, width, dark=dark)
    browser.settle()
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 24, 31)" if dark else "rgb(255, 255, 255)")
    assert browser.value(POINTED) and "label" in browser.value(TIP)
    browser.click("#plane-layers [data-value=faces]")
    x, y = browser.middle("#lines-over")
    browser.mouse("mouseMoved", x, y)
    before = browser.value("document.querySelector('#reading').innerText")
    browser.mouse("mouseMoved", x + 60, y)
    assert browser.value("document.querySelector('#reading').innerText") != before
    assert browser.complaints == []


def test_the_plane_is_walked_by_keyboard(browser, page):
    """Arrows go from sample to sample and back, plus and minus zoom, and tables name their rows."""
    browser.open(page)
    browser.value("document.querySelector('#plane').focus()")
    browser.press("ArrowRight")
    first = browser.value(TIP)
    browser.press("ArrowRight")
    second = browser.value(TIP)
    assert "label" in first and "label" in second and first != second
    browser.press("+")
    assert browser.value("document.querySelector('#plane-tip').hidden")
    browser.press("-")
    browser.press("ArrowLeft")
    assert "label" in browser.value(TIP)
    browser.value("document.querySelector('#plane').blur()")
    assert browser.value("document.querySelector('#plane-tip').hidden")
    empty = "[...document.querySelectorAll('th')].filter((head) => !head.textContent.trim()).length"
    assert browser.value(empty) == 0


def test_on_paper_no_table_is_cut_and_what_needs_a_pointer_stays_away(browser, page):
    browser.open(page, 720)
    browser.call("Emulation.setEmulatedMedia", media="print")
    cut = "[...document.querySelectorAll('.scroll')].filter((t) => t.scrollWidth > 720).length"
    assert browser.value(cut) == 0
    assert browser.value("getComputedStyle(document.querySelector('#scatter')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="")


TIP = "document.querySelector('#plane-tip').innerText"
POINTED = """(async () => {  // sweep over the plane until a sample is under the pointer
  const over = document.querySelector("#plane-over"), tip = document.querySelector("#plane-tip");
  over.scrollIntoView({ block: "center", behavior: "instant" });
  const box = over.getBoundingClientRect();
  for (let at = 0.2; at < 0.8; at += 0.02) {
    over.dispatchEvent(new PointerEvent("pointermove", {
      bubbles: true, pointerType: "mouse",
      clientX: box.x + at * box.width, clientY: box.y + box.height / 2,
    }));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    if (!tip.hidden) return true;
  }
  return false;
})()"""
