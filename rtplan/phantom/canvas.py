"""Where a patient is painted: layers of tissue from back to front, and the masks of the structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid
from rtplan.phantom.draws import Draws
from rtplan.phantom.field import FAR_MM, Array, Axes, Box, fraction, upsample
from rtplan.phantom.skeleton import Skeleton
from rtplan.phantom.soft import SoftTissue


@dataclass(frozen=True, eq=False)
class Layer:
    """A tissue painted over what lies behind it.

    Parameters
    ----------
    tissue : str
        Name in ``models/tissue``.
    box : tuple of slice
        Where the fraction lies in the grid.
    fraction : ndarray, shape of the box
        Share of each voxel that is covered, 0..1.
    """

    tissue: str
    box: Box
    fraction: Array


class Canvas:
    """Collects the layers and masks of one patient while he is built.

    Parameters
    ----------
    grid : Grid
        Axial grid of all arrays.
    skeleton, soft, draws
        What was drawn.

    Notes
    -----
    The one mutable thing of the phantom: it lives inside ``build_anatomy`` only.
    """

    def __init__(self, grid: Grid, skeleton: Skeleton, soft: SoftTissue, draws: Draws) -> None:
        self.grid, self.skeleton, self.soft, self.draws = grid, skeleton, soft, draws
        self.axes = Axes.of(grid)
        self.edge = 1.15 * float(np.sqrt(self.axes.spacing_mm[1] * self.axes.spacing_mm[2]))
        self.layers: list[Layer] = []
        self.masks: dict[str, NDArray[np.bool_]] = {}
        self.bone = np.full(grid.shape, FAR_MM, np.float32)
        self.skin = upsample(soft.skin, soft.axes, self.axes)

    def add(
        self, tissue: str, distance: Array, box: Box | None = None, strength: float | Array = 1.0
    ) -> None:
        """Paint a tissue where a signed distance is negative; trims the box to what is painted."""
        part = fraction(distance, self.edge)
        if not (np.isscalar(strength) and strength == 1.0):
            part = part * np.asarray(strength, np.float32)
        if box is None:
            self.layers.append(Layer(tissue, (slice(None), slice(None), slice(None)), part))
            return
        trimmed = _trim(part)
        if trimmed is not None:
            self.layers.append(Layer(tissue, within(box, trimmed), np.ascontiguousarray(part[trimmed])))

    def mask(self, name: str, inside: NDArray[np.bool_], box: Box | None = None) -> None:
        """Store a structure's mask."""
        if box is None:
            self.masks[name] = inside
            return
        whole = np.zeros(self.axes.shape, bool)
        whole[box] = inside
        self.masks[name] = whole


def within(outer: Box, inner: Box) -> Box:
    """Return a box given inside another one in the coordinates of the whole grid."""
    z, y, x = (slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))
    return z, y, x


def _trim(part: Array) -> Box | None:
    """Smallest box that holds everything above zero."""
    some = part > 0
    cuts = []
    for axis in range(3):
        hits = np.flatnonzero(some.any(axis=tuple(a for a in range(3) if a != axis)))
        if len(hits) == 0:
            return None
        cuts.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return cuts[0], cuts[1], cuts[2]
