"""Contours to voxels and back: volumes in closed form, round trips, tilts, gaps, holes."""

from collections.abc import Callable

import numpy as np
import pytest

from rtplan.domain import Contours, Grid, Mask, Registration, Structure
from rtplan.errors import GeometryMismatch, StructureError
from rtplan.imaging.contour import contours_of, fraction_on, mask_on, planes_of

Points = Callable[[Grid], np.ndarray]
T = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)


def cylinder(grid: Grid, radius_mm: float, slices: range, at=(40.3, 44.6)) -> Structure:
    """Circles in the grid's own slices."""
    _, dy, dx = grid.spacing_zyx_mm
    flat = np.stack([at[0] + radius_mm / dy * np.sin(T), at[1] + radius_mm / dx * np.cos(T)], axis=1)
    rings = [grid.to_patient(np.column_stack([np.full(len(flat), k), flat])) for k in slices]
    return Structure("Bladder", "ORGAN", Contours(tuple(rings), grid.frame_of_reference))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_the_volume_of_a_cylinder_on_its_own_grid(grid: Grid) -> None:
    fraction = fraction_on(cylinder(grid, 21.7, range(10, 22)), grid)
    volume = np.pi * 2.17**2 * 12 * 0.25
    assert fraction.sum(dtype=np.float64) * grid.voxel_cc == pytest.approx(volume, rel=2e-5)
    assert fraction.max() <= 1.0
    assert np.flatnonzero(fraction.any(axis=(1, 2))).tolist() == list(range(10, 22))


@pytest.mark.parametrize("degrees", [0.0, 8.0, 18.5])
@pytest.mark.parametrize("spacing", [(5.0, 3.0, 4.0), (1.1, 0.9, 2.0)])
def test_the_volume_of_a_cylinder_on_other_grids(grid: Grid, tilted, degrees, spacing) -> None:
    structure = cylinder(grid, 21.7, range(10, 22))
    centre = grid.to_patient([15.5, 40.3, 44.6])
    shape = tuple(int(90.0 / s) for s in spacing)
    other = tilted(shape, spacing, (0.0, 0.0, 0.0), degrees, (0.2, 1.0, 0.1))
    affine = other.affine.copy()
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape) / 2.0)
    other = Grid(shape, affine, "frame")
    volume = fraction_on(structure, other).sum(dtype=np.float64) * other.voxel_cc
    assert volume == pytest.approx(np.pi * 2.17**2 * 12 * 0.25, rel=3e-3)
    mask = mask_on(structure, grid)
    volume = fraction_on(Structure("Bladder", "ORGAN", mask), other).sum(dtype=np.float64) * other.voxel_cc
    assert volume == pytest.approx(mask.array.sum() * grid.voxel_cc, rel=5e-3)


def test_a_sphere_on_a_tilted_grid_is_a_sphere(tilted, points: Points) -> None:
    plan = Grid.axial((60, 90, 90), (1.5, 1.0, 1.0), (-40.0, -50.0, -60.0), "frame")
    centre = plan.to_patient([30.2, 44.7, 45.1])
    ball = np.linalg.norm(points(plan) - centre, axis=-1) < 28.0
    structure = Structure("Bladder", "ORGAN", contours_of(Mask(plan, ball)))
    other = tilted(
        (40, 80, 80), (2.0, 1.0, 1.0), tuple(centre - np.array([40, 40, 30])), 18.5, (1.0, 0.0, 0.1)
    )
    wanted = np.linalg.norm(points(other) - centre, axis=-1) < 28.0
    assert dice(mask_on(structure, other).array, wanted) > 0.985


