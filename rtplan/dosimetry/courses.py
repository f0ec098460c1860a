"""Several courses (a boost as a second plan) as one dose: per voxel in EQD2, each with its own fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.errors import DoseError, GeometryMismatch
from rtplan.imaging.resample import covered, resample

Float = NDArray[np.float64]

#: Kind of a sum of physical doses of several courses: no voxel has one dose per fraction.
PHYSICAL_SUM = "physical sum"


def eqd2_dose(dose: Dose, alpha_beta_gy: float) -> Dose:
    """Return the dose in 2 Gy fractions that has the same effect, voxel by voxel.

    A dose that is EQD2 with this α/β already is returned as it is.

    Raises
    ------
    DoseError
        If the number of fractions is unknown (it is never guessed), the dose is not finite, or it is of
        another kind.

    References
    ----------
    Withers, Thames, Peters. A new isoeffect curve for change in dose per fraction.
    Radiother Oncol 1983;1:187-191.
    """
    kind = f"EQD2({alpha_beta_gy:g})"
    if dose.kind == kind:
        return dose
    if dose.kind != "physical":
        raise DoseError(
            f"A dose of kind {dose.kind} cannot become {kind}: the dose per fraction is lost.",
            action="give the physical dose of each course with its own fractions.",
        )
    if dose.fractions is None:
        raise DoseError(
            "EQD2 needs the number of fractions, which is unknown.",
            action="give it for each course (--fractions N); it is never guessed.",
        )
    _demand_finite(dose)
    converted = eqd2(dose.array.astype(np.float64), dose.fractions, alpha_beta_gy)
    return replace(dose, array=np.asarray(converted), kind=kind)


def eqd2_sum(doses: Sequence[Dose], alpha_beta_gy: float) -> Dose:
    """Return the sum of courses in EQD2, voxel by voxel, each with its own number of fractions.

    Parameters
    ----------
    doses : sequence of Dose
        Each of one whole course, given one after the other. The sum lies on the grid of the first, cut to
        where all are known; the others are interpolated linearly, as physical dose, before the conversion.
    alpha_beta_gy : float
        Gy.

    Returns
    -------
    Dose
        Of kind ``EQD2(<alpha/beta>)``, without a number of fractions.

    Raises
    ------
    DoseError
        As `eqd2_dose`, or if the grids share no voxel, or are tilted against each other.

    Notes
    -----
    Neither the sum of the physical doses nor the sum of their prescriptions gives this: EQD2 is not
    linear in dose. Two doses that are given in the same sessions are one course: add them as physical
    dose first, and give the sum its fractions.

    Examples
    --------
    46 Gy in 23 fractions and a boost of 19 Gy in 2, α/β = 3 Gy:

    >>> grid = Grid.axial((2, 2, 2), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    >>> first = Dose(grid, np.full(grid.shape, 46.0), fractions=23)
    >>> boost = Dose(grid, np.full(grid.shape, 19.0), fractions=2)
    >>> round(float(eqd2_sum([first, boost], 3.0).array[0, 0, 0]), 3)
    93.5
    """
    total = _summed(doses, lambda dose: eqd2_dose(dose, alpha_beta_gy))
    return replace(total, kind=f"EQD2({alpha_beta_gy:g})")


def physical_sum(doses: Sequence[Dose]) -> Dose:
    """Return the sum of the physical doses of several courses.

    Returns
    -------
    Dose
        A single dose is returned as it is. A sum is of kind `PHYSICAL_SUM`, without a number of fractions:
        it has physical DVH metrics, and neither EQD2 nor NTCP, since each voxel got its dose in parts of
        different size.

    Raises
    ------
    DoseError
        If a dose is not physical or not finite, or the grids share no voxel.
    """
    if len(doses) == 1:
        return doses[0]
    return replace(_summed(doses, _physical), kind=PHYSICAL_SUM)


def common_grid(doses: Sequence[Dose]) -> Grid:
    """Return the grid of the first dose, cut to the voxels that all doses cover.

    Raises
    ------
    DoseError
        If there is none, or what is covered is no box (grids tilted against each other).
    GeometryMismatch
        If the frames of reference differ.
    """
    grid, inside = doses[0].grid, np.ones(doses[0].grid.shape, np.bool_)
    for dose in doses[1:]:
        inside &= covered(grid, _in_frame(dose, grid).grid).array
    if not inside.any():
        raise DoseError(
            "The doses of the courses share no voxel.", action="check that both belong to one patient."
        )
    start, stop = [], []
    for axis in range(3):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        start.append(int(hit[0]))
        stop.append(int(hit[-1]) + 1)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    if not inside[box].all():
        raise DoseError(
            "The doses of the courses are tilted against each other and cover each other in part only.",
            action="calculate them on one grid.",
        )
    return grid.crop((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _physical(dose: Dose) -> Dose:
    if dose.kind != "physical":
        raise DoseError(f"A sum of physical doses cannot take a dose of kind {dose.kind}.")
    _demand_finite(dose)
    return dose


def _summed(doses: Sequence[Dose], convert: Callable[[Dose], Dose]) -> Dose:
    if not doses:
        raise DoseError("A sum of courses needs at least one dose.")
    if len(doses) == 1:
        return replace(convert(doses[0]), fractions=None)
    grid = common_grid(doses)
    total: Float = np.zeros(grid.shape)
    for dose in doses:
        _demand_finite(dose)
        total += convert(_on(dose, grid)).array
    return Dose(grid, total)


def _on(dose: Dose, grid: Grid) -> Dose:
    if grid is dose.grid:
        return dose
    return resample(_in_frame(dose, grid), grid, order="linear")


def _in_frame(dose: Dose, grid: Grid) -> Dose:
    """Take a dose that names no frame of reference (NIfTI, MHA) for one in the frame of the grid."""
    own, wanted = dose.grid.frame_of_reference, grid.frame_of_reference
    if own and wanted and own != wanted:
        raise GeometryMismatch(
            "The doses of the courses lie in different frames of reference.",
            action="resample one through a registration, by name.",
        )
    if own == wanted:
        return dose
    return replace(dose, grid=Grid(dose.grid.shape, dose.grid.affine, wanted))


def _demand_finite(dose: Dose) -> None:
    if not np.isfinite(dose.array).all():
        raise DoseError("The dose holds values that are not finite.")
