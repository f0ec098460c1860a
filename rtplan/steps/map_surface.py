"""Step: what each dose level covers on the unwrapped wall of the rectum, on every arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rtplan.domain import Patient
from rtplan.dosimetry.protocol import Protocol
from rtplan.dosimetry.wall import load_levels, wall_findings


@dataclass(frozen=True)
class MapSurface:
    """Add one finding per level, measure and arm, and one per paired difference.

    Parameters
    ----------
    protocol : Protocol
        Of the site; its fractions stand where a dose knows none.
    levels : str
        Name in ``models/surface``, or a TOML file.
    """

    protocol: Protocol
    levels: str = "rectum"

    needs: ClassVar[tuple[str, ...]] = ()
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the findings; those that cannot be had say why."""
        return patient.with_findings(*wall_findings(patient, self.protocol, load_levels(self.levels)))
