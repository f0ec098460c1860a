"""A folder becomes one patient by rules that are said; what is doubtful is refused or noticed."""

import shutil

import numpy as np
import pydicom
import pytest

from rtplan.domain import (
    Beam,
    Dose,
    Fluence,
    Grid,
    Identity,
    Image,
    Mask,
    Patient,
    Plan,
    Prescription,
    Registration,
    Source,
    Structure,
)
from rtplan.errors import DicomError, OutputError, RtplanError
from rtplan.imaging.contour import mask_on
from rtplan.io.header import CLASS_UIDS
from rtplan.io.index import index, pseudonym
from rtplan.io.modules import Stamp
from rtplan.io.patient import read_patient, write_patient
from rtplan.io.preflight import preflight

RNG = np.random.default_rng(8)


def block(shape=(5, 6, 7), kind=np.int16):
    return RNG.integers(0, 1500, shape).astype(kind)


def codes(patient):
    return [notice.code for notice in patient.notices]


def mr(position="HFS", echo=100.0, repetition=5000.0, **more):
    def change(ds, k):
        ds.ScanningSequence, ds.EchoTime, ds.RepetitionTime = "SE", echo, repetition
        ds.PatientPosition, ds.SeriesDescription = position, "series"
        for keyword, value in more.items():
            setattr(ds, keyword, value)

    return change


