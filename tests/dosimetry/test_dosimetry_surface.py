"""Dose surface maps: areas and angles of known tubes, full against empty, clusters, walls, bad input."""

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Mask, Structure
from rtplan.dosimetry.shell import shell_doses, shell_histogram
from rtplan.dosimetry.surface import extent_at, surface_histogram, surface_map
from rtplan.dosimetry.tube import wall
from rtplan.errors import DoseError, GeometryMismatch, StructureError
from rtplan.imaging.contour import fraction_on

GRID = Grid.axial((40, 60, 60), (3.0, 2.0, 2.0), (-60.0, -60.0, -60.0))


def tube(radii_mm=(15.0, 15.0), *, height=60.0, step=3.0, lean=(0.0, 0.0), clockwise=False, points=360):
    """An elliptic tube from z = -30 mm; ``lean`` is the drift of its centre (x, y) per mm of z."""
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False) * (-1 if clockwise else 1) + 0.3
    rings = []
    for z in np.arange(0.0, height + 1e-9, step):
        x, y = radii_mm[0] * np.cos(turn) + lean[0] * z, radii_mm[1] * np.sin(turn) + lean[1] * z
        rings.append(np.stack([x, y, np.full_like(x, z - 30.0)], axis=1))
    return Structure("Rectum", "ORGAN", Contours(tuple(rings[::-1])))


def dose_of(function) -> Dose:
    points = GRID.to_patient(np.moveaxis(np.indices(GRID.shape), 0, -1))
    return Dose(GRID, function(*np.moveaxis(points, -1, 0)))


FLAT = dose_of(lambda x, y, z: 0 * x + 30.0)


def test_area_and_length_of_a_cylinder():
    surface = surface_map(FLAT, tube(), step_mm=2.0)
    assert surface.length_mm == pytest.approx(60.0)
    assert surface.total_cm2 == pytest.approx(2 * np.pi * 1.5 * 6.0, rel=1e-3)
    assert surface.mean_gy == pytest.approx(30.0)
    assert surface.dose_gy.shape == (30, 180)


def test_area_of_a_leaning_tube_follows_its_centroid_line():
    surface = surface_map(FLAT, tube(lean=(0.0, 0.5)))
    assert surface.length_mm == pytest.approx(60 * np.sqrt(1.25), rel=1e-6)
    turn = np.linspace(0, 2 * np.pi, 20001)[:-1]
    exact = np.mean(np.sqrt(1 + (0.5 * np.sin(turn)) ** 2)) * 2 * np.pi * 15 * 60 / 100
    assert surface.total_cm2 == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("clockwise", [False, True])
def test_theta_is_anterior_at_nought_and_positive_to_the_left(clockwise):
    structure = tube(clockwise=clockwise)
    left = surface_map(dose_of(lambda x, y, z: 50 + x), structure)
    front = surface_map(dose_of(lambda x, y, z: 50 - y), structure)
    up = surface_map(dose_of(lambda x, y, z: 50 + z), structure)
    row = left.dose_gy[5]
    assert left.theta_deg[np.argmax(row)] == pytest.approx(90.0, abs=2.1)
    assert left.theta_deg[np.argmin(row)] == pytest.approx(-90.0, abs=2.1)
    assert front.theta_deg[np.argmax(front.dose_gy[5])] == pytest.approx(0.0, abs=2.1)
    assert abs(front.theta_deg[np.argmin(front.dose_gy[5])]) == pytest.approx(180.0, abs=2.1)
    assert (np.diff(up.dose_gy.mean(axis=1)) > 0).all()  # s runs from the anal end upwards
    circle = 50 + 15 * np.sin(np.deg2rad(left.theta_deg))
    assert np.abs(row - circle).max() < 0.05  # on a circle theta is the polar angle


def test_histogram_of_a_known_tube():
    """Dose 50 - y on a circle of 15 mm: the share above 50 + 15 cos(a) is a / 180."""
    surface = surface_map(dose_of(lambda x, y, z: 50 - y), tube(), n_theta=360)
    for angle in (30.0, 90.0, 120.0):
        level = 50 + 15 * np.cos(np.deg2rad(angle))
        share = surface_histogram(surface, np.array([level]))[0]
        assert share == pytest.approx(100 * angle / 180, abs=0.4)
    shares = surface_histogram(surface, np.linspace(0, 80, 30))
    assert shares[0] == pytest.approx(100.0)
    assert shares[-1] == 0.0
    assert (np.diff(shares) <= 1e-9).all()


def test_full_and_empty_rectum_of_one_wall_have_one_area():
    """Empty: a flat ellipse; full: a circle of the same circumference. No area may be made or lost."""
    flat = (22.0, 6.0)
    turn = np.linspace(0, 2 * np.pi, 100001)
    around = np.sum(np.hypot(np.diff(flat[0] * np.cos(turn)), np.diff(flat[1] * np.sin(turn))))
    full = around / (2 * np.pi)
    halves = dose_of(lambda x, y, z: np.where(z > 0, 60.0, 20.0))
    empty_map, full_map = surface_map(halves, tube(flat)), surface_map(halves, tube((full, full)))
    assert empty_map.total_cm2 == pytest.approx(full_map.total_cm2, rel=2e-3)
    assert empty_map.total_cm2 == pytest.approx(around * 60 / 100, rel=2e-3)
    levels = np.array([10.0, 40.0, 59.0])
    assert np.abs(surface_histogram(empty_map, levels) - surface_histogram(full_map, levels)).max() < 0.3
    assert np.ptp(empty_map.area_mm2) / empty_map.area_mm2.mean() < 0.05  # regular in area, too


