"""De-identification: nothing planted is left in any byte, and the patient reads as before."""

import importlib.util
import itertools
import re
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import RLELossless

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
from rtplan.errors import FormatError, OutputError, RtplanError
from rtplan.io import deidentify as module
from rtplan.io import modules as md
from rtplan.io import rtdose, rtplan, rtstruct
from rtplan.io.confidentiality.keyed import Keyed
from rtplan.io.confidentiality.profile import table
from rtplan.io.confidentiality.words import cleaned, structure_name
from rtplan.io.deidentify import deidentify, read_key
from rtplan.io.image import read_series
from rtplan.io.index import index
from rtplan.io.names import load
from rtplan.io.patient import read_patient, write_patient

KEY = b"a key of the tests, not secret"
#: The person of the phantom, and everything else that must not be found afterwards.
FAMILY, GIVEN, PERSON, DOCTOR, CLINIC = "Quxmann", "Ödipusine", "QX-4711-0815", "Zwrbl", "Krhs Am Fjord"
PHONE, ADMISSION = "+49 555 0199 882", "ADM-99317"
PLANTED = (FAMILY, GIVEN, PERSON, DOCTOR, CLINIC, PHONE, ADMISSION, "19480229", "1948-02-29")
SHAPE = (6, 20, 24)


def patient():
    rng = np.random.default_rng(5)
    ct = Grid.axial(SHAPE, (3.0, 2.0, 1.5), (-12.0, -18.0, -40.0), "1.2.826.0.1.77.1")
    mr = Grid(SHAPE, ct.affine, "1.2.826.0.1.77.2")
    facts = {"echo_time_ms": 100.0, "repetition_time_ms": 5000.0, "scanning_sequence": "SE"}
    images = {
        "CT": Image(ct, np.rint(rng.normal(0, 200, SHAPE)), "CT", Source(acquisition={"kvp": 120.0})),
        "T2w": Image(mr, rng.integers(0, 900, SHAPE), "MR", Source(acquisition=facts)),
    }
    z, y, x = np.indices(SHAPE)
    ball = (z - 3) ** 2 * 4 + (y - 10) ** 2 + (x - 12) ** 2 < 60
    structures = {
        name: Structure(name, kind, Mask(ct, ball))
        for name, kind in (("PTVp_7700", "PTV"), ("Bladder", "ORGAN"), (f"{FAMILY} lesion", "ORGAN"))
    }
    fluence = Fluence(rng.uniform(0, 9, (6, 7)), 2.5, (-20.0, -17.5))
    plan = Plan(Prescription({"PTVp_7700": 77.0}, 35), (Beam("G0", 0.0, (0.0, 1.0, -5.0), fluence),))
    link = Registration(mr.frame_of_reference, ct.frame_of_reference, np.eye(4) + np.eye(4, k=3) * 1.5)
    return Patient(
        "abc",
        images,
        structures,
        plan,
        {"CT": Dose(ct, rng.uniform(0, 80, SHAPE), fractions=35)},
        (link,),
        identity=Identity(PERSON, f"{FAMILY}^{GIVEN}", "19480229", "F", "1.2.826.0.1.77.3"),
    )


def plant(ds):
    """Put the person into every kind of place."""
    ds.preamble = f"{FAMILY} in the preamble".encode().ljust(128, b" ")
    ds.file_meta.SourceApplicationEntityTitle = FAMILY
    ds.ReferringPhysicianName, ds.OperatorsName = f"{DOCTOR}^H", f"{DOCTOR}^Op"
    ds.InstitutionName, ds.InstitutionAddress, ds.PatientTelephoneNumbers = CLINIC, f"{CLINIC} 7", PHONE
    ds.OtherPatientIDs, ds.AdmissionID, ds.PatientComments = PERSON, ADMISSION, f"{FAMILY} was here"
    ds.SeriesDescription = f"{ds.get('SeriesDescription', '')} {FAMILY} 1948-02-29"
    ds.ManufacturerModelName = f"scanner of {CLINIC}"
    ds.BodyPartExamined = FAMILY.upper()
    ds.StationName, ds.DeviceSerialNumber = "Zwrbl17", f"{PERSON}/1"
    ds.add_new(0x00081155, "UI", "1.2.826.0.1.77.99")
    ds.add_new(0x00091001, "UT", f"private {FAMILY}")
    ds.add_new(0x00090010, "LO", "ACME")
    ds.add_new(0x60000010, "US", 4)
    ds.add_new(0x60003000, "OW", FAMILY.encode().ljust(20, b"\0"))
    ds.add_new(0x50002500, "LO", FAMILY)
    ds.add_new(0xFFFCFFFC, "OB", FAMILY.encode().ljust(64, b"\0"))
    ds.add_new(0x00280302, "PN", f"{FAMILY}^{GIVEN}")  # the VR lies: the dictionary says CS
    ds.add_new(0x00180091, "IS", "")
    ds.ExposureTime = None
    ds[0x00181150] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00181150), "IS", 8, FAMILY.encode().ljust(8), 0, False, True
    )
    ds.RequestAttributesSequence = Items([nested(3)])
    ds.ReferencedImageSequence = Items([nested(4)])
    ds.SourceImageSequence = Items([nested(1)])
    ds.save_as(ds.filename, enforce_file_format=False)


