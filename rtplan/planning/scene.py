"""What a dose calculation looks at: the densities of several images in one body, and the wanted points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Beam, Dose, Grid, Image, Mask
from rtplan.errors import DoseError, GeometryMismatch
from rtplan.planning import raytrace
from rtplan.planning.density import Curve
from rtplan.planning.gather import images_last
from rtplan.planning.geometry import BeamFrame


@dataclass(frozen=True, eq=False)
class Scene:
    """The densities of several images on one grid, and the points where dose is wanted.

    Parameters
    ----------
    density : Tensor, shape (A, z, y, x)
        Relative to water; 0 outside the body.
    grid : Grid
        Of the densities.
    points : Tensor, shape (n, 3)
        LPS, mm.
    body_mm : Tensor, shape (8, 3)
        Corners of the box round the body, LPS: rays begin before the nearest.
    """

    density: Tensor
    grid: Grid
    points: Tensor
    body_mm: Tensor


def scene_of(
    images: Sequence[Image], body: Mask, curve: Curve, dose_grid: Grid, index: NDArray[np.int64], like: Tensor
) -> Scene:
    """Return the densities of the images in the body and the points of voxels (k, j, i), shape (n, 3).

    ``like`` gives number type and device.

    Raises
    ------
    DoseError
        If the body lies outside the images.
    """
    grid = images[0].grid
    inside = mask_at(body, grid)
    if not inside.any():
        raise DoseError("The body lies outside the image.", action="check the structure External.")
    box = [(int(i.min()), int(i.max()) + 1) for i in np.nonzero(inside)]
    window = tuple(slice(a, b) for a, b in box)
    small = grid.crop(tuple(a for a, _ in box), tuple(b for _, b in box))  # type: ignore[arg-type]
    hu = torch.stack([tensor(image.array[window], like) for image in images])
    density = images_last(curve.of(hu) * tensor(inside[window], like))
    return Scene(density, small, points_of(dose_grid, index, like), tensor(small.corners(), like))


@dataclass(frozen=True, eq=False)
class Traced:
    """Densities added up to the nodes of a beam's rays, shape (A, s, v, u), and the projected points."""

    sums: Tensor
    rays: raytrace.Rays
    uvs: tuple[Tensor, Tensor, Tensor]


def trace(scene: Scene, frame: BeamFrame, points: Tensor, spacing_mm: float, threads: int) -> Traced:
    """Trace a beam's rays through a scene to points, shape (n, 3); differentiable in the densities.

    Raises
    ------
    DoseError
        If the source lies in the body.
    """
    uvs = frame.project(points)
    first = float(frame.project(scene.body_mm)[2].min())
    if first <= 0.0:
        raise DoseError("The source of a beam lies in the body.", action="check the isocentre.")
    rays = raytrace.rays_through(frame, uvs, first, spacing_mm)
    return Traced(raytrace.ray_sums(scene.density, scene.grid, rays, threads), rays, uvs)


def tensor(array: NDArray[np.generic], like: Tensor) -> Tensor:
    """Return an array as a tensor of the same number type and device as another."""
    return torch.as_tensor(np.array(array), dtype=like.dtype, device=like.device)


def points_of(grid: Grid, index: NDArray[np.int64], like: Tensor) -> Tensor:
    """Return the centres of voxels (k, j, i), shape (n, 3), LPS mm."""
    affine = tensor(grid.affine, like)
    return torch.addmm(affine[:3, 3], tensor(index, like), affine[:3, :3].T)


def demand_calculable(
    machine: str, beams: Sequence[Beam], images: Sequence[Image], body: Mask, dose_grid: Grid
) -> None:
    """Raise where a dose of these beams on these images would be wrong.

    Raises
    ------
    DoseError
        If there is no beam or image, a beam is of another machine, or a HU value is not finite.
    GeometryMismatch
        If the images are not on one grid, or a frame of reference differs.
    """
    if not beams or not images:
        raise DoseError("A dose needs at least one beam and one density image.")
    for beam in beams:
        if beam.machine != machine:
            raise DoseError(
                f"Beam {beam.name} is of the machine {beam.machine!r}, not {machine!r}.",
                action="load the beam file of that machine.",
            )
    for image in images[1:]:
        images[0].demand_same_grid(image)
    frames = {g.frame_of_reference for g in (images[0].grid, body.grid, dose_grid)}
    if len(frames) > 1:
        raise GeometryMismatch(
            "Image, body and dose grid are in different frames of reference.",
            action="register them, and resample onto one frame.",
        )
    if not all(np.isfinite(image.array).all() for image in images):
        raise DoseError("A density image holds values that are not finite.")


def wanted(body: Mask, dose_grid: Grid) -> NDArray[np.bool_]:
    """Return the voxels of a dose grid in the body, shape (z, y, x); refuse a grid without any."""
    inside = mask_at(body, dose_grid)
    if not inside.any():
        raise DoseError(
            "No voxel of the dose grid lies in the body.", action="move the grid or check the skin."
        )
    return inside


def as_doses(values: Tensor, inside: NDArray[np.bool_], dose_grid: Grid) -> tuple[Dose, ...]:
    """Return the doses of points, Gy, shape (A, n), as volumes; 0 outside the body."""
    doses = []
    for one in values.cpu().numpy():
        array = np.zeros(dose_grid.shape, dtype=np.float32)
        array[inside] = one
        doses.append(Dose(dose_grid, array))
    return tuple(doses)


def mask_at(mask: Mask, grid: Grid) -> NDArray[np.bool_]:
    """Return where the centres of a grid's voxels lie in a mask (linear, at one half), shape (z, y, x)."""
    if mask.grid.same_as(grid):
        return np.array(mask.array)
    index = mask.grid.to_index(grid.to_patient(np.indices(grid.shape).reshape(3, -1).T))
    place = torch.tensor((2.0 * index[:, ::-1] + 1.0) / np.array(mask.grid.shape[::-1]) - 1.0)
    values = torch.tensor(mask.array[None].astype(np.float32))
    found = raytrace.sampled(values, place.float(), torch.get_num_threads())
    inside: NDArray[np.bool_] = found.view(grid.shape).numpy() >= 0.5
    return inside
