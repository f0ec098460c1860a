"""rtplan run: one message and one exit code for each thing that can be wrong."""

import json
import os
import shutil
import subprocess

import pytest

from rtplan import cli
from rtplan.domain import Identity
from rtplan.io.patient_write import write_patient
from rtplan.io.preflight import preflight
from rtplan.phantom.cohort import make_patient

FLAME = ("--protocol", "prostate_boost_flame")


def leave(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture(scope="module")
def pelvis():
    return make_patient("valid", 6, spacing_zyx_mm=(8.0, 5.0, 5.0), contrasts=("T2w",))


@pytest.fixture(scope="module")
def folder(pelvis, tmp_path_factory):
    place = tmp_path_factory.mktemp("in") / "patient"
    write_patient(pelvis, place)
    return place


def test_a_dry_run_says_what_would_run_and_writes_nothing(folder, tmp_path, capsys):
    assert leave("run", folder, *FLAME, "--out", tmp_path / "out", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert all("would run" in line for line in lines)
    found = {row.role: row.uid for row in preflight(folder, pixels=False).rows}
    assert leave("run", folder, *FLAME, "--out", tmp_path / "out", "--dry-run", "--series", found["T2w"]) == 0
    assert leave("run", folder, *FLAME, "--out", tmp_path / "out", "--dry-run", "--series", "1.2.3") == 1
    assert "SeriesInstanceUID that was asked for" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["missing", "empty", "not DICOM"])
def test_a_folder_without_a_patient(tmp_path, capsys, kind):
    place = tmp_path / "in"
    if kind != "missing":
        place.mkdir()
    if kind == "not DICOM":
        (place / "notes.txt").write_text("nothing")
    assert leave("run", place, *FLAME, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert told.count("rtplan:") == 1
    assert "What to do" in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_a_ct_of_another_patient_is_refused_without_telling_who(pelvis, folder, tmp_path, capsys):
    from dataclasses import replace

    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed / "a")
    other = replace(pelvis, identity=Identity(patient_id="SECRET-4711", name="Doe^Jane"))
    write_patient(other, mixed / "b")
    assert leave("run", mixed, *FLAME, "--out", tmp_path / "out", "--quiet") == 1
    told = capsys.readouterr().err
    assert "SECRET" not in told
    assert "Doe" not in told
    assert not (tmp_path / "out").exists()


def test_structures_of_another_frame_of_reference_are_refused(pelvis, folder, tmp_path, capsys):
    stranger = tmp_path / "stranger"
    write_patient(make_patient("valid", 9, spacing_zyx_mm=(8.0, 5.0, 5.0), contrasts=("T2w",)), stranger)
    code = leave(
        "run", folder, *FLAME, "--structures", stranger / "RS.dcm", "--out", tmp_path / "out", "--quiet"
    )
    assert code == 1
    assert "What to do" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_calls(folder, tmp_path, capsys):
    assert leave("run", folder, "--out", tmp_path / "out") == 2  # no protocol
    assert leave("run", folder, *FLAME, "--out", tmp_path / "out", "--nosuch") == 2
    capsys.readouterr()
    assert leave("run", folder, "--protocol", "nosuch", "--out", tmp_path / "out") == 1
    assert "prostate_chhip_60gy" in capsys.readouterr().err


def test_an_out_folder_that_is_not_empty_or_is_a_file(folder, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    for out in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        assert leave("run", folder, *FLAME, "--out", out, "--quiet") == 1
        assert "What to do" in capsys.readouterr().err
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"


@pytest.fixture
def mount(tmp_path):
    """Mount a small file system; skip where a test may not."""
    mounted = []

    def make(options):
        place = tmp_path / "mounted"
        place.mkdir()
        if not shutil.which("mount"):
            pytest.skip("there is no mount")
        call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(call, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a small file system")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_no_permission_to_write(folder, mount, capsys):
    place = mount("size=1m,ro")
    assert leave("run", folder, *FLAME, "--out", place / "out", "--quiet") == 1
    assert "where you may write" in capsys.readouterr().err
    assert os.listdir(place) == []


def test_a_disk_that_is_too_small_is_refused_before_the_work(folder, mount, capsys):
    place = mount("size=256k")
    assert leave("run", folder, *FLAME, "--out", place / "out", "--quiet") == 1
    told = capsys.readouterr().err
    assert told.count("rtplan:") == 1
    assert "free space" in told
    assert os.listdir(place) == []


def test_json_is_one_object_on_stdout(pelvis, tmp_path, capsys):
    """An MR without skin: as far as honest, exit 0, and what is missing is named."""
    image = pelvis.images["T2w"]
    z, y, x = image.grid.shape
    start, stop = (z // 3, y // 3, x // 3), (2 * z // 3, 2 * y // 3, 2 * x // 3)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part = type(image)(image.grid.crop(start, stop), image.array[box], modality="MR", source=image.source)
    from rtplan.domain import Patient

    write_patient(Patient(key="cut", images={"T2w": part}), tmp_path / "in")
    assert leave("run", tmp_path / "in", *FLAME, "--out", tmp_path / "out", "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    codes = {notice["code"] for notice in told["notices"]}
    assert {"FOV_TRUNCATED", "STEP_SKIPPED"} <= codes
    assert any("--structures" in notice["action"] for notice in told["notices"])
    assert {finding["verdict"] for finding in told["findings"]} == {"not_evaluable"}
    assert not list((tmp_path / "out" / "dicom").glob("RD_*"))
