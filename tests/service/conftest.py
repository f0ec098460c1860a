"""A small finished run, written by the writers of a real one; a visitor of its server; a real browser."""

import base64
import http.client
import io
import json
import os
import select
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image as Pixels

from rtplan.case.archive import write_case
from rtplan.case.manifest import Manifest
from rtplan.case.tables import write_curves
from rtplan.domain import (
    Dose,
    Finding,
    Grid,
    Image,
    Mask,
    Patient,
    Plan,
    Prescription,
    Source,
    Structure,
)
from rtplan.report.page import render
from rtplan.service import view
from rtplan.service.loopback import LoopbackServer
from rtplan.service.review import serve

FRAME = "1.2.826.0.1.3680043.10.9999.31"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
MARKUP = "<script>alert(1)</script>"


def small_patient():
    grid = Grid.axial((20, 40, 50), (4.0, 3.0, 3.0), (-73.5, -58.5, -38.0), FRAME)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(grid.to_patient(index), -1, 0)
    body = (x / 70) ** 2 + (y / 54) ** 2 <= 1.0
    rectum = (x**2 + (y - 25) ** 2 <= 100.0) & (abs(z) < 30)
    target = x**2 + y**2 + z**2 <= 400.0
    hu = np.where(body, 0.0, -1000.0) + 60.0 * target - 300.0 * rectum
    masks = {"PTVp_7700": target, "Rectum": rectum, MARKUP: rectum & (z > 0)}
    source = Source(FRAME + ".1", "1.2.3.4", tuple(f"1.2.3.5.{k}" for k in range(20)), CT_CLASS, "HFS")
    goal = {"arm": "CT", "limit": "<= 15", "verdict": "met", "verified": True, "patient": "3f9a1c0b77de"}
    return Patient(
        key="3f9a1c0b77de",
        images={"CT": Image(grid, hu, "CT", source), "CT0": Image(grid, np.where(body, 0.0, -1000.0), "CT")},
        structures={
            name: Structure(name, "PTV" if "PTV" in name else "ORGAN", Mask(grid, mask))
            for name, mask in masks.items()
        },
        findings=(
            Finding("V57Gy[%]", 4.2, "%", "EvaluateProtocol", structure="Rectum", **goal),
            Finding("V57Gy[%]", 4.4, "%", "EvaluateProtocol", structure="Rectum", **{**goal, "arm": "CT0"}),
        ),
    )


def write_run(patient, folder):
    folder.mkdir()
    write_case(patient, folder)
    (folder / "report.html").write_text(render(patient, {}), encoding="utf-8")
    manifest = Manifest(
        schema=1, rtplan_version="0", command="run", settings={"plan_on": None}, seed=1, device="cpu",
        threads=1, versions={}, inputs=(), weights=(), data_files=(), steps=(), outputs=(),
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json(by_alias=True), encoding="utf-8")


@pytest.fixture(scope="session")
def made_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "out"
    write_run(small_patient(), folder)
    return folder


@pytest.fixture
def out(made_run, tmp_path):
    return shutil.copytree(made_run, tmp_path / "out")


def viewed_patient():
    """Return the small patient with an MR beside its CT, three doses, and what is unsure about one."""
    patient = small_patient()
    grid = patient.images["CT"].grid
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(grid.to_patient(index), -1, 0)
    dose = 80.0 * np.exp(-(x**2 + y**2 + z**2) / (2.0 * 30.0**2))
    mr = Image(grid, 400.0 + 2.0 * x - 1.5 * y + z, "MR", Source(FRAME + ".2"))
    doses = {"CT": Dose(grid, dose), "CT0": Dose(grid, dose * (1.0 + x / 2000.0))}
    samples = {f"CT0#00{n}": Dose(grid, dose * (1.0 + 0.01 * n)) for n in range(3)}
    plan = Plan(Prescription({"PTVp_7700": 77.0}, 35), (), made_on="CT")
    return replace(patient.with_images(T2w=mr).with_doses(**doses).with_samples(samples), plan=plan)


@pytest.fixture(scope="session")
def viewed_run(tmp_path_factory):
    """Return the out folder of a run with doses and curves."""
    folder = tmp_path_factory.mktemp("viewed") / "out"
    patient = viewed_patient()
    write_run(patient, folder)
    curves = {
        arm: {
            name: (np.linspace(0.0, 90.0, 91), np.array([100.0 * (inside > gy).mean() for gy in range(91)]))
            for name in ("PTVp_7700", "Rectum")
            if len(inside := dose.array[patient.structures[name].region.array])
        }
        for arm, dose in patient.doses.items()
    }
    write_curves(curves, folder / "dvh")
    return folder


class Visitor:
    """Somebody who asks a server; every answer as (status, headers, text)."""

    def __init__(self, server):
        self.server = server
        self.cookie = f"{server.cookie}={server.token}"

    def ask(self, method, target, body=None, *, known=True, **headers):
        sent = {"Host": f"127.0.0.1:{self.server.server_port}", **({"Cookie": self.cookie} if known else {})}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        line = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        line.request(method, target, body, {name: value for name, value in sent.items() if value is not None})
        answer = line.getresponse()
        text = answer.read()
        line.close()
        is_text = answer.headers["Content-Type"].startswith("text/")
        return answer.status, answer.headers, text.decode() if is_text else text

    def get(self, target="/", **more):
        return self.ask("GET", target, **more)

    def post(self, fields, target="/review", **more):
        form = {"form_token": self.server.form_token, **fields}
        return self.ask("POST", target, urlencode(form), **more)


@contextmanager
def running(server):
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def visitor(out):
    with running(serve(out, reader="A")) as server:
        yield Visitor(server)


@pytest.fixture(scope="module")
def looker(viewed_run):
    """Return a visitor of the view server."""
    with running(view.serve(viewed_run)) as server:
        yield Visitor(server)


@pytest.fixture
def failing():
    """Return a visitor of a server that cannot answer."""

    def answer(request):
        raise ValueError("a secret")

    with running(LoopbackServer(answer)) as server:
        yield Visitor(server)


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

    def press(self, key):
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            codes = {"Tab": 9, "Enter": 13}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes.get(key, 0),
                **(text if kind == "keyDown" else {}),
            )

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def picture(self, box):
        """Return the pixels of a box of the page (x, y, width, height), RGB."""
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)
        taken = self.call("Page.captureScreenshot", format="png", clip=clip)["data"]
        return np.asarray(Pixels.open(io.BytesIO(base64.b64decode(taken))).convert("RGB"), np.int16)

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