def nested(depth):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = md.CLASS_UIDS["CT"], "1.2.826.0.1.77.98"
    item.PersonName, item.TextValue = f"{FAMILY}^{GIVEN}", f"{FAMILY}, born 1948-02-29"
    item.add_new(0x00111001, "LO", FAMILY)
    item.PurposeOfReferenceCodeSequence = Items([md.code("121322", "DCM", "Source image")])
    if depth:
        item.ReferencedStudySequence = Items([nested(0)])
        item.ReferencedInstanceSequence = Items([nested(depth - 1)])
    return item


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deid") / f"{FAMILY}_{GIVEN}"
    write_patient(patient(), folder)
    before = read_patient(folder)
    with warnings.catch_warnings(action="ignore"), pydicom.config.disable_value_validation():
        for path in folder.rglob("*.dcm"):
            plant(pydicom.dcmread(path))
    (folder / f"{FAMILY}.txt").write_text(FAMILY)
    return folder, before


def every_byte(out):
    return b"".join(str(p.relative_to(out)).encode() + p.read_bytes() for p in out.rglob("*") if p.is_file())


def left(content, planted=PLANTED):
    low = content.lower()
    forms = [(s, s.encode(code, "ignore").lower()) for s in planted for code in ("utf-8", "latin-1")]
    return sorted({s for s, form in forms if form in low})


def test_nothing_planted_is_left_and_the_patient_reads_the_same(planted, tmp_path):
    folder, before = planted
    assert left(every_byte(folder)) == sorted(PLANTED)
    done = deidentify(folder, tmp_path / "out", key=KEY)
    assert len(done.paths) == len(list(folder.rglob("*.dcm")))
    assert done.people == 1
    assert not left(every_byte(tmp_path / "out"))
    assert not left(str(done.notices).replace(str(folder), "").encode())
    assert b"1.2.826.0.1.77" not in every_byte(tmp_path / "out")
    after = read_patient(tmp_path / "out")
    assert_same(before, after)
    assert {s.name for s in after.structures.values()} == {"PTVp_7700", "Bladder", "ROI_3"}
    np.testing.assert_allclose(after.plan.beams[0].fluence.mu, before.plan.beams[0].fluence.mu)
    assert after.plan.prescription == before.plan.prescription
    assert after.plan.made_on == before.plan.made_on
    np.testing.assert_array_equal(after.doses["CT"].array, before.doses["CT"].array)
    np.testing.assert_array_equal(after.registrations[0].matrix, before.registrations[0].matrix)
    assert after.registrations[0].to_frame == after.images["CT"].grid.frame_of_reference
    assert [n.code for n in after.notices] == [n.code for n in before.notices]
    assert after.identity.name == after.identity.patient_id == done.paths[0].parts[-3]


def assert_same(before, after):
    assert set(before.images) == set(after.images)
    for role, image in before.images.items():
        np.testing.assert_array_equal(image.array, after.images[role].array)
        np.testing.assert_array_equal(image.grid.affine, after.images[role].grid.affine)
    rings = [[r.tobytes() for r in s.region.rings] for s in before.structures.values()]
    assert rings == [[r.tobytes() for r in s.region.rings] for s in after.structures.values()]
    frames = {image.grid.frame_of_reference for image in after.images.values()}
    assert {s.region.frame_of_reference for s in after.structures.values()} <= frames


def links(folder):
    """Return for each object what it refers to that is in the folder, as kinds: a shape without UIDs."""
    known, found = {}, []
    for path in sorted(folder.rglob("*.dcm")):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        known |= {ds.SOPInstanceUID: ds.Modality, ds.SeriesInstanceUID: f"{ds.Modality} series"}
        known |= {ds.get("FrameOfReferenceUID", "-"): "frame", ds.StudyInstanceUID: "study"}
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        uids = [str(e.value) for e in ds.iterall() if e.VR == "UI"]
        found.append((ds.Modality, tuple(known.get(uid, "?") for uid in uids if uid in known)))
    return sorted(found)


