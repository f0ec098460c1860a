"""Potential flow: closed forms before a plane and around a sphere, on tilted lattices; there and back."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from rtplan.domain import Grid
from rtplan.errors import RtplanError
from rtplan.imaging.flow import Room, entered_cc, flow_of

Float = NDArray[np.float64]
STEP = 2.5


def lattice(shape: tuple[int, int, int]) -> Grid:
    affine = Grid.axial(shape, (STEP, STEP, STEP), (5.0, 7.0, -3.0), "frame").affine.copy()
    affine[:3, :3] = Rotation.from_rotvec([0.3, 0.09, 0.06]).as_matrix() @ affine[:3, :3]
    return Grid(shape, affine, "frame")


def index_of(grid: Grid) -> Float:
    return np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1).astype(float)


@pytest.mark.parametrize("surface_mm", [20.3, 21.9])
@pytest.mark.parametrize("eased", [False, True])
def test_before_a_plane_everything_moves_by_what_entered(surface_mm: float, eased: bool) -> None:
    grid = lattice((8, 36, 8))
    depth = index_of(grid)[..., 1] * STEP
    ease = 1.0 + 3.0 * (np.abs(depth - 40.0) < 8.0) if eased else None
    free = np.full(grid.shape, 99.0)
    room = Room(grid, depth - surface_mm, free, 0.0 * depth + 9.0, (depth > 75).astype(float), ease)
    flow = flow_of(room, steps=6)
    assert flow.entered_cc == pytest.approx(64 * STEP**2 * 9.0 / 1000.0)
    points = grid.to_patient([[4.0, j, 3.0] for j in (13.0, 17.3, 24.0)])
    moved = (grid.to_index(flow.back(points)) - grid.to_index(points)) * STEP
    np.testing.assert_allclose(moved, [[0.0, -9.0, 0.0]] * 3, atol=1e-3)


@pytest.fixture(scope="module")
def ball() -> tuple[Room, Float]:
    grid, centre = lattice((44, 44, 44)), np.array([21.3, 21.7, 21.1])
    away = np.linalg.norm((index_of(grid) - centre) * STEP, axis=-1)
    shell = ((away > 40.0) & (away < 50.0)).astype(float)
    return Room(grid, away - 14.0, np.full(grid.shape, 99.0), 0.0 * away + 3.0, shell), centre


def test_around_a_sphere_volumes_are_kept(ball: tuple[Room, Float]) -> None:
    room, centre = ball
    flow = flow_of(room, steps=8)
    assert entered_cc(room) == pytest.approx(4.0 * np.pi * 14.0**2 * 3.0 / 1000.0, rel=0.01)
    way = np.random.default_rng(1).standard_normal((60, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    for radius in (18.5, 22.0, 28.0, 34.0):
        ends = room.grid.to_patient(centre + way * radius / STEP)
        begun = np.linalg.norm((room.grid.to_index(flow.back(ends)) - centre) * STEP, axis=1)
        wanted = np.cbrt(radius**3 - 3.0 * 1000.0 * flow.entered_cc / (4.0 * np.pi))
        np.testing.assert_allclose(begun, wanted, atol=0.05)
        np.testing.assert_allclose(flow.forth(flow.back(ends)), ends, atol=0.03)


def test_what_is_fixed_stays_and_nothing_flows_through_it() -> None:
    grid = lattice((8, 36, 24))
    index = index_of(grid)
    depth, across = index[..., 1] * STEP, index[..., 2] * STEP
    fixed = np.where(depth > 60.0, 50.0, np.abs(across - 29.0) - 8.0)  # a wall along the way
    inflow = np.where(across < 29.0, 6.0, 0.0)
    flow = flow_of(Room(grid, depth - 10.0, fixed, inflow, (depth > 75.0).astype(float)), steps=6)
    beyond = grid.to_patient([[4.0, 10.0, 20.0], [3.0, 14.0, 22.0]])
    before = grid.to_patient([[4.0, 10.0, 4.0]])
    assert np.abs(flow.forth(beyond) - beyond).max() < 0.2
    assert np.linalg.norm(flow.forth(before) - before) == pytest.approx(6.0, abs=0.3)


def test_a_room_without_inflow_or_without_sink_is_refused() -> None:
    grid = lattice((4, 12, 4))
    depth = index_of(grid)[..., 1] * STEP
    free, ones = np.full(grid.shape, 99.0), np.ones(grid.shape)
    with pytest.raises(RtplanError, match="Nothing enters"):
        flow_of(Room(grid, depth - 9.0, free, 0.0 * ones, ones))
    with pytest.raises(RtplanError, match="sink is empty"):
        flow_of(Room(grid, depth - 9.0, free, ones, 0.0 * ones))
