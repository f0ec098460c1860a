"""The review of a small run over a real socket: what is shown, saved, corrected, refused."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as Pixels

from rtplan.case.finished import open_run
from rtplan.case.review import Review, StructureScore, read
from rtplan.case.review_save import add
from rtplan.domain import Grid, Mask, Plan, Prescription, Registration, Structure
from rtplan.errors import FormatError, StructureError
from rtplan.report.review_pictures import LINE, views_of
from rtplan.service.review import serve

from .conftest import FRAME, MARKUP, Visitor, running, small_patient, write_run

GOOD = {"reader": "A", "s0-score": "3", "s0-remark": "apex", "s1-score": "1", "s1-kind": "partial overlap"}


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and all(a.get(k) == v for k, v in wanted.items())]


def saved(out):
    return json.loads((out / "review.json").read_text(encoding="utf-8"))


def test_the_form_shows_every_structure_with_its_pictures_volume_and_choices(visitor):
    page = Tags(visitor.get()[2])
    assert [a["id"] for a in page.all("section") if a.get("class") == "structure"] == ["s0", "s1", "s2"]
    assert len(page.all("img")) == 15
    assert all(a["alt"] for a in page.all("img"))
    assert [a["value"] for a in page.all("input", name="s0-score")] == ["", "1", "2", "3", "4"]
    assert [a["value"] for a in page.all("input", name="s0-kind")] == [
        "under-segmentation", "over-segmentation", "partial overlap"
    ]  # fmt: skip
    assert len(page.all("input", name="plan-decision")) == 4
    assert page.all("input", name="reader")[0]["value"] == "A"
    assert re.search(r"PTV · 3[0-9]\.[0-9]\scc", page.text)  # a ball of 20 mm: 33.5 cc
    assert "V57Gy[%]" in page.text
    assert "4.2 ✓" in page.text
    assert "4.4 ✓" not in page.text  # of another arm


def test_the_form_can_be_used_without_sight_mouse_and_script(visitor):
    page = Tags(visitor.get()[2])
    labels = {a["for"] for a in page.all("label")}
    fields = [a for t, a in page.tags if t in ("input", "textarea") and a.get("type") != "hidden"]
    assert {a["id"] for a in fields} == labels
    assert len(page.all("fieldset")) == len(page.all("legend")) == 7
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")} <= set(ids)
    assert page.all("html")[0]["lang"] == "en-GB"
    assert not page.all("script")
    assert not [a for _, a in page.tags if any(name.startswith("on") or name == "style" for name in a)]


def test_names_are_text_and_never_markup(visitor):
    page = visitor.get()[2]
    assert MARKUP not in page
    assert MARKUP in Tags(page).text
    page = visitor.post({"reader": "A", "s2-score": "1", "s0-remark": "</textarea>" + MARKUP})[2]
    assert MARKUP not in page
    visitor.post({"reader": '"><b>', "s2-score": "4"})
    _, headers, _ = visitor.post({"reader": '"><b>\u00e9', "s2-score": "4"})
    assert "<" not in headers["Location"]
    page = visitor.get(headers["Location"])[2]
    assert "<b>" not in page
    assert MARKUP not in page
    assert '"><b>\u00e9' in Tags(page).text


def test_a_picture_shows_the_contour(visitor):
    status, headers, png = visitor.get("/picture/s0-1.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    pixels = np.asarray(Pixels.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert pixels.shape == (420, 420, 3)
    colour = np.array([int(LINE[n : n + 2], 16) for n in (1, 3, 5)])
    rows, columns = np.nonzero((np.abs(pixels - colour) < 12).all(axis=-1))
    step = 90.0 / 420  # 40 mm and 25 mm to either side
    assert np.ptp(columns) * step == pytest.approx(40.0, abs=5.0)
    assert np.ptp(rows) * step == pytest.approx(40.0, abs=5.0)
    assert columns.mean() == pytest.approx(209.5, abs=8.0)
    assert visitor.get("/picture/s0-1.png")[2] == png


def test_the_report_of_the_run_is_served_as_it_lies_there(visitor, out):
    status, headers, page = visitor.get("/report.html")
    assert (status, page) == (200, (out / "report.html").read_text(encoding="utf-8"))
    assert "form-action 'none'" in headers["Content-Security-Policy"]


def test_a_review_is_saved_and_shown(visitor, out):
    plan = {"plan-decision": "acceptable with changes", "plan-remark": "hot\r\nspot"}
    status, headers, _ = visitor.post(GOOD | plan)
    assert status == 303
    (review,) = saved(out)["reviews"]
    assert review["structures"] == [
        {"name": "PTVp_7700", "score": 3, "kind": None, "remark": "apex"},
        {"name": "Rectum", "score": 1, "kind": "partial overlap", "remark": ""},
    ]
    assert review["plan"] == {"decision": "acceptable with changes", "remark": "hot\nspot"}
    page = Tags(visitor.get(headers["Location"])[2]).text
    for words in (
        "PTVp_7700",
        "3 minor changes",
        "1 unacceptable: partial overlap",
        "acceptable with changes",
    ):
        assert words in page


def test_a_correction_starts_from_what_was_said_and_others_see_names_alone(visitor, out):
    visitor.post(GOOD)
    page = Tags(visitor.get("/?reader=A")[2])
    assert page.all("input", name="s1-score", value="1")[0].keys() >= {"checked"}
    assert page.all("input", name="s1-kind", value="partial overlap")[0].keys() >= {"checked"}
    assert "apex" in page.text
    other = Tags(visitor.get("/?reader=B")[2])
    assert "apex" not in other.text
    assert "Reviews are kept of: A" in other.text
    visitor.post({"reader": "A", "s0-score": "4"})
    found = read(out)
    assert [s.score for s in found.reviews[0].structures] == [4]
    assert [s.score for s in found.history[0].structures] == [3, 1]


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"s0-score": "0"}, "s0-score"),
        ({"s0-score": "5"}, "s0-score"),
        ({"s0-score": "3.5"}, "s0-score"),
        ({"s0-score": "３"}, "s0-score"),
        ({"s0-score": "1"}, "s0-kind"),
        ({"s0-score": "1", "s0-kind": "too small"}, "s0-kind"),
        ({"s0-score": "", "s0-remark": "apex"}, "s0-score"),
        ({"s0-score": "3", "s0-remark": "x" * 2001}, "s0-remark"),
        ({"s0-score": "3", "s0-remark": "\x07"}, "s0-remark"),
        ({"s0-score": "3", "reader": ""}, "reader"),
        ({"s0-score": "3", "reader": "x" * 25}, "reader"),
        ({"s0-score": "3", "reader": "A\nB"}, "reader"),
        ({"s0-score": "3", "s7-score": "3"}, "reader"),
        ({"plan-decision": "perhaps"}, "plan-decision"),
        ({"plan-remark": "hot"}, "plan-decision"),
        ({}, "plan-decision"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost_or_saved(visitor, out, fields, at):
    sent = {"reader": "A", "s2-score": "1", "s2-kind": "over-segmentation"} if fields else {"reader": "A"}
    status, _, text = visitor.post(sent | fields)
    page = Tags(text)
    assert status == 422
    assert f"{at}-problem" in [a.get("id") for _, a in page.tags]
    assert page.all("div", role="alert")
    if fields:
        assert page.all("input", name="s2-score", value="1")[0].keys() >= {"checked"}
    assert not (out / "review.json").exists()


def test_a_kind_that_the_page_hides_is_left_out(visitor, out):
    visitor.post({"reader": "A", "s0-score": "3", "s0-kind": "over-segmentation"})
    assert saved(out)["reviews"][0]["structures"][0]["kind"] is None


def test_many_readers_at_one_time(visitor, out):
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda n: visitor.post({"reader": f"R{n}", "s0-score": "4"})[0], range(24)))
    assert sent == [303] * 24
    assert {review.reader for review in read(out).reviews} == {f"R{n}" for n in range(24)}


def test_save_and_finish_answers_and_stops(visitor, out):
    status, _, page = visitor.post({**GOOD, "then": "finish"})
    assert status == 200
    assert "rtplan has stopped" in page
    assert 'href="/' not in page  # nothing that would have to be asked for
    assert saved(out)["reviews"][0]["reader"] == "A"
    visitor.server.shutdown()  # returns once the server has stopped


def test_what_cannot_be_saved_is_said_and_what_was_typed_stays(visitor, out):
    (out / "review.json").write_text("{", encoding="utf-8")
    status, _, page = visitor.post(GOOD)
    assert status == 409
    assert "do not parse" in page
    assert "apex" in page
    assert (out / "review.json").read_text(encoding="utf-8") == "{"


def test_a_folder_that_is_no_finished_run_is_refused(out, tmp_path):
    with pytest.raises(FormatError, match=r"no manifest\.json"):
        serve(tmp_path / "nothing")
    add(out, Review(reader="A", time="2026-01-01T00:00:00Z", structures=(StructureScore(name="x", score=4),)))
    (out / "review.json").write_text((out / "review.json").read_text().replace('"schema": 1', '"schema": 9'))
    with pytest.raises(FormatError, match="do not parse"):
        serve(out)


@pytest.mark.parametrize(
    "name", ["findings.json", "notices.json", "volumes/CT.mha", "volumes/patient.json", "volumes/patient.npz"]
)
@pytest.mark.parametrize("text", [None, "", "[]", '{"findings": 3, "notices": 3}'])
def test_a_run_that_lacks_a_file_or_has_a_broken_one_is_refused(out, name, text):
    if text is None:
        (out / name).unlink()
    else:
        (out / name).write_text(text, encoding="utf-8")
    with pytest.raises(FormatError):
        serve(out)


def test_what_was_planned_on_is_shown_and_a_mr_where_there_is_no_arm(tmp_path):
    whole = small_patient()
    planned = replace(whole, plan=Plan(Prescription({"PTVp_7700": 77.0}, 35), (), made_on="CT0"))
    mr = replace(whole, images={"T2w": replace(whole.images["CT"], modality="MR")})
    for name, patient in (("CT0", planned), ("T2w", mr)):
        write_run(patient, tmp_path / name)
        assert open_run(tmp_path / name).image_name == name


def test_help_structures_are_not_for_review_and_a_run_without_others_is_refused(tmp_path):
    whole = small_patient()
    rectum = whole.structures["Rectum"]
    gas = replace(rectum, name="zGas", kind="CONTROL")
    write_run(replace(whole, structures={"Rectum": rectum, "zGas": gas}), tmp_path / "both")
    with running(serve(tmp_path / "both")) as server:
        page = Visitor(server).get()[2]
    assert "Rectum" in page
    assert "zGas" not in page
    write_run(replace(whole, structures={"zGas": gas}), tmp_path / "alone")
    with pytest.raises(StructureError, match="no structures"):
        serve(tmp_path / "alone")


@pytest.mark.parametrize("joined", [True, False])
def test_a_structure_drawn_on_another_image_is_shown_through_the_registration_or_not_at_all(tmp_path, joined):
    """The registration moves what lies in the MR's frame by 12 mm to the left."""
    whole = small_patient()
    target = whole.structures["PTVp_7700"]
    grid = target.region.grid
    other = Structure("CTVp", "CTV", Mask(Grid(grid.shape, grid.affine, FRAME + ".9"), target.region.array))
    matrix = np.eye(4)
    matrix[0, 3] = 12.0
    links = (Registration(FRAME + ".9", FRAME, matrix, "rigid", {}),) if joined else ()
    write_run(replace(whole, structures={"CTVp": other}, registrations=links), tmp_path / "out")
    with running(serve(tmp_path / "out")) as server:
        page = Tags(Visitor(server).get()[2])
        assert len(page.all("img")) == (5 if joined else 0)
        assert ("cannot be shown" in page.text) != joined
        if joined:
            (view, *_) = views_of(other, whole.images["CT"], links[0])
            assert view.plane.grid.to_patient(np.array(view.plane.grid.shape) / 2)[0] == pytest.approx(
                12, abs=3
            )