def test_every_link_between_objects_holds(tmp_path):
    write_patient(patient(), tmp_path / "in")
    deidentify(tmp_path / "in", tmp_path / "out")
    assert links(tmp_path / "out") == links(tmp_path / "in")
    assert any("RTPLAN" in shape for kind, shape in links(tmp_path / "out") if kind == "RTDOSE")


def test_one_key_gives_the_same_again_another_does_not(planted, tmp_path):
    folder, _ = planted
    first = deidentify(folder, tmp_path / "a", key=KEY)
    again = deidentify(folder, tmp_path / "b", key=KEY)
    assert every_byte(tmp_path / "a") == every_byte(tmp_path / "b")
    names = [p.relative_to(tmp_path / "a") for p in first.paths]
    assert names == [p.relative_to(tmp_path / "b") for p in again.paths]
    for other in ({"key": b"another key of the tests"}, {}):
        deidentify(folder, tmp_path / f"c{len(other)}", **other)
        mine, theirs = index(tmp_path / "a"), index(tmp_path / f"c{len(other)}")
        assert not {e.sop_uid for e in mine.entries} & {e.sop_uid for e in theirs.entries}
        assert set(mine.people) != set(theirs.people)


def test_days_between_dates_stay(bare, tmp_path):
    def dated(ds, k):
        ds.StudyDate, ds.SeriesDate, ds.StudyTime = "20240228", ["20240301", "20231231"][k % 2], "101112.5"
        ds.AcquisitionDateTime, ds.PatientAge = "20240229101112.250+0100", "075Y"
        with warnings.catch_warnings(action="ignore"):
            ds.ContentDate = "29 February"

    bare.series(tmp_path / "in", np.zeros((2, 4, 4), np.int16), change=dated)
    done = deidentify(tmp_path / "in", tmp_path / "out", key=KEY)
    days = Keyed(KEY).days(index(tmp_path / "in").entries[0].person)
    assert -3650 <= days <= -365
    for path, series in zip(sorted(done.paths), ("20240301", "20231231"), strict=True):
        ds = pydicom.dcmread(path)
        moved = np.datetime64(f"{ds.StudyDate[:4]}-{ds.StudyDate[4:6]}-{ds.StudyDate[6:]}")
        assert moved == np.datetime64("2024-02-28") + days
        other = np.datetime64(f"{ds.SeriesDate[:4]}-{ds.SeriesDate[4:6]}-{ds.SeriesDate[6:]}")
        assert other - moved == np.datetime64(f"{series[:4]}-{series[4:6]}-{series[6:]}") - np.datetime64(
            "2024-02-28"
        )
        assert ds.AcquisitionDateTime[8:] == "101112.250+0100"
        assert ds.StudyTime == "101112.5"
        assert ds.ContentDate == "19000101"
        assert ds.PatientBirthDate == ""
        assert "PatientAge" not in ds
        assert ds.PatientIdentityRemoved == "YES"
        assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
        assert [i.CodeValue for i in ds.DeidentificationMethodCodeSequence] == ["113100", "113105", "113107"]


def burned(ds, _):
    ds.BurnedInAnnotation = "YES"


def screen(ds, _):
    ds.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]


