"""Preflight of images: one code for each thing that a user must know, and none for what is right."""

import numpy as np
import pytest

from rtplan.cli import main
from rtplan.errors import DicomError
from rtplan.io.codes import codes
from rtplan.io.image import read_series
from rtplan.io.patient import read_patient
from rtplan.io.preflight import preflight

RNG = np.random.default_rng(11)
SECOND = "1.2.826.0.1.99.6"
ORIGINAL = ["ORIGINAL", "PRIMARY", "M"]


def body(shape=(5, 40, 40), *, radius=0.4, air=-1000):
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    away = np.hypot(rows - shape[1] / 2, columns - shape[2] / 2)
    disc = np.where(away < radius * shape[1], 40, air)
    return np.broadcast_to(disc, shape).astype(np.int16)


def mr(shape=(5, 40, 40), **place):
    return (body(shape, air=0, **place) * 10 + RNG.integers(0, 4, shape)).astype(np.uint16)


def header(**values):
    """Return a change that sets values; a function is called with the number of the slice."""

    def change(ds, k):
        ds.SliceThickness = 3.0
        if ds.Modality == "MR":
            ds.EchoTime, ds.RepetitionTime, ds.ScanningSequence = 90, 4000, "SE"
            ds.ImageType = [*ORIGINAL, "DIS3D"]
            ds.MagneticFieldStrength, ds.PixelBandwidth, ds.InPlanePhaseEncodingDirection = 3, 200, "ROW"
        for keyword, value in values.items():
            setattr(ds, keyword, value(k) if callable(value) else value)

    return change


def series(bare, folder, stored=None, *, kind="CT", spacing=(3.0, 4.0, 4.0), change=None, **more):
    stored = (body() if kind == "CT" else mr()) if stored is None else stored
    return bare.series(folder, stored, kind=kind, spacing=spacing, change=change or header(), **more)


def said(folder, **options):
    return {n.code: (n.severity, n.message) for n in preflight(folder, **options).notices}


@pytest.mark.parametrize("kind", ["CT", "MR"])
def test_a_plain_image_raises_nothing_but_its_chemical_shift(bare, tmp_path, kind):
    series(bare, tmp_path, kind=kind)
    assert set(said(tmp_path)) == ({"MR_CHEMICAL_SHIFT"} if kind == "MR" else set())


