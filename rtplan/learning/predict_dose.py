"""From contours (and a CT) to the dose that a planner would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rtplan.domain import Dose, Mask, Notice, Patient
from rtplan.domain.volume import Source
from rtplan.errors import ModelError
from rtplan.learning.card import Shape
from rtplan.learning.doses import (
    CHANNELS,
    FEASIBLE,
    SCALE_GY,
    DoseCase,
    demand_spacing,
    dose_case_of,
    dose_channels,
    mirrored,
)
from rtplan.learning.familiar import head_measures
from rtplan.learning.padding import padded
from rtplan.learning.spread import DoseSpread, load_spread
from rtplan.learning.zoo import Model

#: The site whose anatomy the channels describe.
SITE = "head_and_neck"


@dataclass(frozen=True, eq=False)
class Foreseen:
    """A predicted dose with what is known of its errors.

    Parameters
    ----------
    dose : Dose
        Gy on the grid of the masks; 0 where no dose is possible.
    case : DoseCase
        What the network was shown.
    spread : DoseSpread or None
        What was measured of the network's errors, where anything was.
    scale_gy : ndarray or None
        Scale of each voxel's error on the case's box, where it was asked for.
    notices : tuple of Notice
        ``ANATOMY_UNFAMILIAR`` where the anatomy is unlike the learned ones.
    """

    dose: Dose
    case: DoseCase
    spread: DoseSpread | None
    scale_gy: NDArray[np.float32] | None
    notices: tuple[Notice, ...]


def predict_dose(model: Model, patient: Patient, *, tta: bool = False, device: str = "cpu") -> Dose:
    """Return the predicted dose of a patient; predicted, not planned. See `foresee`, which also warns."""
    return foresee(model, patient, tta=tta, device=device, scale=False).dose


def foresee(
    model: Model, patient: Patient, *, tta: bool = False, device: str = "cpu", scale: bool = True
) -> Foreseen:
    """Return the predicted dose of a patient, the scale of its errors, and whether the anatomy is unusual.

    Parameters
    ----------
    model : Model
        From `zoo.load_model`; a dose network.
    patient : Patient
        Masks of targets, organs and the possible dose on one axial grid, the prescription, and a CT where
        there is one (without it the network answers as well as it has learned to without).
    tta : bool
        Mean over four mirror images.
    device : str
        Where the network runs (``cpu``, ``cuda``, …).
    scale : bool
        Ask the second head, where there is one.

    Raises
    ------
    ModelError
        If the network is none for doses, or the patient is not of the site, prescription or voxel size that
        it has seen, or the anatomy is far from all that it has learned.
    StructureError
        If there is no target, or no mask of the possible dose.
    """
    card = model.card
    if card.task != "dose" or card.site != SITE:
        raise ModelError(f"The network {card.name} is for {card.task} of {card.site}, not for this dose.")
    if tuple(spec.name for spec in card.inputs) != CHANNELS:
        raise ModelError(f"The network {card.name} reads other channels than this version makes.")
    case = dose_case_of(patient)
    possible = patient.structures[FEASIBLE].region
    assert isinstance(possible, Mask)
    demand_spacing(possible.grid, card.limits)
    spread = load_spread(model)
    notice = None
    if spread is not None:
        notice = spread.spec.familiar.judged(head_measures(case, possible.grid.spacing_zyx_mm))
    inside = predict_case(model.network, case, card.patch_zyx, tta=tta, device=device)
    whole = np.zeros(possible.grid.shape, np.float32)
    box = tuple(slice(a, a + n) for a, n in zip(case.start, inside.shape, strict=True))
    whole[box] = np.clip(inside, *card.outputs[0].clip)
    fractions = None if patient.plan is None else patient.plan.prescription.fractions
    dose = Dose(
        possible.grid, whole, fractions=fractions, source=Source(description=f"predicted by {card.name}")
    )
    asked = spread is not None and scale
    found = spread.scale_gy(model.network, case, card.patch_zyx, device=device) if spread and asked else None
    return Foreseen(dose, case, spread, found, () if notice is None else (notice,))


def predict_case(
    network: nn.Module, case: DoseCase, unit_zyx: Shape, *, tta: bool = False, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return the predicted dose of a case, Gy, shape (z, y, x); 0 outside the possible dose.

    Parameters
    ----------
    unit_zyx : tuple of int
        The box is padded to multiples of it.
    tta : bool
        Mean over the mirror images (left–right, along the body, and both).
    """
    x = dose_channels(case)
    x = nn.functional.pad(x, padded(x.shape[1:], unit_zyx)).to(device)
    network = network.to(device).eval()
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16):
        answer = network(x[None])[0, 0]
        if tta:
            answer = answer + network(mirrored(x)[None])[0, 0].flip(-1)
            answer = answer + network(x.flip(-3)[None])[0, 0].flip(-3)
            answer = 0.25 * (answer + network(mirrored(x).flip(-3)[None])[0, 0].flip(-1, -3))
    nz, ny, nx = case.labels.shape
    dose = np.maximum(answer[:nz, :ny, :nx].float().cpu().numpy() * np.float32(SCALE_GY), 0.0)
    return np.where(case.mask(FEASIBLE), dose, np.float32(0.0)).astype(np.float32)
