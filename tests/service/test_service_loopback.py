"""Nothing without the token, the right host and the right origin; one table of ways to ask wrongly."""

import socket
import time

import pytest

from rtplan.errors import OutputError
from rtplan.service.loopback import MOST_BYTES, LoopbackServer, plain
from rtplan.service.review import serve

FIELDS = {"reader": "A", "s1-score": "4"}
TARGETS = ("/", "/review", "/saved", "/style.css", "/report.html", "/picture/s0-0.png", "/nothing")
CLOSED = "This page needs the address that rtplan printed when it started.\n"


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_without_the_token_every_answer_is_the_same_403(visitor, out, method):
    for target in TARGETS:
        status, headers, text = visitor.ask(method, target, known=False)
        assert status == 403
        assert text == ("" if method == "HEAD" else CLOSED)
        assert visitor.server.token not in str(headers)
    assert not (out / "review.json").exists()


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_only_get_and_post(visitor, method):
    assert visitor.ask(method, "/")[0] == 403


def test_the_address_with_the_token_gives_a_cookie_and_leads_on(visitor):
    url = visitor.server.url
    assert url.startswith(f"http://127.0.0.1:{visitor.server.server_port}/?token=")
    status, headers, text = visitor.get(url.removeprefix(visitor.server.origin), known=False)
    assert status == 200
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert visitor.server.token not in text
    status, headers, text = visitor.get("/", known=False, Cookie=cookie.split(";")[0])
    assert (status, "Set-Cookie" in headers) == (200, False)
    assert visitor.server.token not in text


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 43])
def test_a_wrong_token_opens_nothing(visitor, token):
    name = visitor.server.cookie
    assert visitor.get("/?token=" + token.encode().hex(), known=False)[0] == 403
    assert visitor.get("/", known=False, Cookie=f"{name}={token}".encode())[0] == 403
    assert visitor.get("/", known=False, Cookie=f"{name}2={visitor.server.token}")[0] == 403


@pytest.mark.parametrize(
    "host", [None, "rtplan.example", "127.0.0.1", "127.0.0.1:1", "evil.example:{port}", "[::1]:{port}"]
)
def test_another_host_is_refused(visitor, host):
    """A page whose name was made to lead to this machine (DNS rebinding) bears its own name as host."""
    line = socket.create_connection(("127.0.0.1", visitor.server.server_port), timeout=10)
    named = "" if host is None else f"Host: {host.format(port=visitor.server.server_port)}\r\n"
    line.sendall(f"GET / HTTP/1.1\r\n{named}Cookie: {visitor.cookie}\r\n\r\n".encode())
    with line, line.makefile("rb") as stream:
        assert b" 403 " in stream.readline()


def test_this_machine_by_name_is_the_same_host(visitor):
    assert visitor.get("/", Host=f"localhost:{visitor.server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
     {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}],
)  # fmt: skip
def test_a_form_of_another_page_is_refused(visitor, out, headers):
    assert visitor.post(FIELDS, **headers)[0] == 403
    assert not (out / "review.json").exists()


@pytest.mark.parametrize("form_token", ["", "x", "é"])
def test_a_form_without_its_token_is_refused(visitor, out, form_token):
    assert visitor.post({**FIELDS, "form_token": form_token})[0] == 403
    assert not (out / "review.json").exists()


def test_our_own_form_is_taken(visitor, out):
    status, headers, _ = visitor.post(FIELDS, Origin=visitor.server.origin, Sec_Fetch_Site="same-origin")
    assert (status, headers["Location"]) == (303, "/saved?reader=A")
    assert (out / "review.json").exists()


@pytest.mark.parametrize(
    "target",
    ["/../manifest.json", "/report.html/../manifest.json", "/%2e%2e/manifest.json", "/manifest.json",
     "/review.json", "//etc/passwd", "/..%2f..%2fetc/passwd", "/picture/../../manifest.json",
     "/picture/s0-0.png%00", "/report.html\\", "/picture/s99-0.png", "/picture/s0-9.png", "/dicom/RS.dcm"],
)  # fmt: skip
def test_no_path_leads_to_another_file(visitor, target):
    status, _, text = visitor.get(target)
    assert status == 404
    assert text in ("There is nothing here.\n", b"There is nothing here.\n")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * (MOST_BYTES + 1), {}, 413),
        (b"a=1", {"Content_Length": "9999999999"}, 413),
        (b"a=1", {"Content_Length": "-1"}, 411),
        (b"a=1", {"Content_Length": "1e3"}, 411),
        (b"a=1", {"Transfer_Encoding": "chunked"}, 411),
        (b"a=1", {"Content_Type": "text/plain"}, 415),
        (b"a=1", {"Content_Type": "multipart/form-data; boundary=x"}, 415),
        (b"a=1&a=2", {}, 400),
        (b"a=%ff", {}, 400),
        ("ä=1".encode(), {}, 400),
        (b"&".join(b"a%d=1" % n for n in range(4001)), {}, 400),
        (b"a=1", {}, 403),
    ],
)
def test_what_is_no_form_is_refused(visitor, out, body, headers, status):
    assert visitor.ask("POST", "/review", body, **headers)[0] == status
    assert not (out / "review.json").exists()
    assert visitor.get("/")[0] == 200  # and the server goes on


def test_a_form_that_breaks_off_saves_nothing(visitor, out):
    line = socket.create_connection(("127.0.0.1", visitor.server.server_port), timeout=10)
    host = f"Host: 127.0.0.1:{visitor.server.server_port}"
    head = f"POST /review HTTP/1.1\r\n{host}\r\nCookie: {visitor.cookie}\r\nContent-Length: 100"
    line.sendall(f"{head}\r\n\r\nreader=A".encode())
    line.close()
    assert visitor.get("/")[0] == 200
    assert not (out / "review.json").exists()


@pytest.mark.parametrize(
    "raw",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\r\n\r\n",
     b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_not_echoed(visitor, raw):
    with socket.create_connection(("127.0.0.1", visitor.server.server_port), timeout=10) as line:
        line.sendall(raw)
        with line.makefile("rb") as stream:
            answer = stream.read()
    assert answer == b"" or b" 403 " in answer.split(b"\r\n")[0] or answer.startswith(b"This page needs")
    assert b"aaa" not in answer


def test_every_answer_bears_the_headers_that_keep_it_here(visitor):
    for target, known in (("/", True), ("/report.html", True), ("/", False), ("/nothing", True)):
        _, headers, _ = visitor.get(target, known=known)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "script-src" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "rtplan"


def test_a_slow_visitor_holds_nobody_up(visitor):
    with socket.create_connection(("127.0.0.1", visitor.server.server_port), timeout=10) as line:
        line.sendall(b"GET / HT")
        start = time.monotonic()
        assert visitor.get("/")[0] == 200
        assert time.monotonic() - start < 5.0


def test_it_listens_on_this_machine_alone_and_says_when_a_port_is_taken(visitor, out):
    assert visitor.server.server_address[0] == "127.0.0.1"
    with pytest.raises(OutputError, match="cannot be used"):
        serve(out, port=visitor.server.server_port)
    with pytest.raises(OutputError, match="cannot be used"):
        LoopbackServer(lambda _: plain(200, ""), port=70000)


def test_an_answer_that_fails_says_its_kind_and_no_more(failing):
    status, _, text = failing.get("/")
    assert status == 500
    assert "ValueError" in text
    assert "secret" not in text
