"""CorrectMR: take the coil's bias field out of the MR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rtplan.domain import Patient
from rtplan.imaging.mr import BiasSettings, correct_bias


@dataclass(frozen=True)
class CorrectMR:
    """Correct the bias field (N4) of the MR that later steps read.

    Parameters
    ----------
    roles : tuple of str
        MR that are corrected; others stay as they came. Empty: none.
    working_mm : float
        Spacing at which the field is fitted; coarser is faster.
    """

    roles: tuple[str, ...] = ("T2w", "T1w", "MR")
    working_mm: float = 6.0

    needs: ClassVar[tuple[str, ...]] = ("mr",)
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the corrected MR under the same names."""
        settings = BiasSettings(working_mm=self.working_mm)
        corrected = {
            role: correct_bias(image, settings=settings)
            for role, image in patient.mr.items()
            if role in self.roles and image.array.any()
        }
        return patient.with_images(**corrected)
