"""rtplan check: everything is listed, linked and judged; names of patients are never shown."""

import json

import numpy as np
import pytest

from rtplan.cli import main
from rtplan.errors import DicomError
from rtplan.io.patient import read_patient
from rtplan.io.preflight import preflight

RNG = np.random.default_rng(9)


def block(shape=(5, 6, 7)):
    return RNG.integers(0, 1500, shape).astype(np.int16)


def body(shape=(5, 40, 40)):
    """Return a disc of water in air; on pixels of 4 mm its skin is in the image all round."""
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    inside = (rows - shape[1] / 2) ** 2 + (columns - shape[2] / 2) ** 2 < (0.4 * shape[1]) ** 2
    return np.broadcast_to(np.where(inside, 0, -1000), shape).astype(np.int16)


#: Slices as thick as they lie apart, square pixels: nothing to say of a body on them.
PLAIN = {"spacing": (3.0, 4.0, 4.0), "change": lambda ds, k: setattr(ds, "SliceThickness", 3.0)}


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["check", *map(str, arguments)])
    return left.value.code


def test_a_good_folder_is_usable(bare, tmp_path, capsys):
    bare.series(tmp_path / "ct", body(), **PLAIN)
    bare.rtstruct(tmp_path / "rs.dcm", [("Bladder", "ORGAN", [("CLOSED_PLANAR", bare.square(-27, 0, 5))])])
    bare.rtdose(tmp_path / "rd.dcm", np.ones((4, 9, 16), np.uint16))
    assert run(tmp_path, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["usable"] is True
    assert [row["kind"] for row in said["objects"]] == ["CT", "RTSTRUCT", "RTDOSE"]
    assert said["objects"][0]["role"] == "CT"
    assert f"frame {bare.frame}" in said["objects"][1]["links"]
    assert [patient["studies"] for patient in said["patients"]] == [[said["objects"][0]["study"]]]
    assert said["notices"] == []
    assert "SECRET" not in json.dumps(said)


def test_a_broken_folder_is_refused_with_all_its_problems(bare, tmp_path, capsys):
    bare.series(tmp_path / "ct", body(), **PLAIN)[2].unlink()
    bare.series(tmp_path / "other", body(), uid="1.2.826.0.1.99.6", person="SECRET-ID-78", **PLAIN)
    assert run(tmp_path, "--json") == 1
    text = capsys.readouterr().out
    codes = {n["code"]: n["severity"] for n in json.loads(text)["notices"]}
    assert codes == {"PATIENTS_SEVERAL": "refuse", "SLICES_MISSING": "refuse"}
    assert "SECRET" not in text


def test_the_table_is_printed(bare, tmp_path, capsys):
    bare.series(tmp_path / "ct", block())
    (tmp_path / "ct" / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00")
    assert run(tmp_path) == 0
    said = capsys.readouterr()
    assert "FILE_UNREADABLE" in said.out
    assert "usable" in said.out
    assert "SECRET" not in said.out + said.err


def test_contours_off_the_slices_and_beyond_the_image_are_said(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    rings = [("CLOSED_PLANAR", bare.square(z, 0, 5)) for z in (-27, -25.5, 90)]
    bare.rtstruct(tmp_path / "rs.dcm", [("Bladder", "ORGAN", rings)])
    for notices in (preflight(tmp_path).notices, read_patient(tmp_path).notices):
        found = {n.code: (n.message, n.structure) for n in notices}
        assert "1 of 3" in found["CONTOURS_OFF_SLICES"][0]
        assert "1.50 mm off" in found["CONTOURS_OFF_SLICES"][0]
        assert "1 of 3" in found["CONTOURS_BEYOND_IMAGE"][0]
        assert found["CONTOURS_BEYOND_IMAGE"][1] == "Bladder"


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("FrameOfReferenceUID", "", "FRAME_MISSING"),
        ("PatientPosition", "", "POSITION_MISSING"),
        ("RescaleType", "OD", "CT_NOT_HU"),
        ("BurnedInAnnotation", "YES", "BURNED_IN"),
        ("Modality", "PT", "MODALITY_LIES"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 2, 0], "DIRECTION_BROKEN"),
        ("PixelSpacing", [0, 1], "SLICE_UNPLACED"),
        ("NumberOfFrames", 3, "SLICE_UNPLACED"),
    ],
)
def test_one_code_for_each_problem(bare, tmp_path, keyword, value, code):
    def change(ds, k):
        setattr(ds, keyword, value)

    bare.series(tmp_path / "ct", block(), change=change)
    assert code in [n.code for n in preflight(tmp_path).notices]


def test_a_missing_folder_is_one_message(tmp_path, capsys):
    assert run(tmp_path / "nowhere") == 1
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(DicomError):
        preflight(tmp_path / "nowhere")
