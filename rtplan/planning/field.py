"""The pixels of a beam that can reach the targets, and the dose of a plan as a linear map of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Beam, Fluence
from rtplan.planning.engine import Engine, Spreader
from rtplan.planning.geometry import frame_of
from rtplan.planning.reading import Reading
from rtplan.planning.scene import Scene


def beams_around(
    count: int, isocentre_mm: tuple[float, float, float], machine: str, start_deg: float = 0.0
) -> tuple[Beam, ...]:
    """Return so many equally spaced coplanar beams, without fluence yet (one pixel of 0 MU)."""
    empty = Fluence(np.zeros((1, 1), np.float32), 1.0, (0.0, 0.0))
    angles = [round((start_deg + 360.0 * i / count) % 360.0, 1) for i in range(count)]
    return tuple(Beam(f"G{angle:05.1f}", angle, isocentre_mm, empty, machine) for angle in angles)


def opened(
    beam: Beam, targets_mm: NDArray[np.float64], sad_mm: float, *, pixel_mm: float, margin_mm: float
) -> tuple[Beam, NDArray[np.bool_]]:
    """Return the beam with a raster over the targets' projection, and which pixels may open.

    Parameters
    ----------
    targets_mm : ndarray, shape (n, 3)
        Centres of the target voxels, LPS mm.
    pixel_mm, margin_mm : float
        Pixel in the isocentre plane, and how far pixels may lie from the projection.

    Notes
    -----
    Edges of pixels lie at multiples of their size from the axis, as those of leaves do.
    """
    u, v, _ = frame_of(beam, sad_mm).project(torch.as_tensor(targets_mm))
    reach = int(np.ceil(margin_mm / pixel_mm))
    columns, rows = (np.floor(x.numpy() / pixel_mm).astype(int) for x in (u, v))
    first = columns.min() - reach, rows.min() - reach
    shape = rows.max() - first[1] + reach + 1, columns.max() - first[0] + reach + 1
    hit = np.zeros(shape, dtype=bool)
    hit[rows - first[1], columns - first[0]] = True
    i, j = np.indices((2 * reach + 1, 2 * reach + 1)) - reach
    disc = np.argwhere(np.hypot(i, j) * pixel_mm <= margin_mm + 1e-9) - reach
    open_ = np.zeros(shape, dtype=bool)
    for row, column in disc:
        open_ |= np.roll(hit, (row, column), axis=(0, 1))  # the rim of `reach` pixels is empty
    corner = (float((first[0] + 0.5) * pixel_mm), float((first[1] + 0.5) * pixel_mm))
    return replace(beam, fluence=Fluence(np.zeros(shape, np.float32), pixel_mm, corner)), open_


def coarser(engine: Engine, ray_spacing_mm: float) -> Engine:
    """Return an engine with rays and planes so far apart: to optimise with, not to report."""
    settings = replace(engine.settings, ray_spacing_mm=ray_spacing_mm)
    return Engine(engine.model, engine.curve, str(engine.device), settings=settings, dtype=engine.dtype)


@dataclass(frozen=True, eq=False)
class Influence:
    """The dose at a scene's points as a linear map of all open pixels, without a matrix.

    Parameters
    ----------
    beams : tuple of Beam
        Their rasters.
    open_ : tuple of ndarray of bool
        The open pixels of each.
    parts : tuple
        Reading, spreader and horn of each beam.
    """

    beams: tuple[Beam, ...]
    open_: tuple[NDArray[np.bool_], ...]
    parts: tuple[tuple[Reading, Spreader, Tensor], ...]

    @classmethod
    def of(
        cls,
        engine: Engine,
        scene: Scene,
        beams: Sequence[Beam],
        open_: Sequence[NDArray[np.bool_]],
        map_spacing_mm: float,
    ) -> Influence:
        """Trace every beam once; the fluence may then change as often as one likes."""
        with torch.no_grad():
            reaches = [engine.reach(scene, beam, map_spacing_mm) for beam in beams]
            threads = torch.get_num_threads()
            parts = tuple(
                (Reading.of(r, threads), *engine.spreader(r.at_v, r.at_u, b.fluence))
                for r, b in zip(reaches, beams, strict=True)
            )
        return cls(tuple(beams), tuple(open_), parts)

    @property
    def count(self) -> int:
        """Number of open pixels of all beams."""
        return int(sum(mask.sum() for mask in self.open_))

    def rasters(self, mu: Tensor) -> list[Tensor]:
        """Return the fluence rasters, each shape (v, u), of the open pixels' MU, shape (count,)."""
        parts = torch.split(mu, [int(mask.sum()) for mask in self.open_])
        rasters = []
        for mask, part in zip(self.open_, parts, strict=True):
            places = torch.as_tensor(np.flatnonzero(mask), device=mu.device)
            flat = torch.zeros(mask.size, dtype=mu.dtype, device=mu.device)
            rasters.append(flat.index_put((places,), part).view(mask.shape))
        return rasters

    def dose(self, rasters: Sequence[Tensor]) -> Tensor:
        """Return the dose of rasters at the points on the first image, Gy, shape (n,)."""
        doses = [
            reading(spreader(raster * horn))
            for (reading, spreader, horn), raster in zip(self.parts, rasters, strict=True)
        ]
        return torch.stack(doses).sum(dim=0)

    def with_mu(self, mu: Tensor) -> tuple[Beam, ...]:
        """Return the beams with these MU in their open pixels."""
        return tuple(
            replace(beam, fluence=replace(beam.fluence, mu=raster.cpu().numpy()))
            for beam, raster in zip(self.beams, self.rasters(mu), strict=True)
        )

    def taken(self, beams: Sequence[Beam]) -> Tensor:
        """Return the MU of the open pixels of beams with these rasters, shape (count,)."""
        like = self.parts[0][2]
        parts = [
            torch.as_tensor(beam.fluence.mu[mask], dtype=like.dtype, device=like.device)
            for beam, mask in zip(beams, self.open_, strict=True)
        ]
        return torch.cat(parts)
