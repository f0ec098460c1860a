"""IEC 61217 in LPS: where the source stands, which way the field turns."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtplan.planning.geometry import frame_of, rotation
from rtplan.planning.openfield import open_field

ANGLE = st.floats(-360.0, 360.0)
LEFT, ANTERIOR, SUPERIOR = np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 1.0])


@pytest.mark.parametrize(
    ("gantry", "couch", "source"),
    [
        (0.0, 0.0, ANTERIOR),
        (90.0, 0.0, LEFT),
        (180.0, 0.0, -ANTERIOR),
        (270.0, 0.0, -LEFT),
        (0.0, 77.0, ANTERIOR),
        (90.0, 90.0, -SUPERIOR),  # the couch turned counter-clockwise from above: the feet come to the source
        (90.0, 270.0, SUPERIOR),
    ],
)
def test_source_stands_where_iec_61217_says(gantry: float, couch: float, source: np.ndarray) -> None:
    np.testing.assert_allclose(rotation(gantry, 0.0, couch)[2], -source, atol=1e-12)


@pytest.mark.parametrize(
    ("gantry", "collimator", "u", "v"),
    [
        (0.0, 0.0, LEFT, SUPERIOR),
        (0.0, 90.0, SUPERIOR, -LEFT),
        (90.0, 0.0, -ANTERIOR, SUPERIOR),
        (180.0, 0.0, -LEFT, SUPERIOR),
    ],
)
def test_collimator_axes(gantry: float, collimator: float, u: np.ndarray, v: np.ndarray) -> None:
    axes = rotation(gantry, collimator, 0.0)
    np.testing.assert_allclose(axes[0], u, atol=1e-12)
    np.testing.assert_allclose(axes[1], v, atol=1e-12)


@given(gantry=ANGLE, collimator=ANGLE, couch=ANGLE)
def test_axes_are_orthonormal_and_the_collimator_keeps_the_direction(
    gantry: float, collimator: float, couch: float
) -> None:
    axes = rotation(gantry, collimator, couch)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.cross(axes[0], axes[1]), -axes[2], atol=1e-12)
    np.testing.assert_allclose(axes[2], rotation(gantry, 0.0, couch)[2], atol=1e-12)


def test_isocentre_projects_to_the_axis_and_magnification_is_by_similar_triangles() -> None:
    beam = open_field((100, 100), (5.0, -3.0, 8.0), gantry_deg=40.0, collimator_deg=10.0, couch_deg=20.0)
    frame = frame_of(beam, 1000.0)
    iso = np.array(beam.isocentre_mm)
    points = np.stack([iso, iso + 10.0 * frame.axes[0], iso + 10.0 * frame.axes[1] + 250.0 * frame.axes[2]])
    u, v, s = frame.project(torch.as_tensor(points))
    np.testing.assert_allclose(u, [0.0, 10.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(v, [0.0, 0.0, 8.0], atol=1e-9)
    np.testing.assert_allclose(s, [1000.0, 1000.0, 1250.0], atol=1e-9)
