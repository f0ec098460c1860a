"""The PDF: the page's content on A4, selectable, with its own fonts, the same bytes every time."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtplan.domain import Notice, Patient, Structure
from rtplan.report.document import render_pdf


@pytest.mark.parametrize("case", ["full_report", "mr_only_report", "truncated_report"])
def test_it_is_a_pdf_of_a4_pages_with_embedded_fonts(case: str, request: pytest.FixtureRequest) -> None:
    document = request.getfixturevalue(case).document
    assert document.startswith(b"%PDF-")
    boxes = set(re.findall(rb"/MediaBox \[ ([0-9. ]+) \]", document))
    assert boxes == {b"0 0 595.2756 841.8898"}
    assert document.count(b"/FontFile2") >= 2  # regular and bold
    assert b"/JavaScript" not in document
    assert b"/URI" not in document


def test_the_same_document_has_the_same_bytes(
    mr_only: Patient, mr_only_report: Any, provenance: dict[str, Any]
) -> None:
    assert render_pdf(mr_only, provenance) == mr_only_report.document


def test_names_are_text_and_long_tables_break(full: Patient, provenance: dict[str, Any]) -> None:
    evil = "<b>&amp;</i> <font size=90>x" + "y" * 150
    region = full.structures["Rectum"].region
    patient = replace(
        full,
        images={},
        doses={},
        structures={f"{evil}{n}": Structure(f"{evil}{n}", "ORGAN", region) for n in range(12)},
        notices=tuple(Notice("LONG", "warn", f"{evil} {n} " * 8, evil) for n in range(4)),
    )
    document = render_pdf(patient, {**provenance, "command": f"{evil} " * 60})
    assert len(re.findall(rb"/Type /Page\b", document)) > 3


@pytest.mark.peer
def test_its_text_can_be_selected(full_report: Any, tmp_path: Path) -> None:
    tool = shutil.which("pdftotext")
    if tool is None:
        pytest.skip("no pdftotext here")
    file = tmp_path / "report.pdf"
    file.write_bytes(full_report.document)
    text = subprocess.run(
        [tool, "-layout", str(file), "-"], capture_output=True, text=True, check=True
    ).stdout
    text = " ".join(text.split())
    for wanted in (
        "The answer in two minutes",
        "5.14 % instead of",
        "Research use only. Not for clinical decisions.",
        "78.10 ✗",
        "OptimisePlan",
        "α/β",
    ):
        assert wanted in text
    for block in full_report.content.blocks:
        assert block.title in text


def test_it_names_its_title_and_language(full_report: Any, cohort_report: Any) -> None:
    for report in (full_report, cohort_report):
        assert b"/Lang (en-GB)" in report.document
        assert re.search(rb"/Title \((?:rtplan report|\\376\\377)", report.document)
