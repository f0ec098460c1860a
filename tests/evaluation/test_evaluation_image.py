"""Image figures against values worked out by hand."""

import math

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import GeometryMismatch
from rtplan.evaluation.image import dice, mean_absolute_error, mean_error, psnr

GRID = Grid.axial((2, 2, 2), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
REFERENCE = Image(GRID, np.zeros(GRID.shape))
MASK = Mask(GRID, np.arange(8).reshape(GRID.shape) < 4)


def test_errors_are_means_inside_the_mask() -> None:
    image = Image(GRID, np.array([10.0, -20.0, 30.0, 0.0, 999.0, 999.0, 999.0, 999.0]).reshape(GRID.shape))
    assert mean_absolute_error(image, REFERENCE, MASK) == pytest.approx(15.0)
    assert mean_error(image, REFERENCE, MASK) == pytest.approx(5.0)


def test_psnr_has_its_closed_form_and_its_range() -> None:
    image = Image(GRID, np.full(GRID.shape, 40.24))
    assert psnr(image, REFERENCE, MASK) == pytest.approx(40.0)
    assert psnr(REFERENCE, REFERENCE, MASK) == math.inf
    metal, brighter = (Image(GRID, np.full(GRID.shape, value)) for value in (4000.0, 9000.0))
    assert psnr(metal, REFERENCE, MASK) == psnr(brighter, REFERENCE, MASK)


def test_dice_of_known_sets() -> None:
    half = Mask(GRID, np.arange(8).reshape(GRID.shape) % 2 == 0)
    nothing = Mask(GRID, np.zeros(GRID.shape, bool))
    assert dice(MASK, MASK) == 1.0
    assert dice(MASK, half) == pytest.approx(0.5)
    assert dice(MASK, half, within=half) == pytest.approx(2 * 2 / (2 + 4))
    assert math.isnan(dice(nothing, nothing))


def test_grids_and_masks_are_checked() -> None:
    other = Grid.axial((2, 2, 2), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    with pytest.raises(GeometryMismatch):
        mean_error(Image(other, np.zeros(other.shape)), REFERENCE, MASK)
    with pytest.raises(GeometryMismatch, match="empty"):
        mean_absolute_error(REFERENCE, REFERENCE, Mask(GRID, np.zeros(GRID.shape, bool)))
