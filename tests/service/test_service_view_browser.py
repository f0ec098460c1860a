"""The interactive page in a real browser: asks nobody else, answers keys and mouse, shows right values."""

import re

import numpy as np
import pytest

pytestmark = pytest.mark.peer

READY = "document.documentElement.dataset.ready == 'yes'"
QUIET = f"{READY} && document.getElementById('status').textContent == ''"
SIZE = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}


@pytest.fixture
def page(looker, browser):
    browser.open("about:blank")
    browser.call("Emulation.setDeviceMetricsOverride", **SIZE)
    browser.open(looker.server.url)
    browser.wait(QUIET)
    return browser


def words(page, pane, part):
    return page.ask(f"document.querySelector('#pane-{pane} .{part}').textContent")


def box(page, selector):
    script = f"(() => {{ const b = document.querySelector('{selector}').getBoundingClientRect(); "
    return page.ask(script + "return [b.x, b.y, b.width, b.height] })()")


def rest(page, ms=0):
    """Wait until two more frames were drawn, and some time."""
    frames = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(r, MS))))"
    page.call("Runtime.evaluate", expression=frames.replace("MS", str(ms)), awaitPromise=True)


def settled(page, selector):
    """Return the pixels of an element once they no longer change."""
    last, same = None, 0
    for _ in range(60):
        rest(page, 60)
        now = page.picture(box(page, selector))
        same = same + 1 if last is not None and np.array_equal(now, last) else 0
        if same == 2:
            return now
        last = now
    raise AssertionError("the picture does not come to rest")


def test_it_asks_this_server_alone_and_says_nothing(page, looker):
    assert page.console == []
    assert any("/cut?" in url for url in page.asked)
    assert any("/library/bokeh" in url for url in page.asked)
    asked = [url for url in page.asked if url != "about:blank"]
    assert all(url.startswith((looker.server.origin + "/", "data:")) for url in asked)
    assert "token" not in page.ask("location.href")
    assert page.ask("document.body.innerText").count("Research use only") == 1


def test_a_smuggled_script_and_an_outside_request_are_stopped(page):
    page.ask("document.body.insertAdjacentHTML('beforeend', '<img src=\"http://rtplan.invalid/x.png\">')")
    inline = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'"
    page.ask(f"{{ {inline}; document.body.append(s) }}")
    page.ask("fetch('http://rtplan.invalid/y').catch(() => { window.stopped = 1 })")
    page.wait("window.stopped == 1")
    assert page.ask("window.ran") is None
    assert sum("Content Security Policy" in str(line) for line in page.console) >= 3


def test_arrows_scroll_the_pane_that_was_used_last(page):
    first = words(page, 0, "place")
    assert re.fullmatch(r"[SI] \d+\.\d mm\nslice \d+ of 20", first)
    page.press("ArrowUp")
    page.wait(f"document.querySelector('#pane-0 .place').textContent != {first!r}")
    number = int(re.search(r"slice (\d+)", first)[1])
    assert f"slice {number + 1} of" in words(page, 0, "place")
    page.press("PageDown")
    page.wait(
        f"document.querySelector('#pane-0 .place').textContent.includes('slice {max(number - 9, 1)} of')"
    )
    page.ask("document.getElementById('pane-2').focus()")
    before = words(page, 2, "place")
    page.press("ArrowDown")
    page.wait(f"document.querySelector('#pane-2 .place').textContent != {before!r}")
    page.press("Home")
    page.wait(f"document.querySelector('#pane-0 .place').textContent == {first!r}")


def test_the_wheel_scrolls(page):
    x, y, width, height = box(page, "#pane-1")
    before = words(page, 1, "place")
    page.mouse("mouseWheel", x + width / 2, y + height / 2, deltaX=0, deltaY=120)
    page.wait(f"document.querySelector('#pane-1 .place').textContent != {before!r}")


def t2w(page):
    """Show the MR, whose value is 400 + 2 left − 1.5 posterior + superior, mm."""
    page.press("m")
    page.press("m")
    for pane in range(3):
        page.wait(f"document.querySelector('#pane-{pane} .title').textContent.includes('T2w')")


@pytest.mark.parametrize("pane", [0, 1, 2])
def test_the_value_under_the_mouse_is_that_of_the_point_that_it_names(page, pane):
    t2w(page)
    x, y, width, height = box(page, f"#pane-{pane}")
    for share in (0.42, 0.55, 0.6):
        page.mouse("mouseMoved", x + share * width, y + 0.5 * height + 11)
        rest(page)
        said = words(page, pane, "values")
        place = {letter: float(mm) for letter, mm in re.findall(r"([LRPASI]) (\d+\.\d)", said)}
        assert len(place) == 3
        left = place.get("L", 0.0) - place.get("R", 0.0)
        back = place.get("P", 0.0) - place.get("A", 0.0)
        up = place.get("S", 0.0) - place.get("I", 0.0)
        value = float(re.search(r"T2w (-?\d+)", said)[1])
        assert value == pytest.approx(400.0 + 2.0 * left - 1.5 * back + up, abs=2.5)
        dose = float(re.search(r"dose CT (\d+\.\d+) Gy", said)[1])
        away = left**2 + back**2 + up**2
        assert dose == pytest.approx(80.0 * np.exp(-away / (2.0 * 30.0**2)), abs=1.2)


