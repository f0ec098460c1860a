"""Paired findings of one patient: what an arm changes in the image and in the dose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rtplan.domain import Dose, Finding, Image, Mask, Structure
from rtplan.dosimetry.gamma import GammaSettings, gamma
from rtplan.errors import DoseError
from rtplan.evaluation.image import dice, mean_absolute_error, mean_error, psnr
from rtplan.imaging.contour import fraction_on
from rtplan.imaging.resample import resample

STEP = "CompareArms"
#: One gamma criterion: dose % (global), distance mm.
Criterion = tuple[float, float]
#: Gamma criteria customary for synthetic CT; cut-off 10 %.
GAMMA: tuple[Criterion, ...] = ((2.0, 2.0), (1.0, 1.0))
CUTOFF_PERCENT = 10.0


@dataclass(frozen=True, eq=False)
class Pair:
    """One arm beside the reference.

    Parameters
    ----------
    arm, reference : str
        Names of the arms.
    """

    arm: str
    reference: str

    def finding(
        self, metric: str, value: float | None, unit: str, structure: str | None, **more: object
    ) -> Finding:
        """Return a difference as a finding."""
        return Finding(
            metric=metric,
            value=value,
            unit=unit,
            step=STEP,
            arm=self.arm,
            reference_arm=self.reference,
            structure=structure,
            quantity="difference",
            **more,  # type: ignore[arg-type]
        )


def image_findings(
    pair: Pair, image: Image, reference: Image, masks: Mapping[str, Mask], bone_of_arm: Mask | None
) -> list[Finding]:
    """Return MAE, ME (HU) in each mask, PSNR (dB) in the first, and the Dice of bone.

    Parameters
    ----------
    pair : Pair
        Names.
    image, reference : Image
        HU on one grid.
    masks : mapping of str to Mask
        By structure name, the body first; an empty one is left out.
    bone_of_arm : Mask or None
        The arm's own bone by the reference's rule, for arms that do not take their bone from the
        reference; compared with the mask ``Bone``.
    """
    found = []
    for number, (name, mask) in enumerate(masks.items()):
        if not mask.array.any():
            continue
        detail = {"voxels": int(np.count_nonzero(mask.array)), "mask": f"{name} within the common support"}
        source = "arithmetic on HU; mask as named"
        mae = mean_absolute_error(image, reference, mask)
        found.append(pair.finding("MAE[HU]", mae, "HU", name, detail=detail, source=source))
        me = mean_error(image, reference, mask)
        found.append(pair.finding("ME[HU]", me, "HU", name, detail=detail, source=source))
        ratio = psnr(image, reference, mask)
        if number == 0 and np.isfinite(ratio):
            source = "SynthRAD 2023 metrics code, range -1024 to 3000 HU"
            found.append(pair.finding("PSNR[dB]", ratio, "dB", name, detail=detail, source=source))
    if bone_of_arm is not None and masks["Bone"].array.any():
        overlap = dice(bone_of_arm, masks["Bone"], masks["Body"])
        found.append(pair.finding("Dice", overlap, "1", "Bone", source="2|A∩B|/(|A|+|B|)"))
    return found


def dose_findings(
    pair: Pair,
    dose: Dose,
    reference: Dose,
    prescribed_gy: float,
    isocentre_mm: tuple[float, float, float] | None,
) -> list[Finding]:
    """Return the isocentre's dose difference and the mean absolute one at high dose, %.

    Parameters
    ----------
    pair : Pair
        Names.
    dose, reference : Dose
        Gy, on one grid.
    prescribed_gy : float
        The highest prescribed dose.
    isocentre_mm : tuple of float or None
        LPS mm.

    Raises
    ------
    GeometryMismatch
        If the doses do not lie on one grid.
    """
    dose.demand_same_grid(reference)
    found = []
    if isocentre_mm is not None:
        before, after = (dose_at(one, isocentre_mm) for one in (reference, dose))
        metric = "IsocentreDose[%]"
        if before is None or after is None or before <= 0.0:
            reason = "the isocentre lies outside the dose grid or gets no dose"
            found.append(pair.finding(metric, None, "%", None, verdict="not_evaluable", reason=reason))
        else:
            value = 100.0 * (after - before) / before
            found.append(pair.finding(metric, value, "%", None, source="relative to the reference's dose"))
    high = reference.array >= 0.9 * prescribed_gy
    if high.any():
        error = np.abs(dose.array[high].astype(np.float64) - reference.array[high]).mean()
        found.append(
            pair.finding(
                "DoseMAE90[%]",
                100.0 * float(error) / prescribed_gy,
                "%",
                None,
                source="SynthRAD 2023: mean |difference| / prescription where the reference is >= 90 % of it",
                detail={"voxels": int(high.sum()), "prescribed_gy": prescribed_gy},
            )
        )
    return found


def structure_findings(
    pair: Pair, dose: Dose, reference: Dose, structures: Mapping[str, Structure], prescribed_gy: float
) -> list[Finding]:
    """Return the difference of each structure's mean dose, % of the prescription.

    A structure is weighted by its partial volumes on the dose grid; the fraction of it that the dose grid
    covers is not completed.
    """
    dose.demand_same_grid(reference)
    change = dose.array.astype(np.float64) - reference.array
    found = []
    for name, structure in structures.items():
        weight = fraction_on(structure, dose.grid).astype(np.float64)
        metric = "MeanDose[%]"
        if weight.sum() <= 0.0:
            reason = "the structure lies outside the dose grid"
            found.append(pair.finding(metric, None, "%", name, verdict="not_evaluable", reason=reason))
            continue
        value = 100.0 * float((weight * change).sum() / weight.sum()) / prescribed_gy
        source = "mean of dose differences, in % of the prescribed dose"
        found.append(pair.finding(metric, value, "%", name, source=source))
    return found


def gamma_findings(
    pair: Pair, dose: Dose, reference: Dose, region: Mask, criteria: Sequence[Criterion] = GAMMA
) -> list[Finding]:
    """Return the gamma pass rates (global, 10 % cut-off) inside a region on the dose grid, %."""
    found = []
    for percent, distance_mm in criteria:
        metric = f"Gamma{percent:g}%/{distance_mm:g}mm[%]"
        settings = GammaSettings(percent, distance_mm, CUTOFF_PERCENT)
        try:
            result = gamma(reference, dose, settings, mask=region)
        except DoseError as error:
            found.append(
                pair.finding(metric, None, "%", "Body", verdict="not_evaluable", reason=error.message)
            )
            continue
        found.append(
            pair.finding(
                metric,
                100.0 * result.pass_rate,
                "%",
                "Body",
                source="Low 1998; criteria customary for synthetic CT (clinical.md B.3)",
                verified=False,
                detail={"points": result.n, "mean_gamma": result.mean, "cutoff_percent": CUTOFF_PERCENT},
            )
        )
    return found


def spread_findings(
    doses: Mapping[str, Dose], structures: Mapping[str, Structure], prescribed_gy: float
) -> list[Finding]:
    """Return how far the arms lie apart where there is no reference: no verdict can be given.

    For each structure the largest minus the smallest mean dose of all arms, % of the prescription.
    """
    first = next(iter(doses.values()))
    found = []
    for name, structure in structures.items():
        weight = fraction_on(structure, first.grid).astype(np.float64)
        if weight.sum() <= 0.0:
            continue
        means = {arm: float((weight * dose.array).sum() / weight.sum()) for arm, dose in doses.items()}
        value = 100.0 * (max(means.values()) - min(means.values())) / prescribed_gy
        found.append(
            Finding(
                metric="MeanDoseSpread[%]",
                value=value,
                unit="%",
                step=STEP,
                structure=name,
                source="largest minus smallest mean dose of the arms, in % of the prescribed dose",
                detail={"arms": list(means), "reason_no_verdict": "there is no reference CT"},
            )
        )
    return found


def dose_at(dose: Dose, point_mm: tuple[float, float, float]) -> float | None:
    """Return the dose at a point (x, y, z), LPS mm, by linear interpolation, Gy; None outside the grid."""
    index = dose.grid.to_index(point_mm)
    if (index < 0).any() or (index > np.array(dose.grid.shape) - 1).any():
        return None
    low = np.minimum(np.floor(index).astype(int), np.maximum(np.array(dose.grid.shape) - 2, 0))
    part = index - low
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        at = np.minimum(low + corner, np.array(dose.grid.shape) - 1)
        weight = np.prod(np.where(np.array(corner) == 1, part, 1.0 - part))
        total += float(weight) * float(dose.array[tuple(at)])
    return total


def on_grid_of(dose: Dose, mask: Mask) -> Mask:
    """Return a mask on a dose's grid, for gamma."""
    return resample(mask, dose.grid)
