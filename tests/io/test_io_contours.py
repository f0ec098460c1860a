"""Holes, directions and faults of contours on tilted, shifted planes: the right volume, or a finding."""

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from scipy.spatial.transform import Rotation

from rtplan.domain import Contours, Grid, Structure
from rtplan.errors import DicomError
from rtplan.imaging.contour import fraction_on
from rtplan.imaging.crossing import cross, crosses_itself, doubtful_area, shared_area, which_cross_themselves
from rtplan.io import header as hd
from rtplan.io import rtstruct
from rtplan.io.contour_faults import without_twins
from rtplan.io.truncation import beyond_dose

TURN = Rotation.from_euler("xyz", (14, -9, 31), degrees=True).as_matrix()
ORIGIN = np.array([-37.3, 112.9, -451.7])
STEP = 2.5


def at(flat, k):
    """Take points (u, v) of plane k into the patient, LPS mm."""
    flat = np.asarray(flat, float)
    return ORIGIN + np.column_stack([flat, np.full(len(flat), k * STEP)]) @ TURN.T


def box(low, high, *, shift=0.0):
    return np.array([(low, low), (high, low), (high, high), (low, high)], float) + shift


KEYHOLE = np.array(
    [
        (0, 0),
        (20, 0),
        (20, 20),
        (0, 20),
        (0, 10),
        (6, 10),
        (6, 14),
        (14, 14),
        (14, 6),
        (6, 6),
        (6, 10),
        (0, 10),
    ]
)


def read(bare, tmp_path, contours, name="Rectum"):
    return rtstruct.read(bare.rtstruct(tmp_path / "rs.dcm", [(name, "ORGAN", contours)]))


def volume_mm3(structure, bare):
    """Sum partial volumes on a grid of the same planes, anisotropic and shifted within them."""
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = TURN[:, 2] * STEP, TURN[:, 1] * 1.3, TURN[:, 0] * 0.7
    affine[:3, 3] = at([(-11.2, -10.9)], -2)[0]
    grid = Grid((12, 45, 80), affine, bare.frame)
    return float(fraction_on(structure, grid).sum(dtype=np.float64)) * grid.voxel_cc * 1000.0


def planes(*rings, kind="CLOSED_PLANAR", count=5):
    return [(kind, at(ring, k)) for k in range(count) for ring in rings]


OUTER, HOLE = box(0, 20), box(6, 14)
DOTS = [
    ("CLOSED_PLANAR", at([(3, 3)], 1)),
    ("CLOSED_PLANAR", at([(3, 3), (9, 9)], 2)),
    ("POINT", at([(1, 1)], 2)),
]
TWINS = planes(OUTER) + planes(np.roll(OUTER[::-1], 1, axis=0), count=2)


@pytest.mark.parametrize(
    ("contours", "area", "codes"),
    [
        (planes(OUTER), 400, []),
        (planes(OUTER[::-1]), 400, []),
        (planes(OUTER, HOLE), 336, []),
        (planes(OUTER, HOLE[::-1]), 336, []),
        (planes(OUTER, HOLE, kind="CLOSEDPLANAR_XOR"), 336, []),
        (planes(KEYHOLE), 336, []),
        (planes(KEYHOLE[::-1]), 336, []),
        (planes(OUTER, HOLE, box(8, 11)), 345, []),
        (planes(OUTER) + DOTS, 400, ["CONTOUR_DEGENERATE", "CONTOUR_LEFT_OUT"]),
        (planes(OUTER, count=4) + planes(OUTER[::-1])[-1:], 400, ["CONTOURS_CLOCKWISE"]),
        (TWINS, 400, ["CONTOUR_TWICE"]),
        ([*planes(OUTER), ("OPEN_PLANAR", at(HOLE, 1))], 400, ["CONTOUR_OPEN"]),
    ],
)
def test_volumes_are_right_whatever_way_a_hole_is_drawn(bare, tmp_path, contours, area, codes):
    found = read(bare, tmp_path, contours)
    assert sorted(n.code for n in found.notices) == codes
    assert all(n.structure == "Rectum" and n.file for n in found.notices)
    assert volume_mm3(found.structures[0], bare) == pytest.approx(area * 5 * STEP, rel=2e-5)