@pytest.mark.parametrize(
    ("pane", "letters", "right", "up"), [(0, "RLAP", 1, 1), (1, "RLSI", 1, 1), (2, "APSI", -1, 1)]
)
def test_each_picture_stands_as_its_letters_say(page, pane, letters, right, up):
    """The MR is brighter to the left, to the front and upwards: so must the picture be."""
    t2w(page)
    for key in ("d", "d", "d", "i", "s"):  # no colours, no lines
        page.press(key)
    page.wait(f"!document.querySelector('#pane-{pane} .title').textContent.includes('dose')")
    pixels = settled(page, f"#pane-{pane}").mean(axis=2)
    rows, columns = pixels.shape
    middle = pixels[int(0.35 * rows) : int(0.65 * rows), int(0.4 * columns) : int(0.6 * columns)]
    along, across = middle.mean(axis=0), middle.mean(axis=1)
    assert np.sign(along[-20:].mean() - along[:20].mean()) == right
    assert np.sign(across[:20].mean() - across[-20:].mean()) == up
    assert [words(page, pane, side) for side in ("left", "right", "top", "bottom")] == list(letters)


def test_a_structure_can_be_taken_away_and_comes_back(page):
    toggle = "document.querySelector('#structures li input').click()"
    before = settled(page, "#pane-0")
    page.ask(toggle)
    without = settled(page, "#pane-0")
    assert (np.abs(before - without).max(axis=2) > 40).sum() > 50
    page.ask(toggle)
    inner = np.s_[3:-3, 3:-3]  # the edge of a pane need not lie on whole pixels
    assert np.array_equal(settled(page, "#pane-0")[inner], before[inner])


def test_structures_and_curves_answer_each_other(page):
    curves = settled(page, "#dvh")
    page.ask("document.querySelector('#structures li[data-name=Rectum] .name').click()")
    page.wait("document.getElementById('findings-of').textContent.startsWith('of Rectum')")
    assert not np.array_equal(settled(page, "#dvh"), curves)
    assert page.ask("document.querySelector('#structures li.selected').dataset.name") == "Rectum"
    page.ask("document.getElementById('deselect').click()")
    x, y, width, height = box(page, "#dvh")
    hit = None
    for step in np.linspace(0.04, 0.9, 60):
        page.mouse("mouseMoved", x + 0.35 * width, y + step * height)
        rest(page)
        hit = page.ask("document.querySelector('#structures li.near')?.dataset.name")
        if hit:
            break
    assert hit in ("PTVp_7700", "Rectum")
    assert re.search(
        rf"{hit}: \d+\.\d Gy or more in CT \d", page.ask("document.getElementById('dvh-words').textContent")
    )
    page.mouse("mousePressed", x + 0.35 * width, y + step * height, button="left", clickCount=1)
    page.mouse("mouseReleased", x + 0.35 * width, y + step * height, button="left", clickCount=1)
    page.wait(f"document.querySelector('#structures li.selected')?.dataset.name == '{hit}'")


def test_two_arms_stand_side_by_side_with_their_difference(page):
    page.press("l")
    page.wait("document.querySelector('#pane-2 .title').textContent.includes('CT0 − CT')")
    assert "dose on CT0" in words(page, 1, "title")
    x, y, width, height = box(page, "#pane-2")
    page.mouse("mouseMoved", x + 0.56 * width, y + 0.5 * height)
    rest(page)
    said = words(page, 2, "values")
    side, place = re.search(r"([LR]) (\d+\.\d)", said).groups()
    sign, change = re.search(r"CT0 − CT ([+−])(\d+\.\d\d)", said).groups()
    assert (side == "L") == (sign == "+")
    assert float(change) == pytest.approx(80.0 * float(place) / 2000.0, rel=0.6)  # times exp of the distance
    page.press("v")
    page.wait("document.querySelector('#pane-1 .title').textContent.startsWith('coronal')")
    assert words(page, 0, "place") == words(page, 1, "place") == words(page, 2, "place")


def test_uncertainty_and_blend_are_shown(page):
    before = settled(page, "#pane-0")
    for _ in range(2):
        page.press("d")
    page.wait("document.querySelector('#pane-0 .title').textContent.includes('SD of the dose on CT0')")
    assert not np.array_equal(settled(page, "#pane-0"), before)
    assert "SD 0." in words(page, 0, "values")
    page.press("b")
    page.wait("document.querySelector('#pane-0 .title').textContent.includes('with 50 %')")
    page.press("]")
    page.wait("document.querySelector('#pane-0 .title').textContent.includes('with 60 %')")


def test_the_keyboard_reaches_everything_and_the_help_names_the_keys(page):
    reached = set()
    for _ in range(60):
        page.press("Tab")
        reached.add(page.ask("document.activeElement.id || document.activeElement.className || ''"))
    assert {"image", "second", "arm", "overlay", "pane-0", "pane-1", "pane-2", "name", "wide"} <= reached
    page.ask("document.activeElement.blur()")
    page.press("?")
    page.wait("document.getElementById('help').open")
    help_text = page.ask("document.getElementById('help').innerText")
    for said in ("next slice", "isodose lines on or off", "three planes or two arms", "Wheel"):
        assert said in help_text
    page.press("Escape")
    page.ask("document.querySelector('#help button').click()")
    page.wait("!document.getElementById('help').open")


def test_nothing_is_wider_than_a_narrow_window(page):
    page.call("Emulation.setDeviceMetricsOverride", width=360, height=800, deviceScaleFactor=2, mobile=False)
    page.wait("innerWidth == 360")
    assert page.ask("document.documentElement.scrollWidth") <= 360
    assert page.ask("document.getElementById('pane-0').clientWidth") > 300
