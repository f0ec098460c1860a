"""rtplan diff: runs and cohorts from their folders, what it prints, how it ends."""

import dataclasses
import json
import shutil

import pytest

from rtplan.case.manifest import DataFile, Input, Manifest, StepRecord, Weights
from rtplan.case.tables import write_findings
from rtplan.cli import main
from rtplan.domain import Finding, Notice, Patient

GOAL = Finding(
    "V57Gy[%]", 12.0, "%", "EvaluateProtocol", arm="CT", structure="[red]Rectum", verdict="met", limit="<= 15"
)
DOSE = Finding("Mean[Gy]", 31.5, "Gy", "EvaluateProtocol", arm="CT", structure="Bladder")


def write_run(folder, *findings, notices=(), seconds=1.0, **changed):
    folder.mkdir(parents=True)
    write_findings(Patient(findings=findings, notices=notices), folder)
    facts = {
        "rtplan_version": "0.1.0",
        "command": "run",
        "settings": {"protocol": "p", "margins": {"PTV": 5}},
        "seed": 1,
        "device": "cpu",
        "threads": 2,
        "versions": {"numpy": "2.4"},
        "inputs": (Input(uid="1.2", sha256="ab" * 32, role="CT"),),
        "weights": (Weights(name="net", sha256="cd" * 32),),
        "data_files": (DataFile(path="protocols/p.toml", sha256="ef" * 32),),
        "steps": (StepRecord(name="Register", settings={"step": 2}, seconds=seconds, peak_mib=9.0),),
        "outputs": (),
    } | changed
    manifest = Manifest(schema=1, **facts)
    (folder / "manifest.json").write_text(manifest.model_dump_json(by_alias=True), encoding="utf-8")
    return folder


def called(*words):
    with pytest.raises(SystemExit) as left:
        main(["diff", *map(str, words)])
    return left.value.code


@pytest.fixture
def pair(tmp_path):
    moved = dataclasses.replace(GOAL, value=15.5, verdict="missed"), dataclasses.replace(DOSE, value=31.6)
    a = write_run(tmp_path / "a", GOAL, DOSE)
    changed = {"settings": {"protocol": "q", "margins": {"PTV": 7}}, "versions": {"numpy": "2.5"}, "seed": 2}
    b = write_run(tmp_path / "b", *moved, notices=(Notice("NEW_ONE", "warn", "Look [here]."),), **changed)
    return a, b


def test_the_same_run_twice_is_the_same_and_times_do_not_count(tmp_path, capsys):
    a = write_run(tmp_path / "a", GOAL, DOSE)
    b = write_run(tmp_path / "b", DOSE, GOAL, seconds=99.0)
    assert called(a, b, "--strict") == 0
    assert "The results are the same: 2 findings within tolerance" in " ".join(
        capsys.readouterr().out.split()
    )


def test_what_changed_is_printed_with_names_as_they_are(pair, capsys):
    assert called(*pair) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        *("protocol", "margins.PTV", "numpy", "met → missed", "[red]Rectum", "+0.1 Gy", "100 × tolerance"),
        "Notice only in B: NEW_ONE: Look [here].",
        "1 verdict changed, 1 value changed, 1 notice in one alone",
    ):
        assert words in said


@pytest.mark.parametrize(("more", "code"), [([], 3), (["--tolerance", "Gy=0.2"], 3)])
def test_strict_ends_with_3_where_results_differ(pair, more, code):
    assert called(*pair, "--strict", *more) == code


def test_a_tolerance_from_a_file_or_a_word(tmp_path):
    a = write_run(tmp_path / "a", DOSE)
    b = write_run(tmp_path / "b", dataclasses.replace(DOSE, value=31.6))
    table = tmp_path / "tolerances.toml"
    table.write_text("Gy = 0.2\n")
    assert called(a, b, "--strict") == 3
    assert called(a, b, "--strict", "--tolerance", table) == 0
    assert called(a, b, "--strict", "--tolerance", "Gy=0.2") == 0
    assert called(a, b, "--strict", "--tolerance", table, "--tolerance", "Gy=0.05") == 3
    for wrong in ("Gy", "Gy=x", str(tmp_path / "none.toml")):
        assert called(a, b, "--tolerance", wrong) == 2


def test_json_has_findings_notices_facts_and_counts(pair, capsys):
    assert called(*pair, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {f["metric"]: round(f["value"], 3) for f in told["findings"]} == {"V57Gy[%]": 3.5, "Mean[Gy]": 0.1}
    assert told["findings"][0]["detail"]["before"]["verdict"] == "met"
    assert [n["code"] for n in told["notices"]] == ["NEW_ONE"]
    assert told["counts"] == {"same": 0, "verdict": 1, "lost": 0, "new": 0, "value": 1, "other": 0}
    assert not told["same_results"]
    assert {(f["section"], f["name"]) for f in told["facts"]} == {
        ("rtplan", "seed"), ("settings", "protocol"), ("settings", "margins.PTV"), ("versions", "numpy"),
    }  # fmt: skip


def test_cohorts_are_compared_patient_by_patient(tmp_path, capsys):
    for side, value in (("a", 31.5), ("b", 31.7)):
        for key in ("p1", "p2"):
            write_run(
                tmp_path / side / "patients" / key,
                dataclasses.replace(DOSE, value=value if key == "p2" else 31.5),
            )
    write_run(tmp_path / "b" / "patients" / "p3", DOSE)
    assert called(tmp_path / "a", tmp_path / "b", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(f["patient"], f["detail"]["change"]) for f in told["findings"]] == [
        ("p3", "new"),
        ("p2", "value"),
    ]
    patients = [f for f in told["facts"] if f["section"] == "patients"]
    assert patients == [{"section": "patients", "name": "p3", "before": None, "after": "finished"}]
    assert called(tmp_path / "a", tmp_path / "b") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "+0.2 Gy" in said
    assert "1 value changed" in said


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: shutil.rmtree(out), "no finished run"),
        (lambda out: (out / "manifest.json").write_text("{"), "does not parse"),
        (lambda out: (out / "findings.json").write_text("{}"), "cannot be read"),
        (lambda out: (out / "notices.json").unlink(), "not there"),
        (lambda out: (out / "patients").mkdir(), "No patient"),
    ],
)
def test_what_is_no_result_is_refused(pair, capsys, spoil, said):
    spoil(pair[1])
    assert called(*pair) == 1
    assert said in capsys.readouterr().err


def test_a_run_is_not_compared_with_a_cohort(tmp_path, capsys):
    a = write_run(tmp_path / "a", DOSE)
    write_run(tmp_path / "b" / "patients" / "p", DOSE)
    assert called(a, tmp_path / "b") == 1
    assert "two studies or batches" in capsys.readouterr().err
