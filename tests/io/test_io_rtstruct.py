"""Contours come in as they were drawn; what is left out is said; what we write comes back voxel for voxel."""

from collections import Counter

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from rtplan.domain import Contours, Grid, Identity, Image, Mask, Source, Structure
from rtplan.errors import DicomError, StructureError
from rtplan.imaging.contour import contours_of, mask_on
from rtplan.io import rtstruct, tps
from rtplan.io.roi_names import short_names


def test_contours_and_kinds_come_in(bare, tmp_path):
    ring, other = bare.square(-27, 0, 10), bare.square(-24, 0, 10)
    closed = np.vstack([other, other[:1]])
    path = bare.rtstruct(
        tmp_path / "rs.dcm",
        [
            ("Bladder", "ORGAN", [("CLOSED_PLANAR", ring), ("CLOSED_PLANAR", closed)]),
            ("ptv boost", "", [("CLOSEDPLANAR_XOR", ring)]),
            ("Skin", "EXTERNAL", [("CLOSED_PLANAR", ring)]),
        ],
    )
    found = rtstruct.read(path)
    assert [(s.name, s.kind) for s in found.structures] == [
        ("Bladder", "ORGAN"),
        ("ptv boost", "PTV"),
        ("Skin", "EXTERNAL"),
    ]
    assert found.frame == bare.frame == found.structures[0].region.frame_of_reference
    for kept, wanted in zip(found.structures[0].region.rings, (ring, other), strict=True):
        np.testing.assert_allclose(kept, wanted)
    assert found.notices == ()


def test_what_is_no_closed_contour_is_left_out_with_a_notice(bare, tmp_path):
    ring = bare.square(-27, 0, 10)
    path = bare.rtstruct(
        tmp_path / "rs.dcm",
        [
            ("Isocentre", "MARKER", [("POINT", ring[:1])]),
            ("Empty", "ORGAN", []),
            (
                "Rectum",
                "ORGAN",
                [("CLOSED_PLANAR", ring), ("CLOSED_PLANAR", ring[:2]), ("OPEN_PLANAR", ring)],
            ),
        ],
    )
    found = rtstruct.read(path)
    assert [s.name for s in found.structures] == ["Rectum"]
    assert len(found.structures[0].region.rings) == 1
    said = {(n.code, n.structure) for n in found.notices}
    assert said == {
        ("CONTOUR_LEFT_OUT", "Isocentre"),
        ("STRUCTURE_EMPTY", "Isocentre"),
        ("STRUCTURE_EMPTY", "Empty"),
        ("CONTOUR_DEGENERATE", "Rectum"),
        ("CONTOUR_OPEN", "Rectum"),
    }


def test_two_regions_of_one_name_are_not_guessed(bare, tmp_path):
    small, large = bare.square(-27, 0, 10), bare.square(-27, 0, 20)
    path = bare.rtstruct(
        tmp_path / "rs.dcm",
        [("PTV", "PTV", [("CLOSED_PLANAR", small)]), ("PTV", "PTV", [("CLOSED_PLANAR", large)])],
    )
    found = rtstruct.read(path)
    assert [s.name for s in found.structures] == ["PTV (ROI 1)", "PTV (ROI 2)"]
    assert [np.ptp(s.region.rings[0][:, 0]) for s in found.structures] == [10, 20]
    assert [(n.code, n.severity) for n in found.notices] == [("STRUCTURE_NAME_TWICE", "warn")]


def test_an_empty_twin_does_not_take_the_name(bare, tmp_path):
    path = bare.rtstruct(
        tmp_path / "rs.dcm",
        [("PTV", "PTV", []), ("PTV", "PTV", [("CLOSED_PLANAR", bare.square(-27, 0, 10))])],
    )
    found = rtstruct.read(path)
    assert [s.name for s in found.structures] == ["PTV"]
    assert {(n.code, n.severity) for n in found.notices} == {
        ("STRUCTURE_NAME_TWICE", "info"),
        ("STRUCTURE_EMPTY", "info"),
    }


