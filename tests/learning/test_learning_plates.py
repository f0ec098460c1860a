"""Beam plates: depths and apertures in closed form, symmetry, and nothing outside the field."""

import numpy as np
import pytest

from rtplan.learning.plates import MU_PER_MM, SAD_MM, beam_depth, beam_plates

SPACING = (3.0, 2.5, 2.5)
SHAPE = (9, 41, 41)
NINE = tuple(40.0 * k for k in range(9))


def box(size_mm, centre=(0.0, 0.0, 0.0)):
    """Return a box around a point, mm from the array's centre."""
    inside = np.ones(SHAPE, bool)
    for axis, (n, mm, half, at) in enumerate(zip(SHAPE, SPACING, np.array(size_mm) / 2, centre, strict=True)):
        place = (np.arange(n) - (n - 1) / 2) * mm - at
        inside &= (np.abs(place) <= half).reshape([-1 if a == axis else 1 for a in range(3)])
    return inside


@pytest.mark.parametrize(("gantry", "axis", "way"), [(0, 1, 1), (180, 1, -1), (90, 2, -1), (270, 2, 1)])
def test_the_depth_grows_along_the_beam(gantry, axis, way):
    """Gantry 0 enters at the front (posterior is +y), 90 at the patient's left (+x)."""
    y, x = np.arange(SHAPE[1])[:, None] / 40.0, np.arange(SHAPE[2])[None] / 40.0
    density = (0.5 + y + 0.5 * x**2 + 0.3 * x * y + np.zeros((SHAPE[0], 1, 1))).astype(np.float32)
    along = np.flip(density, axis) if way < 0 else density
    wanted = (np.cumsum(along, axis) - 0.5 * along) * SPACING[axis]
    wanted = np.flip(wanted, axis) if way < 0 else wanted
    got = beam_depth(density, SPACING, gantry)
    inner = (slice(None), slice(2, -2), slice(2, -2))
    assert np.abs(got - wanted)[inner].max() < 0.02 * wanted.max()


def test_an_oblique_depth_in_a_disc():
    """On a disc of water the depth of its centre is its radius, from every side."""
    z, y, x = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    radius = np.hypot(y[:, None] * 2.5, x[None] * 2.5) + 0 * z[:, None, None]
    disc = (radius <= 40.0).astype(np.float32)
    for gantry in (0.0, 17.0, 40.0, 123.0, 250.0):
        depth = beam_depth(disc, SPACING, gantry)
        assert depth[4, 20, 20] == pytest.approx(40.0, abs=1.5)


def test_a_plate_in_vacuum_is_the_share_of_the_beams():
    target = box((6.0, 15.0, 15.0))
    plates = beam_plates([target], np.zeros(SHAPE, np.float32), SPACING, (0.0, 120.0, 240.0))
    plate, opened = plates
    assert opened == pytest.approx(1.0, abs=1e-5)
    assert plate[target].min() > 0.95
    assert plate[0].max() < 0.4  # 12 mm above the centre: beyond the field (3 mm, open by 6, blurred by 3)
    # Far from the target in its plane: one beam of three at most, or none.
    ring = plate[4][0]
    assert ring.max() == pytest.approx(1 / 3, abs=0.02)
    assert ring.min() < 1e-3


def test_a_beam_is_weakened_by_the_depth():
    target = box((40.0, 15.0, 15.0))
    plate = beam_plates([target], np.ones(SHAPE, np.float32), SPACING, (0.0,))[0]
    line = plate[4, :, 20]
    depth = (np.arange(SHAPE[1]) + 0.5) * 2.5
    assert line == pytest.approx(np.exp(-MU_PER_MM * depth), rel=0.01)


def test_the_field_opens_with_the_distance():
    target = box((40.0, 15.0, 30.0))
    plate = beam_plates([target], np.zeros(SHAPE, np.float32), (3.0, 10.0, 2.5), (0.0,))[0][4]
    width = (plate > 0.5).sum(axis=1) * 2.5
    gain = (SAD_MM + 200.0) / (SAD_MM - 200.0)
    assert width[-1] / width[0] == pytest.approx(gain, rel=0.2)
    assert width[-1] > width[0]


def test_the_nine_beams_look_alike_from_left_and_right():
    rng = np.random.default_rng(2)
    density = rng.uniform(0.9, 1.1, SHAPE).astype(np.float32)
    target = box((12.0, 20.0, 15.0), (0.0, 5.0, 10.0))
    plates = beam_plates([target], density, SPACING, NINE)
    mirrored = beam_plates([target[..., ::-1]], density[..., ::-1].copy(), SPACING, NINE)
    assert np.abs(mirrored[..., ::-1] - plates).max() < 0.12  # a voxel at an aperture's edge
    assert np.abs(mirrored[..., ::-1] - plates).mean() < 2e-3


def test_an_empty_target_has_an_empty_plate():
    nothing = np.zeros(SHAPE, bool)
    density = np.ones(SHAPE, np.float32)
    assert beam_plates([nothing], density, SPACING, NINE).max() == 0.0
    two = beam_plates([nothing, box((12.0, 15.0, 15.0))], density, SPACING, NINE)
    assert two[0].max() == 0.0
    assert two[1].max() > 0.5


@pytest.mark.parametrize("gantry", [0.0, 40.0, 120.0, 320.0])
def test_the_plate_lies_between_source_and_target(gantry):
    """The source is in front at 0° and at the patient's left at 90°: at (x, y) = (sin, −cos) of the angle."""
    target = box((40.0, 10.0, 10.0))
    plate = beam_plates([target], np.zeros(SHAPE, np.float32), SPACING, (gantry,))[0][4]
    sin, cos = np.sin(np.deg2rad(gantry)), np.cos(np.deg2rad(gantry))
    for way_mm in (-40.0, -20.0, 20.0, 40.0):
        row, column = round(20 - way_mm * cos / 2.5), round(20 + way_mm * sin / 2.5)
        assert plate[row, column] > 0.9
        if gantry:
            assert plate[row, 40 - column] < 0.1 or abs(way_mm * sin) < 15.0
