"""Grids and shapes in closed form that the tests of moving and shaping volumes share."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rtplan.domain import Grid

Float = NDArray[np.float64]


def rotation(degrees: float, axis: tuple[float, float, float]) -> Float:
    """Return the rotation about an axis (Rodrigues)."""
    unit = np.array(axis) / np.linalg.norm(axis)
    x, y, z = unit
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def make_tilted(
    shape: tuple[int, int, int] = (40, 80, 90),
    spacing: tuple[float, float, float] = (2.5, 1.2, 1.0),
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    degrees: float = 17.0,
    axis: tuple[float, float, float] = (1.0, 0.3, 0.2),
) -> Grid:
    affine = Grid.axial(shape, spacing, origin, "frame").affine.copy()
    affine[:3, :3] = rotation(degrees, axis) @ affine[:3, :3]
    return Grid(shape, affine, "frame")


def points_of(grid: Grid) -> Float:
    """Return the patient points of all voxel centres, shape (z, y, x, 3)."""
    return grid.to_patient(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))


@pytest.fixture
def tilted() -> Callable[..., Grid]:
    return make_tilted


@pytest.fixture
def points() -> Callable[[Grid], Float]:
    return points_of


@pytest.fixture(params=["axial", "tilted", "flipped"])
def grid(request: pytest.FixtureRequest) -> Grid:
    """An anisotropic, shifted grid: along the patient, tilted, or with two axes reversed (as FFS series)."""
    if request.param == "axial":
        return Grid.axial((40, 80, 90), (2.5, 1.2, 1.0), (-10.0, 20.0, 30.0), "frame")
    if request.param == "tilted":
        return make_tilted()
    affine = Grid.axial((40, 80, 90), (2.5, 1.2, 1.0), (80.0, 20.0, 130.0), "frame").affine.copy()
    affine[:3, [0, 2]] *= -1.0
    return Grid((40, 80, 90), affine, "frame")