def test_a_contour_that_crosses_itself_says_how_much_is_in_doubt(bare, tmp_path):
    bow = [(0, 0), (20, 0), (5, 20), (15, 20)]  # loops of 400/3 and 100/3 mm², wound against each other
    found = read(bare, tmp_path, [*planes(OUTER, count=4), ("CLOSED_PLANAR", at(bow, 4))])
    (notice,) = found.notices
    assert (notice.code, notice.severity) == ("CONTOUR_CROSSES_ITSELF", "warn")
    assert "1 contours" in notice.message
    assert f"up to {100 * (200 / 3) / 1700:.1f} %" in notice.message


def test_contours_that_overlap_in_part_say_what_is_lost(bare, tmp_path):
    found = read(bare, tmp_path, planes(OUTER, box(0, 20, shift=15.0)))
    (notice,) = found.notices
    assert (notice.code, notice.severity) == ("CONTOURS_OVERLAP", "warn")
    assert "5 pairs" in notice.message
    assert f"{100 * 25 / 800:.1f} %" in notice.message


@pytest.mark.parametrize(
    ("left_out", "severity", "planes_missing"), [((3,), "warn", 1), ((3, 4, 5), "info", 3)]
)
def test_planes_without_a_contour_are_said(bare, tmp_path, left_out, severity, planes_missing):
    contours = [c for k, c in enumerate(planes(OUTER, count=9)) if k not in left_out]
    found = read(bare, tmp_path, contours)
    (notice,) = found.notices
    assert (notice.code, notice.severity) == ("CONTOURS_GAP", severity)
    assert f"{planes_missing} plane" in notice.message


@pytest.mark.parametrize("kind", ["CLOSED_PLANR", "", "CLOSED_NONPLANAR"])
def test_a_contour_of_an_unknown_kind_is_never_left_out_of_the_volume(bare, tmp_path, kind):
    with pytest.raises(DicomError, match="no kind that the standard knows"):
        read(bare, tmp_path, [*planes(OUTER), (kind, at(OUTER, 5))])


def test_a_part_that_begins_elsewhere_is_no_forgotten_plane(bare, tmp_path):
    aside = planes(box(60, 80), count=9)
    contours = [c if k < 4 else aside[k] for k, c in enumerate(planes(OUTER, count=9)) if k != 4]
    (notice,) = read(bare, tmp_path, contours).notices
    assert (notice.code, notice.severity) == ("CONTOURS_GAP", "info")


def test_a_bent_contour_leaves_out_its_structure_alone(bare, tmp_path):
    bent = at(OUTER, 2)
    bent[2] += TURN[:, 2] * 5
    rois = [("Rectum", "ORGAN", [("CLOSED_PLANAR", bent)]), ("Bladder", "ORGAN", planes(OUTER))]
    found = rtstruct.read(bare.rtstruct(tmp_path / "rs.dcm", rois))
    assert [s.name for s in found.structures] == ["Bladder"]
    assert [(n.code, n.structure, n.severity) for n in found.notices] == [("CONTOUR_BENT", "Rectum", "warn")]


def test_contours_of_two_orientations_leave_out_their_structure(bare, tmp_path):
    upright = at(OUTER, 0) @ Rotation.from_euler("x", 90, degrees=True).as_matrix().T
    found = read(bare, tmp_path, [*planes(OUTER), ("CLOSED_PLANAR", upright)])
    assert found.structures == ()
    assert [n.code for n in found.notices] == ["CONTOURS_NOT_PARALLEL"]


def test_contours_without_a_list_of_images_name_their_own(bare, tmp_path):
    def refer(ds):
        for k, contour in enumerate(ds.ROIContourSequence[0].ContourSequence):
            item = bare.pydicom.Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
                "1.2.840.10008.5.1.4.1.1.2",
                f"1.9.{k}",
            )
            contour.ContourImageSequence = bare.pydicom.Sequence([item])

    path = bare.rtstruct(tmp_path / "rs.dcm", [("Rectum", "ORGAN", planes(OUTER))], change=refer)
    assert rtstruct.read(path).image_uids == tuple(f"1.9.{k}" for k in range(5))


