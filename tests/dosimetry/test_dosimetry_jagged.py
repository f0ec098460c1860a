"""The DVH of organs whose contours run along voxels' edges: their ends and extremes."""

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Mask, Structure
from rtplan.dosimetry.closing import apex, closing
from rtplan.dosimetry.distance import Lattice
from rtplan.dosimetry.dvh import Settings, dvh, value
from rtplan.dosimetry.layers import Layers
from rtplan.dosimetry.solid import Solid
from rtplan.imaging.contour import contours_of

VOXELS = Grid.axial((24, 40, 40), (2.5, 1.5, 1.5), (-29.3, -28.9, -30.4), "1.2")


def ball(centre, half):
    at = VOXELS.to_patient(np.indices(VOXELS.shape).transpose(1, 2, 3, 0))
    return (((at - np.array(centre)) / np.array(half)) ** 2).sum(axis=-1) < 1


def crescent():
    return ball((0, 0, 0), (20, 14, 16)) & ~ball((0, -6, 2), (16, 12, 15))


def leaning():
    at = VOXELS.to_patient(np.indices(VOXELS.shape).transpose(1, 2, 3, 0))
    x, y, z = at.transpose(3, 0, 1, 2)
    return ((x - 0.8 * z) / 11) ** 2 + ((y + 0.3 * z) / 8) ** 2 + (z / 17) ** 2 < 1


def organ(held):
    return Structure("S", "ORGAN", contours_of(Mask(VOXELS, np.ascontiguousarray(held))))


def cap_heights(solid, step):
    low, high = (end[:2] for end in solid.box_mm)
    count = np.ceil((high - low) / step).astype(int) + 4
    corner = 0.5 * (low + high) - 0.5 * count * step
    layers = Layers.of(solid, Lattice(tuple(corner.tolist()), step, (int(count[1]), int(count[0]))))
    return sorted({(label, round(height, 6)) for _, height, label, _ in layers.faces})


@pytest.mark.parametrize("shape", [crescent, leaning])
def test_a_rounded_end_closes_at_the_same_height_on_every_lattice(shape):
    solid = Solid.of(organ(shape()).region)
    assert cap_heights(solid, 2.0) == cap_heights(solid, 0.9) == cap_heights(solid, 0.31)


def test_a_rounded_end_closes_as_a_sphere_and_as_a_cylinder_do():
    t = np.arange(360) * 2 * np.pi / 360
    circle = np.stack([np.cos(t), np.sin(t)], axis=1)
    heights = np.arange(-14.0, 14.0, 3.0)

    def planes(radii):
        rings = [np.column_stack([r * circle, np.full(360, z)]) for r, z in zip(radii, heights, strict=True)]
        return Solid.of(Contours(tuple(rings))).levels[0]

    ball_like = planes(np.sqrt(15.0**2 - heights**2))
    assert closing(ball_like, len(ball_like) - 1, 1, 3.0)[0] == pytest.approx(15.0 - heights[-1], abs=1e-3)
    assert closing(ball_like, 0, -1, 3.0)[0] == pytest.approx(heights[0] + 15.0, abs=1e-3)
    tube = planes(np.full(len(heights), 9.0))
    assert closing(tube, 0, -1, 3.0) == (pytest.approx(1.5), pytest.approx(0.0, abs=1e-12))


@pytest.mark.parametrize("direction", [(1, 0, 0), (0.48, -0.36, 0.8)])
def test_extremes_on_voxel_edges_are_those_of_a_finer_lattice(direction):
    grid = Grid.axial((33, 33, 33), (2.5, 2.5, 2.5), (-40.0, -40.0, -40.0), "1.2")
    at = grid.to_patient(np.indices(grid.shape).transpose(1, 2, 3, 0))
    dose = Dose(grid, 60.0 + at @ np.array(direction))
    for shape in (crescent, leaning):
        usual = dvh(organ(shape()), dose)
        finer = dvh(organ(shape()), dose, Settings(tolerance_gy=0.002))
        for metric in ("Min[Gy]", "Max[Gy]"):
            got, wanted = value(usual, metric), value(finer, metric)
            assert got.value == pytest.approx(wanted.value, abs=0.03)
            assert abs(got.value - wanted.value) <= got.error_bound + wanted.error_bound


def test_an_apex_is_found_on_a_lattice_whose_rim_is_lowest():
    v, u = np.mgrid[-3.0:4.0, -3.0:4.0]
    value = np.minimum(u**2 + v**2 - 1.0, 30.0 * (3.0 - np.abs(v)) - 5.0)
    row, column, height, left = apex(value, np.full(value.shape, 2.0), np.zeros(value.shape), 2.0)
    assert (row, column, height, left) == pytest.approx((3.0, 3.0, 0.5, 0.0), abs=1e-6)
