"""Resampling: exact on affine functions, class kept, frames checked, box and registration as stated."""

from collections.abc import Callable

import numpy as np
import pytest

from rtplan.domain import Displacement, Dose, Grid, Image, Mask, Registration, Source, Volume
from rtplan.errors import GeometryMismatch, RegistrationError
from rtplan.imaging.resample import carry_back, covered, resample

Points = Callable[[Grid], np.ndarray]
SLOPE = np.array([0.7, -1.3, 2.1])


def ramp(points: np.ndarray) -> np.ndarray:
    return points @ SLOPE + 5.0


@pytest.mark.parametrize("order", ["linear", "cubic"])
def test_an_affine_function_comes_out_exactly(grid: Grid, tilted, points: Points, order) -> None:
    inner = grid.to_patient(np.array(grid.shape) / 2.0 - 0.5)
    other = tilted((9, 8, 7), (1.7, 2.3, 1.1), tuple(inner - 8.0), -33.0, (0.2, 1.0, -0.5))
    assert covered(other, grid).array.all()
    moved = resample(Volume(grid, ramp(points(grid))), other, order=order)
    inside = (grid.to_index(points(other)) > 10).all(axis=-1)  # the spline's ends are mirrored
    assert inside.sum() > 100
    np.testing.assert_allclose(moved.array[inside], ramp(points(other))[inside], atol=2e-3)


def test_nearest_takes_the_value_of_the_nearest_voxel(grid: Grid, tilted, points: Points) -> None:
    rng = np.random.default_rng(1)
    volume = Volume(grid, rng.normal(size=grid.shape))
    other = tilted((9, 8, 7), (1.7, 2.3, 1.1), tuple(grid.to_patient([20, 40, 45])), 25.0, (0.2, 1.0, -0.5))
    k, j, i = np.moveaxis(np.rint(grid.to_index(points(other))).astype(int), -1, 0)
    np.testing.assert_array_equal(resample(volume, other, order="nearest").array, volume.array[k, j, i])


def test_the_class_and_its_fields_are_kept() -> None:
    grid = Grid.axial((4, 5, 6), (3.0, 2.0, 1.0), (1.0, 2.0, 3.0), "frame")
    fine = grid.with_spacing((1.0, 1.0, 1.0))
    image = resample(Image(grid, np.ones(grid.shape), "MR", Source(series_uid="1.2")), fine)
    dose = resample(Dose(grid, np.ones(grid.shape), kind="EQD2(3)", fractions=5), fine)
    mask = resample(Mask(grid, np.ones(grid.shape, bool)), fine)
    assert (type(image), image.modality, image.source.series_uid) == (Image, "MR", "1.2")
    assert (type(dose), dose.kind, dose.fractions) == (Dose, "EQD2(3)", 5)
    assert mask.array.dtype == np.bool_
    assert mask.array.all()


def test_outside_begins_half_a_voxel_beyond_the_outer_centres() -> None:
    grid = Grid.axial((1, 1, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    line = Grid.axial((1, 1, 6), (2.0, 2.0, 2.0), (-1.5, 0.0, 0.0))
    volume = Volume(grid, np.full(grid.shape, 7.0))
    values = resample(volume, line, outside=-1000.0).array[0, 0]
    inside = covered(line, grid).array[0, 0]
    np.testing.assert_array_equal(inside, [False, True, True, True, True, False])
    np.testing.assert_array_equal(values, np.where(inside, 7.0, -1000.0))


def test_covered_agrees_with_resampling_ones(grid: Grid, tilted) -> None:
    other = tilted((30, 30, 30), (6.0, 5.0, 4.0), (-60.0, -30.0, -10.0), 40.0, (0.1, 0.5, 1.0))
    ones = resample(Volume(grid, np.ones(grid.shape)), other)
    inside = covered(other, grid).array
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(inside, ones.array > 0.5)


def test_frames_must_agree() -> None:
    a = Grid.axial((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "a")
    b = Grid.axial((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "b")
    volume = Volume(a, np.zeros(a.shape))
    with pytest.raises(GeometryMismatch, match="no registration"):
        resample(volume, b)
    with pytest.raises(GeometryMismatch, match="no registration"):
        covered(b, a)
    with pytest.raises(GeometryMismatch, match="goes from frame"):
        resample(volume, b, registration=Registration("b", "a", np.eye(4)))


def test_a_rigid_registration_moves_what_it_says(grid: Grid, tilted, points: Points) -> None:
    moving = Grid(grid.shape, grid.affine, "mr")
    matrix = np.eye(4)
    matrix[:3, :3] = tilted(degrees=12.0, axis=(0.3, 0.2, 1.0)).direction @ np.eye(3)[::-1]
    matrix[:3, 3] = (4.0, -7.0, 11.0)
    registration = Registration("mr", "ct", matrix)
    centre = registration.apply(moving.to_patient([20, 40, 45]))
    fixed = Grid.axial((9, 8, 7), (1.5, 1.0, 2.0), tuple(centre - 5.0), "ct")
    moved = resample(Volume(moving, ramp(points(moving))), fixed, registration=registration)
    back = (points(fixed) - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    np.testing.assert_allclose(moved.array, ramp(back), atol=2e-3)
    np.testing.assert_allclose(carry_back(registration.apply(back), registration), back, atol=1e-9)
    assert covered(fixed, moving, registration).array.all()


def test_a_displacement_tells_where_points_come_from(points: Points) -> None:
    grid = Grid.axial((10, 12, 14), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), "f")
    vectors = np.zeros((*grid.shape, 3), np.float32)
    vectors[..., 0] = 2.0
    vectors[..., 2] = -1.5
    registration = Registration("f", "f", np.eye(4), "deformable", displacement=Displacement(grid, vectors))
    inner = grid.crop((3, 3, 3), (7, 8, 9))
    moved = resample(Volume(grid, ramp(points(grid))), inner, registration=registration)
    shifted = points(inner) + np.array([2.0, 0.0, -1.5])
    np.testing.assert_allclose(moved.array, ramp(shifted), atol=1e-3)
    np.testing.assert_allclose(carry_back(points(inner)[0, 0], registration), shifted[0, 0], atol=1e-6)
    assert covered(inner, grid, registration).array.all()
    with pytest.raises(RegistrationError, match="forward"):
        registration.apply([0.0, 0.0, 0.0])