def test_a_mask_gives_the_map_of_its_contours():
    structure = tube((18.0, 13.0))
    mask = Structure("Rectum", "ORGAN", Mask(GRID, fraction_on(structure, GRID) >= 0.5))
    dose = dose_of(lambda x, y, z: 50 + x - 0.5 * y + 0.3 * z)
    by_ring, by_mask = surface_map(dose, structure), surface_map(dose, mask)
    assert by_mask.total_cm2 == pytest.approx(by_ring.total_cm2, rel=0.12)  # steps of 2 mm roughen it
    assert by_mask.mean_gy == pytest.approx(by_ring.mean_gy, abs=0.5)


def test_extent_of_a_patch():
    """A hot anterior window: 90 degrees wide, 20 mm long, centred at s = 40 mm."""

    def window(x, y, z):
        angle = np.rad2deg(np.arctan2(x, -y))
        return np.where((np.abs(angle) <= 45) & (np.abs(z - 10) <= 10), 60.0, 10.0)

    extent = extent_at(surface_map(dose_of(window), tube((20.0, 20.0))), 35.0)
    assert extent.lateral_deg == pytest.approx(90.0, abs=6.0)
    assert extent.lateral_mm == pytest.approx(np.pi / 2 * 20, abs=3.0)  # voxels of 2 mm
    assert extent.longitudinal_mm == pytest.approx(20.0, abs=3.1)
    assert extent.longitudinal_percent == pytest.approx(100 / 3, abs=5.2)
    assert extent.centroid_s_mm == pytest.approx(40.0, abs=1.5)
    assert extent.centroid_theta_deg == pytest.approx(0.0, abs=2.0)
    assert extent.cluster_percent == pytest.approx(extent.area_percent)


def test_the_largest_cluster_is_taken_and_runs_across_the_cut():
    def two(x, y, z):
        behind = (y > 12) & (z > -10)
        before = (y < -16) & (z < -22)
        return np.where(behind | before, 60.0, 5.0)

    extent = extent_at(surface_map(dose_of(two), tube((20.0, 20.0))), 30.0)
    assert abs(extent.centroid_theta_deg) == pytest.approx(180.0, abs=2.0)
    assert extent.cluster_percent < extent.area_percent
    assert extent.lateral_deg == pytest.approx(2 * np.rad2deg(np.arccos(12 / 20)), abs=10.0)
    nowhere = extent_at(surface_map(FLAT, tube()), 99.0)
    assert (nowhere.area_percent, nowhere.lateral_mm, nowhere.centroid_s_mm) == (0.0, 0.0, None)


def test_the_wall_is_an_inner_shell():
    fine = Grid.axial((24, 80, 80), (3.0, 0.5, 0.5), (-20.0, -20.0, -33.0))
    shell = wall(tube(), fine, 3.0)
    volume = shell.region.array.sum() * fine.voxel_cc
    assert volume == pytest.approx(np.pi * (1.5**2 - 1.2**2) * 6.3, rel=0.05)  # 21 slices of 3 mm
    assert shell.name == "Rectal_Wall"
    with pytest.raises(StructureError, match="cannot be drawn"):
        wall(tube(), GRID, 1.0)


def test_refuses_what_is_no_tube_on_the_grid():
    one = Structure("Rectum", "ORGAN", Contours(tube().region.rings[:1]))
    with pytest.raises(StructureError, match="two planes"):
        surface_map(FLAT, one)
    upright = Structure("Rectum", "ORGAN", Contours(tuple(r[:, [2, 0, 1]] for r in tube().region.rings)))
    with pytest.raises(StructureError, match="axial"):
        surface_map(FLAT, upright)
    with pytest.raises(DoseError, match="outside the dose grid"):
        surface_map(FLAT, tube(height=120.0))
    elsewhere = Structure("Rectum", "ORGAN", Contours(tube().region.rings, "1.2.3"))
    with pytest.raises(GeometryMismatch):
        surface_map(Dose(Grid(GRID.shape, GRID.affine, "4.5.6"), FLAT.array), elsewhere)
    with pytest.raises(StructureError, match="even"):
        surface_map(FLAT, tube(), n_theta=7)


def test_shells_hold_the_voxels_on_both_sides_of_a_surface():
    """In a dose that is the height, the shells of a tube reach from end to end, one voxel further outside."""
    heights = dose_of(lambda x, y, z: 100 + z)
    inner, outer = (shell_doses(heights, tube(), side=side, finer=1) for side in ("inside", "outside"))
    assert (inner.min(), inner.max()) == (70.0, 130.0 + 0.0)
    assert (outer.min(), outer.max()) == (67.0, 133.0)
    assert len(outer) > len(inner)
    assert shell_histogram(inner, np.array([0.0, 200.0])).tolist() == [100.0, 0.0]
    with pytest.raises(StructureError, match="border"):
        shell_doses(FLAT, tube(height=100.0))
    with pytest.raises(StructureError, match="Nothing"):
        shell_doses(FLAT, Structure("Rectum", "ORGAN", Mask(GRID, np.zeros(GRID.shape, bool))))
