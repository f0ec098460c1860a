"""The page: everything inside, nothing from outside, names as text, the right words for what is there."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from rtplan.domain import Finding, Identity, Notice, Patient, Source, Structure
from rtplan.report.assemble import WARNING, assemble
from rtplan.report.discretion import discreet
from rtplan.report.page import page_of, render

ORDER = ["answer", "outcome", "goals", "dvh", "slices", "difference", "comparison", "not_evaluable", "run",
         "notices", "provenance"]  # fmt: skip
VOID = {"meta", "link", "img", "br", "hr"}


class Reader(HTMLParser):
    """Collects what a browser would: tags in order, texts, attributes; refuses unbalanced markup."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def words(page: str) -> str:
    return " ".join(Reader(page).text.split())


def test_the_page_is_whole_and_in_order(full_report: Any) -> None:
    reader = Reader(full_report.page)
    assert [a["id"] for a in reader.all("section")] == ORDER
    assert len(reader.all("h1")) == 1
    assert reader.all("html")[0]["lang"] == "en-GB"
    assert words(full_report.page).count(WARNING) == 1
    targets = {a["id"] for _, a in reader.tags if a.get("id")}
    jumps = {str(a["href"])[1:] for a in reader.all("a") if str(a["href"]).startswith("#")}
    assert jumps <= targets
    assert set(ORDER) <= jumps


@pytest.mark.parametrize("case", ["full_report", "mr_only_report", "truncated_report"])
def test_nothing_comes_from_outside(case: str, request: pytest.FixtureRequest) -> None:
    page = request.getfixturevalue(case).page
    reader = Reader(page)
    assert not reader.all("script")
    assert not reader.all("iframe")
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes
        link = attributes.get("src") or attributes.get("href") or "#"
        outside = tag == "a" and link.startswith("https://doi.org/10.")
        assert link.startswith(("data:", "#")) or outside
    css = page.split("<style>")[1].split("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css


@pytest.mark.parametrize("case", ["full_report", "mr_only_report", "truncated_report"])
def test_every_picture_and_table_can_be_read_without_eyes_or_mouse(
    case: str, request: pytest.FixtureRequest
) -> None:
    reader = Reader(request.getfixturevalue(case).page)
    assert all(len(a["alt"] or "") > 30 for a in reader.all("img"))
    assert len(reader.all("caption")) == len(reader.all("table"))
    assert all(a.get("scope") in ("col", "row") for a in reader.all("th"))
    wide = [a for a in reader.all("div") if a.get("class") == "wide"]
    assert len(wide) == len(reader.all("img")) + len(reader.all("table"))
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in wide)


def test_the_answer_comes_first_with_its_numbers(full_report: Any) -> None:
    content = full_report.content
    assert "5.14 % instead of 5.21 % on CT" in content.lead
    assert "falls by 0.07 percentage points" in content.lead
    facts = {fact.term: fact.text for fact in content.facts}
    assert "−1.33 Gy (−1.7 % of 77 Gy)" in facts["Largest dose difference"]
    assert "2.19 to 9.90 %" in facts["How sure"]
    assert facts["Goals"].startswith("4 of 5 limits met on CT (verified goals only); missed: Rectum D1cc.")
    assert "Rectum V70Gy on CTstrat" in facts["Goals"]
    assert facts["Verdict"].startswith("None: equivalence needs a margin")
    assert content.glance is not None
    row = next(cells for cells in content.glance.rows if cells[0].text == "CT0")
    assert [cell.text for cell in row[2:5]] == ["4.55", "−0.66", "−0.95 to −0.38"]


def test_a_verdict_of_equivalence_is_said_with_its_reason(full: Patient, provenance: dict[str, Any]) -> None:
    judged = tuple(
        replace(f, verdict="equivalent", reason="upper limit 0.02 pp inside the margin of 0.5 pp")
        if f.metric == "NTCP" and f.quantity == "difference" and f.arm == "SynCT"
        else f
        for f in full.findings
    )
    content = assemble(replace(full, findings=judged, images={}, doses={}), provenance)
    verdict = next(f.text for f in content.facts if f.term == "Verdict")
    assert "SynCT" in verdict
    assert "equivalent (upper limit 0.02 pp inside" in verdict


