"""SynthesiseCT: a density image from the MR alone, by a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rtplan import resources
from rtplan.domain import Image, Patient, Registration, Structure
from rtplan.domain.nomenclature import SUPPORT
from rtplan.imaging.contour import mask_on
from rtplan.imaging.resample import covered, resample
from rtplan.learning.channels import AIR_HU, choose_mr
from rtplan.learning.predict import synthesise
from rtplan.learning.zoo import load_card, load_model

ARM = "SynCT"


@dataclass(frozen=True)
class SynthesiseCT:
    """Make the arm ``SynCT``.

    Parameters
    ----------
    model : str
        A network of the shelf, or the path of a ``model.toml``.
    device : str
        Computing device.

    Notes
    -----
    The network sees the MR and nothing else. Where there is a reference CT its answer is brought onto the
    reference's grid, and outside the common support (structure ``zSupport``; the MR's box where nobody
    has made one) it takes the reference's value, as every arm does. Without a reference the arm stays on
    the MR's own grid, tilted or not.
    """

    model: str = "synct_mr_pelvis"
    device: str = "cpu"

    needs: ClassVar[tuple[str, ...]] = ("mr",)
    makes: ClassVar[tuple[str, ...]] = ("arms",)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights, for the record."""
        return load_card(resources.find("models", self.model)).weights.sha256

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the arm ``SynCT``.

        Raises
        ------
        ModelError
            If no MR is of a kind that the network reads, or it is beyond the network's limits.
        GeometryMismatch
            If MR and reference lie in frames that no registration joins.
        """
        model = load_model(self.model)
        role = choose_mr(patient.images, model.card.roles)
        mr = patient.images[role]
        made = synthesise(model, mr, device=self.device)
        source = replace(made.source, description=f"{made.source.description} from {role}")
        made = replace(made, source=source)
        if patient.reference_arm is None:
            return patient.with_images(**{ARM: made})
        return _beside(patient, made, patient.images[patient.reference_arm])


def _beside(patient: Patient, made: Image, reference: Image) -> Patient:
    """Put the synthetic CT on the reference's grid, and the reference's values outside the support."""
    joined = _registration(patient, made, reference)
    moved = resample(made, reference.grid, outside=AIR_HU, registration=joined)
    if SUPPORT in patient.structures:
        support = mask_on(patient.structure(SUPPORT), reference.grid)
    else:
        support = covered(reference.grid, made.grid, joined)
        patient = patient.with_structures(Structure(SUPPORT, "CONTROL", support))
    blended = np.where(support.array, moved.array, reference.array)
    return patient.with_images(**{ARM: moved.with_array(blended)})


def _registration(patient: Patient, moving: Image, fixed: Image) -> Registration | None:
    wanted = (moving.grid.frame_of_reference, fixed.grid.frame_of_reference)
    for registration in patient.registrations:
        if (registration.from_frame, registration.to_frame) == wanted:
            return registration
    return None
