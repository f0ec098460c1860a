"""DVHs of contour samples at fixed dose: partial volumes on a lattice, brought to the exact DVH."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from rtplan.domain import Dose, Structure
from rtplan.errors import DoseError
from rtplan.imaging.vary import Band, ContourVariation, band_of, displacements

Float = NDArray[np.float64]

#: Bins of dose between 0 and the highest.
BINS = 400


@dataclass(frozen=True, eq=False)
class Readers:
    """The structure as it was drawn (first) and its contour samples, on the nodes that any of them holds.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Nodes, LPS, mm.
    volume_cc : sparse array, shape (samples + 1, n)
        Volume of each node's cell that is inside.
    variation : ContourVariation
        What they were drawn from.
    seed : int
        Of the draws.
    """

    points: Float
    volume_cc: sparse.csr_array
    variation: ContourVariation
    seed: int

    @classmethod
    def of(cls, structure: Structure, variation: ContourVariation, seed: int) -> Readers:
        """Draw the samples; the same seed gives the same ones."""
        band = band_of(structure, variation)
        rows = [_volumes(band, 0.0)]
        rows += [_volumes(band, shift) for shift in displacements(band, variation, seed)]
        volume = sparse.vstack(rows, format="csc")
        held = np.flatnonzero(np.diff(volume.indptr))
        index = np.unravel_index(held, band.distance_mm.shape)
        return cls(band.points(index), sparse.csr_array(volume[:, held]), variation, seed)

    def volumes(self, dose: Dose, axis_gy: Float) -> Float:
        """Return the volume by sample and node of the dose axis, shape (samples + 1, nodes), cc.

        Each cell is shared by the two nodes around its dose, so that the mean dose is kept.

        Raises
        ------
        DoseError
            If a sample leaves the dose grid.
        """
        at = dose.grid.to_index(self.points)
        if (at < -0.5).any() or (at > np.array(dose.grid.shape) - 0.5).any():
            raise DoseError("A sample of the contours leaves the dose grid.")
        values = ndimage.map_coordinates(dose.array, at.T, order=1, mode="nearest").astype(np.float64)
        place = np.clip(values / (axis_gy[1] - axis_gy[0]), 0.0, len(axis_gy) - 1.0)
        low = np.minimum(place.astype(np.int64), len(axis_gy) - 2)
        part = place - low
        rows = np.arange(len(values))
        shares = sparse.csr_array(
            (
                np.concatenate([1.0 - part, part]),
                (np.concatenate([rows, rows]), np.concatenate([low, low + 1])),
            ),
            shape=(len(values), len(axis_gy)),
        )
        return np.asarray((self.volume_cc @ shares).todense(), np.float64)

    def said(self, moved_gy: float) -> str:
        """Return how the contours were varied, for a finding; ``moved_gy``: of `Corrected`."""
        how = self.variation
        verified = "" if how.verified else ", unverified"
        return (
            f"{how.samples} contour samples at fixed dose, seed {self.seed} (SD {how.sd_mm:g} mm in their "
            f"planes, correlation length {how.length_mm:g} mm, {how.source}{verified}; lattice DVH moved by "
            f"{moved_gy:.2f} Gy to the exact one)"
        )


def _volumes(band: Band, shift: Float | float) -> sparse.csr_array:
    inside = band.occupancy(shift).astype(np.float64) * band.weight_cc[:, None, None]
    return sparse.csr_array(inside.reshape(1, -1))


@dataclass(frozen=True, eq=False)
class Corrected:
    """DVHs of all contour samples under one or more doses.

    Parameters
    ----------
    doses_gy : ndarray, shape (nodes,)
        Dose of each node, after the correction.
    volumes_cc : ndarray, shape (doses, samples + 1, nodes)
        The first sample of the first dose has the exact DVH.
    raw_gy : ndarray, shape (nodes,)
        The nodes before the correction.
    """

    doses_gy: Float
    volumes_cc: Float
    raw_gy: Float

    @property
    def moved_gy(self) -> float:
        """Mean of how far the correction moved a node, over the volume of the drawn structure."""
        return float(np.average(np.abs(self.doses_gy - self.raw_gy), weights=self.volumes_cc[0, 0]))


def corrected(readers: Readers, doses: Sequence[Dose], exact: tuple[Float, Float]) -> Corrected:
    """Return the DVHs of contour samples, moved so that the first is the exact one.

    Parameters
    ----------
    doses : sequence of Dose
        An arm's dose, and those of its samples.
    exact : tuple of ndarray
        Doses, Gy, and volumes, cc, of the exact DVH of the first.

    Notes
    -----
    A lattice of partial volumes differs from the exact DVH by its cells, its end planes and its linear
    interpolation. Each node of the dose axis is moved to the dose at which the exact DVH has the same
    part of the volume, for all samples alike; the volumes are scaled to the exact one.
    """
    top = max(float(dose.array.max()) for dose in doses)
    axis = np.linspace(0.0, max(top, 1e-6), BINS + 1)
    volumes = np.stack([readers.volumes(dose, axis) for dose in doses])
    own = volumes[0, 0]
    volumes *= exact[1].sum() / own.sum()
    own = volumes[0, 0]
    shift = np.interp(_middle(own), *_quantiles(*exact)) - axis
    held = own > 1e-9 * own.sum()
    moved = axis + np.interp(axis, axis[held], shift[held])
    return Corrected(np.maximum.accumulate(np.maximum(moved, 0.0)), volumes, axis)


def _middle(volumes: Float) -> Float:
    middle: Float = (np.cumsum(volumes) - 0.5 * volumes) / volumes.sum()
    return middle


def _quantiles(doses_gy: Float, volumes: Float) -> tuple[Float, Float]:
    order = np.argsort(doses_gy, kind="stable")
    return _middle(volumes[order]), doses_gy[order]
