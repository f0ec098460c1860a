"""Planes: left is left, a contour lies where it should, doses of other grids come to the right place."""

from __future__ import annotations

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Mask, Patient, Registration, Structure
from rtplan.errors import GeometryMismatch
from rtplan.imaging.contour import contours_of
from rtplan.report.planes import Plane, display_axes, join, outline, planes, sample, section

FRAME = "1.2.3"
MIDDLE = np.array([31.0, -47.0, 12.0])


def turned(axis: int, degrees: float) -> np.ndarray:
    a, b = [n for n in range(3) if n != axis]
    matrix = np.eye(3)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


def grid_along(axes: np.ndarray, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    """A grid centred on MIDDLE whose columns (k, j, i) run along the given unit vectors."""
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = MIDDLE - affine[:3, :3] @ (0.5 * (np.array(shape) - 1.0))
    return Grid(shape, affine, FRAME)


AXIAL = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
GRIDS = {
    "axial": grid_along(AXIAL, (40, 60, 70), (3.0, 2.0, 2.0)),
    "from head to feet, mirrored": grid_along(AXIAL * [-1, 1, -1], (40, 60, 70), (3.0, 2.0, 1.7)),
    "sagittal slices": grid_along(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), (45, 60, 64), (3, 2, 2)),
    "tilted": grid_along(turned(0, 18.5) @ AXIAL, (40, 60, 70), (3.0, 2.0, 1.8)),
    "turned twice": grid_along(turned(0, -14.0) @ turned(2, 9.0) @ AXIAL, (42, 66, 70), (2.6, 2.0, 1.8)),
}
#: Left, anterior and superior of the middle, mm along the display axes.
OFFSET = np.array([24.0, -15.0, 9.0])
RADIUS = 13.0


def ball(grid: Grid, centre: np.ndarray) -> Structure:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
    inside = np.linalg.norm(grid.to_patient(index) - centre, axis=-1) <= RADIUS
    return Structure("Ball", "ORGAN", Mask(grid, inside))


def shown(grid: Grid, through: np.ndarray) -> tuple[Plane, ...]:
    middle = display_axes(grid).T @ MIDDLE
    return planes(grid, through, (middle - 50.0, middle + 50.0), 0.5)


@pytest.mark.parametrize("name", GRIDS)
def test_the_display_axes_are_the_patient_s_or_the_nearest(name: str) -> None:
    axes = display_axes(GRIDS[name])
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert (np.diag(axes) > 0.9).all()


@pytest.mark.parametrize("kept", ["mask", "contours"])
@pytest.mark.parametrize("name", GRIDS)
def test_a_contour_lies_where_the_structure_is(name: str, kept: str) -> None:
    grid = GRIDS[name]
    centre = MIDDLE + display_axes(grid) @ OFFSET
    structure = ball(grid, centre)
    if kept == "contours":
        assert isinstance(structure.region, Mask)
        structure = Structure("Ball", "ORGAN", contours_of(structure.region))
    for plane in shown(grid, centre):
        lines = outline(section(structure, plane, grid), plane)
        assert len(lines) == 1
        away = np.linalg.norm(lines[0] - np.array(plane.cross_mm), axis=1)
        assert abs(away.mean() - RADIUS) < 0.5
        assert away.max() - away.min() < 2.0 * max(grid.spacing_zyx_mm)
        across, down = lines[0].mean(axis=0) - 0.5 * np.array(plane.size_mm)
        wanted = {"axial": (24.0, -15.0), "coronal": (24.0, -9.0), "sagittal": (-15.0, -9.0)}[plane.name]
        assert (across, down) == pytest.approx(wanted, abs=1.0)


@pytest.mark.parametrize("name", GRIDS)
def test_left_is_left(name: str) -> None:
    """A value that grows to the patient's left, posterior and superior grows that way in the picture."""
    grid = GRIDS[name]
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
    letters = {"L": 0, "R": 0, "A": 1, "P": 1, "S": 2, "I": 2}
    for axis in range(3):
        ramp = Dose(grid, grid.to_patient(index)[..., axis])
        for plane in shown(grid, MIDDLE):
            seen = sample(ramp, plane)
            across = np.nanmean(seen[:, -20:]) - np.nanmean(seen[:, :20])
            down = np.nanmean(seen[-20:]) - np.nanmean(seen[:20])
            for change, before, after in ((across, 0, 1), (down, 2, 3)):
                if letters[plane.letters[after]] == axis:
                    assert letters[plane.letters[before]] == axis
                    grows = plane.letters[after] in "LPS"
                    assert change > 30.0 if grows else change < -30.0


def test_a_dose_of_another_tilted_grid_has_its_values_in_place() -> None:
    grid, other = GRIDS["axial"], grid_along(turned(1, 11.0) @ AXIAL, (30, 30, 30), (5.0, 6.0, 4.0))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in other.shape), indexing="ij"), -1)
    slope = np.array([0.31, -0.12, 0.23])
    dose = Dose(other, other.to_patient(index) @ slope + 40.0)
    for plane in shown(grid, MIDDLE):
        seen = sample(dose, plane)
        rows, columns = seen.shape
        pixel = np.stack(np.meshgrid([0.0], np.arange(rows), np.arange(columns), indexing="ij"), -1)
        wanted = plane.grid.to_patient(pixel)[0] @ slope + 40.0
        inner = np.s_[20:-20, 20:-20]
        assert np.abs(seen[inner] - wanted[inner]).max() < 1e-3


def test_beside_the_volume_there_is_nothing() -> None:
    grid = GRIDS["axial"]
    far = planes(grid, MIDDLE, (MIDDLE + 500.0, MIDDLE + 520.0), 1.0)
    dose = Dose(grid, np.ones(grid.shape))
    assert all(np.isnan(sample(dose, plane)).all() for plane in far)
    structure = Structure("Ball", "ORGAN", contours_of(ball(grid, MIDDLE).region))  # type: ignore[arg-type]
    assert all(outline(section(structure, plane, grid), plane) == () for plane in far)


def test_another_frame_is_joined_by_its_registration_or_refused() -> None:
    grid = GRIDS["axial"]
    moved = np.eye(4)
    moved[:3, 3] = [-100.0, 20.0, 5.0]
    there = Grid(grid.shape, moved @ grid.affine, "9.9")
    patient = Patient(registrations=(Registration("9.9", FRAME, np.linalg.inv(moved)),))
    link = join(patient, "9.9", FRAME)
    assert link is not None
    centre = MIDDLE + OFFSET
    structure = Structure("Ball", "ORGAN", Mask(there, ball(grid, centre).region.array))  # type: ignore[union-attr]
    rings = Structure("Ball", "ORGAN", contours_of(structure.region))  # type: ignore[arg-type]
    assert isinstance(rings.region, Contours)
    for plane in shown(grid, centre):
        for one in (structure, rings):
            lines = outline(section(one, plane, grid, link), plane)
            assert lines[0].mean(axis=0) == pytest.approx(np.array(plane.cross_mm), abs=1.0)
    assert join(Patient(), "9.9", FRAME) is None
    with pytest.raises(GeometryMismatch):
        section(structure, shown(grid, centre)[0], grid)