@pytest.mark.parametrize(
    ("kind", "values", "code", "severity", "words"),
    [
        ("CT", {"PatientPosition": "FFP"}, "POSITION_UNUSUAL", "info", "on the belly, feet first"),
        ("CT", {"PatientPosition": "HFDR"}, "POSITION_UNUSUAL", "info", "on the right side"),
        ("CT", {"PatientPosition": "UPSIDE"}, "POSITION_UNKNOWN", "warn", "does not know"),
        ("CT", {"PatientPosition": ""}, "POSITION_MISSING", "info", "does not say"),
        ("CT", {"SliceThickness": 5.0}, "SLICES_OVERLAP", "info", "lie 3 mm apart: they overlap"),
        ("CT", {"SliceThickness": 2.0}, "SLICES_GAPPED", "info", "gaps between them"),
        ("CT", {"GantryDetectorTilt": 10.0}, "GANTRY_TILT_SAID", "info", "box at right angles"),
        ("CT", {"LossyImageCompression": "01"}, "PIXELS_LOSSY", "warn", "with loss"),
        ("CT", {"RescaleSlope": lambda k: 1 + 0.1 * k}, "RESCALE_PER_SLICE", "info", "5 different"),
        ("CT", {"BurnedInAnnotation": "YES"}, "BURNED_IN", "warn", "burned"),
        ("CT", {"RescaleType": "OD"}, "CT_NOT_HU", "refuse", "OD"),
        ("CT", {"RescaleIntercept": 1000, "RescaleSlope": 1}, "CT_WITHOUT_AIR", "warn", "no air"),
        ("CT", {"Modality": "MR"}, "MODALITY_LIES", "warn", "says MR, the SOP class is CT"),
        ("CT", {"PatientName": ""}, "PATIENT_UNNAMED", "warn", "PatientName is empty"),
        ("CT", {"PatientName": "", "PatientID": ""}, "PATIENT_UNNAMED", "warn", "Name and PatientID are"),
        ("CT", {"PatientIdentityRemoved": "YES"}, "PATIENT_DEIDENTIFIED", "info", "removed"),
        ("CT", {"FrameOfReferenceUID": ""}, "FRAME_MISSING", "warn", "no FrameOfReferenceUID"),
        ("CT", {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0.1]}, "DIRECTION_BROKEN", "refuse", "unit"),
        ("MR", {"ImageType": [*ORIGINAL, "ND"]}, "MR_DISTORTION_UNCORRECTED", "warn", "ND"),
        ("MR", {"ImageType": [*ORIGINAL, "DIS2D"]}, "MR_DISTORTION_2D", "info", "in the slices only"),
        ("MR", {"ImageType": ORIGINAL}, "MR_DISTORTION_UNKNOWN", "info", "does not say"),
        ("MR", {"PixelBandwidth": None}, "MR_CHEMICAL_SHIFT_UNKNOWN", "info", "lacks PixelBandwidth"),
        ("MR", {}, "MR_CHEMICAL_SHIFT", "info", "8.69 mm off along the frequency direction (2.17 pixels;"),
    ],
)  # fmt: skip
def test_one_code_for_what_a_header_says(bare, tmp_path, kind, values, code, severity, words):
    series(bare, tmp_path, kind=kind, change=header(**values))
    found = said(tmp_path)
    assert found[code][0] == severity
    assert words in found[code][1]
    assert "SECRET" not in str(found)
    others = set(found) - {code, "MR_CHEMICAL_SHIFT", "NO_IMAGE"}
    assert others <= ({"SKIN_CUT"} if code == "CT_WITHOUT_AIR" else set())


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ((0, 1, 0), (0, 0, -1), "are sagittal."),
        ((1, 0, 0), (0, 0, -1), "are coronal."),
        ((1, 0, 0), (0, 0.96, 0.28), "are axial, tilted by 16.3 degrees."),
    ],
)
def test_planes_are_named(bare, tmp_path, row, column, words):
    series(bare, tmp_path, kind="MR", row=row, column=column)
    assert said(tmp_path)["SLICES_NOT_AXIAL"][1].endswith(words)


def test_pixels_that_are_not_square_are_said(bare, tmp_path):
    series(bare, tmp_path, spacing=(3.0, 4.0, 5.0))
    assert "4 mm (rows) by 5 mm (columns)" in said(tmp_path)["PIXELS_NOT_SQUARE"][1]


def test_cut_skin_is_said_with_its_fraction_and_consequence(bare, tmp_path):
    stored = body((6, 40, 60), radius=0.25)
    series(bare, tmp_path / "half", stored[:, :, 30:])
    severity, message = said(tmp_path / "half")["SKIN_CUT"]
    assert severity == "warn"
    border, skin = 19, 19 + 20  # pixels of half a disc of radius 10: straight side; right, upper, lower steps
    assert f"{border / (border + skin):.0%} of the body's outline" in message
    assert "absolute dose, goals and MU are not evaluable" in message
    series(bare, tmp_path / "whole", stored, uid=SECOND)
    assert "SKIN_CUT" not in said(tmp_path / "whole")
    assert "SKIN_CUT" not in said(tmp_path / "half", pixels=False)


def test_an_image_without_a_body_or_without_a_picture(bare, tmp_path):
    series(bare, tmp_path / "air", np.full((5, 40, 40), -1000, np.int16))
    assert said(tmp_path / "air")["BODY_NOT_FOUND"][0] == "warn"
    series(bare, tmp_path / "blank", np.full((5, 40, 40), 7, np.uint16), kind="MR")
    assert said(tmp_path / "blank")["IMAGE_BLANK"][0] == "refuse"


def test_a_damaged_element_is_said_beside_all_else(bare, tmp_path):
    for path in series(bare, tmp_path):
        raw = path.read_bytes()
        element = b"\x18\x00\x50\x00DS\x04\x00"
        at = raw.index(element) + len(element)
        path.write_bytes(raw[:at] + b"3.x " + raw[at + 4 :])
    series(bare, tmp_path / "mr", kind="MR", uid=SECOND)
    found = said(tmp_path)
    assert found["HEADER_DAMAGED"] == ("refuse", "SliceThickness is not a number.")
    assert "MR_CHEMICAL_SHIFT" in found
    with pytest.raises(DicomError, match="SliceThickness"):
        read_patient(tmp_path)


