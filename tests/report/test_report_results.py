"""Tables of results: what one arm alone says of the plan is shown, once, with its source."""

import numpy as np

from rtplan.domain import Finding, Grid, Image, Patient
from rtplan.report.book import book_of
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
