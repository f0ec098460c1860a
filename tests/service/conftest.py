"""A small finished run: written by the writers of a real one, from a patient of plain shapes."""

import http.client
import shutil
import threading
from contextlib import contextmanager
from urllib.parse import urlencode

import numpy as np
import pytest

from rtplan.case.archive import write_case
from rtplan.case.manifest import Manifest
from rtplan.domain import Finding, Grid, Image, Mask, Patient, Source, Structure
from rtplan.report.page import render
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


@pytest.fixture
def failing():
    """Return a visitor of a server that cannot answer."""

    def answer(request):
        raise ValueError("a secret")

    with running(LoopbackServer(answer)) as server:
        yield Visitor(server)