def test_a_run_hears_of_what_the_check_warns_of_and_refuses_what_it_refuses(bare, tmp_path):
    series(
        bare, tmp_path / "mr", kind="MR", change=header(ImageType=[*ORIGINAL, "ND"], PatientPosition="FFP")
    )
    assert [n.code for n in read_patient(tmp_path).notices] == ["MR_DISTORTION_UNCORRECTED"]
    series(bare, tmp_path / "ct", uid=SECOND, change=header(RescaleType="OD"))
    assert [n.code for n in preflight(tmp_path).notices if n.severity == "refuse"] == ["CT_NOT_HU"]
    with pytest.raises(DicomError, match="OD, HU is wanted"):
        read_patient(tmp_path)
    with pytest.raises(DicomError, match="OD, HU is wanted"):
        read_series(tmp_path / "ct")


def test_pixels_that_do_not_decode_refuse_the_folder(bare, tmp_path):
    def cut(ds, k):
        header()(ds, k)
        if k == 3:
            ds.PixelData = ds.PixelData[:-100]

    series(bare, tmp_path, change=cut)
    assert said(tmp_path)["PIXELS_BROKEN"][0] == "refuse"
    assert preflight(tmp_path, pixels=False).usable


def test_frames_that_nothing_links_are_said(bare, tmp_path):
    series(bare, tmp_path / "ct")
    series(
        bare, tmp_path / "mr", kind="MR", uid=SECOND, change=header(FrameOfReferenceUID="1.2.826.0.1.99.9")
    )
    assert said(tmp_path)["FRAMES_UNLINKED"][0] == "warn"


