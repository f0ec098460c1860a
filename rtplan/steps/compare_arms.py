"""CompareArms: what each arm changes in HU and in dose beside the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rtplan.domain import Dose, Finding, Mask, Notice, Patient, Structure
from rtplan.domain.nomenclature import EXTERNAL, SUPPORT
from rtplan.evaluation.arms import (
    GAMMA,
    Criterion,
    Pair,
    dose_findings,
    gamma_findings,
    image_findings,
    on_grid_of,
    spread_findings,
    structure_findings,
)
from rtplan.imaging.contour import mask_on
from rtplan.imaging.tissue import classes_of


@dataclass(frozen=True)
class CompareArms:
    """Add paired findings, arm − reference: HU, dose, gamma. Without a reference: the arms' spread.

    Parameters
    ----------
    gamma : tuple of (float, float)
        Criteria of gamma: dose % (global) and distance mm; empty: none.

    Notes
    -----
    HU figures are taken on the common support inside the body, with gas, body and couch already alike in
    all arms. No verdict is given here: what counts as equivalent is the user's to set.
    """

    gamma: tuple[Criterion, ...] = GAMMA

    needs: ClassVar[tuple[str, ...]] = ("doses",)
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the findings."""
        reference = patient.reference_arm
        doses = {arm: patient.doses[arm] for arm in patient.arms if arm in patient.doses}
        structures = {
            name: structure
            for name, structure in patient.structures.items()
            if structure.kind not in ("CONTROL", "EXTERNAL")
        }
        if reference is None or reference not in doses:
            if len(doses) < 2:
                return patient
            found = spread_findings(doses, structures, _prescribed(patient, doses))
            return patient.with_findings(*found).with_notices(_no_reference(doses))
        findings: list[Finding] = []
        masks = _masks(patient, reference)
        for arm in patient.arms:
            if arm == reference:
                continue
            pair = Pair(arm, reference)
            findings += _image(patient, pair, masks)
            if arm in doses:
                findings += self._dose(patient, pair, doses, structures, masks)
        return patient.with_findings(*findings)

    def _dose(
        self,
        patient: Patient,
        pair: Pair,
        doses: Mapping[str, Dose],
        structures: Mapping[str, Structure],
        masks: Mapping[str, Mask],
    ) -> list[Finding]:
        dose, reference = doses[pair.arm], doses[pair.reference]
        prescribed = _prescribed(patient, doses)
        isocentre = patient.plan.beams[0].isocentre_mm if patient.plan and patient.plan.beams else None
        found = dose_findings(pair, dose, reference, prescribed, isocentre)
        found += structure_findings(pair, dose, reference, structures, prescribed)
        if self.gamma and masks:
            region = on_grid_of(reference, masks["Body"])
            found += gamma_findings(pair, dose, reference, region, self.gamma)
        return found


def _prescribed(patient: Patient, doses: Mapping[str, Dose]) -> float:
    """Return the highest prescribed dose, or the greatest dose where nothing is prescribed, Gy."""
    if patient.plan is not None and patient.plan.prescription.targets:
        return max(patient.plan.prescription.targets.values())
    return max(float(dose.array.max()) for dose in doses.values())


def _masks(patient: Patient, reference: str) -> dict[str, Mask]:
    """Return body, soft tissue and bone of the reference on the common support."""
    if EXTERNAL not in patient.structures:
        return {}
    image = patient.images[reference]
    body = mask_on(patient.structure(EXTERNAL), image.grid)
    classes = classes_of(image, body)
    within = body.array
    if SUPPORT in patient.structures:
        within = within & mask_on(patient.structure(SUPPORT), image.grid).array
    bone = classes["bone"].array & within
    soft = within & ~bone & ~classes["gas"].array
    return {
        "Body": Mask(image.grid, within),
        "SoftTissue": Mask(image.grid, soft),
        "Bone": Mask(image.grid, bone),
    }


def _image(patient: Patient, pair: Pair, masks: Mapping[str, Mask]) -> list[Finding]:
    """Return the HU figures of one arm; the Dice of bone only where the arm has a bone of its own."""
    if not masks:
        return []
    arm, reference = patient.images[pair.arm], patient.images[pair.reference]
    own_bone = None
    if pair.arm == "SynCT":
        own_bone = classes_of(arm, mask_on(patient.structure(EXTERNAL), arm.grid))["bone"]
    return image_findings(pair, arm, reference, masks, own_bone)


def _no_reference(doses: Mapping[str, Dose]) -> Notice:
    return Notice(
        "NO_REFERENCE",
        "info",
        f"There is no reference CT: {', '.join(doses)} are compared with each other as spread, and no "
        "verdict of equivalence is given.",
        "supply a CT to compare with.",
    )