def test_goals_show_limit_value_sign_and_mark(full_report: Any) -> None:
    table = next(b for b in full_report.content.blocks if b.name == "goals").tables[0]
    rows = {(cells[0].text, cells[1].text): [c.text for c in cells] for cells in table.rows}
    assert rows["Rectum", "D1cc[Gy]"][2:5] == ["≤ 77", "–", "78.10 ✗"]
    # 14.96 and 15.05 would both be 15.0: as many decimals as tell the side of the limit
    assert rows["Rectum", "V70Gy[%]"][4] == "14.96 ✓"
    assert rows["Rectum", "V70Gy[%]"][5] == "+0.04"  # the margin on the reference
    assert rows["Rectum", "D1cc[Gy]"][5] == "−1.10"
    assert rows["Rectum", "V70Gy[%]"][9] == "15.05 ✗"
    assert rows["PenileBulb", "D50%[Gy]"][4] == "31.00 (✓)"
    assert rows["PenileBulb", "D50%[Gy]"][-1].startswith("‡")
    assert rows["Bag_Bowel", "V40.8Gy[cc]"][4] == "n.e."


def test_mr_alone_says_what_is_missing_and_what_would_supply_it(mr_only_report: Any) -> None:
    text = words(mr_only_report.page)
    assert "No dose was calculated, so nothing can be said about dose or risk." in text
    assert "shows no skin" in text
    facts = {fact.term: fact.text for fact in mr_only_report.content.facts}
    assert "--structures FILE.dcm" in facts["What would supply it"]
    assert facts["Steps left out"] == "OptimisePlan and RecalculateArms."
    names = [block.name for block in mr_only_report.content.blocks]
    assert names == ["slices", "not_evaluable", "run", "notices", "provenance"]
    assert "since there is no dose" in text
    assert "tilted 18.5°" in text


def test_withheld_absolute_dose_appears_nowhere(truncated_report: Any) -> None:
    content = truncated_report.content
    assert "are withheld" in content.lead
    assert any(fact.term == "Withheld" and "cropped" in fact.text for fact in content.facts)
    key = next(b for b in content.blocks if b.name == "slices").pictures[0]
    assert "Gy" not in key.alt
    dvh = next(b for b in content.blocks if b.name == "dvh")
    assert "relative" in dvh.sentences[0]
    assert not [b for b in content.blocks if b.name in ("goals", "outcome")]
    assert [b for b in content.blocks if b.name == "difference"]


def test_no_published_interval_is_said_so(full: Patient, provenance: dict[str, Any]) -> None:
    bare = [
        replace(f, interval95=None, interval_method="no published interval", verified=False)
        if f.metric == "NTCP"
        else f
        for f in full.findings
    ]
    content = assemble(replace(full, findings=tuple(bare), images={}, doses={}), provenance)
    sure = next(f.text for f in content.facts if f.term == "How sure")
    assert "no published interval" in sure
    assert "not verified (‡)" in sure
    outcome = next(b for b in content.blocks if b.name == "outcome")
    assert outcome.tables[0].rows[0][3].text == "no published interval"


EVIL = "<script>alert('x')</script> $\\frac{a}{b}$ & \u819c"


def test_names_are_text_never_markup(full: Patient, provenance: dict[str, Any]) -> None:
    evil = full.structures["Rectum"]
    image = full.images["CT"]
    patient = replace(
        full,
        structures={EVIL: Structure(EVIL, "ORGAN", evil.region), "PTVp_7700": full.structures["PTVp_7700"]},
        images={"CT": replace(image, source=Source("1.2.3", description=EVIL))},
        findings=tuple(replace(f, structure=EVIL, reason=f.reason and EVIL) for f in full.findings),
        notices=(Notice("EVIL", "warn", EVIL, EVIL, file=EVIL, structure=EVIL),),
        doses={"CT": full.doses["CT"]},
    )
    curves = {"CT": {EVIL: ([0.0, 50.0, 80.0], [100.0, 40.0, 0.0])}}
    page = render(patient, {**provenance, "command": EVIL}, curves)
    reader = Reader(page)
    assert not reader.all("script")
    assert "<script>alert('x')</script> $\\frac{a}{b}$" in reader.text


