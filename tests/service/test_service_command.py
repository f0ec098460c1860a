"""rtplan review as a command: what it prints, how it ends, what it refuses before it serves."""

import http.client
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from urllib.parse import urlencode, urlsplit

import pytest

from rtplan.case.review import read
from rtplan.cli import main

#: A process that a test runner started in the background may not hear of Ctrl-C unless it asks.
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from rtplan.cli import main
main()
"""


@contextmanager
def started(*arguments):
    """Run the command in a process of its own; give it and the address that it prints."""
    call = [sys.executable, "-c", START, "review", *map(str, arguments), "--no-browser"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(call, text=True, env=environment, **pipes) as process:
        try:
            yield process, urlsplit(re.search(r"http://\S+", process.stdout.readline())[0])
        finally:
            process.kill()


def ask(address, method, target, body=None, **headers):
    line = http.client.HTTPConnection(address.netloc, timeout=20)
    line.request(method, target, body, headers)
    answer = line.getresponse()
    return answer.headers, answer.read().decode()


def test_save_and_finish_ends_with_0_and_an_interrupt_with_130(out):
    with started(out, "--reader", "B") as (process, address):
        headers, _ = ask(address, "GET", f"/?{address.query}")
        cookie = headers["Set-Cookie"].split(";")[0]
        _, page = ask(address, "GET", "/", Cookie=cookie)
        assert 'value="B"' in page
        token = re.search(r'name="form_token" value="([^"]+)"', page)[1]
        form = urlencode({"form_token": token, "reader": "B", "s0-score": "4", "then": "finish"})
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        ask(address, "POST", "/review", form, **kind)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "1 reader has a review" in said
        assert address.query.split("=")[1] not in said
    assert read(out).reviews[0].reader == "B"
    with started(out) as (process, _):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "1 reader has a review" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: (out / "manifest.json").unlink(), "no finished run here"),
        (lambda out: (out / "volumes/patient.json").unlink(), "no finished case here"),
        (lambda out: (out / "review.json").write_text("{"), "do not parse"),
    ],
)
def test_what_cannot_be_reviewed_is_refused_before_anything_is_served(out, spoil, said, capsys):
    spoil(out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    with pytest.raises(SystemExit) as left:
        main(["review", str(out), "--no-browser"])
    assert left.value.code == 1
    told = capsys.readouterr()
    assert said in told.err
    assert "http" not in told.out
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


def test_a_wrong_port_is_a_wrong_call(out):
    with pytest.raises(SystemExit) as left:
        main(["review", str(out), "--no-browser", "--port", "70000"])
    assert left.value.code == 2
