"""The page of a batch: counts, reasons, goals with and without verdict, spreads by hand."""

from rtplan.evaluation.batch_state import BatchPatient, BatchState
from rtplan.evaluation.spread import spreads
from rtplan.report.batch import batch_content
from rtplan.report.page import page_of

STATE = BatchState(
    "0.1.0",
    {"protocol": "p"},
    "2026-01-01T00:00:00.000+00:00",
    "",
    (
        BatchPatient(1, "aa", "done", 1, seconds=10.0, peak_mib=900.0, parts={"Read": 2.0, "Write": 8.0}),
        BatchPatient(2, "bb", "done", 2, seconds=20.0, peak_mib=950.0, parts={"Read": 4.0, "Write": 16.0}),
        BatchPatient(3, "cc", "failed", 3, "infrastructure", "The worker <died>."),
        BatchPatient(4, "dd", "waiting"),
    ),
)


def finding(arm, value, verdict="none", quantity="value", limit="<= 15"):
    return {
        "structure": "Rectum", "metric": "V57Gy[%]", "arm": arm, "quantity": quantity, "unit": "%",
        "model": None, "value": value, "verdict": verdict, "limit": limit,
    }  # fmt: skip


def block(content, name):
    return next(b for b in content.blocks if b.name == name)


def test_the_page_says_who_is_done_who_failed_and_why():
    content = batch_content(STATE, ())
    assert content.lead == "2 of 4 patients are finished, 1 failed; 1 are not run yet."
    (row,) = block(content, "failed").tables[0].rows
    assert [cell.text for cell in row] == ["3", "cc", "The worker <died>.", "a machine", "3"]
    page = page_of(content)
    assert "&lt;died&gt;" in page
    assert "<died>" not in page
    shares = {row[0].text: row[4].text for row in block(content, "times").tables[0].rows}
    assert shares == {"Read": "20 %", "Write": "80 %"}


def test_goals_without_verdict_are_not_called_met():
    rows = [finding("CT", 10.0, "met"), finding("CT", 20.0, "missed"), finding("CT0", 20.0)]
    rows += [finding("CT", None, "not_evaluable"), finding("CT0", 1.5, quantity="difference", limit=None)]
    found = spreads(rows)
    ct, other, change = found
    assert (ct.judged, ct.missed, ct.absent, ct.quartiles) == (2, 1, 1, (12.5, 15.0, 17.5))
    assert (other.judged, change.quartiles) == (0, (1.5, 1.5, 1.5))
    goals = block(batch_content(STATE, found), "goals").tables[0].rows
    assert [row[4].text for row in goals] == ["1", "–"]
