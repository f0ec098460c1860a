"""Density arms from published bulk values, and the rules that every arm obeys alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from rtplan.domain import Image, Mask, Source
from rtplan.errors import ModelError
from rtplan.imaging.tissue import Frozen, gas_of, load_toml

GasRule = Literal["water", "as_reference"]

#: Air around the patient in every arm, HU: with it the couch is removed.
AIR_HU = -1000.0
#: Gas under the rule ``water``, HU.
WATER_HU = 0.0


class TissueValue(Frozen):
    """One class of tissue and its published density."""

    name: str
    hu: float
    source: str
    doi: str
    verified: bool


class BulkModel(Frozen):
    """One file of ``models/bulk`` with ``kind = "arm"``: the classes are painted in their order."""

    schema_: Literal[1]
    kind: Literal["arm"]
    name: str
    arm: str
    description: str
    needs: tuple[str, ...]
    tissue: tuple[TissueValue, ...]

    def summary(self) -> str:
        """Return the densities in one line."""
        return ", ".join(f"{t.name} {t.hu:g} HU" for t in self.tissue)


@dataclass(frozen=True, eq=False)
class ArmRules:
    """What all arms share, so that nothing but the density differs.

    Parameters
    ----------
    body : Mask
        The reference's outline; outside it every arm is air (the couch is removed).
    reference : Image or None
        The reference's HU, where there is a CT.
    support : Mask or None
        Where every image was measured; outside it all arms take the reference's value.
    gas : Mask or None
        Gas of the reference (or of the image that stands for it) inside the body.
    gas_rule : str
        ``water``: gas is 0 HU in every arm, the reference included. ``as_reference``: every arm takes the
        reference's value there (without a reference: water).
    """

    body: Mask
    reference: Image | None = None
    support: Mask | None = None
    gas: Mask | None = None
    gas_rule: GasRule = "water"


def load_bulk(name: str) -> BulkModel:
    """Return an arm's densities by the name on the shelf ``models/bulk`` or the path of a TOML file.

    Raises
    ------
    UnknownName
        If there is no such file.
    FormatError
        If it is not a valid arm.

    Examples
    --------
    >>> load_bulk("CTpop").tissue[0].hu
    -46.3
    """
    return load_toml(name, BulkModel)


def bulk_arms(
    body: Mask,
    classes: Mapping[str, Mask],
    models: Sequence[BulkModel],
    *,
    like: Source | None = None,
    made_from: str = "",
) -> dict[str, Image]:
    """Return the density images of the arms, by arm name.

    Parameters
    ----------
    body : Mask
        Gives the grid; outside it there is air.
    classes : mapping of str to Mask
        Masks of the classes that the arms need (``bone``, ``fat``), on the body's grid.
    models : sequence of BulkModel
        An arm whose classes are not all there is left out.
    like : Source, optional
        The reference's, for study and patient position.
    made_from : str
        Where the classes come from; stands in the image's description.

    Returns
    -------
    dict of str to Image
        CT images in HU.
    """
    arms = {}
    for model in models:
        if any(need not in classes for need in model.needs):
            continue
        hu = np.full(body.grid.shape, AIR_HU, np.float32)
        for tissue in model.tissue:
            where = body if tissue.name == "body" else classes[tissue.name]
            where.demand_same_grid(body)
            hu[where.array & body.array] = tissue.hu
        text = f"{model.arm}: {model.summary()}"
        if model.needs and made_from:
            text += f"; classes from {made_from}"
        facts = MappingProxyType({"bulk_model": model.name, "classes_from": made_from})
        origin = like or Source()
        source = Source(
            study_uid=origin.study_uid,
            patient_position=origin.patient_position,
            description=text,
            acquisition=facts,
        )
        arms[model.arm] = Image(body.grid, hu, "CT", source)
    return arms


def conform(arm: Image, rules: ArmRules) -> Image:
    """Return an arm (or the reference itself) under the rules that all arms share.

    In this order: outside the support it takes the reference's value; gas, the reference's and its own,
    follows the rule; outside the body it is air.

    Raises
    ------
    GeometryMismatch
        If the arm does not lie on the body's grid.
    ModelError
        If the arm has no finite values.
    """
    arm.demand_same_grid(rules.body)
    if not np.isfinite(arm.array).all():
        raise ModelError("An arm's density image holds values that are not finite.")
    hu = arm.array.copy()
    reference = rules.reference
    if reference is not None and rules.support is not None:
        reference.demand_same_grid(arm)
        np.copyto(hu, reference.array, where=~rules.support.array)
    gas = gas_of(arm.with_array(hu), rules.body).array
    if rules.gas is not None:
        gas = gas | rules.gas.array
    if rules.gas_rule == "water" or reference is None:
        hu[gas] = WATER_HU
    else:
        np.copyto(hu, reference.array, where=gas)
    hu[~rules.body.array] = AIR_HU
    return replace(arm, array=hu)
