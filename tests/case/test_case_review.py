"""Reviews of a run: what is refused, what is kept, and that the file is whole whatever happens."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from rtplan.case.outfolder import refuse_occupied
from rtplan.case.review import (
    PlanReview,
    Review,
    ReviewFile,
    StructureScore,
    findings_of,
    read,
    rows_of,
    run_of,
)
from rtplan.case.review_save import add, demand_writable
from rtplan.errors import FormatError, OutputError

NOON = "2026-03-01T12:00:00Z"


def review(reader="A", score=3, name="Rectum", when=NOON, **more):
    return Review(reader=reader, time=when, structures=(StructureScore(name=name, score=score, **more),))


@pytest.fixture
def out(tmp_path):
    (tmp_path / "manifest.json").write_text('{"schema": 1}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"score": 1}, "needs its kind"),
        ({"score": 2, "kind": "partial overlap"}, "score 1 alone"),
        ({"score": 1, "kind": "too big"}, "under-segmentation"),
        ({"score": 0}, "Input should be"),
        ({"score": 5}, "Input should be"),
        ({"reader": ""}, "at least 1"),
        ({"reader": "  "}, "at least 1"),
        ({"reader": "x" * 25}, "at most 24"),
        ({"reader": "A\x00"}, "control characters"),
        ({"reader": "A\u202eB"}, "control characters"),
        ({"reader": "A\nB"}, "one line"),
        ({"remark": "x" * 2001}, "at most 2000"),
        ({"remark": "bell \x07"}, "control characters"),
        ({"when": "2026-03-01T12:00:00"}, "timezone"),
    ],
)
def test_what_is_no_review_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        review(**fields)


def test_a_review_says_something_and_each_structure_once():
    with pytest.raises(ValidationError, match="neither"):
        Review(reader="A", time=NOON)
    twice = (StructureScore(name="Rectum", score=4), StructureScore(name="Rectum", score=3))
    with pytest.raises(ValidationError, match="twice"):
        Review(reader="A", time=NOON, structures=twice)


def test_a_correction_replaces_and_the_older_one_stays(out):
    add(out, review("A", 1, kind="under-segmentation"))
    add(out, review("B", 4))
    add(out, review("a", 2, when="2026-03-02T12:00:00+02:00"))  # the same reader
    found = read(out)
    assert {(r.reader, r.structures[0].score) for r in found.reviews} == {("a", 2), ("B", 4)}
    (old,) = found.history
    assert (old.reader, old.structures[0].kind) == ("A", "under-segmentation")
    assert found.of("A ").reader == "a"
    plain = json.loads((out / "review.json").read_text())
    assert plain["schema"] == 1
    assert plain["reviews"][-1]["structures"] == [{"name": "Rectum", "score": 2, "kind": None, "remark": ""}]


def test_reviews_become_rows_and_findings():
    plan = PlanReview(decision="not acceptable", remark="hot spot")
    both = Review(reader="A", time=NOON, structures=(StructureScore(name="Bladder", score=4),), plan=plan)
    score, decision = findings_of([both], patient="k")
    assert (score.metric, score.value, score.structure, score.detail["reader"]) == (
        "Likert",
        4.0,
        "Bladder",
        "A",
    )
    assert (decision.metric, decision.value, decision.structure) == ("PlanDecision", 1.0, None)
    assert decision.detail["decision"] == "not acceptable"
    rows = rows_of([both])
    assert [row["decision"] for row in rows] == [None, "not acceptable"]
    assert len({tuple(row) for row in rows}) == 1  # the same columns


def test_reviews_of_another_run_are_not_taken(out):
    add(out, review())
    (out / "manifest.json").write_text('{"schema": 1, "other": true}\n')
    with pytest.raises(FormatError, match="another run"):
        read(out)
    before = (out / "review.json").read_bytes()
    with pytest.raises(FormatError, match="another run"):
        add(out, review("B"))
    assert (out / "review.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{", '{"schema": 2}', '{"schema": 1, "manifest_sha256": "x", "more": 1}']
)
def test_a_broken_file_is_refused_and_stays(out, text):
    (out / "review.json").write_text(text)
    with pytest.raises(FormatError, match="do not parse"):
        add(out, review())
    assert (out / "review.json").read_text() == text


def test_no_run_no_review(tmp_path):
    assert read(tmp_path) is None
    with pytest.raises(FormatError, match=r"no manifest\.json"):
        add(tmp_path, review())
    assert not any(tmp_path.iterdir())


def test_of_many_readers_at_one_time_none_is_lost(out):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add(out, review(f"R{n}")), range(24)))
    assert {r.reader for r in read(out).reviews} == {f"R{n}" for n in range(24)}


LOOP = """
import itertools, sys
from pathlib import Path
from rtplan.case.review import Review, StructureScore
from rtplan.case.review_save import add
for n in itertools.count():
    score = StructureScore(name="Rectum", score=4, remark="x" * 2000)
    add(Path(sys.argv[1]), Review(reader="A", time="2026-03-01T12:00:00Z", structures=(score,)))
    print(n, flush=True)
"""


def test_the_file_is_whole_at_every_moment_and_after_a_kill(out):
    long = tuple(review(score=4, remark="x" * 2000) for _ in range(500))  # so that writing takes its time
    first = ReviewFile(schema=1, manifest_sha256=run_of(out), history=long)
    path = out / "review.json"
    path.write_text(first.as_json())
    for _ in range(2):
        call = [sys.executable, "-c", LOOP, str(out)]
        with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            end = time.monotonic() + 0.4
            while time.monotonic() < end:
                assert path.read_bytes().endswith(b"}\n")
            process.send_signal(signal.SIGKILL)
            saved = 1 + len(process.stdout.read().splitlines())
        found = read(out)
        assert len(found.reviews) + len(found.history) >= saved + len(long)
    add(out, review("B"))
    assert {p.name for p in out.iterdir()} == {"manifest.json", "review.json"}  # nothing is left beside it


def test_a_folder_that_cannot_be_written_is_refused():
    proc = Path("/proc/self")
    if not proc.is_dir():
        pytest.skip("no /proc, where nobody can write")
    with pytest.raises(OutputError, match="cannot be saved"):
        demand_writable(proc)


def test_a_run_with_reviews_is_not_overwritten(out):
    refuse_occupied(out, overwrite=True)
    add(out, review())
    with pytest.raises(OutputError, match="would be lost"):
        refuse_occupied(out, overwrite=True)
