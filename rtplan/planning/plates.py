"""Beam plates: what the beams of a plan give when they stand open over its targets, nothing optimised."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Grid, Mask
from rtplan.errors import DoseError
from rtplan.planning.engine import apply
from rtplan.planning.field import beams_around, opened
from rtplan.planning.optimise import OptimiseSettings
from rtplan.planning.prepare import Prepared
from rtplan.planning.scene import wanted

#: Pixel of the convolved maps in the isocentre plane, mm: as fluences are optimised with.
MAP_MM = 2.0


def open_doses(
    prepared: Prepared, settings: OptimiseSettings, grid: Grid, targets: tuple[str, ...]
) -> NDArray[np.float32]:
    """Return the dose of open fields conformed to each target, relative to its mean in that target.

    Parameters
    ----------
    prepared : Prepared
        Task, image, body, engine.
    settings : OptimiseSettings
        Beams, pixel and margin that a plan of this task would have.
    grid : Grid
        Where the doses are wanted.
    targets : tuple of str
        Of the task. All fields of a set have the same monitor units per pixel.

    Returns
    -------
    ndarray, shape (targets, z, y, x)
        1 in the mean of the target; 0 outside the body.

    Raises
    ------
    DoseError
        If no voxel of the grid lies in the body, or none of a target is reached.
    """
    inside = wanted(prepared.body, grid)
    engine, model = prepared.engine, prepared.engine.model
    masks = [prepared.task.targets[name].mask for name in targets]
    spots = [mask.grid.to_patient(np.argwhere(mask.array)) for mask in masks]
    total = torch.zeros(len(targets), int(inside.sum()), dtype=engine.dtype, device=engine.device)
    with torch.no_grad():
        scene = engine.scene([prepared.image], prepared.body, grid, np.argwhere(inside))
        for beam in beams_around(settings.beams, prepared.task.isocentre_mm, model.name, settings.start_deg):
            reach = engine.reach(scene, beam, MAP_MM)
            for sum_, points in zip(total, spots, strict=True):
                field, open_ = opened(
                    beam,
                    points,
                    model.sad_mm,
                    pixel_mm=settings.pixel_mm,
                    margin_mm=settings.margin_mm,
                )
                spread, horn = engine.spreader(reach.at_v, reach.at_u, field.fluence)
                sum_ += apply(reach, spread(torch.as_tensor(open_).to(horn) * horn), torch.get_num_threads())[
                    0
                ]
    return np.stack([_relative(one, inside, mask, grid) for one, mask in zip(total, masks, strict=True)])


def _relative(values: Tensor, inside: NDArray[np.bool_], mask: Mask, grid: Grid) -> NDArray[np.float32]:
    """Return a dose as a volume, divided by its mean at the voxels of the grid nearest to a target's."""
    volume = np.zeros(grid.shape, np.float32)
    volume[inside] = values.cpu().numpy()
    at = np.rint(grid.to_index(mask.grid.to_patient(np.argwhere(mask.array)))).astype(int)
    at = at[((at >= 0) & (at < grid.shape)).all(axis=1)]
    mean = float(volume[tuple(at.T)].mean()) if len(at) else 0.0
    if not mean > 0.0:
        raise DoseError("The open fields do not reach a target on the dose grid.")
    return volume / np.float32(mean)
