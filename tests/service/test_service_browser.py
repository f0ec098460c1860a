"""The review page in a real browser, steered over its debugging pipe: it looks, clicks and saves."""

import json
import os
import select
import shutil
import subprocess
import time

import pytest

from rtplan.case.review import read

pytestmark = pytest.mark.peer

FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-sync",
    "disable-component-update", "disable-quic", "disable-features=NetworkTimeServiceQuerying",
    "remote-debugging-pipe",
)  # fmt: skip


TROUBLE = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


class Browser:
    """A headless Chromium; ``call`` sends a command of its debugging protocol and returns the result."""

    def __init__(self, program, folder):
        read_end, self.write = os.pipe()
        self.read, write_end = os.pipe()
        flags = [f"--{flag}" for flag in FLAGS]
        call = [program, *flags, f"--user-data-dir={folder / 'profile'}"]
        shell = ["bash", "-c", f'exec "$@" 3<&{read_end} 4>&{write_end}', "bash", *call]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(shell, pass_fds=(read_end, write_end), **quiet)
        os.close(read_end)
        os.close(write_end)
        self.count, self.rest, self.session = 0, b"", None
        self.console, self.asked = [], []

    def close(self):
        self.call("Browser.close")
        self.process.wait(timeout=20)
        os.close(self.write)
        os.close(self.read)

    def call(self, method, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in TROUBLE:
                self.console.append(answer["params"])
            if answer.get("method") == "Network.requestWillBeSent":
                self.asked.append(answer["params"]["request"]["url"])

    def _next(self):
        while b"\0" not in self.rest:
            assert select.select([self.read], [], [], 60)[0], "the browser says nothing"
            got = os.read(self.read, 2**16)
            assert got, "the browser has gone"
            self.rest += got
        first, self.rest = self.rest.split(b"\0", 1)
        return json.loads(first)

    def open(self, url):
        if self.session is None:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Log", "Runtime", "Network", "Page"):
                self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def ask(self, script):
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    def wait(self, script):
        end = time.monotonic() + 30
        while not self.ask(script):
            assert time.monotonic() < end, (
                f"{script} does not come true; {self.ask('document.body.innerText')}"
            )
            time.sleep(0.05)


@pytest.fixture
def browser(tmp_path):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here")
    found = Browser(program, tmp_path)
    yield found
    if found.process.poll() is None:
        found.session = None
        found.close()


READY = "document.title.startsWith('Review of') && document.readyState == 'complete'"


def visible(name):
    return f"getComputedStyle(document.getElementsByName('{name}')[0].closest('fieldset')).display != 'none'"


def test_a_reader_saves_a_review_with_a_browser(visitor, out, browser):
    browser.open(visitor.server.url)
    browser.wait(READY)
    assert "token" not in browser.ask("location.href")
    assert browser.ask("document.cookie") == ""  # no script may see it
    browser.ask("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    browser.wait("[...document.images].every(i => i.complete && i.naturalWidth == 420)")
    assert not browser.ask(visible("s1-kind"))
    browser.ask("document.getElementById('s1-score-2').click()")
    assert browser.ask(visible("s1-kind"))
    browser.ask("document.getElementById('s1-kind-3').click()")
    browser.ask("document.getElementById('s1-remark').value = 'α < β'")
    browser.ask("document.querySelector('button[value=save]').click()")
    browser.wait("location.pathname == '/saved'")
    (review,) = read(out).reviews
    (said,) = review.structures
    assert (review.reader, said.name, said.score) == ("A", "Rectum", 1)
    assert (said.kind, said.remark) == ("partial overlap", "α < β")
    browser.ask("document.querySelector('button').click()")
    browser.wait("document.body.innerText.includes('rtplan has stopped')")
    assert browser.console == []
    assert any("/picture/" in url for url in browser.asked)
    assert all(url.startswith((visitor.server.origin + "/", "data:")) for url in browser.asked)


def test_nothing_is_wider_than_a_narrow_window(visitor, browser):
    """As at 400 % zoom on a screen of 1280 pixels: one column, no scrolling sideways."""
    browser.open(visitor.server.url)
    browser.wait(READY)
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=320, height=800, deviceScaleFactor=4, mobile=False
    )
    assert browser.ask("innerWidth") == 320
    assert browser.ask("document.documentElement.scrollWidth") <= 320


def test_the_report_opens_without_error_or_request(visitor, browser):
    browser.open(visitor.server.url)
    browser.wait(READY)
    browser.open(f"{visitor.server.origin}/report.html")
    browser.wait("document.readyState == 'complete' && !document.title.startsWith('Review of')")
    assert browser.ask("document.querySelector('h1').innerText.length") > 5
    assert browser.console == []
    assert all(url.startswith((visitor.server.origin + "/", "data:")) for url in browser.asked)


def test_an_outside_request_would_be_seen(visitor, out, browser):
    spoilt = "<!DOCTYPE html><title>spoilt page</title><img src='http://rtplan.invalid/x.png'>"
    (out / "report.html").write_text(spoilt, encoding="utf-8")
    browser.open(visitor.server.url)
    browser.wait(READY)
    browser.open(f"{visitor.server.origin}/report.html")
    browser.wait("document.title == 'spoilt page' && document.readyState == 'complete'")
    assert any("rtplan.invalid" in json.dumps(entry) for entry in [*browser.console, *browser.asked])