def capture(ds, _):
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize("change", [burned, screen, capture])
def test_text_in_the_pixels_is_left_out_and_said(bare, tmp_path, change):
    bare.series(tmp_path / "in" / "ct", np.zeros((2, 4, 4), np.int16))
    bare.series(tmp_path / "in" / "bad", np.zeros((1, 4, 4), np.int16), uid="1.2.826.0.1.99.8", change=change)
    done = deidentify(tmp_path / "in", tmp_path / "out")
    assert len(done.paths) == 2
    (notice,) = [n for n in done.notices if n.code == "DEIDENTIFY_LEFT_OUT"]
    assert "bad" in notice.file
    assert notice.severity == "warn"
    shutil.rmtree(tmp_path / "in" / "ct")
    with pytest.raises(RtplanError, match="No object can be taken"):
        deidentify(tmp_path / "in", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_unused_bits_is_cleared(bare, tmp_path, signed):
    rng = np.random.default_rng(1)
    values = rng.integers(-2048 if signed else 0, 2048, (2, 8, 9))
    hidden = rng.integers(0, 16, values.shape) << 12
    stored = ((values & 0xFFF) | hidden).astype(np.uint16)

    def twelve(ds, _):
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, int(signed)
        ds.add_new(0x60000102, "US", 12)

    bare.series(tmp_path / "in", stored, change=twelve)
    done = deidentify(tmp_path / "in", tmp_path / "out")
    got = [np.frombuffer(pydicom.dcmread(p).PixelData, "<i2" if signed else "<u2") for p in done.paths]
    np.testing.assert_array_equal(got, values.reshape(2, -1))


def test_what_follows_the_last_pixel_goes(bare, tmp_path):
    def longer(ds, _):
        ds.PixelData = ds.PixelData + b"SECRETNAME"

    bare.series(tmp_path / "in", np.zeros((2, 4, 4), np.int16), change=longer)
    deidentify(tmp_path / "in", tmp_path / "out")
    assert b"SECRETNAME" not in every_byte(tmp_path / "out")


def test_a_name_within_the_pixels_leaves_the_object_out(bare, tmp_path):
    stored = np.zeros((2, 4, 8), np.int16)
    stored[1].ravel()[:5] = np.frombuffer(b"SECRETNAME", np.int16)
    bare.series(tmp_path / "in", stored)
    done = deidentify(tmp_path / "in", tmp_path / "out")
    assert len(done.paths) == 1
    assert "within the pixel data" in done.notices[0].message


def test_two_patients_stay_two(bare, tmp_path):
    for person in ("A-1234567", "B-7654321"):
        uid = f"1.2.826.0.1.99.{ord(person[0])}"
        bare.series(tmp_path / "in" / person, np.zeros((2, 4, 4), np.int16), person=person, uid=uid)
    done = deidentify(tmp_path / "in", tmp_path / "out", key=KEY)
    assert done.people == 2 == len(list((tmp_path / "out").iterdir()))
    assert len(index(tmp_path / "out").people) == 2


def test_whole_or_not_at_all(planted, tmp_path, monkeypatch):
    folder, _ = planted
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    for out, word in ((tmp_path / "full", "not empty"), (folder / "out", "within the originals")):
        with pytest.raises(OutputError, match=word):
            deidentify(folder, out)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    count = itertools.count()

    def breaks(header, path, save=md.save):
        if next(count) < 5:
            return save(header, path)
        raise OutputError("The disk is full.")

    monkeypatch.setattr(module.md, "save", breaks)
    with pytest.raises(OutputError):
        deidentify(folder, tmp_path / "out")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_short_key_is_refused(tmp_path):
    (tmp_path / "key").write_bytes(b"short\n")
    for path in (tmp_path / "key", tmp_path / "none"):
        with pytest.raises(FormatError):
            read_key(path)
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert read_key(tmp_path / "key") == KEY


def test_the_table_is_that_of_the_standard():
    rules = table()
    assert len(rules) == 652
    for tag, rule in rules.items():
        assert not rule.keyword or pydicom.datadict.keyword_for_tag(tag) == rule.keyword
    said = {rule.keyword: (rule.basic, rule.dates, rule.words) for rule in rules.values()}
    assert said["PatientName"] == ("Z", False, False)
    assert said["StudyDate"] == ("Z", True, False)
    assert said["SeriesDescription"] == ("X", False, True)
    assert said["SourceImageSequence"] == ("X/Z/U*", False, False)
    assert said["ReferencedFrameOfReferenceUID"] == ("U", False, False)
    assert said["ROIName"] == ("Z", False, True)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("CT pelvis 2019-03-04", "CT pelvis"),
        ("Mrs Miller", ""),
        ("t2_tse_tra_p2 JSmith", "t2_tse_tra"),
        ("rtplan arm CTpop_bone NOT FOR CLINICAL USE", "rtplan arm CTpop_bone NOT FOR CLINICAL USE"),
        ("dose to water in water-equivalent medium; EQD2(1.5); 35 fx",) * 2,
        ("DOB 1950", ""),
        ("12345678", ""),
        ("", ""),
    ],
)
def test_only_known_words_of_a_description_stay(said, kept):
    assert cleaned(said) == kept


@pytest.mark.parametrize("name", ["Miller", "PTV_Miller", "Bladder Miller", "GTV 19500101", "J. Smith"])
def test_a_structure_that_may_name_a_person_is_renamed(name):
    assert structure_name(name, load()) is None


