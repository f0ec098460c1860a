"""Tables of results: what one arm alone says of the plan is shown, once, with its source."""

from dataclasses import replace

import numpy as np

from rtplan.domain import Finding, Grid, Image, Patient
from rtplan.report.book import book_of
from rtplan.report.budgets import budget_block
from rtplan.report.results import dose_tables


def finding(metric, value, arm="CT", **more):
    return Finding(metric, value, "1", "EvaluateProtocol", arm=arm, structure="PTVp_6000", **more)


def test_plan_indices_stand_beside_the_compared_metrics():
    compared = [finding("Mean[Gy]", 60.0), finding("Mean[Gy]", 59.0, "SynCT")]
    compared.append(finding("Mean[Gy]", -1.0, "SynCT", quantity="difference", reference_arm="CT"))
    alone = finding("CI_Paddick", 0.83, source="Paddick 2000")
    tables = dose_tables(book_of(Patient("", findings=(*compared, alone))))
    texts = [[cell.text for cell in row] for table in tables for row in table.rows]
    assert sum("CI_Paddick" in row for row in texts) == 1
    (row,) = (row for row in texts if "CI_Paddick" in row)
    assert "0.83" in row[-1]
    assert any("Paddick 2000" in note for table in tables for note in table.notes)


def test_a_single_arm_shows_its_metrics():
    grid = Grid.axial((2, 2, 2), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    image = Image(grid, np.zeros(grid.shape), "CT")
    patient = Patient("", images={"CT": image}, findings=(finding("Mean[Gy]", 60.0),))
    tables = dose_tables(book_of(patient))
    assert [table.rows[0][1].text for table in tables] == ["Mean[Gy]"]


def test_the_budget_shows_each_source_all_together_and_other_alpha_beta(full):
    told = {
        "parameters": {"interval95": [0.01, 0.09], "sd": 0.02, "share": 0.93, "method": "2000 Sobol, seed 1"},
        "dose": {"interval95": [0.048, 0.055], "sd": 0.002, "share": 0.04, "method": "40 samples"},
        "contours": {"interval95": None, "reason": "no published variation"},
        "together": {"interval95": [0.009, 0.091], "sd": 0.021, "method": "all"},
        "alpha_beta": [{"alpha_beta_gy": 1.5, "value": 0.06}, {"alpha_beta_gy": 3.0, "value": 0.0521}],
    }
    findings = tuple(
        replace(f, detail={**f.detail, "budget": told}) if f.metric == "NTCP" and f.arm == "CT" else f
        for f in full.findings
    )
    block = budget_block(book_of(replace(full, findings=findings)))
    assert block is not None
    parts, ratios = block.tables
    cells = {row[0].text: [cell.text for cell in row] for row in parts.rows}
    assert cells["model parameters"][1:3] == ["1.00 to 9.00 %", "93 %"]
    assert cells["contours"][1:] == ["not varied", "–", "no published variation"]
    assert cells["all together"][1] == "0.90 to 9.10 %"
    assert [row[0].text for row in ratios.rows] == ["1.5", "3 (used)"]
    assert ratios.rows[0][1].text == "6.00 %"
    assert "risk on CT, contours: not varied" in block.pictures[0].alt
    assert "risk on CT, dose (synthetic CT): 4.80 to 5.50 %" in block.pictures[0].alt


def test_without_a_budget_there_is_no_block(full):
    assert budget_block(book_of(full)) is None
