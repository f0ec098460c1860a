"""Volumes on axial slices: a ramp stays the same ramp, in the same frame, whatever the slices were."""

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Image
from rtplan.imaging.axial import axial, axial_grid

SAGITTAL = np.array([[2.0, 0, 0, -30], [0, 0, 1.2, -20], [0, -1.1, 0, 40], [0, 0, 0, 1]])


def ramp(grid):
    points = grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1))
    return points @ np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize("kind", ["tilted", "sagittal", "head last"])
def test_a_ramp_stays_a_ramp(tilted, kind):
    head_last = np.array([[0, 0, -1.0, 20], [0, -1.0, 0, 20], [3.0, 0, 0, -10], [0, 0, 0, 1]])
    grids = {
        "tilted": lambda: tilted((30, 34, 38), (2.0, 1.5, 1.5), (-20.0, -20.0, -20.0), 14.0, (1.0, 0.2, 0.1)),
        "sagittal": lambda: Grid((20, 24, 28), SAGITTAL, "f"),
        "head last": lambda: Grid((6, 20, 22), head_last, "f"),
    }
    image = Image(grids[kind](), ramp(grids[kind]()))
    flat, words = axial(image, -1024.0)
    assert flat.grid.is_axial
    assert flat.grid.frame_of_reference == image.grid.frame_of_reference
    inside = flat.array > -1000
    assert inside.mean() > 0.4
    near = flat.grid.crop((1, 1, 1), tuple(n - 1 for n in flat.grid.shape))
    core = image.grid.to_index(near.to_patient(np.moveaxis(np.indices(near.shape), 0, -1)))
    whole = ((core >= 0) & (core <= np.array(image.grid.shape) - 1)).all(axis=-1)
    np.testing.assert_allclose(
        flat.array[1:-1, 1:-1, 1:-1][whole], ramp(near)[whole], atol=1e-3
    )  # float32 of the resampler
    assert "axial slices" in words
    low, high = flat.grid.corners().min(axis=0), flat.grid.corners().max(axis=0)
    assert (image.grid.corners() >= low - 1e-6).all()
    assert (image.grid.corners() <= high + 1e-6).all()


def test_each_axis_takes_the_spacing_of_the_nearest_one():
    assert axial_grid(Grid((20, 24, 28), SAGITTAL, "f")).spacing_zyx_mm == pytest.approx((1.1, 1.2, 2.0))


def test_what_is_axial_stays():
    dose = Dose(Grid.axial((3, 4, 5), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0)), np.ones((3, 4, 5)))
    assert axial(dose, 0.0) == (dose, "")
