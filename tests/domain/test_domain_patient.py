"""Patients, findings and notices: frozen, honest about what is missing, silent about who it is."""

import json

import pytest

from rtplan.domain import Finding, Identity, Notice, Patient
from rtplan.errors import FormatError, StructureError


def test_identity_never_shows_itself():
    identity = Identity(patient_id="4711", name="Doe^John")
    assert "4711" not in repr(Patient(identity=identity))
    assert "Doe" not in str(identity)


def test_a_finding_is_evaluable_or_says_why_not():
    with pytest.raises(FormatError):
        Finding(metric="NTCP", value=None, unit="1", step="s")
    with pytest.raises(FormatError):
        Finding(metric="NTCP", value=None, unit="1", step="s", verdict="not_evaluable")
    with pytest.raises(FormatError):
        Finding(metric="NTCP", value=0.1, unit="1", step="s", verdict="not_evaluable", reason="x")
    with pytest.raises(FormatError):
        Finding(metric="NTCP", value=float("nan"), unit="1", step="s")


def test_findings_and_notices_become_the_agreed_json():
    finding = Finding(metric="NTCP", value=0.1, unit="1", step="EstimateOutcome", interval95=(0.0, 0.2))
    plain = json.loads(json.dumps(finding.as_dict()))
    assert plain["interval95"] == [0.0, 0.2]
    assert plain["quantity"] == "value"
    notice = Notice("FOV_TRUNCATED", "warn", "cut", structure="Rectum").as_dict()
    assert notice["where"] == {"file": None, "uid": None, "structure": "Rectum"}


def test_an_unknown_structure_lists_the_known_ones():
    with pytest.raises(StructureError, match="Known: none"):
        Patient().structure("Rectum")


def test_differences_only_where_the_body_is_cut():
    assert Patient().absolute_withheld is None
    cut = Patient().with_notices(Notice("BODY_TRUNCATED", "warn", "the skin is cut"))
    assert cut.absolute_withheld == "the skin is cut"
