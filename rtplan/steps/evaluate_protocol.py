"""Step: DVH metrics and goals of a protocol on every arm, and their differences from the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from rtplan.domain import Patient
from rtplan.dosimetry.dvh import Settings
from rtplan.dosimetry.judging import judge
from rtplan.dosimetry.protocol import Protocol


@dataclass(frozen=True)
class EvaluateProtocol:
    """Add one finding per metric, structure and arm, and one per paired difference.

    Parameters
    ----------
    protocol : Protocol
        Goals with limits, wishes, sources.
    settings : Settings
        Of the DVH.
    """

    protocol: Protocol
    settings: Settings = field(default_factory=Settings)

    needs: ClassVar[tuple[str, ...]] = ("doses",)
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the findings."""
        return patient.with_findings(*judge(patient, self.protocol, self.settings))
