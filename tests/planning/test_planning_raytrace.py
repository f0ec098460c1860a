"""Radiological depth: the path-length theorem on slabs, on axial and tilted grids."""

import numpy as np
import pytest
import torch

from rtplan.domain import Grid
from rtplan.planning.geometry import BeamFrame, frame_of
from rtplan.planning.openfield import open_field
from rtplan.planning.raytrace import Rays, ray_sums, rays_through, read_at, sampled

SPACING = (2.0, 1.5, 2.5)


def slabs(y: np.ndarray) -> np.ndarray:
    """Water, bone 1.6, lung 0.3, water; the surface is at y = 0, beams come from -y."""
    return np.select([y < 0, y < 30, y < 60, y < 120], [0.0, 1.0, 1.6, 0.3], 1.0)


def exact_depth(y: np.ndarray) -> np.ndarray:
    return np.interp(y, [0, 30, 60, 120, 500], [0, 30, 78, 96, 476])


def tilted(shape: tuple[int, int, int]) -> Grid:
    """An anisotropic grid, turned about the slabs' normal and shifted."""
    c, s = np.cos(0.4), np.sin(0.4)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    affine = Grid.axial(shape, SPACING, (0.0, 0.0, 0.0)).affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = [0.0, -20.25, 0.0] - affine[:3, :3] @ np.array([shape[0] / 2, 0, shape[2] / 2])
    return Grid(shape, affine)


@pytest.mark.parametrize("turned", [False, True])
def test_depth_is_density_times_path_of_each_oblique_ray(turned: bool) -> None:
    shape = (60, 160, 60)
    grid = tilted(shape) if turned else Grid.axial(shape, SPACING, (-75.0, -20.25, -60.0))
    y = grid.to_patient(np.stack(np.indices(shape), axis=-1))[..., 1]
    density = torch.as_tensor(slabs(y))[None]
    frame = frame_of(open_field((60, 60), (0.0, 100.0, 0.0)), 1000.0)
    points = np.array(
        [[x, d, z] for x in (-25.0, 0.0, 20.0) for z in (-20.0, 15.0) for d in (40.0, 100.0, 170.0)]
    )
    uvs = frame.project(torch.as_tensor(points))
    rays = rays_through(frame, uvs, first_mm=880.0, spacing_mm=1.5)
    found = read_at(ray_sums(density, grid, rays, 1), rays, uvs, 1)[0].numpy()
    slope = np.linalg.norm(points - frame.source_mm, axis=1) / (points[:, 1] - frame.source_mm[1])
    np.testing.assert_allclose(found, exact_depth(points[:, 1]) * slope, atol=0.15)


def test_rays_hold_all_points() -> None:
    frame = BeamFrame(np.array([0.0, -1000.0, 0.0]), np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]]), 1000.0)
    points = torch.tensor(np.random.default_rng(1).uniform(-80, 80, (50, 3)))
    rays: Rays = rays_through(frame, frame.project(points), first_mm=900.0, spacing_mm=4.0)
    for x, low, high in zip(frame.project(points), rays.low[::-1], rays.high[::-1], strict=True):
        assert low <= x.min()
        assert x.max() <= high
    assert rays.step_mm == pytest.approx(4.0)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_sampling_is_linear_and_does_not_depend_on_the_cut(threads: int) -> None:
    z, y, x = np.indices((5, 6, 7))
    volume = torch.tensor(np.stack([2.0 * z - y + 3.0 * x, 0.5 * z + 7.0]))
    index = np.random.default_rng(3).uniform(0, 1, (11, 3)) * [6, 5, 4]
    place = torch.tensor((2.0 * index + 1.0) / [7, 6, 5] - 1.0)
    found = sampled(volume, place, threads)
    np.testing.assert_allclose(found[0], 2.0 * index[:, 2] - index[:, 1] + 3.0 * index[:, 0])
    np.testing.assert_allclose(found[1], 0.5 * index[:, 2] + 7.0)
