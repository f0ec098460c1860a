"""The report again from the out folder alone: the same bytes, whole or not at all, names as text."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from rtplan.case import tables
from rtplan.case.archive import read_case, write_case
from rtplan.case.rendering import DOCUMENT, PAGE, Rendered, content_of, put_both, rendered, report_again
from rtplan.case.review import PlanReview, Review, StructureScore, read
from rtplan.case.review_save import add
from rtplan.domain import (
    Displacement,
    Dose,
    Finding,
    Grid,
    Image,
    Mask,
    Notice,
    Patient,
    Plan,
    Prescription,
    Record,
    Registration,
    Source,
    Structure,
)
from rtplan.domain.structure import Contours
from rtplan.dosimetry.bands import bands
from rtplan.errors import FormatError, GeometryMismatch, OutputError

EVIL = "<script>alert(1)</script>"
TURN = np.array([[0.0, 0.0, 2.0], [0.1, 1.9, 0.0], [3.0, -0.06333333333333334, 0.0]])


def grid_of():
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(TURN)[0] @ np.diag([3.0, 2.0, 2.0])
    affine[:3, 3] = (-31.7, 12.123456789, 1 / 3)
    return Grid((9, 24, 26), affine, "1.2.3")


@pytest.fixture(scope="module")
def patient():
    """Return two arms on a tilted grid, contours and a mask, samples, names that look like markup."""
    grid = grid_of()
    rng = np.random.default_rng(4)
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    away = np.linalg.norm(grid.to_patient(index) - grid.to_patient((4, 12, 13)), axis=-1)
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    rings = tuple(
        grid.to_patient(np.stack([np.full(30, k), 12 + 4 * np.sin(angles), 13 + 4 * np.cos(angles)], 1))
        for k in range(2, 7)
    )
    dose = np.exp(-((away / 15.0) ** 2)) * 60.0
    source = Source("1.2.9", sop_uids=("1", "2", "3"), description=EVIL)
    common = {"arm": "SynCT", "reference_arm": "CT", "structure": "Rectum", "quantity": "difference"}
    return Patient(
        key="abc123",
        images={
            "CT": Image(grid, rng.normal(0, 100, grid.shape), source=source),
            "SynCT": Image(grid, rng.normal(0, 90, grid.shape)),
            "T2w": Image(grid, rng.normal(90, 9, grid.shape), "MR"),
        },
        structures={
            EVIL: Structure(EVIL, "ORGAN", Contours(rings, "1.2.3")),
            "Rectum": Structure("Rectum", "ORGAN", Mask(grid, away < 9)),
        },
        plan=Plan(Prescription({"PTV": 60.0}, 20), ()),
        doses={"CT": Dose(grid, dose, fractions=20), "SynCT": Dose(grid, dose * 1.01, fractions=20)},
        samples={f"SynCT#{k:03d}": Dose(grid, dose * (1 + 0.004 * k), fractions=20) for k in range(8)},
        registrations=(
            Registration(
                "1.2.4", "1.2.3", np.eye(4), "deformable", {"dice": 0.9},
                Displacement(grid, rng.normal(0, 1, (*grid.shape, 3))),
            ),
        ),
        findings=(
            Finding("D2%[Gy]", 0.6, "Gy", "CompareArms", **common),
            Finding("NTCP", 0.05, "1", "x", arm="CT", structure="Rectum", interval95=(0.01, 0.2),
                    detail={"endpoint": EVIL}),
        ),
        notices=(Notice("X", "warn", EVIL, file="RS.dcm", structure=EVIL),),
        history=(Record("Register", {"a": (1, 2)}, 1.23456, 10.0, "0.1", "ab", 3),),
    )  # fmt: skip


def written(patient, folder):
    """Write a case as the run does; return its content as the run renders it."""
    folder.mkdir()
    case = write_case(patient, folder)
    curve = np.array([0.0, 60.0]), np.array([100.0, 0.0])
    curves = {arm: {"Rectum": curve} for arm in ("CT", "SynCT")}
    tables.write_curves(curves, folder / "dvh", base_gy=case.base_gy)
    tables.write_bands(bands(patient), folder / "dvh", base_gy=case.base_gy)
    manifest = {"schema": 1, "seed": 1, "settings": {"protocol": EVIL}, "inputs": []}
    tables.write_json(folder / "manifest.json", manifest)
    return rendered(content_of(folder, case, manifest))


TRUNCATED = Notice("BODY_TRUNCATED", "warn", "The body is cut.")


@pytest.fixture(scope="module")
def first(patient, tmp_path_factory):
    """Return a case with doses in Gy: its folder and its report."""
    folder = tmp_path_factory.mktemp("absolute") / "out"
    return folder, written(patient, folder)


@pytest.fixture(scope="module")
def withheld(patient, tmp_path_factory):
    """Return a case without absolute dose: its folder and its report."""
    folder = tmp_path_factory.mktemp("withheld") / "out"
    return folder, written(patient.with_notices(TRUNCATED), folder)


@pytest.mark.parametrize("case", ["first", "withheld"])
def test_the_report_comes_again_from_the_folder_byte_by_byte(case, request):
    folder, made = request.getfixturevalue(case)
    page, document = report_again(folder)
    assert page.read_text(encoding="utf-8") == made.page
    assert document.read_bytes() == made.document
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_dose_samples_are_shown_as_band_and_map(first):
    _, made = first
    assert "standard deviation of the dose" in made.page
    assert "Band on SynCT: 95\N{NO-BREAK SPACE}% of 8 dose samples" in made.page


def test_no_absolute_dose_is_written_where_it_is_withheld(patient, withheld):
    folder, _ = withheld
    names = {path.name for path in folder.rglob("*")}
    assert {"relative_CT.mha", "relative_sd_SynCT.mha", "relative_CT.csv"} <= names
    assert not [name for name in names if name.startswith(("dose_", "dvh_"))]
    case = read_case(folder)
    assert case.base_gy == pytest.approx(patient.doses["SynCT"].array.max())
    np.testing.assert_allclose(case.patient.doses["CT"].array, patient.doses["CT"].array, rtol=1e-6)
    assert case.patient.absolute_withheld == "The body is cut."


def test_voxels_regions_and_facts_come_back_exactly(patient, first):
    case = read_case(first[0])
    again = case.patient
    for name, image in patient.images.items():
        np.testing.assert_array_equal(again.images[name].array, image.array)
        np.testing.assert_array_equal(again.images[name].grid.affine, image.grid.affine)
        assert again.images[name].modality == image.modality
    for arm, dose in patient.doses.items():
        np.testing.assert_array_equal(again.doses[arm].array, dose.array)
    np.testing.assert_array_equal(
        again.structures["Rectum"].region.array, patient.structures["Rectum"].region.array
    )
    for mine, ring in zip(
        again.structures[EVIL].region.rings, patient.structures[EVIL].region.rings, strict=True
    ):
        np.testing.assert_array_equal(mine, ring)
    np.testing.assert_array_equal(
        again.registrations[0].displacement.vectors, patient.registrations[0].displacement.vectors
    )
    spread = np.std([d.array for d in patient.samples.values()], axis=0, ddof=1)
    np.testing.assert_allclose(case.spreads["SynCT"].array, spread, rtol=1e-5, atol=1e-6)
    assert again.findings == patient.findings
    assert again.notices == patient.notices
    assert again.plan.prescription == patient.plan.prescription


def test_names_are_text_and_never_markup(first):
    _, made = first
    assert "<script" not in made.page
    assert made.page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 3


def test_reviews_come_into_the_report_and_do_not_change_the_run(out):
    before = (out / "manifest.json").read_bytes()
    score = StructureScore(name="Rectum", score=1, kind="over-segmentation", remark=EVIL)
    plan = PlanReview(decision="acceptable with changes")
    add(out, Review(reader="AB", time="2026-01-02T03:04:05Z", structures=(score,), plan=plan))
    report_again(out)
    page = (out / PAGE).read_text(encoding="utf-8")
    assert "1 unacceptable; over-segmentation" in page
    assert "acceptable with changes" in page
    assert "<script" not in page
    assert (out / "manifest.json").read_bytes() == before
    assert read(out) is not None  # the reviews still belong to this run


def test_a_report_of_another_version_says_so(out):
    text = (out / "manifest.json").read_text(encoding="utf-8")
    (out / "manifest.json").write_text(text.replace('"seed": 1', '"seed": 1, "rtplan_version": "0.0.9"'))
    report_again(out)
    page = (out / PAGE).read_text(encoding="utf-8")
    assert "Report made by rtplan" in page
    assert "0.0.9" in page


def test_both_are_put_in_place_or_neither(tmp_path, monkeypatch):
    (tmp_path / PAGE).write_text("old page")
    (tmp_path / DOCUMENT).write_bytes(b"old pdf")
    real = type(tmp_path).replace

    def fails_for_the_document(self, target):
        if self.name.startswith(".new-") and str(target).endswith(DOCUMENT):
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", fails_for_the_document)
    with pytest.raises(OutputError, match="No space left"):
        put_both(tmp_path, Rendered("new page", b"new pdf"))
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {PAGE: b"old page", DOCUMENT: b"old pdf"}
    put_both(tmp_path, Rendered("new page", b"new pdf"))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {PAGE: b"new page", DOCUMENT: b"new pdf"}


@pytest.fixture
def out(first, tmp_path):
    """Return a copy of the first case with another page."""
    shutil.copytree(first[0], tmp_path / "out")
    (tmp_path / "out" / PAGE).write_text("old")
    return tmp_path / "out"


def _spoil(path, text):
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda o: shutil.rmtree(o), FormatError, "no finished case here"),
        (lambda o: (o / "manifest.json").unlink(), FormatError, "no manifest.json"),
        (lambda o: _spoil(o / "manifest.json", "[]"), FormatError, "manifest does not parse"),
        (lambda o: (o / "volumes/patient.json").unlink(), FormatError, "no volumes/patient.json"),
        (lambda o: _spoil(o / "volumes/patient.json", '{"schema": 2}'), FormatError, "does not parse"),
        (lambda o: (o / "volumes/patient.npz").unlink(), FormatError, "is not there"),
        (lambda o: (o / "volumes/dose_CT.mha").unlink(), FormatError, "is not there"),
        (lambda o: _spoil(o / "findings.json", '{"schema": 1}'), FormatError, "cannot be read"),
        (lambda o: _spoil(o / "findings.json", '{"schema": 1, "findings": [{}]}'), FormatError, "cannot be"),
        (lambda o: _spoil(o / "notices.json", '{"schema": 1, "notices": [3]}'), FormatError, "does not"),
        (lambda o: _spoil(o / "dvh/dvh_CT.csv", "# type: x\nstructure,a,b\nR,x,y\n"), FormatError, "DVHs"),
        (lambda o: _spoil(o / "review.json", "{}"), FormatError, "reviews do not parse"),
    ],
)
def test_a_spoilt_folder_is_refused_and_the_old_report_stays(out, spoil, error, words):
    spoil(out)
    with pytest.raises(error, match=words) as refused:
        report_again(out)
    assert "What to do" in str(refused.value)
    if out.exists():
        assert (out / PAGE).read_text() == "old"


def test_a_volume_that_lies_elsewhere_is_refused(out, patient):
    from rtplan.io import nifti

    path = out / "volumes/dose_CT.mha"
    path.unlink()
    grid = grid_of()
    affine = grid.affine.copy()
    affine[0, 3] += 1.0
    moved = Grid(grid.shape, affine, grid.frame_of_reference)
    nifti.write_volume(replace(patient.doses["CT"], grid=moved), path)
    with pytest.raises(GeometryMismatch, match="does not lie where"):
        report_again(out)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(out):
    out.chmod(0o555)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            report_again(out)
    finally:
        out.chmod(0o755)


def test_names_with_quotes_and_line_ends_survive_the_tables(tmp_path):
    name = '# "a",\nb'
    curves = {"CT": {name: (np.array([0.0, 1.0]), np.array([100.0, 0.0]))}}
    tables.write_curves(curves, tmp_path)
    (found,) = tables.read_curves(tmp_path)["CT"]
    assert found == name
