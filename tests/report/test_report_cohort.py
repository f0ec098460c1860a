"""The report of a study: the founding table, agreement, who failed, what it can say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtplan.case.cohort_table import write_cohort
from rtplan.case.review import Review, StructureScore
from rtplan.case.review_save import add
from rtplan.case.tables import write_json
from rtplan.cli import main
from rtplan.domain import Finding
from rtplan.errors import FormatError
from rtplan.report.cohort import cohort_content
from rtplan.report.cohort_tables import missing_table
from rtplan.report.content import Content, Table
from rtplan.report.page import page_of
from rtplan.study.report import study_report


def block(content: Content, name: str) -> Any:
    return next(b for b in content.blocks if b.name == name)


def cells(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [cell.text for cell in row] for row in table.rows}


def differences(report: Any, arm: str) -> np.ndarray:
    found = [f for rows in report.rows.values() for f in rows if f.arm == arm and f.metric == "NTCP"]
    return 100.0 * np.array([f.value for f in found if f.quantity == "difference"])


def plain(value: float, decimals: int = 3, sign: str = "+") -> str:
    return f"{value:{sign}.{decimals}f}".replace("-", "−")


def test_the_founding_table_holds_largest_mean_and_limits(cohort_report: Any) -> None:
    table = cohort_report.content.glance
    for arm in ("CTpop", "SynCT"):
        change = differences(cohort_report, arm)
        row = cells(table)[arm]
        assert row[3] == plain(np.abs(change).max(), sign="")
        assert row[4] == plain(change.mean())
        low, high = (change.mean() + turn * 1.959964 * change.std(ddof=1) for turn in (-1.0, 1.0))
        assert row[5] == f"{plain(low)} to {plain(high)}"
    assert cells(table)["CT"][1:3] == ["3.60", "2.00 to 5.20"]  # 2 % to 5.2 % in steps of 0.4
    assert cells(table)["CT"][3] == "reference"


def test_the_answer_says_mean_limits_largest_and_risks(cohort_report: Any) -> None:
    lead = cohort_report.content.lead
    change = differences(cohort_report, "SynCT")
    assert lead.startswith("Over 9 patients, NTCP Rectum")
    assert f"{plain(change.mean())} pp on average" in lead
    assert f"{np.abs(change).max():.2f} pp at most, for risks of 2.00 % to 5.20 %" in lead
    facts = {fact.term: fact for fact in cohort_report.content.facts}
    assert facts["Patients"].text == "9 of 10 finished; 1 failed."
    assert facts["Patients"].tone == "bad"
    assert "SynCT equivalent" in facts["Verdict"].text
    assert "±0.5 pp" in facts["Verdict"].text


def test_without_a_margin_there_is_no_verdict(cohort_report: Any) -> None:
    blank = tuple(replace(a, verdict="none", margin=None) for a in cohort_report.study.cohort)
    study = replace(cohort_report.study, cohort=blank, statistics={"seed": 3, "margin_pp": None})
    facts = {f.term: f.text for f in cohort_content(study, cohort_report.rows).facts}
    assert facts["Verdict"].startswith("None: equivalence needs a margin")


def test_every_arm_has_its_bland_altman_panel_in_words(cohort_report: Any) -> None:
    (picture,) = block(cohort_report.content, "agreement-1").pictures
    for arm in ("CTpop", "SynCT"):
        assert f"{arm} {plain(differences(cohort_report, arm).mean())} pp on average" in picture.alt
    limits = cells(block(cohort_report.content, "agreement-1").tables[0])["SynCT"]
    assert limits[1] == "9"
    assert limits[2].count("to") == 1


def test_who_failed_and_what_was_not_evaluable_stand_with_reasons(cohort_report: Any) -> None:
    failed, missing = block(cohort_report.content, "not_evaluable").tables
    assert cells(failed)["10"] == ["10", "key99", "failed", "The CT has <b>gaps</b>."]
    assert cells(missing)["There is no structure Bladder."][1:] == ["Bladder V70Gy", "1 of 9"]


def test_doses_images_reviews_and_scope_are_there(cohort_report: Any) -> None:
    content = cohort_report.content
    assert [b.name for b in content.blocks] == [
        "agreement-1", "doses", "images", "not_evaluable", "reviews", "scope", "notices", "provenance",
    ]  # fmt: skip
    assert any("Gamma2%/2mm[%]" in row[1].text for t in block(content, "doses").tables for row in t.rows)
    scores = cells(block(content, "reviews").tables[0])["Rectum"]
    assert scores[1:3] == ["9", "4.0"]
    assert scores[-2:] == ["4", "5"]
    scope = " ".join(block(content, "scope").sentences)
    assert "digital" in scope
    assert "registration error of 2 mm and gas and bladder of another day" in scope
    assert "resamples = 199" in str(block(content, "provenance").tables[0].rows)


def test_names_are_text(cohort_report: Any) -> None:
    assert "<script" not in cohort_report.page
    assert "&lt;script&gt;" in cohort_report.page
    assert "&lt;b&gt;gaps&lt;/b&gt;" in cohort_report.page


def test_an_unfinished_study_says_so_and_gives_no_numbers(cohort_report: Any) -> None:
    study = replace(cohort_report.study, finished=False, cohort=(), risks=())
    content = cohort_content(study, {})
    assert content.lead.startswith("The study is not finished: 9 of 10 patients done")
    assert content.glance is None
    assert "no dose difference" in page_of(content)


def test_two_patients_have_no_limits_and_no_report_breaks(cohort_report: Any) -> None:
    few = dict(list(cohort_report.rows.items())[:1])
    blank = tuple(
        replace(a, n=1, sd=None, lower=None, upper=None, lower_ci95=None, upper_ci95=None, mean_ci95=None,
                p_t_holm=None, reason="3 patients are needed", verdict="none")
        for a in cohort_report.study.cohort
    )  # fmt: skip
    content = cohort_content(replace(cohort_report.study, cohort=blank), few)
    assert "no limits of agreement" in content.lead
    assert page_of(content)


@pytest.fixture
def folder(cohort_report: Any, tmp_path: Path) -> Path:
    write_json(tmp_path / "study.json", cohort_report.study.as_dict())
    write_cohort(cohort_report.rows, tmp_path / "cohort.parquet")
    return tmp_path


def test_it_is_made_from_the_folder_alone(
    folder: Path, cohort_report: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["report", str(folder)])
    assert left.value.code == 0
    assert "report.html" in capsys.readouterr().out
    content = cohort_content(cohort_report.study, cohort_report.rows)
    assert (folder / "report.html").read_text(encoding="utf-8") == page_of(content)
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_reviews_come_from_the_patients_folders_and_a_broken_one_is_said(folder: Path) -> None:
    for key in ("key00", "key01"):
        (folder / "patients" / key).mkdir(parents=True)
        write_json(folder / "patients" / key / "manifest.json", {"schema": 1})
    score = StructureScore(name="Rectum", score=1, kind="partial overlap")
    time: Any = "2026-01-02T03:04:05Z"
    add(folder / "patients/key00", Review(reader="AB", time=time, structures=(score,)))
    (folder / "patients/key01/review.json").write_text("{}")
    study_report(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "1 patient reviewed by 1 reader." in page
    assert "patients/key01/review.json" in page


@pytest.mark.parametrize("make", [lambda place: None, lambda place: place.mkdir()])
def test_a_folder_without_a_case_is_refused_in_one_message(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "x")
    with pytest.raises(SystemExit) as left:
        main(["report", str(tmp_path / "x")])
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "What to do" in said


def test_a_study_takes_no_pseudonym_here(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["report", str(folder), "--pseudonym", "keys.csv"])
    assert left.value.code == 1
    assert "leave --pseudonym out" in capsys.readouterr().err


def test_a_study_that_does_not_parse_is_refused(folder: Path) -> None:
    shutil.move(folder / "cohort.parquet", folder / "elsewhere")
    with pytest.raises(FormatError, match=r"no cohort\.parquet"):
        study_report(folder)
    text = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    write_json(folder / "study.json", {**text, "schema": 9})
    with pytest.raises(FormatError, match="schema 1"):
        study_report(folder)
    assert not (folder / "report.html").exists()


def test_reasons_that_differ_in_numbers_alone_stand_once() -> None:
    def missing(reason: str) -> Finding:
        return Finding(
            metric="D2%[Gy]", value=None, unit="Gy", step="X", verdict="not_evaluable", reason=reason
        )

    patients = {
        "a": [missing("The CT is cut: 18 % of PTV_5000 is skin.")],
        "b": [missing("The CT is cut: 9.5 % of PTV_5000 is skin.")],
        "c": [missing("The CT is cut: 12 % of PTV_7000 is skin.")],
    }
    table = missing_table(patients)
    assert table is not None
    assert [(row[0].text, row[2].text) for row in table.rows] == [
        ("The CT is cut: 9.5 to 18 % of PTV_5000 is skin.", "2 of 3"),
        ("The CT is cut: 12 % of PTV_7000 is skin.", "1 of 3"),
    ]