def test_structures_of_one_number_and_contours_of_none_are_not_guessed(bare, tmp_path):
    def change(ds):
        ds.StructureSetROISequence[1].ROINumber = 1  # PTV now shares the number of the bladder

    ring = bare.square(-27, 0, 10)
    rois = [(name, "ORGAN", [("CLOSED_PLANAR", ring)]) for name in ("Bladder", "PTV", "Rectum")]
    found = rtstruct.read(bare.rtstruct(tmp_path / "rs.dcm", rois, change=change))
    assert [s.name for s in found.structures] == ["Rectum"]
    assert [(n.code, n.severity) for n in found.notices] == [
        ("STRUCTURE_NUMBER_TWICE", "warn"),
        ("CONTOURS_ORPHANED", "warn"),
    ]
    assert "'Bladder', 'PTV'" in found.notices[0].message
    assert "number 2 " in found.notices[1].message


def test_broken_contours_are_refused_with_the_file(bare, tmp_path):
    ring = bare.square(-27, 0, 10)
    path = bare.rtstruct(tmp_path / "rs.dcm", [("Rectum", "ORGAN", [("CLOSED_PLANAR", ring)])])
    ds = pydicom.dcmread(path)
    ds.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints = 7
    ds.save_as(path)
    with pytest.raises(DicomError, match="7 points") as refused:
        rtstruct.read(path)
    assert "rs.dcm" in str(refused.value)


def test_structures_of_two_frames_are_refused(bare, tmp_path):
    ring = bare.square(-27, 0, 10)
    rois = [("A", "ORGAN", [("CLOSED_PLANAR", ring)]), ("B", "ORGAN", [("CLOSED_PLANAR", ring)])]
    path = bare.rtstruct(tmp_path / "rs.dcm", rois)
    ds = pydicom.dcmread(path)
    ds.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.3"
    ds.save_as(path)
    with pytest.raises(DicomError, match="2 frames of reference"):
        rtstruct.read(path)


def phantom(shape=(20, 40, 50)):
    turn = Rotation.from_euler("xyz", (10, -5, 3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0.0, 0, 1.5], [0, 2, 0], [3, 0, 0]])
    affine[:3, 3] = (-20, 30, -100.5)
    grid = Grid(shape, affine, "1.2.3.4")
    uids = tuple(f"1.9.{k}" for k in range(shape[0]))
    source = Source("1.9", "1.8", uids, "1.2.840.10008.5.1.4.1.1.2")
    z, y, x = np.indices(shape)
    radius = np.sqrt(((z - 10) * 3) ** 2 + ((y - 20) * 2) ** 2 + ((x - 25) * 1.5) ** 2)
    return Image(grid, np.zeros(shape), "CT", source), radius


@pytest.mark.parametrize("holes", ["plain", "xor", "keyhole"])
def test_masks_with_holes_come_back_voxel_for_voxel_on_a_tilted_grid(tmp_path, holes):
    image, radius = phantom()
    profile = tps.load("generic").model_copy(update={"holes": holes})
    wanted = [
        Structure("Rectal_Wall", "ORGAN", Mask(image.grid, (radius < 25) & (radius > 12))),
        Structure("PTVp_7700_with_a_long_name", "PTV", Mask(image.grid, radius < 20)),
        Structure("One_Voxel", "ORGAN", Mask(image.grid, radius < 0.5)),
    ]
    done = rtstruct.write(wanted, tmp_path / "rs.dcm", image=image, identity=Identity("P"), tps=profile)
    found = rtstruct.read(done.path)
    assert dict(done.roi_numbers) == {s.name: n for n, s in enumerate(wanted, start=1)}
    assert [(s.name, s.kind) for s in found.structures] == [(s.name, s.kind) for s in wanted]
    for before, after in zip(wanted, found.structures, strict=True):
        np.testing.assert_array_equal(mask_on(after, image.grid).array, before.region.array)
    ds = pydicom.dcmread(done.path)
    assert all(len(roi.ROIName) <= 16 for roi in ds.StructureSetROISequence)
    kinds = {c.ContourGeometricType for item in ds.ROIContourSequence for c in item.ContourSequence}
    assert ("CLOSEDPLANAR_XOR" in kinds) == (holes == "xor")
    drawn = ds.ROIContourSequence[0].ContourSequence
    rings = Counter(c.ContourImageSequence[0].ReferencedSOPInstanceUID for c in drawn)
    assert (max(rings.values()) == 1) == (holes == "keyhole")
    for structure, roi in zip(wanted, ds.StructureSetROISequence, strict=True):
        volume = np.count_nonzero(structure.region.array) * image.grid.voxel_cc
        assert float(roi.ROIVolume) == pytest.approx(volume, rel=2e-4)
        assert abs(done.volume_errors[structure.name]) < 2e-4


