"""Contours from probabilities: the area of the voxels, a smoother and truer edge than theirs."""

import numpy as np
import pytest

from rtplan.domain import Mask, Structure, Volume
from rtplan.errors import StructureError
from rtplan.imaging.contour import contours_of, fraction_on
from rtplan.imaging.planes import volume_cc
from rtplan.imaging.subvoxel import contours_of_probability


def ball(grid, radius, centre, points):
    return np.linalg.norm(points(grid) - grid.to_patient(centre), axis=-1) - radius


def test_the_volume_is_that_of_the_voxels_and_the_edge_is_truer(tilted, points):
    grid = tilted()
    distance = ball(grid, 17.3, (15.2, 40.4, 44.7), points)
    smooth = Volume(grid, 1.0 / (1.0 + np.exp(np.clip(distance / 1.2, -50, 50))))
    mask = Mask(grid, smooth.array >= 0.5)
    contours = contours_of_probability(smooth)
    volume = np.count_nonzero(mask.array) * grid.voxel_cc
    assert volume_cc(contours, grid.spacing_zyx_mm[0]) == pytest.approx(volume, rel=2e-4)

    def off(rings):
        centre = grid.to_patient((15.2, 40.4, 44.7))
        return np.abs(np.linalg.norm(np.concatenate(rings) - centre, axis=1) - 17.3)

    assert off(contours.rings).mean() < 0.35 * off(contours_of(mask).rings).mean()
    part = fraction_on(Structure("A", "ORGAN", contours), grid)
    assert part.sum(dtype=float) * grid.voxel_cc == pytest.approx(volume, rel=1e-3)


def test_a_mask_and_a_hole_keep_their_areas(tilted, points):
    grid = tilted()
    distance = ball(grid, 0.0, (15, 40, 45), points)
    mask = (distance < 24) & (distance > 9)
    contours = contours_of_probability(Volume(grid, mask.astype(np.float32)))
    volume = np.count_nonzero(mask) * grid.voxel_cc
    assert volume_cc(contours, grid.spacing_zyx_mm[0]) == pytest.approx(volume, rel=2e-4)
    assert len(contours.rings) > np.count_nonzero(mask.any(axis=(1, 2)))


def test_structures_at_the_edge_of_the_image_are_closed(tilted):
    grid = tilted()
    full = Volume(grid, np.ones(grid.shape))
    area = volume_cc(contours_of_probability(full), grid.spacing_zyx_mm[0])
    assert area == pytest.approx(np.prod(grid.shape) * grid.voxel_cc, rel=2e-4)


def test_no_probability_is_refused_and_nothing_is_nothing(tilted):
    grid = tilted()
    assert contours_of_probability(Volume(grid, np.full(grid.shape, 0.49))).rings == ()
    with pytest.raises(StructureError, match="between 0 and 1"):
        contours_of_probability(Volume(grid, np.full(grid.shape, 1.2)))