def test_ct_mr_and_structures_of_one_patient(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    bare.series(tmp_path / "mr", block(kind=np.uint16), kind="MR", uid="1.2.826.0.1.99.6", change=mr())
    ring = bare.square(-27, 0, 5)
    bare.rtstruct(tmp_path / "rs.dcm", [("Harnblase", "ORGAN", [("CLOSED_PLANAR", ring)])])
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty.dcm").write_bytes(b"")
    patient = read_patient(tmp_path)
    assert set(patient.images) == {"CT", "T2w"}
    assert list(patient.structures) == ["Bladder"]
    assert patient.key == pseudonym(bare.person)
    assert patient.identity.patient_id == bare.person
    assert bare.person not in repr(patient.identity) + str(patient.notices)
    assert codes(patient) == ["FILE_UNREADABLE"]
    assert patient.notices[0].file.endswith("empty.dcm")


@pytest.mark.parametrize(
    ("change", "role"),
    [
        (mr(), "T2w"),
        (mr(echo=8, repetition=600), "T1w"),
        (mr(ImageType=["DERIVED", "PRIMARY", "M", "W"]), "Dixon_W"),
        (mr(ImageType=["DERIVED", "PRIMARY", "FAT"]), "Dixon_F"),
        (mr(ImageType=["DERIVED", "PRIMARY", "OPP_PHASE"]), "Dixon_OP"),
        (mr(echo=None, repetition=None), "MR"),
        (mr(echo=None, repetition=None, SeriesDescription="t2_tse_tra"), "T2w"),
        (mr(echo=None, repetition=None, SeriesDescription="IBSI_MR_T1_image"), "T1w"),
        (mr(echo=None, repetition=None, SeriesDescription="T1_vibe_dixon_in"), "Dixon_IP"),
    ],
)
def test_the_role_of_an_mr(bare, tmp_path, change, role):
    bare.series(tmp_path / "mr", block(kind=np.uint16), kind="MR", change=change)
    assert list(read_patient(tmp_path).images) == [role]


def test_two_patients_are_refused_without_naming_them(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    bare.series(
        tmp_path / "mr", block(kind=np.uint16), kind="MR", uid="1.2.826.0.1.99.6", person="SECRET-ID-78"
    )
    with pytest.raises(DicomError, match="2 patients") as refused:
        read_patient(tmp_path)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("kind", ["RTSTRUCT", "RTPLAN", "RTDOSE", "REG"])
def test_an_rt_object_of_another_patient_is_refused_by_both_doors(bare, tmp_path, kind):
    bare.series(tmp_path / "ct", block())
    if kind == "RTSTRUCT":
        rois = [("Bladder", "ORGAN", [("CLOSED_PLANAR", bare.square(-27, 0, 5))])]
        bare.rtstruct(tmp_path / "x.dcm", rois, person="SECRET-ID-78")
    else:
        ds = bare.start("RTPLAN", "1.2.7", "1.2.8", person="SECRET-ID-78")
        ds.SOPClassUID, ds.Modality = CLASS_UIDS[kind], kind
        ds.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(DicomError, match="2 patients") as refused:
        read_patient(tmp_path)
    said = [n for n in preflight(tmp_path).notices if n.code == "PATIENTS_SEVERAL"]
    assert [n.severity for n in said] == ["refuse"]
    assert kind in said[0].message
    assert "SECRET" not in str(refused.value) + said[0].message
    assert str(tmp_path) not in refused.value.without_place  # a path may bear a name
    assert str(tmp_path / "x.dcm") in str(refused.value)


def test_a_plan_and_a_dose_of_another_frame_are_left_out(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    bare.rtdose(tmp_path / "rd.dcm", block((4, 5, 6), np.uint16), frame="1.7.7")
    patient = read_patient(tmp_path)
    assert not patient.doses
    assert codes(patient) == ["DOSE_OTHER_FRAME"]
    assert ("DOSE_OTHER_FRAME", "warn") in [(n.code, n.severity) for n in preflight(tmp_path).notices]


def test_one_identifier_with_two_birth_dates_is_refused(bare, tmp_path):
    def other(ds, k):
        ds.PatientBirthDate = "19600101"

    bare.series(tmp_path / "ct", block())
    bare.series(tmp_path / "mr", block(kind=np.uint16), kind="MR", uid="1.2.826.0.1.99.6", change=other)
    with pytest.raises(DicomError, match="PatientBirthDate differs") as refused:
        read_patient(tmp_path)
    assert "1960" not in str(refused.value)


def test_the_larger_series_is_chosen_and_said_or_asked_for(bare, tmp_path):
    large = block((8, 6, 7))
    bare.series(tmp_path / "a", block(), uid="1.2.826.0.1.99.6")
    bare.series(tmp_path / "b", large, uid="1.2.826.0.1.99.7")
    patient = read_patient(tmp_path)
    np.testing.assert_array_equal(patient.images["CT"].array, large)
    assert codes(patient) == ["SERIES_CHOSEN"]
    asked = read_patient(tmp_path, series=["1.2.826.0.1.99.6"])
    assert asked.images["CT"].grid.shape == (5, 6, 7)


def test_localisers_and_diffusion_are_passed_over(bare, tmp_path):
    bare.series(tmp_path / "a", block(kind=np.uint16), kind="MR", change=mr())
    localiser = mr(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    bare.series(
        tmp_path / "b", block((3, 6, 7), np.uint16), kind="MR", uid="1.2.826.0.1.99.6", change=localiser
    )
    diffusion = mr(SeriesDescription="ep2d_diff_ADC")
    bare.series(
        tmp_path / "c", block((9, 6, 7), np.uint16), kind="MR", uid="1.2.826.0.1.99.7", change=diffusion
    )
    patient = read_patient(tmp_path)
    assert patient.images["T2w"].grid.shape == (5, 6, 7)
    assert codes(patient) == ["SERIES_PASSED_OVER", "SERIES_PASSED_OVER"]


def test_a_broken_ct_beside_a_good_mr_is_refused(bare, tmp_path):
    bare.series(tmp_path / "ct", block())[2].unlink()
    bare.series(tmp_path / "mr", block(kind=np.uint16), kind="MR", uid="1.2.826.0.1.99.6", change=mr())
    with pytest.raises(DicomError, match="missing"):
        read_patient(tmp_path)


def test_contradicting_positions_of_one_frame_are_a_warning_with_both_facts(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    bare.series(tmp_path / "mr", block(kind=np.uint16), kind="MR", uid="1.2.826.0.1.99.6", change=mr("FFS"))
    (notice,) = read_patient(tmp_path).notices
    assert (notice.code, notice.severity) == ("FOR_POSITION_CONFLICT", "warn")
    assert "CT say HFS" in notice.message
    assert "T2w say FFS" in notice.message


def test_structures_of_another_frame(bare, tmp_path):
    bare.series(tmp_path / "in" / "ct", block())
    ring = bare.square(-27, 0, 5)
    rois = [("Bladder", "ORGAN", [("CLOSED_PLANAR", ring)])]
    foreign = bare.rtstruct(tmp_path / "in" / "rs.dcm", rois, frame="1.7.7")
    patient = read_patient(tmp_path / "in")
    assert codes(patient) == ["STRUCTURES_OTHER_FRAME"]
    assert not patient.structures
    with pytest.raises(DicomError, match=r"1\.7\.7") as refused:
        read_patient(tmp_path / "in", structures=foreign)
    assert bare.frame in str(refused.value)
    good = bare.rtstruct(tmp_path / "rs2.dcm", rois)
    assert list(read_patient(tmp_path / "in", structures=good).structures) == ["Bladder"]


def test_the_latest_structure_set_of_a_series_is_taken(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    old, new = bare.square(-27, 0, 3), bare.square(-27, 0, 6)
    bare.rtstruct(tmp_path / "a.dcm", [("Bladder", "ORGAN", [("CLOSED_PLANAR", new)])], date="20260202")
    bare.rtstruct(
        tmp_path / "b.dcm", [("Bladder", "ORGAN", [("CLOSED_PLANAR", old)])], uid="1.2.826.0.1.99.8"
    )
    patient = read_patient(tmp_path)
    assert np.ptp(patient.structures["Bladder"].region.rings[0][:, 0]) == 6
    assert codes(patient) == ["STRUCTURES_CHOSEN"]


def test_slices_that_the_structures_saw_are_missed(bare, tmp_path):
    paths = bare.series(tmp_path / "ct", block())
    images = [f"1.2.826.0.1.99.3.{k + 1}" for k in range(5)]
    paths[-1].unlink()  # at the end: the stack stays regular
    rois = [("Bladder", "ORGAN", [("CLOSED_PLANAR", bare.square(-27, 0, 5))])]
    bare.rtstruct(tmp_path / "rs.dcm", rois, images=images)
    (notice,) = read_patient(tmp_path).notices
    assert notice.code == "SERIES_INCOMPLETE"
    assert "1 of them" in notice.message


def test_of_several_doses_that_of_the_plan_is_taken_or_none(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    values = block((4, 5, 6), np.uint32)
    bare.rtdose(tmp_path / "beam.dcm", values, summation="BEAM", uid="1.2.826.0.1.99.51")
    whole = bare.rtdose(tmp_path / "plan.dcm", values)
    patient = read_patient(tmp_path)
    assert list(patient.doses) == ["TPS"]
    assert codes(patient) == ["DOSE_CHOSEN"]
    ds = pydicom.dcmread(whole)
    ds.SOPInstanceUID = "1.2.826.0.1.99.52"
    ds.save_as(tmp_path / "plan2.dcm")
    patient = read_patient(tmp_path)
    assert not patient.doses
    assert set(codes(patient)) == {"DOSE_SEVERAL"}


def test_frames_that_nothing_links_are_said(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    change = mr(FrameOfReferenceUID="1.2.826.0.1.99.9")
    bare.series(tmp_path / "mr", block(kind=np.uint16), kind="MR", uid="1.2.826.0.1.99.6", change=change)
    assert codes(read_patient(tmp_path)) == ["FRAMES_UNLINKED"]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "山田^太郎"),
        ("ISO_IR 144", "Иванов^Пётр"),
        ("ISO_IR 126", "Διονυσίου^Άννα"),
        ("ISO_IR 101", "Gruczoł"),
    ],
)
def test_names_of_every_script_come_through(bare, tmp_path, charset, name):
    def change(ds, k):
        ds.SpecificCharacterSet, ds.PatientName = charset, name

    bare.series(tmp_path / "in", block(), change=change)
    patient = read_patient(tmp_path / "in")
    assert patient.identity.name == name
    write_patient(patient, tmp_path / "out")
    assert read_patient(tmp_path / "out").identity.name == name


def test_a_broken_plan_is_left_out_and_a_broken_structure_set_is_refused(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    ds = bare.start("RTPLAN", "1.2.7", "1.2.8")
    item = pydicom.Dataset()
    item.BeamNumber = 1
    ds.BeamSequence = pydicom.Sequence([item])
    ds.save_as(tmp_path / "rp.dcm", enforce_file_format=True)
    assert codes(read_patient(tmp_path)) == ["PLAN_LEFT_OUT"]
    path = bare.rtstruct(tmp_path / "rs.dcm", [("A", "ORGAN", [("CLOSED_PLANAR", bare.square(-27, 0, 5))])])
    ds = pydicom.dcmread(path)
    ds.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints = 9
    ds.save_as(path)
    with pytest.raises(DicomError, match=r"rs\.dcm"):
        read_patient(tmp_path)


def test_bad_folders(tmp_path):
    with pytest.raises(DicomError, match="no such folder"):
        read_patient(tmp_path / "nowhere")
    with pytest.raises(DicomError, match="no DICOM file"):
        read_patient(tmp_path)
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00")
    with pytest.raises(DicomError, match="can be read"):
        read_patient(tmp_path)


def test_structures_alone_are_no_patient(bare, tmp_path):
    bare.rtstruct(tmp_path / "rs.dcm", [("A", "ORGAN", [("CLOSED_PLANAR", bare.square(-27, 0, 5))])])
    with pytest.raises(DicomError, match="no CT or MR series"):
        read_patient(tmp_path)


def test_an_unreadable_file_is_said(bare, tmp_path):
    bare.series(tmp_path / "ct", block())
    (tmp_path / "ct" / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00")
    assert codes(read_patient(tmp_path)) == ["FILE_UNREADABLE"]


def test_pseudonyms_depend_on_the_salt():
    assert pseudonym("P1") != pseudonym("P2")
    assert pseudonym("P1", "a") != pseudonym("P1", "b")
    assert len(pseudonym("P1")) == 12


def whole_patient():
    shape = (12, 20, 24)
    ct = Grid.axial(shape, (2.5, 2.0, 1.5), (-17.25, -19.0, -100.0), "2.25.123")
    other = Grid(shape, ct.affine, "2.25.124")
    z, y, x = np.indices(shape)
    radius = np.sqrt(((z - 6) * 2.5) ** 2 + ((y - 10) * 2) ** 2 + ((x - 12) * 1.5) ** 2)
    hu = np.rint(np.where(radius < 14, 30, -950) + RNG.normal(0, 10, shape))
    facts = {
        "echo_time_ms": 100.0,
        "repetition_time_ms": 5000.0,
        "scanning_sequence": "SE",
        "field_strength_t": 3.0,
    }
    t2w = Image(other, RNG.integers(0, 900, shape), "MR", Source(acquisition=facts))
    water = Image(other, RNG.integers(0, 900, shape), "MR", Source(acquisition={"image_type": "A\\B\\M\\W"}))
    images = {"CT": Image(ct, hu, "CT"), "T2w": t2w, "Dixon_W": water}
    images |= {
        arm: Image(ct, hu * 0 + n, "CT", Source(description=f"made as {arm}"))
        for n, arm in enumerate(("CT0", "SynCT"))
    }
    regions = {
        "External": ("EXTERNAL", radius < 14),
        "PTVp_7700": ("PTV", radius < 8),
        "Bladder": ("ORGAN", radius > 99),
    }
    structures = {n: Structure(n, k, Mask(ct, m)) for n, (k, m) in regions.items()}
    beams = tuple(
        Beam(f"G{a}", a, (0.0, 1.0, -85.0), Fluence(RNG.uniform(0, 9, (8, 9)), 5.0, (-20.0, -17.5)))
        for a in (0.0, 90.0)
    )
    plan = Plan(Prescription({"PTVp_7700": 77.0}, 35), beams)
    doses = {arm: Dose(ct, RNG.uniform(0, 80, shape), fractions=35) for arm in ("CT", "CT0")}
    doses["CT_EQD2"] = Dose(ct, RNG.uniform(0, 90, shape), kind="EQD2(3)", fractions=35)
    matrix = np.eye(4)
    matrix[:3, 3] = (1.5, -2.25, 3.0)
    link = Registration("2.25.124", "2.25.123", matrix)
    return Patient(
        "abc", images, structures, plan, doses, (link,), identity=Identity("P1", "A^B", "19500101", "M")
    )


def test_a_whole_patient_comes_back_through_dicom(tmp_path):
    before = whole_patient()
    paths = write_patient(before, tmp_path / "out")
    assert all(path.is_file() for path in paths)
    after = read_patient(tmp_path / "out")
    assert set(after.images) == set(before.images)
    for role, image in before.images.items():
        assert after.images[role].grid.same_as(image.grid), role
        np.testing.assert_array_equal(after.images[role].array, image.array)
        assert after.images[role].modality == image.modality
    assert set(after.structures) == {"External", "PTVp_7700"}  # an empty one cannot be written
    for name, structure in after.structures.items():
        mask = mask_on(structure, before.images["CT"].grid)
        np.testing.assert_array_equal(mask.array, before.structures[name].region.array)
    assert set(after.doses) == set(before.doses)
    for name, dose in before.doses.items():
        assert (after.doses[name].kind, after.doses[name].fractions) == (dose.kind, dose.fractions)
        np.testing.assert_allclose(after.doses[name].array, dose.array, atol=1e-5)
    for one, other in zip(before.plan.beams, after.plan.beams, strict=True):
        np.testing.assert_array_equal(other.fluence.mu, one.fluence.mu)
    np.testing.assert_allclose(after.registrations[0].matrix, before.registrations[0].matrix)
    assert after.images["T2w"].source.acquisition["field_strength_t"] == 3.0
    assert codes(after) == ["RANGE_SHORT"]
    said = pydicom.dcmread(paths[0])
    study = (said.StudyInstanceUID, said.StudyDate, said.StudyTime, said.StudyID)
    assert after.identity == Identity("P1", "A^B", "19500101", "M", *study)
    more = write_patient(after, tmp_path / "more", images=())
    assert more
    for path in more:  # what is added to a study bears its date and number
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        assert (ds.StudyInstanceUID, ds.StudyDate, ds.StudyTime, ds.StudyID) == study


def test_written_objects_refer_to_each_other(tmp_path):
    write_patient(whole_patient(), tmp_path / "out")
    found = index(tmp_path / "out")
    known = {entry.sop_uid for entry in found.entries}
    plan = pydicom.dcmread(tmp_path / "out" / "RP.dcm")
    dose = pydicom.dcmread(tmp_path / "out" / "RD_CT0.dcm")
    regions = pydicom.dcmread(tmp_path / "out" / "RS.dcm")
    assert plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == regions.SOPInstanceUID
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
    for contour in regions.ROIContourSequence[0].ContourSequence:
        assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID in known
    assert len({entry.study_uid for entry in found.entries}) == 1
    assert len(known) == len(found.entries)


def test_a_pseudonym_replaces_the_identity(tmp_path):
    paths = write_patient(whole_patient(), tmp_path / "out", pseudonym="P0001", images=["CT"])
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        assert (str(ds.PatientName), ds.PatientID, ds.PatientBirthDate) == ("P0001", "P0001", "")


def test_a_seed_gives_the_same_files(tmp_path):
    patient, stamp = whole_patient(), Stamp(seed="x")
    first = write_patient(patient, tmp_path / "a", stamp=stamp)
    again = write_patient(patient, tmp_path / "b", stamp=stamp)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]


def test_nothing_half_written(tmp_path, monkeypatch):
    patient = whole_patient()
    broken = Patient(
        "x",
        patient.images,
        patient.structures,
        patient.plan,
        {"CT": Dose(patient.images["CT"].grid, patient.images["CT"].array)},
    )
    with pytest.raises(RtplanError, match="negative"):
        write_patient(broken, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    write_patient(patient, tmp_path / "out")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="already"):
        write_patient(patient, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_patient(patient, tmp_path / "file" / "out")
