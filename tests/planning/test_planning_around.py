"""The dose grid and the isocentre of a plan, and beams that enter where an image ends."""

import numpy as np
import pytest

from rtplan.domain import Grid, Mask
from rtplan.errors import StructureError
from rtplan.planning.around import BEYOND_MM, centre_of, dose_grid, through_crop
from rtplan.planning.field import beams_around, opened

GRID = Grid.axial((60, 50, 70), (2.5, 4.0, 4.0), (-138.0, -98.0, -70.0))
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
BODY = Mask(GRID, (X / 125) ** 2 + (Y / 85) ** 2 < 1)
TARGET = Mask(GRID, (X - 10) ** 2 + (Y + 6) ** 2 + (Z - 4) ** 2 < 20**2)


def tilted(mask: Mask) -> Mask:
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    return Mask(Grid(GRID.shape, turn @ GRID.affine), mask.array)


@pytest.mark.parametrize("made", [lambda m: m, tilted])
def test_dose_grid_covers_the_body_around_the_targets(made) -> None:  # type: ignore[no-untyped-def]
    body, target = made(BODY), made(TARGET)
    grid = dose_grid(body, [target], 3.0)
    assert grid.spacing_zyx_mm == pytest.approx((3.0, 3.0, 3.0))
    np.testing.assert_allclose(grid.direction, body.grid.direction, atol=1e-12)
    index = grid.to_index(body.grid.to_patient(np.argwhere(body.array)))
    levels = grid.to_index(target.grid.to_patient(np.argwhere(target.array)))[:, 0]
    assert (index[:, 1:] > -0.5).all()
    assert (index[:, 1:] < np.array(grid.shape[1:]) - 0.5).all()
    assert levels.min() * 3.0 >= BEYOND_MM - 3.0
    assert (grid.shape[0] - 1 - levels.max()) * 3.0 >= BEYOND_MM - 3.0
    assert grid.shape[0] * 3.0 <= 40.0 + 2 * BEYOND_MM + 8.0


def test_centre_of_a_target() -> None:
    assert centre_of(TARGET) == pytest.approx((10.0, -6.0, 4.0), abs=0.6)
    with pytest.raises(StructureError, match="without voxels"):
        centre_of(Mask(GRID, np.zeros(GRID.shape)))
    with pytest.raises(StructureError, match="dose grid needs"):
        dose_grid(BODY, [Mask(GRID, np.zeros(GRID.shape))], 3.0)


def test_beams_through_a_cropped_side_are_named() -> None:
    beams = beams_around(4, (10.0, -6.0, 4.0), "generic_6mv")
    assert through_crop(beams, BODY, TARGET, 1000.0) == ()
    cut = GRID.crop((0, 0, 0), (60, 50, 45))  # the patient's left is missing from x = 40 mm
    body = Mask(cut, BODY.array[:, :, :45])
    assert through_crop(beams, body, TARGET, 1000.0) == ("G090.0",)


def test_equally_spaced_beams_have_names_of_their_own() -> None:
    beams = beams_around(7, (0.0, 0.0, 0.0), "generic_6mv")
    assert len({beam.name for beam in beams}) == 7
    np.testing.assert_allclose(np.diff([beam.gantry_deg for beam in beams]), 360.0 / 7.0, atol=0.11)


def test_pixels_open_over_the_projection_and_its_margin() -> None:
    beam = beams_around(1, (10.0, -6.0, 4.0), "generic_6mv")[0]
    points = GRID.to_patient(np.argwhere(TARGET.array))
    made, open_ = opened(beam, points, 1000.0, pixel_mm=5.0, margin_mm=7.5)
    rows, columns = np.nonzero(open_)
    v = made.fluence.corner_mm[1] + 5.0 * rows
    u = made.fluence.corner_mm[0] + 5.0 * columns
    distance = np.hypot(u, v)  # a sphere of 20 mm round the isocentre
    assert distance.max() < 20.0 * 1000 / 980 + 7.5 + 4.0
    assert open_.sum() == pytest.approx(np.pi * 27.5**2 / 25.0, rel=0.25)