def test_the_identity_never_appears(full: Patient, provenance: dict[str, Any]) -> None:
    patient = replace(
        full,
        identity=Identity("HOSP-4711-X", "Doe^Jonathan", "19500203", "M"),
        images={"CT": replace(full.images["CT"], source=Source("1.2", description="pelvis Doe, Jonathan"))},
        doses={},
        notices=(
            Notice("ODD", "warn", "Jonathan Doe was found twice.", file="in/DOE^JONATHAN/hosp-4711-x.dcm"),
        ),
    )
    page = render(patient, {**provenance, "command": "rtplan run /data/Doe_Jonathan/19500203 --out o"})
    text = words(page)
    assert patient.key in text
    assert not re.search(r"\bdoe\b|jonathan|4711|19500203", text, re.IGNORECASE)
    assert "[removed]" in text


def test_equal_notices_stand_once_the_gravest_first(full: Patient, provenance: dict[str, Any]) -> None:
    many = tuple(Notice("NAME_MAPPED", "info", "mapped", structure=f"S{n}") for n in range(60))
    patient = replace(full, notices=(*many, Notice("NO_CT", "refuse", "no")), images={}, doses={})
    block = next(b for b in assemble(patient, provenance).blocks if b.name == "notices")
    assert [(m.code, m.times) for m in block.messages] == [("NO_CT", 1), ("NAME_MAPPED", 60)]
    assert len(block.messages[1].where) == 60


@pytest.mark.parametrize("keep", ["nothing", "one_arm", "no_structures", "no_ct", "long_names"])
def test_whatever_is_missing_the_page_stands(
    keep: str, full: Patient, provenance: dict[str, Any], curves: Any
) -> None:
    few = replace(full, images={"CT": full.images["CT"]}, doses={"CT": full.doses["CT"]})
    long = "Structure_with_a_name_that_no_table_was_made_for_" * 3
    cases = {
        "nothing": Patient(),
        "one_arm": replace(few, findings=()),
        "no_structures": replace(few, structures={}, findings=(), notices=()),
        "no_ct": replace(
            full,
            images={arm: full.images[arm] for arm in ("CT0", "SynCT", "T2w")},
            doses={arm: full.doses[arm] for arm in ("CT0", "SynCT")},
            findings=(
                Finding("D98%[Gy]", -0.4, "Gy", "EvaluateProtocol", arm="CT0", reference_arm="SynCT",
                        structure="PTVp_7700", quantity="difference"),
            ),
        ),
        "long_names": replace(few, structures={long: replace(full.structures["Rectum"], name=long)}),
    }  # fmt: skip
    patient = cases[keep]
    content = assemble(
        patient, {} if keep == "nothing" else provenance, {} if keep != "one_arm" else curves(patient)
    )
    text = words(page_of(content))
    if keep == "no_ct":
        assert "a spread between methods, not an error" in text
        assert "None: without a CT there is nothing to be equivalent to." in text
        assert "SynCT is the reference" not in text
    if keep == "nothing":
        assert "There is no image of this patient" in text


def test_the_report_is_small(full_report: Any) -> None:
    assert len(full_report.page) < 5_000_000
    assert len(full_report.document) < 5_000_000


def test_the_same_report_has_the_same_bytes(
    mr_only: Patient, mr_only_report: Any, provenance: dict[str, Any]
) -> None:
    assert render(mr_only, provenance) == mr_only_report.page


def test_an_organ_s_name_as_patient_name_tears_up_nothing(full: Patient) -> None:
    patient = replace(full, identity=Identity("BLADDER", "Rectum", "", ""))
    plain, _ = discreet(patient, {})
    assert set(plain.structures) == set(full.structures)
    assert plain.findings == full.findings


def test_structures_that_bear_the_patient_s_name_stay_apart(full: Patient) -> None:
    region = full.structures["Rectum"].region
    named = ("Doe Jonathan", "Doe^Jonathan", "GTV")
    finding = Finding("D2%[Gy]", 1.0, "Gy", "x", structure="Doe^Jonathan")
    patient = replace(
        full,
        structures={name: Structure(name, "ORGAN", region) for name in named},
        findings=(finding,),
        identity=Identity("HOSP-4711-X", "Doe^Jonathan", "", ""),
    )
    plain, _ = discreet(patient, {})
    assert list(plain.structures) == ["[removed]", "[removed] (2)", "GTV"]
    assert plain.findings[0].structure == "[removed] (2)"