def test_crossing_is_seen_on_random_stars():
    """A star polygon about a centre is simple; with two points exchanged it crosses itself."""
    rng = np.random.default_rng(4)
    for _ in range(30):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
        radius = rng.uniform(5, 20, 40)
        ring = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
        assert not crosses_itself(ring)
        swapped = ring.copy()
        swapped[[3, 21]] = swapped[[21, 3]]
        assert crosses_itself(swapped)
        assert crosses_itself(swapped[::-1])


def test_areas_in_doubt_and_shared_have_closed_forms():
    bow = box(0, 20)[[0, 2, 1, 3]]
    assert doubtful_area(bow) == pytest.approx(200, rel=1e-2)
    assert doubtful_area(box(0, 20)) == pytest.approx(0, abs=1e-6)
    assert shared_area(box(0, 20), box(5, 25)) == pytest.approx(225, rel=1e-2)
    assert cross(box(0, 20), box(5, 25))
    assert not cross(box(0, 20), box(6, 14))
    assert not cross(box(0, 20), box(20, 30))


def test_a_scribble_of_many_points_needs_no_more_memory(monkeypatch):
    """Every pair of its edges overlaps along x; pairs are compared in parts, to the first crossing."""
    monkeypatch.setattr("rtplan.imaging.crossing.PAIRS", 1000)
    comb = np.array([(x, y) for n in range(300) for x, y in ((0.0, 2.0 * n), (50.0, 2.0 * n + 1))])
    closed = np.concatenate([comb, [(-1.0, 600.0), (-1.0, -1.0)]])
    assert not crosses_itself(closed)
    closed[301, 1] += 5.0
    assert crosses_itself(closed)


def test_a_structure_that_leads_far_astray_is_no_trap():
    grid = Grid.axial((20, 30, 40), (3, 2, 2), (0, 0, 0), "1.2.3")
    ring = np.array([(10.0, 10, 9), (1e8, 10, 9), (1e8, 1e8, 9)])
    (notice,) = beyond_dose([Structure("Rectum", "ORGAN", Contours((ring,), "1.2.3"))], grid, "the dose CT")
    assert "100.0 % of Rectum" in notice.message


def test_many_polygons_are_judged_as_each_alone():
    rng = np.random.default_rng(11)
    rings = [np.round(rng.uniform(0, 8, (n, 2)), rng.integers(0, 2)) for n in rng.integers(3, 7, 200)]
    alone = [crosses_itself(ring) for ring in rings]
    assert 20 < sum(alone) < 180
    np.testing.assert_array_equal(which_cross_themselves(rings), alone)
    assert which_cross_themselves([]).shape == (0,)


def test_rings_of_one_sum_of_points_are_no_twins():
    square = np.array([(0, 0, 1), (4, 0, 1), (4, 4, 1), (0, 4, 1)], float)
    diamond = np.array([(2, 0, 1), (4, 2, 1), (2, 4, 1), (0, 2, 1)], float)
    kept = without_twins([square, diamond, square[::-1], diamond[[1, 2, 3, 0]]])
    assert [ring.tolist() for ring in kept] == [square.tolist(), diamond.tolist()]


def item(text):
    made = Dataset()
    tag = Tag("ContourData")
    made[tag] = RawDataElement(tag, None, len(text), text, 0, True, True)
    return made


@pytest.mark.parametrize("last", [b"2.5.1", b"2-1", b"1_0", b"nan", b"1e999", b"2 5", b"0x1p3", b"\\1"])
def test_numbers_read_together_are_those_read_alone(last):
    good = [item(b"1\\-2.5\\+3e1 "), item(b"0.1\\.7\\16777217.000001\0"), item(b" 4\\ 5 \\6")]
    for taken in (good, good[:2]):
        got = hd.arrays(taken, "ContourData")
        assert [one.tolist() for one in got] == [hd.array(one, "ContourData").tolist() for one in taken]
    assert got[1].tolist() == [0.1, 0.7, 16777217.000001]
    assert hd.arrays([], "ContourData") == []
    broken = [*good[:2], item(b"1\\" + last)]
    try:
        alone = hd.array(broken[-1], "ContourData").tolist()
    except DicomError:
        with pytest.raises(DicomError):
            hd.arrays(broken, "ContourData")
    else:
        assert hd.arrays(broken, "ContourData")[-1].tolist() == alone