@pytest.mark.parametrize("name", ["sts/dicom/STS_040", "prostatex/ProstateX-0000"])
def test_real_patients_read_the_same(data, tmp_path, name):
    deidentify(data / name, tmp_path / "out")
    before, after = read_patient(data / name), read_patient(tmp_path / "out")
    assert_same(before, after)
    assert set(before.structures) == set(after.structures)
    assert [n.code for n in before.notices] == [n.code for n in after.notices]
    planted = {e.text(k) for e in index(data / name).entries for k in ("PatientID", "PatientName")}
    assert not left(every_byte(tmp_path / "out"), [s for s in planted if len(s) > 4])


@pytest.mark.parametrize("name", ["dicompyler/example_data/rtss.dcm", "nelms2015/structures/Cone_30_X15.dcm"])
def test_real_structures_keep_their_rings(data, tmp_path, name):
    (path,) = deidentify(data / name, tmp_path / "out").paths
    before, after = rtstruct.read(data / name), rtstruct.read(path)
    rings = [[r.tobytes() for s in found.structures for r in s.region.rings] for found in (before, after)]
    assert rings[0] == rings[1]
    assert len(after.structures) == len(before.structures)


def test_real_doses_and_plans_keep_their_numbers(data, tmp_path):
    given = data / "nelms2015/dose/Linear_SupInf_3mm_Aligned.dcm"
    (path,) = deidentify(given, tmp_path / "dose").paths
    np.testing.assert_array_equal(rtdose.read(path).dose.array, rtdose.read(given).dose.array)
    np.testing.assert_array_equal(rtdose.read(path).dose.grid.affine, rtdose.read(given).dose.grid.affine)
    given = data / "dicompyler/example_data/rtplan.dcm"
    (path,) = deidentify(given, tmp_path / "plan").paths
    before, after = rtplan.read_summary(given), rtplan.read_summary(path)
    assert after.beams == tuple(replace(beam, machine="") for beam in before.beams)
    assert after.fractions == before.fractions
    assert tuple(after.targets.values()) == tuple(before.targets.values())
    assert list(after.targets) == ["Breast", "target 2"]  # it was CALC POINT: no known words


def test_enhanced_and_compressed_objects_read_the_same(bare, tmp_path):
    spec = importlib.util.spec_from_file_location(
        "multiframe", Path(__file__).parent / "test_io_multiframe.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stored = np.random.default_rng(2).integers(0, 900, (4, 8, 9)).astype(np.uint16)
    frames = [module.frame(k, slope=2.0) for k in range(4)]
    module.enhanced(bare, tmp_path / "enhanced" / "a.dcm", stored, frames)
    bare.series(tmp_path / "rle", stored, kind="MR", change=lambda ds, _: ds.compress(RLELossless))
    for name in ("enhanced", "rle"):
        deidentify(tmp_path / name, tmp_path / "out" / name)
        before, after = read_series(tmp_path / name), read_series(tmp_path / "out" / name)
        np.testing.assert_array_equal(before.array, after.array)
        np.testing.assert_array_equal(before.grid.affine, after.grid.affine)
        assert not left(every_byte(tmp_path / "out" / name), ("SECRETNAME", "SECRET-ID-77", "19500101"))


def errors(path):
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
    return {re.sub(r"<[0-9.]+>", "<UID>", line) for line in done.stderr.splitlines() if line[:5] == "Error"}


@pytest.mark.peer
def test_dciodvfy_finds_no_error_that_was_not_there(data, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not here")
    write_patient(replace(patient(), doses={}), tmp_path / "in" / "ours")
    for name in ("sts/dicom/STS_040/CT", "prostatex/ProstateX-0000", "dicompyler/example_data"):
        shutil.copytree(data / name, tmp_path / "in" / name.replace("/", "_"))
    found = {"in": {}, "out": {}}
    for part in (tmp_path / "in").iterdir():
        deidentify(part, tmp_path / "out" / part.name)
        for side in found:
            for path in (tmp_path / side / part.name).rglob("*.dcm"):
                ds = pydicom.dcmread(
                    path, stop_before_pixels=True, specific_tags=["Modality", "InstanceNumber"]
                )
                if ds.get("InstanceNumber", 1) in (None, "", 0, 1):
                    found[side].setdefault((part.name, ds.Modality), set()).update(errors(path))
    assert {kind for _, kind in found["in"]} == {"CT", "MR", "RTSTRUCT", "RTPLAN", "REG"}
    for object_, said in found["in"].items():
        assert not found["out"][object_] - said
