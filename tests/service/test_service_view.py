"""The view server: what it gives to whoever holds the token, and nothing else to anybody."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from rtplan.cli import main
from rtplan.report.live.page import LIBRARY, own_files
from rtplan.service.view import serve

TARGETS = ("/", "/facts.json", "/cut?view=axial&k=3&layers=image:CT", "/report.html", "/live/main.js",
           "/live/view.css", f"/library/{LIBRARY[0]}", "/nothing")  # fmt: skip


@pytest.mark.parametrize("known", [{}, {"Cookie": "rtplan-{port}=wrong"}])
def test_without_the_token_nothing_is_given(looker, known):
    port = looker.server.server_port
    for target in TARGETS:
        headers = {name: value.format(port=port) for name, value in known.items()}
        status, _, text = looker.get(target, known=False, **headers)
        assert (status, "token" in str(text)) == (403, False)
        assert looker.get(target, Host="evil.example")[0] == 403


def test_with_it_everything_of_this_page_is_given(looker):
    for target in TARGETS[:-1]:
        assert looker.get(target)[0] == 200
    for name in own_files():
        assert looker.get(f"/live/{name}")[2]
    assert looker.get(TARGETS[-1])[0] == 404


@pytest.mark.parametrize(
    "target",
    ["/../manifest.json", "/live/../manifest.json", "/live/%2e%2e/page.py", "/live/", "/live/page.py",
     "/library/../../../__init__.py", "/library/bokeh.js", "/library/", "/manifest.json", "/findings.json",
     "/volumes/CT.mha", "/volumes/patient.json", "/dicom/RS.dcm", "//etc/passwd", "/live//etc/passwd"],
)  # fmt: skip
def test_no_path_leads_to_another_file(looker, target):
    assert looker.get(target)[0] == 404


@pytest.mark.parametrize(
    "query",
    ["", "view=axial", "view=oblique&k=1", "view=axial&k=-1", "view=axial&k=999", "view=axial&k=1e1",
     "view=axial&k=%EF%BC%91", "view=axial&k=1&layers=image:../CT", "view=axial&k=1&layers=dose:CT,x", "k=1"],
)  # fmt: skip
def test_what_is_no_plane_is_not_there(looker, query):
    assert looker.get(f"/cut?{query}")[0] == 404


def test_a_form_is_taken_by_nobody(looker):
    assert looker.post({"a": "1"}, "/")[0] == 404


def test_scripts_run_by_nonce_alone_and_each_page_has_its_own(looker):
    seen = set()
    for _ in range(2):
        _, headers, text = looker.get("/")
        policy = headers["Content-Security-Policy"]
        (nonce,) = re.findall(r"script-src 'nonce-([\w-]{20,})'$", policy)
        assert "default-src 'none'" in policy
        assert text.count("<script") == text.count(f'<script nonce="{nonce}"') == 3
        assert "http" not in re.sub(r"<title>.*?</title>", "", text)
        assert text.count("Research use only") == 1
        seen.add(nonce)
    assert len(seen) == 2


def test_a_plane_holds_the_values_of_the_run(looker, viewed_run):
    facts = json.loads(looker.get("/facts.json")[2])
    view = facts["views"]["axial"]
    k = round((3.0 - view["first"]) / view["step"])
    body = looker.get(f"/cut?view=axial&k={k}&layers=image:T2w,dose:CT")[2]
    (length,) = struct.unpack("<I", body[:4])
    head = json.loads(body[4 : 4 + length])
    t2w, dose = np.frombuffer(body[4 + length :], "<f4").reshape(2, *head["shape"])
    x = (
        np.linspace(*head["x"], head["shape"][1], endpoint=False)
        + 0.5 * (head["x"][1] - head["x"][0]) / t2w.shape[1]
    )
    z = view["first"] + k * view["step"]
    row = round((10.0 - head["y"][0]) / (head["y"][1] - head["y"][0]) * t2w.shape[0] - 0.5)
    y = head["y"][0] + (row + 0.5) * (head["y"][1] - head["y"][0]) / t2w.shape[0]
    inner = slice(8, -8)
    assert np.allclose(t2w[row, inner], (400.0 + 2.0 * x - 1.5 * y + z)[inner], atol=0.05)
    wanted = 80.0 * np.exp(-(x**2 + y**2 + z**2) / (2.0 * 30.0**2))
    assert np.allclose(dose[row, inner], wanted[inner], atol=0.25)  # linear between voxels of 3 mm
    assert "CT0" in facts["doses"]["spreads"]


def test_nothing_is_written(looker, viewed_run):
    before = {p: p.stat().st_mtime_ns for p in viewed_run.rglob("*")}
    for target in TARGETS:
        looker.get(target)
    assert {p: p.stat().st_mtime_ns for p in viewed_run.rglob("*")} == before


def test_a_run_without_doses_or_structures_is_shown(made_run):
    with serve(made_run) as server:
        assert server.url


def test_an_interrupt_ends_it_with_130(viewed_run):
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    call = [
        sys.executable,
        "-c",
        f"{hears}\nfrom rtplan.cli import main; main()",
        "view",
        str(viewed_run),
        "--no-browser",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(call, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}, **pipes) as process:
        try:
            assert re.match(r"View at http://127\.0\.0\.1:\d+/\?token=[\w-]{40,}$", process.stdout.readline())
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=20)[1]
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Stopped." in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: (out / "manifest.json").unlink(), "no finished case here"),
        (lambda out: (out / "volumes/patient.json").unlink(), "no finished case here"),
        (lambda out: (out / "volumes/CT.mha").unlink(), "not there"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_served(viewed_run, tmp_path, spoil, said, capsys):
    out = shutil.copytree(viewed_run, tmp_path / "out")
    spoil(out)
    with pytest.raises(SystemExit) as left:
        main(["view", str(out), "--no-browser"])
    assert left.value.code == 1
    told = capsys.readouterr()
    assert said in told.err
    assert "http" not in told.out