def test_every_contour_refers_to_its_slice(tmp_path):
    image, radius = phantom()
    wanted = [Structure("Bladder", "ORGAN", Mask(image.grid, radius < 20))]
    done = rtstruct.write(wanted, tmp_path / "rs.dcm", image=image, identity=Identity("P"))
    ds = pydicom.dcmread(done.path)
    contours = ds.ROIContourSequence[0].ContourSequence
    assert len(contours) > 5
    for contour in contours:
        k = int(contour.ContourImageSequence[0].ReferencedSOPInstanceUID.split(".")[-1])
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        np.testing.assert_allclose(image.grid.to_index(points)[:, 0], k, atol=1e-3)
        assert all(len(str(v)) <= 16 for v in contour.get_item("ContourData").value)
    assert ds.RTROIObservationsSequence[0].RTROIInterpretedType == "ORGAN"
    listed = (
        ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    )
    assert [item.ReferencedSOPInstanceUID for item in listed.ContourImageSequence] == list(
        image.source.sop_uids
    )


def test_given_contours_are_written_as_they_are(tmp_path):
    image, _ = phantom()
    ring = image.grid.to_patient([[4, 10.3, 10.1], [4, 20.7, 11.2], [4, 15.5, 30.9]])
    wanted = [Structure("GTVp", "GTV", Contours((ring,), "1.2.3.4"))]
    done = rtstruct.write(wanted, tmp_path / "rs.dcm", image=image, identity=Identity("P"))
    np.testing.assert_allclose(rtstruct.read(done.path).structures[0].region.rings[0], ring, atol=5.1e-5)


def test_what_cannot_be_written_is_refused(tmp_path):
    image, radius = phantom()
    full = Mask(image.grid, radius < 20)
    empty = Structure("Bladder", "ORGAN", Mask(image.grid, radius < 0))
    other = Structure("Rectum", "ORGAN", Contours((np.eye(3),), "9.9"))
    twice = [Structure("Rectum", "ORGAN", full), Structure("Rectum", "ORGAN", full)]
    for structures, words in (([empty], "empty"), ([other], "frame"), (twice, "one name")):
        with pytest.raises(StructureError, match=words):
            rtstruct.write(structures, tmp_path / "rs.dcm", image=image, identity=Identity("P"))
    assert not list(tmp_path.iterdir())


def test_short_names_are_unique_and_short_names_keep_themselves():
    names = ["Seminal_Vesicles_Left", "Seminal_Vesicles_Right", "Seminal_Vesicles", "rectum", "Rectum"]
    short = short_names(names)
    assert all(len(name) <= 16 for name in short.values())
    assert len({name.casefold() for name in short.values()}) == len(names)
    assert short["Seminal_Vesicles"] == "Seminal_Vesicles"


def test_structures_off_the_slices_are_brought_onto_them_and_the_change_is_stated(tmp_path):
    image, _ = phantom()
    fine = image.grid.with_spacing((1.0, 2.0, 1.5))
    k, j, i = np.indices(fine.shape)
    ball = ((k - 30) * 1.0) ** 2 + ((j - 20) * 2) ** 2 + ((i - 25) * 1.5) ** 2 < 22**2
    mask = Structure("Fine", "ORGAN", Mask(fine, ball))
    drawn = Structure("Drawn", "ORGAN", contours_of(Mask(fine, ball)))
    profile = tps.load("eclipse")
    done = rtstruct.write([mask, drawn], tmp_path / "a.dcm", image=image, identity=Identity("P"), tps=profile)
    full = np.count_nonzero(ball) * fine.voxel_cc
    for structure in rtstruct.read(done.path).structures:
        got = np.count_nonzero(mask_on(structure, image.grid).array) * image.grid.voxel_cc
        assert done.volumes_cc[structure.name] == pytest.approx(got, rel=2e-4)
        assert done.volume_errors[structure.name] == pytest.approx(got / full - 1, abs=2e-4)
        assert abs(got / full - 1) < 0.02
    worst = max(done.volume_errors.values(), key=abs)
    assert f"{100 * worst:+.3f} %" in pydicom.dcmread(done.path).StructureSetDescription
    for item in pydicom.dcmread(done.path).ROIContourSequence:
        assert all("ContourImageSequence" in contour for contour in item.ContourSequence)
    as_it_is = rtstruct.write([mask, drawn], tmp_path / "b.dcm", image=image, identity=Identity("P"))
    assert max(abs(e) for e in as_it_is.volume_errors.values()) < 2e-4
