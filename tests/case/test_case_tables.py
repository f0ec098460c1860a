"""Findings, notices and curves as files."""

import csv
import json

import numpy as np
import pytest

from rtplan.case import tables
from rtplan.domain import Finding, Notice, Patient

FINDINGS = (
    Finding(metric="D98%", value=70.1, unit="Gy", step="s", structure="PTV, left", interval95=(69.0, 71.0)),
    Finding(metric="NTCP", value=None, unit="1", step="s", verdict="not_evaluable", reason="no rectum"),
)


def test_json_and_csv_say_the_same(tmp_path):
    patient = Patient().with_findings(*FINDINGS).with_notices(Notice("X", "warn", "ä"))
    tables.write_findings(patient, tmp_path)
    rows = json.loads((tmp_path / "findings.json").read_text(encoding="utf-8"))["findings"]
    with (tmp_path / "findings.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert [row["structure"] for row in table] == ["PTV, left", ""]
    assert list(table[0]) == list(rows[0])
    assert table[0]["interval95"] == "69 71"
    assert rows[1]["value"] is None
    assert json.loads((tmp_path / "notices.json").read_text(encoding="utf-8"))["notices"][0]["message"] == "ä"


def test_not_a_number_never_reaches_a_file(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        tables.write_json(tmp_path / "x.json", {"value": float("nan")})


def test_curves_are_cumulative_and_say_so(tmp_path):
    curves = {"CT": {"Rectum": (np.array([0.0, 1.0]), np.array([100.0, 0.0]))}}
    tables.write_curves(curves, tmp_path / "dvh")
    lines = (tmp_path / "dvh" / "dvh_CT.csv").read_text().splitlines()
    assert lines[0] == "# type: cumulative"
    assert lines[-1] == "Rectum,1.0000,0.0000"
