"""Seconds until a run is seen in the browser, and per slice when scrolling; headless Chromium, no GPU.

Usage: python benchmarks/view.py [--out DIR]      writes benchmarks/results/view.md
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BAR_S, TIMES, SLICES = 3.0, 7, 30
READY = "document.documentElement.dataset.ready == 'yes'"
FRAMES = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, help="Out folder of rtplan demo; made when not given.")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="rtplan-view-") as place:
        out = asked.out or Path(place) / "demo"
        if asked.out is None:
            subprocess.run([sys.executable, "-m", "rtplan", "demo", "--out", str(out), "--quiet"], check=True)
        starts, pages, slices, sent = [], [], [], 0
        before = os.getloadavg()[0]
        for n in range(TIMES):
            found = once(out, Path(place) / str(n))
            starts.append(found[0])
            pages.append(found[1])
            slices += found[2]
            sent = found[3]
    rows = [
        line("`rtplan view` until its address is printed [s]", starts),
        line("page asked for until all of it is drawn [s]", pages),
        line("one slice on, three planes, until it is drawn [s]", slices),
    ]
    text = "\n".join(
        [
            "# Time of the interactive page",
            "",
            f"`python benchmarks/view.py` on {os.cpu_count()} cores, {platform.system()} "
            f"{platform.machine()}, Python {platform.python_version()}; headless Chromium without a GPU on "
            "the same cores, window 1440×900; the demo (CT of 73×156×208 voxels, six arms, 21 structures); "
            f"{TIMES} starts, each with a new browser profile (nothing cached), {SLICES} slices each. "
            f"Other work ran beside it: load {before:.0f} before, {os.getloadavg()[0]:.0f} after (0 where "
            f"the machine is quiet). Bar: page ≤ {BAR_S:.0f} s.",
            "",
            "| | least | median | 95th percentile | longest |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"Until the page is drawn the browser asks {sent} times, all of them on 127.0.0.1.",
            "",
        ]
    )
    (HERE / "results" / "view.md").write_text(text, encoding="utf-8")
    print(text)


def line(what: str, seconds: list[float]) -> str:
    ranked = sorted(seconds)
    late = ranked[min(int(0.95 * len(ranked)), len(ranked) - 1)]
    return f"| {what} | {ranked[0]:.2f} | {statistics.median(ranked):.2f} | {late:.2f} | {ranked[-1]:.2f} |"


def once(out: Path, profile: Path) -> tuple[float, float, list[float], int]:
    """Start server and browser; return seconds until the address, until the page, per slice; the requests."""
    profile.mkdir()
    start = time.perf_counter()
    call = [sys.executable, "-u", "-m", "rtplan", "view", str(out), "--no-browser"]
    with subprocess.Popen(call, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        url = re.search(r"http://\S+", server.stdout.readline())[0]
        address = time.perf_counter() - start
        browser = steered()(shutil.which("chromium"), profile)
        try:
            browser.open("about:blank")
            size = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.call("Emulation.setDeviceMetricsOverride", **size)
            start = time.perf_counter()
            browser.open(url)
            while not browser.ask(READY):
                time.sleep(0.01)
            browser.call("Runtime.evaluate", expression=FRAMES, awaitPromise=True)
            page = time.perf_counter() - start
            asked = [u for u in browser.asked if u.startswith("http")]
            assert all(u.startswith("http://127.0.0.1:") for u in asked)
            slices = [scrolled(browser) for _ in range(SLICES)]
        finally:
            browser.session = None
            browser.close()
            server.terminate()
    return address, page, slices, len(asked)


def scrolled(browser: Any) -> float:
    """Press the key for the next slice; return the seconds until that slice is drawn."""
    place = "document.querySelector('#pane-0 .place').textContent"
    before = browser.ask(place)
    start = time.perf_counter()
    browser.press("ArrowUp")
    while browser.ask(place) == before:
        pass
    browser.call("Runtime.evaluate", expression=FRAMES, awaitPromise=True)
    return time.perf_counter() - start


def steered() -> Any:
    """Return the tests' browser, steered over its debugging pipe."""
    where = HERE.parent / "tests" / "service" / "conftest.py"
    spec = importlib.util.spec_from_file_location("steered", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Browser


if __name__ == "__main__":
    main()
