"""Plan quality: ICRU 83 homogeneity, RTOG and Paddick conformity, gradient index, isodose volumes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Mask
from rtplan.errors import DoseError, GeometryMismatch, StructureError

Share = NDArray[np.float32]

#: Points along each axis of an eighth of a voxel with which a voxel cut by an isodose is sampled.
SAMPLES = 6


@dataclass(frozen=True)
class Conformity:
    """How well an isodose fits a target.

    Parameters
    ----------
    target_cc : float
        Volume of the target (TV).
    isodose_cc : float
        Volume of the prescription isodose (PIV).
    covered_cc : float
        Volume of the target inside the isodose (TV_PIV).
    half_isodose_cc : float
        Volume of the isodose of half the prescription.
    """

    target_cc: float
    isodose_cc: float
    covered_cc: float
    half_isodose_cc: float

    @property
    def rtog(self) -> float:
        """RTOG conformity index, PIV / TV."""
        return rtog_conformity(self.target_cc, self.isodose_cc)

    @property
    def paddick(self) -> float:
        """Paddick conformity index, TV_PIV^2 / (TV PIV)."""
        return paddick_conformity(self.target_cc, self.isodose_cc, self.covered_cc)

    @property
    def gradient(self) -> float:
        """Gradient index, PIV_50 / PIV_100."""
        return gradient_index(self.half_isodose_cc, self.isodose_cc)


def homogeneity_index(d2_gy: float, d50_gy: float, d98_gy: float) -> float:
    """Return the homogeneity index of ICRU 83, (D2% - D98%) / D50%; 0 is homogeneous.

    Raises
    ------
    DoseError
        If the doses do not fall from D2% to D98%, or D50% is not above 0.

    References
    ----------
    ICRU Report 83, J. ICRU 10(1) (2010), section 3.7.1.3.

    Examples
    --------
    >>> round(homogeneity_index(62.0, 60.0, 57.0), 6)
    0.083333
    """
    if not (d2_gy >= d50_gy >= d98_gy >= 0 and d50_gy > 0):
        raise DoseError(
            f"The homogeneity index needs D2% >= D50% >= D98% >= 0, got {d2_gy}, {d50_gy}, {d98_gy}."
        )
    return (d2_gy - d98_gy) / d50_gy


def rtog_conformity(target_cc: float, isodose_cc: float) -> float:
    """Return the conformity index of the RTOG, PIV / TV (Shaw 1993); 1 when both volumes are equal."""
    return isodose_cc / _positive(target_cc, "target")


def paddick_conformity(target_cc: float, isodose_cc: float, covered_cc: float) -> float:
    """Return the conformity index of Paddick, TV_PIV^2 / (TV PIV); 1 when both volumes coincide.

    References
    ----------
    I. Paddick, "A simple scoring ratio to index the conformity of radiosurgical treatment plans",
    J. Neurosurg. 93 (Suppl 3):219-222 (2000).

    Examples
    --------
    >>> round(paddick_conformity(target_cc=100.0, isodose_cc=110.0, covered_cc=90.0), 5)
    0.73636
    """
    least = min(_positive(target_cc, "target"), _positive(isodose_cc, "isodose"))
    if not 0 <= covered_cc <= least * (1 + 1e-6):
        raise DoseError(f"The covered volume of {covered_cc} cc exceeds target or isodose ({least} cc).")
    return covered_cc**2 / (target_cc * isodose_cc)


def gradient_index(half_isodose_cc: float, isodose_cc: float) -> float:
    """Return the gradient index, the volume of half the prescription isodose over that of the full one.

    References
    ----------
    I. Paddick, B. Lippitz, "A simple dose gradient measurement tool to complement the conformity index",
    J. Neurosurg. 105 (Suppl):194-201 (2006).
    """
    return half_isodose_cc / _positive(isodose_cc, "isodose")


def isodose_share(dose: Dose, level_gy: float) -> Share:
    """Return the share of each voxel that receives at least a dose, from 0 to 1, shape (z, y, x).

    The dose is trilinear between voxel centres and constant beyond the outermost ones. A voxel whose
    eighths lie wholly on one side of the level is exact; the others are sampled at ``(2 SAMPLES)^3``
    points.

    Raises
    ------
    DoseError
        If the level is not positive or the dose is not finite.
    """
    if not (np.isfinite(level_gy) and level_gy > 0):
        raise DoseError(f"An isodose needs a positive level, got {level_gy} Gy.")
    if not np.isfinite(dose.array).all():
        raise DoseError("The dose holds values that are not finite.")
    padded = np.pad(dose.array.astype(np.float64), 1, mode="edge")
    low, high = padded, padded
    for axis in range(3):
        low = _over_three(low, axis, np.minimum)
        high = _over_three(high, axis, np.maximum)
    share = (low >= level_gy).astype(np.float32)
    cut = np.argwhere((low < level_gy) & (high >= level_gy))
    if len(cut):
        share[tuple(cut.T)] = _sampled(padded, cut, level_gy)
    return share


def isodose_volume(dose: Dose, level_gy: float, within: Mask | Share | None = None) -> float:
    """Return the volume that receives at least a dose, cc.

    Parameters
    ----------
    dose : Dose
        Gy.
    level_gy : float
        The isodose.
    within : Mask or ndarray of shape (z, y, x), optional
        Count only inside this mask, or inside these partial volumes (0 to 1) on the dose grid. Where both
        the isodose and the region cut a voxel, one share is taken to lie inside the other (nested
        surfaces, as of a conformal plan); for crossing surfaces this is the upper bound.

    Raises
    ------
    DoseError
        If, without a region, the isodose reaches the border of the grid: its volume is not known then.
    """
    share = isodose_share(dose, level_gy)
    if within is None:
        if _touches_border(share):
            raise DoseError(
                f"The isodose of {level_gy:.2f} Gy leaves the dose grid: its volume is not known.",
                action="calculate the dose on a larger grid, or give a region.",
            )
        return float(share.sum(dtype=np.float64)) * dose.grid.voxel_cc
    return float(np.minimum(share, _weights(dose, within)).sum(dtype=np.float64)) * dose.grid.voxel_cc


def conformity(dose: Dose, target: Mask | Share, prescription_gy: float) -> Conformity:
    """Return the volumes from which conformity and gradient indices follow.

    Parameters
    ----------
    dose : Dose
        Gy.
    target : Mask or ndarray of shape (z, y, x)
        The target as a mask or as partial volumes (0 to 1) on the dose grid.
    prescription_gy : float
        Dose of the prescription isodose.

    Raises
    ------
    StructureError
        If the target is empty on the dose grid.
    DoseError
        If the isodose of half the prescription reaches the border of the grid.
    """
    weights = _weights(dose, target)
    target_cc = float(weights.sum(dtype=np.float64)) * dose.grid.voxel_cc
    if not target_cc > 0:
        raise StructureError("The target is empty on the dose grid.")
    return Conformity(
        target_cc=target_cc,
        isodose_cc=isodose_volume(dose, prescription_gy),
        covered_cc=isodose_volume(dose, prescription_gy, target),
        half_isodose_cc=isodose_volume(dose, prescription_gy / 2),
    )


def _positive(volume_cc: float, what: str) -> float:
    if not volume_cc > 0:
        raise DoseError(f"The {what} volume must be above 0 cc, got {volume_cc}.")
    return volume_cc


def _weights(dose: Dose, region: Mask | Share) -> Share:
    if isinstance(region, Mask):
        dose.demand_same_grid(region)
        return region.array.astype(np.float32)
    if region.shape != dose.grid.shape:
        raise GeometryMismatch(
            f"Partial volumes of shape {region.shape} do not fit a dose grid of shape {dose.grid.shape}."
        )
    if not (np.isfinite(region).all() and region.min() >= 0 and region.max() <= 1 + 1e-6):
        raise StructureError("Partial volumes must lie between 0 and 1.")
    return region.astype(np.float32)


def _over_three(array: NDArray[np.float64], axis: int, pick: np.ufunc) -> NDArray[np.float64]:
    """Take the least or greatest over each voxel and its two neighbours' faces along an axis.

    The faces lie half way between centres, where the interpolated dose is the mean of both sides.
    """
    moved = np.moveaxis(array, axis, 0)
    before, here, after = moved[:-2], moved[1:-1], moved[2:]
    best = pick(here, pick((before + here) / 2, (here + after) / 2))
    return np.moveaxis(best, 0, axis)


def _sampled(padded: NDArray[np.float64], cut: NDArray[np.intp], level_gy: float) -> Share:
    offsets = (np.arange(2 * SAMPLES) + 0.5) / (2 * SAMPLES) - 0.5
    rows = [np.array([max(-o, 0.0), 1 - abs(o), max(o, 0.0)]) for o in offsets]
    k, j, i = (cut + 1).T
    around = np.stack([padded[k + a, j + b, i + c] for a, b, c in product((-1, 0, 1), repeat=3)])
    around = around.reshape(3, 3, 3, -1)
    hits = np.zeros(len(cut))
    for row in rows:
        plane = np.einsum("a,abcn->bcn", row, around)
        for column in rows:
            line = np.einsum("b,bcn->cn", column, plane)
            hits += (np.stack(rows) @ line >= level_gy).sum(axis=0)
    return (hits / len(rows) ** 3).astype(np.float32)


def _touches_border(share: Share) -> bool:
    return any(
        n > 1 and bool((np.take(share, end, axis) > 0).any())
        for axis, n in enumerate(share.shape)
        for end in (0, n - 1)
    )
