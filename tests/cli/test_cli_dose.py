"""rtplan dose through its files: the reference point in water, a plan read back, refusals and exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from rtplan import resources
from rtplan.cli import DONE, REFUSED, WRONG_CALL, main
from rtplan.domain import Dose, Grid, Identity, Image, Mask, Plan, Prescription
from rtplan.imaging.body import body_mask
from rtplan.io.image_write import write_series
from rtplan.io.nifti import read_volume, write_volume
from rtplan.io.rtplan_write import write
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.openfield import open_field

GRID = Grid.axial((40, 80, 60), (5.0, 4.0, 5.0), (-147.5, -38.0, -97.5))


@pytest.fixture(scope="module")
def tank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Water with its surface at y = 0, air in front of it."""
    y = GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1))[..., 1]
    x = GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1))[..., 0]
    water = (y > 0) & (y < 250) & (np.abs(x) < 140)
    path = tmp_path_factory.mktemp("tank") / "tank.nii.gz"
    return write_volume(Image(GRID, np.where(water, 0.0, -1000.0)), path)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in arguments])
    return int(leave.value.code or 0)


def test_open_field_gives_one_gray_at_the_reference_point(
    tank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.mha"
    field = ("--open-field", "100x100", "--gantry", 0, "--isocentre", "0,100,0", "--mu", 100)
    assert call("dose", tank, *field, "--grid", 4, "--out", out, "--json") == DONE
    said = json.loads(capsys.readouterr().out)
    assert said["findings"][0]["unit"] == "Gy"
    dose = read_volume(out, kind="dose")
    assert isinstance(dose, Dose)
    index = np.round(dose.grid.to_index([0.0, 100.0, 0.0])).astype(int)
    nearest = dose.grid.to_patient(index)
    assert dose.array[tuple(index)] == pytest.approx(1.0, abs=0.02)
    assert abs(nearest[1] - 100.0) <= 2.0


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--open-field", "100x100"], WRONG_CALL),
        (["--open-field", "wide", "--isocentre", "0,100,0"], WRONG_CALL),
        (["--open-field", "100x100", "--isocentre", "0,100"], WRONG_CALL),
        ([], WRONG_CALL),
        (["--open-field", "100x100", "--isocentre", "0,-500,0"], REFUSED),
        (["--open-field", "100x100", "--isocentre", "0,100,0", "--mu", "-3"], REFUSED),
        (["--open-field", "100x100", "--isocentre", "0,100,0", "--machine", "nonsense"], REFUSED),
        (["--plan", "absent.dcm"], REFUSED),
    ],
)
def test_bad_calls_leave_nothing(
    tank: Path, tmp_path: Path, options: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.nii.gz"
    assert call("dose", tank, *options, "--out", out) == code
    assert not out.exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_missing_image_and_a_wrong_ending_are_refused(tank: Path, tmp_path: Path) -> None:
    field = ("--open-field", "100x100", "--isocentre", "0,100,0")
    assert call("dose", tmp_path / "absent.nii.gz", *field, "--out", tmp_path / "d.nii.gz") == REFUSED
    assert call("dose", tank, *field, "--out", tmp_path / "d.txt") == WRONG_CALL


def test_a_written_plan_gives_the_dose_of_its_beams(tank: Path, tmp_path: Path) -> None:
    beam = open_field((60, 80), (0.0, 100.0, 5.0), mu=250.0, gantry_deg=30.0)
    made = Plan(Prescription({"PTV": 10.0}, 5), (beam,))
    write(made, tmp_path / "rp.dcm", identity=Identity(patient_id="A"))
    out = tmp_path / "d.mha"
    assert call("dose", tank, "--plan", tmp_path / "rp.dcm", "--grid", 8, "--out", out) == DONE
    found = read_volume(out, kind="dose")
    image = read_volume(tank, kind="CT")
    assert isinstance(image, Image)
    engine = Engine(load_beam("generic_6mv"), load_curve("matrad_default"))
    wanted = engine.calculate([beam], [image], body_mask(image), found.grid)[0]
    np.testing.assert_allclose(found.array, wanted.array, rtol=1e-4, atol=1e-4)


def test_a_plan_of_another_frame_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = Grid.axial((6, 8, 8), (5.0, 5.0, 5.0), (-20.0, -20.0, -15.0), "2.25.7")
    image = Image(grid, np.zeros(grid.shape), "CT")
    write_series(image, tmp_path / "ct", Identity("P"), description="CT")
    plan = clinical_plan(tmp_path / "rp.dcm", frame="2.25.8")
    assert call("dose", tmp_path / "ct", "--plan", plan, "--out", tmp_path / "b.mha") == REFUSED
    said = capsys.readouterr().err
    assert "2.25.8" in said
    assert "2.25.7" in said


def clinical_plan(
    path: Path,
    *,
    energy: float = 6.0,
    wedge: bool = False,
    frame: str = "",
    patient: str = "",
    mu: float = 20.0,
) -> Path:
    """Write a plan of one square field by jaws with bare pydicom: 5 fractions of 20 MU."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.481.5", "1.2.3", "RTPLAN"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, "1.2.3"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.RTPlanLabel = "1.2.4", "1.2.5", "field"
    ds.FrameOfReferenceUID, ds.PatientID = frame, patient
    first, last, jaw_x, jaw_y, device_x, device_y = (Dataset() for _ in range(6))
    for device, jaw, kind in ((device_x, jaw_x, "ASYMX"), (device_y, jaw_y, "ASYMY")):
        device.RTBeamLimitingDeviceType, device.NumberOfLeafJawPairs = kind, 1
        jaw.RTBeamLimitingDeviceType, jaw.LeafJawPositions = kind, [-50, 50]
    first.ControlPointIndex, first.CumulativeMetersetWeight, first.NominalBeamEnergy = 0, 0, energy
    first.GantryAngle, first.BeamLimitingDeviceAngle, first.PatientSupportAngle = 0, 0, 0
    first.IsocenterPosition = [0, 100, 0]
    first.BeamLimitingDevicePositionSequence = Sequence([jaw_x, jaw_y])
    last.ControlPointIndex, last.CumulativeMetersetWeight = 1, 1
    beam, group, referenced = Dataset(), Dataset(), Dataset()
    beam.BeamNumber, beam.BeamName, beam.RadiationType, beam.BeamType = 1, "AP", "PHOTON", "STATIC"
    beam.PrimaryDosimeterUnit, beam.FinalCumulativeMetersetWeight = "MU", 1
    beam.BeamLimitingDeviceSequence = Sequence([device_x, device_y])
    beam.ControlPointSequence = Sequence([first, last])
    if wedge:
        beam.WedgeSequence = Sequence([Dataset()])
    referenced.ReferencedBeamNumber, referenced.BeamMeterset = 1, mu
    group.FractionGroupNumber, group.NumberOfFractionsPlanned = 1, 5
    group.ReferencedBeamSequence = Sequence([referenced])
    ds.FractionGroupSequence, ds.BeamSequence = Sequence([group]), Sequence([beam])
    ds.save_as(path, enforce_file_format=True)
    return path


def test_a_clinical_plan_of_jaws_gives_the_dose_of_the_open_field(
    tank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    field = ("--open-field", "100x100", "--isocentre", "0,100,0", "--mu", 100)
    assert call("dose", tank, *field, "--grid", 6, "--out", tmp_path / "a.mha") == DONE
    plan = clinical_plan(tmp_path / "rp.dcm")
    capsys.readouterr()
    assert call("dose", tank, "--plan", plan, "--grid", 6, "--out", tmp_path / "b.mha", "--json") == DONE
    said = json.loads(capsys.readouterr().out)
    assert [n["code"] for n in said["notices"]] == ["PLAN_APERTURES_IDEAL", "PLAN_MACHINE_UNMAPPED"]
    one, other = (read_volume(tmp_path / name, kind="dose").array for name in ("a.mha", "b.mha"))
    np.testing.assert_allclose(other, one, atol=2e-3 * one.max())


@pytest.mark.parametrize(
    ("more", "words"),
    [({"energy": 15.0}, "15.0 MV"), ({"wedge": True}, "a wedge"), ({"mu": -20.0}, "units are negative")],
)
def test_a_clinical_plan_that_the_beam_file_cannot_give_is_refused(
    tank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, float], words: str
) -> None:
    plan = clinical_plan(tmp_path / "rp.dcm", **more)
    assert call("dose", tank, "--plan", plan, "--out", tmp_path / "b.mha") == REFUSED
    assert words in capsys.readouterr().err
    assert not (tmp_path / "b.mha").exists()


def own_machine(folder: Path, *lines: str) -> Path:
    """The shipped machine under another name, with more lines before its first table."""
    text = resources.find("models/beams", "generic_6mv").read_text(encoding="utf-8")
    path = folder / "own.toml"
    head = "\n".join(['name = "own_6mv"', *lines])
    path.write_text(text.replace('name = "generic_6mv"', head, 1), encoding="utf-8")
    return path


def test_a_beam_file_by_its_path_that_is_said_to_be_the_machine(
    tank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = own_machine(
        tmp_path,
        'machine_names = [""]',
        "collimation = {jaw_transmission = 0.002}",
        "collimator_scatter = {side_mm = [50.0, 200.0], factor = [0.97, 1.02]}",
    )
    plan = clinical_plan(tmp_path / "rp.dcm")
    options = ("--plan", plan, "--machine", own, "--grid", 8, "--out", tmp_path / "b.mha", "--json")
    assert call("dose", tank, *options) == DONE
    assert json.loads(capsys.readouterr().out)["notices"] == []
    half = own_machine(tmp_path, 'machine_names = [""]', "collimation = {jaw_transmission = 0.002}")
    again = ("--plan", plan, "--machine", half, "--grid", 8, "--out", tmp_path / "c.mha", "--json")
    assert call("dose", tank, *again) == DONE
    (notice,) = json.loads(capsys.readouterr().out)["notices"]
    assert (notice["code"], notice["severity"]) == ("PLAN_APERTURES_IDEAL", "warn")
    assert "head scatter" in notice["message"]
    assert "transmission" not in notice["message"]
    field = ("--open-field", "100x100", "--isocentre", "0,100,0", "--machine", half, "--grid", 8)
    assert call("dose", tank, *field, "--out", tmp_path / "a.mha") == DONE


def test_both_algorithms_by_name_and_no_other(tank: Path, tmp_path: Path) -> None:
    field = ("--open-field", "60x60", "--isocentre", "0,100,0", "--grid", 10)
    assert call("dose", tank, *field, "--algorithm", "cone", "--out", tmp_path / "c.mha") == DONE
    assert call("dose", tank, *field, "--out", tmp_path / "p.mha") == DONE
    cone, pencil = (read_volume(tmp_path / name, kind="dose").array for name in ("c.mha", "p.mha"))
    assert not np.array_equal(cone, pencil)
    assert cone.max() == pytest.approx(pencil.max(), rel=0.05)
    assert call("dose", tank, *field, "--algorithm", "monte", "--out", tmp_path / "m.mha") == REFUSED


def test_hu_beyond_the_curve_and_a_cropped_image_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = Grid.axial((16, 16, 16), (10.0, 10.0, 10.0), (-75.0, 5.0, -75.0))
    hu = np.zeros(grid.shape)
    hu[4:8, 4:8, 4:8] = 12000.0
    image = write_volume(Image(grid, hu), tmp_path / "metal.nii.gz")
    write_volume(Mask(grid, np.ones(grid.shape, bool)), tmp_path / "body.nii.gz")
    field = ("--open-field", "50x50", "--isocentre", "0,80,0", "--grid", 10)
    body = ("--body", tmp_path / "body.nii.gz")
    assert call("dose", image, *field, *body, "--out", tmp_path / "d.mha", "--json") == DONE
    said = json.loads(capsys.readouterr().out)["notices"]
    assert [n["code"] for n in said] == ["HU_BEYOND_CURVE", "BEAM_CROSSES_CROP"]


def test_a_plan_for_another_patient_is_refused_without_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = Grid.axial((6, 8, 8), (5.0, 5.0, 5.0), (-20.0, -20.0, -15.0), "2.25.7")
    image = Image(grid, np.zeros(grid.shape), "CT")
    write_series(image, tmp_path / "ct", Identity("P"), description="CT")
    plan = clinical_plan(tmp_path / "rp.dcm", frame="2.25.7", patient="Q")
    assert call("dose", tmp_path / "ct", "--plan", plan, "--out", tmp_path / "b.mha") == REFUSED
    said = capsys.readouterr().err
    assert "another patient" in said
    assert "'Q'" not in said
    assert not (tmp_path / "b.mha").exists()
