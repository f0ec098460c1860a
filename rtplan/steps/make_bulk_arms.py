"""MakeBulkArms: density images from published bulk values, and one set of rules for all arms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rtplan.domain import Image, Mask, Notice, Patient
from rtplan.domain.nomenclature import EXTERNAL, SUPPORT
from rtplan.imaging.bulk import ArmRules, BulkModel, GasRule, bulk_arms, conform, load_bulk
from rtplan.imaging.contour import mask_on
from rtplan.imaging.resample import resample
from rtplan.imaging.tissue import classes_of, load_rules, under_skin
from rtplan.steps.reference import reference_image

#: As deep as this, voxels share air and tissue and read like gas.
SKIN_VOXELS = 2


@dataclass(frozen=True)
class MakeBulkArms:
    """Make the bulk arms, and put every arm (the reference and SynCT too) under the same rules.

    Parameters
    ----------
    models : tuple of str
        Files of the shelf ``models/bulk`` or paths; one arm each.
    gas : str
        ``water`` or ``as_reference``: what gas inside the body is in every arm.
    rules : str
        File with the rules by which tissue classes are read from HU.

    Notes
    -----
    Bone and fat are read from the reference CT where there is one (the published practice of bulk-density
    studies: the arm then shows what the density values alone do), else from the synthetic CT; where there
    is neither, the arms that need them are left out. Outside the External every arm is air, so the couch
    is removed in all; outside the common support all arms take the reference's value.
    """

    models: tuple[str, ...] = ("CT0", "CTpop", "CTpop_bone", "CTstrat")
    gas: GasRule = "water"
    rules: str = "classes_ct"

    needs: ClassVar[tuple[str, ...]] = ("external",)
    makes: ClassVar[tuple[str, ...]] = ("arms",)

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the arms."""
        base = reference_image(patient)
        body = mask_on(patient.structure(EXTERNAL), base.grid)
        density, origin = _density(patient)
        classes = classes_of(density, body, load_rules(self.rules)) if density is not None else {}
        gas = classes.get("gas")
        models = [load_bulk(name) for name in self.models]
        made = bulk_arms(body, classes, models, like=base.source, made_from=origin)
        reference = patient.images.get("CT")
        support = None
        if reference is not None and SUPPORT in patient.structures:
            support = mask_on(patient.structure(SUPPORT), base.grid)
        shared = ArmRules(body, reference, support, gas, self.gas)
        present = {name: patient.images[name] for name in patient.arms if name not in made}
        arms = {name: conform(_on(arm, base), shared) for name, arm in {**present, **made}.items()}
        patient = patient.with_images(**arms)
        notices = [
            *_class_notices(origin, models, made),
            *_gas_notice(gas, body, self.gas, reference is not None),
        ]
        return patient.with_notices(*notices)


def _on(arm: Image, base: Image) -> Image:
    return resample(arm, base.grid, outside=-1000.0)


def _density(patient: Patient) -> tuple[Image | None, str]:
    """Return the image from which tissue classes are read, and what it is."""
    if "CT" in patient.images:
        return patient.images["CT"], "the reference CT"
    if "SynCT" in patient.images:
        return patient.images["SynCT"], "the synthetic CT"
    return None, ""


def _class_notices(origin: str, models: list[BulkModel], made: dict[str, Image]) -> list[Notice]:
    """Say where the classes come from and which arms are left out."""
    notices = []
    with_classes = [m.arm for m in models if m.needs and m.arm in made]
    left_out = [m.arm for m in models if m.arm not in made]
    if with_classes:
        notices.append(
            Notice(
                "CLASSES_FROM_DENSITY",
                "info",
                f"Bone and fat of {' and '.join(with_classes)} are read from {origin} by HU, not segmented "
                "on the MR: these arms show the effect of the density values, not of a segmentation.",
            )
        )
    if left_out:
        notices.append(
            Notice(
                "ARM_LEFT_OUT",
                "warn",
                f"{' and '.join(left_out)} cannot be made: no CT or synthetic CT shows bone and fat.",
                "supply an MR that a synthetic-CT network can read, or a CT.",
            )
        )
    return notices


def _gas_notice(gas: Mask | None, body: Mask, rule: GasRule, has_reference: bool) -> list[Notice]:
    """Say how much was read as gas, how much of that is the skin's partial volume, and what became of it."""
    if gas is None or not gas.array.any():
        return []
    deep = under_skin(body, SKIN_VOXELS).array
    within, at_skin = (np.count_nonzero(gas.array & part) * gas.grid.voxel_cc for part in (deep, ~deep))
    becomes = (
        "counts as water (0 HU)" if rule == "water" or not has_reference else "takes the reference's value"
    )
    skin = (
        f"; so does {at_skin:.1f} cc within {SKIN_VOXELS} voxels of the skin, which hold air and tissue "
        "and read like gas"
    )
    return [
        Notice(
            "GAS_RULE",
            "info",
            f"{within:.1f} cc of gas inside the body {becomes} in every arm, the reference included"
            f"{skin if at_skin else ''}.",
        )
    ]
