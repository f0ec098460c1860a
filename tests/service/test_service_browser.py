"""The review page in a real browser, steered over its debugging pipe: it looks, clicks and saves."""

import json

import pytest

from rtplan.case.review import read

pytestmark = pytest.mark.peer

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
