"""Grids: index and patient point are inverse to each other on tilted, shifted, anisotropic grids."""

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import GeometryMismatch


def tilted(shape=(4, 5, 6), frame="1.2.3"):
    a, b = np.deg2rad([18.5, -7.0])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    rz = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (rz @ rx)[:, ::-1] * np.array([3.0, 0.7, 1.1])
    affine[:3, 3] = [-31.0, 12.5, 807.0]
    return Grid(shape, affine, frame)


def test_index_to_patient_and_back():
    grid = tilted()
    index = np.random.default_rng(1).uniform(-3, 9, (50, 3))
    np.testing.assert_allclose(grid.to_index(grid.to_patient(index)), index, atol=1e-10)


def test_spacing_origin_and_direction_are_derived_from_the_affine():
    grid = tilted()
    np.testing.assert_allclose(grid.spacing_zyx_mm, (3.0, 0.7, 1.1))
    np.testing.assert_allclose(grid.to_patient([0, 0, 0]), grid.origin_mm)
    np.testing.assert_allclose(np.abs(np.linalg.det(grid.direction)), 1.0)
    assert not grid.is_axial
    assert grid.voxel_cc == pytest.approx(3.0 * 0.7 * 1.1 / 1000)


def test_crop_keeps_every_voxel_where_it_was():
    grid = tilted()
    part = grid.crop((1, -2, 2), (4, 5, 6))
    assert part.shape == (3, 7, 4)
    np.testing.assert_allclose(part.to_patient([0, 2, 0]), grid.to_patient([1, 0, 2]))


def test_with_spacing_keeps_the_first_outer_corner_and_covers_the_box():
    grid = tilted((7, 8, 9))
    new = grid.with_spacing((2.0, 2.0, 2.0))
    np.testing.assert_allclose(new.corners()[0], grid.corners()[0], atol=1e-9)
    last = new.to_index(grid.corners()[-1])
    assert (last <= np.array(new.shape) - 0.5 + 1e-6).all()


def test_same_as_sees_frame_shift_and_shape():
    grid = tilted()
    assert grid.same_as(tilted())
    assert not grid.same_as(tilted(frame="1.2.4"))
    assert not grid.same_as(grid.crop((0, 0, 0), (3, 5, 6)))
    assert not grid.same_as(grid.crop((1, 0, 0), (5, 5, 6)))


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)])
def test_a_bad_affine_is_refused(affine):
    with pytest.raises(GeometryMismatch):
        Grid((2, 2, 2), affine)


def test_a_volume_refuses_another_shape_and_is_read_only():
    grid = tilted()
    with pytest.raises(GeometryMismatch):
        Image(grid, np.zeros((4, 5, 7)))
    own = np.zeros(grid.shape, np.float32)
    image = Image(grid, own)
    with pytest.raises(ValueError, match="read-only"):
        image.array[0, 0, 0] = 1
    own[0, 0, 0] = 1  # the caller's own array stays writable
    assert Mask(grid, own).array.dtype == bool
    with pytest.raises(GeometryMismatch):
        image.demand_same_grid(Image(tilted(frame="9"), own))
