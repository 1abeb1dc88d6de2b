"""A real headless Chromium, spoken to over its debugging pipe; no package needed.

    python -m tests.avce.report.chromium report.html docs/report.png

takes the picture of a report that the README shows: its head and the plane with its faces.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-dev-shm-usage", "--remote-debugging-pipe", "--disable-background-networking",
)  # fmt: skip


class Chromium:
    """One page in a browser of its own; `complaints` collects errors, warnings and requests."""

    def __init__(self, profile: Path) -> None:
        assert BINARY
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        def wire() -> None:  # the browser reads from 3 and writes to 4
            inward, outward = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(inward, 3)
            os.dup2(outward, 4)
            for number in (3, 4):  # a duplicate that got this number itself would be closed
                os.set_inheritable(number, True)

        self.process = subprocess.Popen(
            [BINARY, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=wire, pass_fds=(),
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self.ids, self.rest = itertools.count(1), b""
        self.complaints: list[str] = []
        self.session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The browser's answer to one command; events met on the way are looked through."""
        number = next(self.ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while True:
            answer = self.next_message()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.notice(answer)

    def next_message(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            piece = os.read(self.reader.fileno(), 1 << 20)
            assert piece, "the browser has gone"
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def notice(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(params)[:500])
        if method == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not address.startswith(("file:", "data:", "about:")):
                self.complaints.append(f"asked for {address}")

    def open(
        self, page: Path, width: int = 1280, height: int = 900, *, dark: bool = False
    ) -> float:
        """Load a file at a screen size; seconds from the click until its script has finished."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        started = time.perf_counter()
        self.call("Page.navigate", url=page.as_uri())
        while not self.value("document.documentElement.dataset.ready || ''"):
            assert time.perf_counter() - started < 60, self.complaints
            time.sleep(0.01)
        return time.perf_counter() - started

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                          awaitPromise=True)  # fmt: skip
        return found["result"].get("value")

    def settle(self) -> None:
        """Wait until two frames have been painted."""
        self.value(
            "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))"
        )

    def mouse(self, kind: str, x: float, y: float) -> None:
        """A mouse event in the window: mouseMoved, mousePressed or mouseReleased."""
        extra = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **extra)
        self.settle()

    def click(self, selector: str) -> None:
        """Press an element where it lies."""
        x, y = self.middle(selector)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def press(self, key: str) -> None:
        """A key, for what has the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)
        self.settle()

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle of an element in the window, scrolled to first."""
        rect = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        return rect[0], rect[1]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """End the browser."""
        self.process.kill()
        self.process.wait()
        self.reader.close()
        self.writer.close()


def main(page: Path, picture: Path) -> None:
    """Photograph a report from its head to its plane, in 64 colours: a README loads it."""
    from PIL import Image

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Chromium(Path(profile))
        browser.open(page.resolve(), 1120, 900)
        browser.click("#plane-layers button:last-child")  # faces
        browser.value("scrollTo(0, 0)")
        browser.settle()
        browser.screenshot(picture, whole=True)
        end = browser.value("document.querySelector('#scatter').getBoundingClientRect().bottom")
        browser.close()
    with Image.open(picture) as whole:
        shown = whole.convert("RGB").crop((0, 0, whole.width, min(whole.height, int(end))))
    shown.quantize(64).save(picture, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
