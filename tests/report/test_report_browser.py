"""The reports in a real browser: silent, without a request, in print, by keyboard and at 400 % zoom."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("headless", "disable-gpu", "no-sandbox", "no-first-run", "hide-scrollbars", "disable-extensions",
         "disable-background-networking", "disable-component-update", "remote-debugging-pipe")  # fmt: skip
#: A window of 1280 pixels zoomed to 400 % is 320 CSS pixels wide (WCAG 2.2, 1.4.10).
ZOOM, WIDE_PX = 4, 320
WAIT_S = 90.0
#: Chromium's debugging pipe is what it finds open as 3 (to read) and 4 (to write).
AS_3_AND_4 = """
import os, sys
ends = [os.dup(int(end)) for end in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
    os.set_inheritable(place, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
#: Text blocks that would have to be scrolled sideways; tables and figures have their own scrolling region.
OVERFLOWING = """
[...document.querySelectorAll('h1,h2,p,dt,dd,li,figcaption,a,summary,.warning,.lead')]
  .filter(e => !e.closest('.wide') && !e.classList.contains('skip'))
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 || e.scrollWidth > e.clientWidth + 1
               && getComputedStyle(e).display !== 'inline')
  .map(e => e.tagName + ': ' + e.textContent.slice(0, 60))
"""


@dataclass
class Browser:
    """Chromium over its debugging pipe: messages are JSON, each ended by a zero byte."""

    process: subprocess.Popen[bytes]
    to: int
    back: int
    session: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    _left: bytes = b""
    _count: int = 0

    def ask(self, method: str, **settings: Any) -> dict[str, Any]:
        """Send a command and return its answer; what the browser says meanwhile is kept."""
        self._count += 1
        asked = {"id": self._count, "method": method, "params": settings}
        if self.session:
            asked["sessionId"] = self.session
        os.write(self.to, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._count:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + WAIT_S
        while b"\0" not in self._left:
            ready, _, _ = select.select([self.back], [], [], max(end - time.monotonic(), 0.0))
            assert ready, "the browser says nothing"
            read = os.read(self.back, 1 << 20)
            assert read, "the browser has ended"
            self._left += read
        one, _, self._left = self._left.partition(b"\0")
        said: dict[str, Any] = json.loads(one)
        if "method" in said:
            self.events.append(said)
        return said

    def open(self, file: Path, width: int = 1280, scale: int = 1) -> None:
        """Load a page in a window of this width, CSS pixels."""
        self.events.clear()
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=scale,
            mobile=False,
        )
        self.ask("Page.navigate", url=file.as_uri())
        while not self.said("Page.loadEventFired"):
            self._next()

    def said(self, *methods: str) -> list[dict[str, Any]]:
        """Return what the browser said of some kinds since the page was opened."""
        return [event["params"] for event in self.events if event["method"] in methods]

    def value(self, script: str) -> Any:
        """Return the value of an expression on the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"]["value"]

    def press_tab(self) -> None:
        """Press the tabulator."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium here")
    theirs_in, to = os.pipe()
    back, theirs_out = os.pipe()
    profile = tmp_path_factory.mktemp("profile")
    call = [program, *(f"--{flag}" for flag in FLAGS), f"--user-data-dir={profile}"]
    wrapped = [sys.executable, "-c", AS_3_AND_4, str(theirs_in), str(theirs_out), *call]
    process = subprocess.Popen(wrapped, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
    os.close(theirs_in)
    os.close(theirs_out)
    made = Browser(process, to, back)
    try:
        target = made.ask("Target.createTarget", url="about:blank")["targetId"]
        made.session = made.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            made.ask(f"{domain}.enable")
        yield made
    finally:
        process.terminate()
        process.wait(timeout=30)
        os.close(to)
        os.close(back)


@pytest.fixture(scope="module", params=["full_report", "mr_only_report", "cohort_report"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a report."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(request.getfixturevalue(request.param).page, encoding="utf-8")
    return file


def complaints(browser: Browser) -> list[str]:
    """Return what stands in the browser's console."""
    told = browser.said("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    return [json.dumps(item)[:300] for item in told]


def requests(browser: Browser) -> set[str]:
    """Return the addresses that the page asked for, without itself and what it holds."""
    asked = {event["request"]["url"] for event in browser.said("Network.requestWillBeSent")}
    return {url for url in asked if not url.startswith(("file://", "data:"))}


def test_it_loads_without_a_word_and_without_a_request(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert complaints(browser) == []
    assert requests(browser) == set()
    assert browser.value("document.documentElement.lang") == "en-GB"
    assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_an_outside_request_and_a_script_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    spoilt = "<!DOCTYPE html><title>x</title><img src='http://rtplan.invalid/x.png'><script>console.error('y')</script>"
    (tmp_path / "x.html").write_text(spoilt, encoding="utf-8")
    browser.open(tmp_path / "x.html")
    assert requests(browser) == {"http://rtplan.invalid/x.png"}
    assert complaints(browser)


def test_its_policy_forbids_what_a_name_might_smuggle_in(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    smuggled = "<script>document.title='run'</script><img src='http://rtplan.invalid/x.png'></main>"
    text = page.read_text(encoding="utf-8").replace("</main>", smuggled)
    (tmp_path / "x.html").write_text(text, encoding="utf-8")
    browser.open(tmp_path / "x.html")
    assert browser.value("document.title") != "run"
    assert any("Content Security Policy" in line for line in complaints(browser))


def test_text_reflows_at_400_per_cent(browser: Browser, page: Path) -> None:
    browser.open(page, WIDE_PX, ZOOM)
    assert browser.value("innerWidth") == WIDE_PX
    assert browser.value("document.scrollingElement.scrollWidth") <= WIDE_PX
    assert browser.value(OVERFLOWING) == []


def test_an_overflow_would_be_seen(browser: Browser, page: Path) -> None:
    browser.open(page, WIDE_PX, ZOOM)
    browser.value("document.querySelector('h1').style.whiteSpace = 'nowrap'")
    assert browser.value(OVERFLOWING)


def test_the_keyboard_reaches_everything(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.press_tab()
    assert browser.value("document.activeElement.className") == "skip"
    assert browser.value("document.activeElement.getBoundingClientRect().left") >= 0  # seen when it has focus
    unreachable = "[...document.querySelectorAll('.wide')].filter(e => e.tabIndex !== 0).length"
    assert browser.value(unreachable) == 0
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.value(outline) == "solid"


def test_it_prints_on_paper_with_its_text(browser: Browser, page: Path) -> None:
    browser.open(page)
    printed = base64.b64decode(browser.ask("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF-")
    boxes = set(re.findall(rb"/MediaBox \[([0-9. ]+)\]", printed))
    assert boxes
    for box in boxes:
        _, _, width, height = (float(part) for part in box.split())
        assert (width, height) == pytest.approx((595.3, 841.9), abs=1.5)  # A4
    browser.ask("Emulation.setEmulatedMedia", media="print")
    hidden = browser.value("getComputedStyle(document.querySelector('nav')).display")
    pale = browser.value("getComputedStyle(document.querySelector('.quiet,.note') || document.body).color")
    browser.ask("Emulation.setEmulatedMedia", media="")
    assert hidden == "none"
    assert pale in ("rgb(0, 0, 0)", "rgb(27, 33, 38)")