@pytest.mark.parametrize("style", ["edges", "midpoints"])
def test_the_way_to_contours_and_back(grid: Grid, points: Points, style) -> None:
    centre = grid.to_patient([20, 40, 45])
    distance = np.linalg.norm(points(grid) - centre, axis=-1)
    mask = Mask(grid, (distance < 30.0) & (distance > 12.0))
    contours = contours_of(mask, style=style)
    back = Structure("Rectum", "ORGAN", contours)
    assert dice(mask_on(back, grid).array, mask.array) >= (1.0 if style == "edges" else 0.995)
    area = fraction_on(back, grid).sum(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(area, mask.array.sum(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    assert len(contours.rings) > np.count_nonzero(mask.array.any(axis=(1, 2)))  # the holes


def test_a_single_voxel_keeps_its_volume(grid: Grid) -> None:
    one = np.zeros(grid.shape, bool)
    one[7, 8, 9] = True
    for style in ("edges", "midpoints"):
        structure = Structure("GTVp", "GTV", contours_of(Mask(grid, one), style=style))
        assert fraction_on(structure, grid).sum() == pytest.approx(1.0, rel=1e-4)


def test_a_slab_ends_half_way_to_its_neighbours() -> None:
    grid = Grid.axial((12, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    square = np.array([[4.5, 4.5], [4.5, 14.5], [14.5, 14.5], [14.5, 4.5]])
    rings = [np.column_stack([square, np.full(4, z)]) for z in (2.0, 5.0, 8.0)]
    along = fraction_on(Structure("Rectum", "ORGAN", Contours(tuple(rings))), grid)[:, 10, 10]
    np.testing.assert_allclose(along, [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0], atol=1e-6)
    far = [*rings, np.column_stack([square, np.full(4, 31.0)])]
    planes = planes_of(Contours(tuple(far)))
    np.testing.assert_allclose(planes.slabs_mm(1.0), [[0.5, 3.5], [3.5, 6.5], [6.5, 9.5], [29.5, 32.5]])


def test_rings_in_one_plane_are_exclusive(tilted) -> None:
    grid = tilted()
    outer, inner = cylinder(grid, 25.0, range(5, 9)), cylinder(grid, 10.0, range(5, 9))
    assert isinstance(outer.region, Contours)
    assert isinstance(inner.region, Contours)
    ring = Structure("Rectum", "ORGAN", Contours(outer.region.rings + inner.region.rings, "frame"))
    volume = fraction_on(ring, grid).sum(dtype=np.float64) * grid.voxel_cc
    assert volume == pytest.approx(np.pi * (6.25 - 1.0) * 4 * 0.25, rel=1e-4)
    assert fraction_on(ring, grid)[6, 40, 45] == pytest.approx(0.0, abs=1e-6)


def test_a_structure_beyond_the_grid_is_cut_and_nothing_is_nothing() -> None:
    grid = Grid.axial((4, 10, 10), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    far = cylinder(grid, 3.0, range(100, 104))
    assert not fraction_on(far, grid).any()
    assert not mask_on(Structure("Rectum", "ORGAN", Contours(())), grid).array.any()
    beside = cylinder(grid, 3.0, range(0, 4), at=(300.0, 4.0))
    assert not fraction_on(beside, grid).any()


def test_frames_are_checked_and_joined_by_a_registration(tilted) -> None:
    grid = tilted()
    structure = cylinder(grid, 20.0, range(10, 14))
    other = Grid(grid.shape, grid.affine, "ct")
    with pytest.raises(GeometryMismatch):
        mask_on(structure, other)
    matrix = np.eye(4)
    matrix[:3, 3] = grid.affine[:3, 0] * 3.0
    moved = mask_on(structure, other, Registration("frame", "ct", matrix)).array
    np.testing.assert_array_equal(moved, np.roll(mask_on(structure, grid).array, 3, axis=0))


def test_contours_that_are_not_flat_are_refused() -> None:
    ring = np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 30], [0, 10, 0]])
    grid = Grid.axial((4, 10, 10), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    with pytest.raises(StructureError, match="flat and parallel"):
        mask_on(Structure("Rectum", "ORGAN", Contours((ring,))), grid)
    with pytest.raises(StructureError, match="encloses"):
        planes_of(Contours((np.zeros((4, 3)),)))