def test_captures_colours_and_localisers_are_not_used_and_said(bare, tmp_path):
    series(bare, tmp_path / "mr", kind="MR")
    paths = series(bare, tmp_path / "picture", kind="MR", uid=SECOND)
    for path in paths[1:]:
        path.unlink()
    ds = bare.pydicom.dcmread(paths[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.save_as(paths[0])

    def coloured(ds, k):
        header()(ds, k)
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0

    series(bare, tmp_path / "map", kind="MR", uid=SECOND + ".1", change=coloured)
    planes = [((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, -1)), ((1, 0, 0), (0, 0, -1))]
    for n, (row, column) in enumerate(planes):  # a localiser that does not say so: one slice a plane
        facts = {"EchoTime": 5, "RepetitionTime": 2000, "SeriesDescription": "plan"}
        place = {"row": row, "column": column, "uid": SECOND + ".2"}
        change = header(SOPInstanceUID=f"{SECOND}.2.{n}", **facts)
        series(bare, tmp_path / f"l{n}", mr((1, 40, 40)), kind="MR", change=change, **place)
    found = said(tmp_path)
    assert found["SECONDARY_CAPTURE"][0] == found["COLOUR_PASSED_OVER"][0] == "info"
    message = "MR 'plan' (1 slices) is passed over: One slice alone has no spacing."
    assert found["SERIES_PASSED_OVER"] == ("info", message)
    assert preflight(tmp_path).usable


@pytest.mark.parametrize(
    ("charset", "name", "shown"),
    [
        ("ISO_IR 192", "山田^太郎".encode(), "山田^太郎"),
        ("ISO_IR 192", "Müller".encode("latin-1"), None),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 144", "Иванов".encode("iso8859_5"), "Иванов"),
        ("ISO_IR 126", "Άννα".encode("iso8859_7"), "Άννα"),
        ("ISO_IR 999", b"Anna", None),
        ("", "Müller".encode(), None),
        ("", b"Miller", "Miller"),
    ],
)
def test_character_sets_that_do_not_fit_are_said(bare, tmp_path, charset, name, shown):
    right = shown is not None
    paths = series(bare, tmp_path)
    for path in paths:
        raw = path.read_bytes()
        old = bare.name.encode()
        element = b"\x10\x00\x10\x00PN"
        old += b" " * (len(old) % 2)
        at = raw.index(element + len(old).to_bytes(2, "little"))
        new = name + b" " * (len(name) % 2)
        raw = raw[:at] + element + len(new).to_bytes(2, "little") + new + raw[at + 8 + len(old) :]
        if charset:
            word = charset.encode() + b" " * (len(charset) % 2)
            at = raw.index(b"\x08\x00\x08\x00CS")  # ImageType, the first of the data set
            raw = raw[:at] + b"\x08\x00\x05\x00CS" + len(word).to_bytes(2, "little") + word + raw[at:]
        path.write_bytes(raw)
    found = said(tmp_path)
    assert ("CHARSET_DOUBTFUL" in found) is not right
    if right:
        assert read_patient(tmp_path).identity.name == shown
    assert not any(part in str(found) for part in ("ller", "Anna", "SECRET"))


def test_a_series_that_is_asked_for_is_used_for_its_role(bare, tmp_path, capsys):
    series(bare, tmp_path / "small", body((5, 40, 40)), uid=SECOND)
    series(bare, tmp_path / "large", body((8, 40, 40)))
    series(bare, tmp_path / "mr", kind="MR", uid=SECOND + ".1")
    (chosen,) = [n for n in preflight(tmp_path).notices if n.code == "SERIES_CHOSEN"]
    assert chosen.action == f"ask for another by --series {SECOND}."
    rows = {row.role: row.uid for row in preflight(tmp_path, series=[SECOND]).rows}
    assert (rows["CT"], rows["T2w"]) == (SECOND, SECOND + ".1")
    with pytest.raises(SystemExit) as left:
        main(["check", str(tmp_path), "--series", "1.2.3"])
    assert left.value.code == 1
    assert "SERIES_UNKNOWN" in capsys.readouterr().out


def test_the_corrected_twin_of_an_mr_is_taken(bare, tmp_path):
    for n, word in enumerate(("ND", "DIS3D", "DIS2D")):
        change = header(ImageType=[*ORIGINAL, word], SeriesTime=f"12000{n}")
        series(bare, tmp_path / word, kind="MR", uid=f"{SECOND}.{n}", change=change)
    found = preflight(tmp_path)
    assert [row.uid for row in found.rows if row.role] == [f"{SECOND}.1"]
    assert "MR_DISTORTION_UNCORRECTED" not in [n.code for n in found.notices]


@pytest.mark.parametrize("width", [80, 120])
def test_the_page_fits_its_width_and_says_how_things_link(bare, tmp_path, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    series(bare, tmp_path / "ct", stored=body(radius=0.6))
    rings = [("CLOSED_PLANAR", bare.square(-27, 0, 5))]
    names = [f"Thing {n}" for n in range(12)]
    bare.rtstruct(tmp_path / "rs.dcm", [(name, "ORGAN", rings) for name in names])
    with pytest.raises(SystemExit):
        main(["check", str(tmp_path)])
    page = capsys.readouterr().out
    lines = [line for line in page.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= width
    (linked,) = [line for line in lines if " RTSTRUCT " in line]
    assert linked.split()[-1] == "#1"
    assert "NAME_UNMAPPED (12 times)" in page
    assert "and 4 more (--json lists all)" in " ".join(page.split())
    assert "SKIN_CUT" in codes()
    assert "warn SKIN_CUT" in page
    assert lines[-1].startswith("usable (1 warn")


def test_the_bar_counts_files_of_all(bare, tmp_path):
    series(bare, tmp_path)
    seen = []
    preflight(tmp_path, pixels=False, progress=lambda count, total: seen.append((count, total)))
    assert seen == [(n, 5) for n in range(1, 6)]


def test_a_dose_without_uids_is_listed(bare, tmp_path):
    series(bare, tmp_path / "ct")

    def stripped(ds):
        del ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID

    bare.rtdose(tmp_path / "rd.dcm", np.ones((4, 5, 6), np.uint16), change=stripped)
    found = preflight(tmp_path)
    assert [row.kind for row in found.rows] == ["CT", "RTDOSE"]
    assert "UIDS_MISSING" in [n.code for n in found.notices]
