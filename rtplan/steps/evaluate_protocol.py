"""Step: DVH metrics and goals of a protocol on every arm, and their differences from the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from rtplan.domain import Finding, Patient
from rtplan.dosimetry.dvh import Settings
from rtplan.dosimetry.judging import judge
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import Protocol
from rtplan.planning.device import threads


@dataclass(frozen=True)
class EvaluateProtocol:
    """Add one finding per metric, structure and arm, and one per paired difference.

    Parameters
    ----------
    protocol : Protocol
        Goals with limits, wishes, sources.
    settings : Settings
        Of the DVH.
    ledger : Ledger
        Gets the DVHs, for who reads them afterwards; no setting.
    """

    protocol: Protocol
    settings: Settings = field(default_factory=Settings)
    ledger: Ledger = field(default_factory=Ledger, repr=False, compare=False)

    needs: ClassVar[tuple[str, ...]] = ()
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the findings; without a dose each goal is not evaluable."""
        if not patient.doses:
            return patient.with_findings(*_no_dose(patient, self.protocol))
        found = judge(patient, self.protocol, self.settings, threads=threads(), ledger=self.ledger)
        return patient.with_findings(*found)


def _no_dose(patient: Patient, protocol: Protocol) -> list[Finding]:
    return [
        Finding(
            metric=goal.metric,
            value=None,
            unit=goal.parsed.unit,
            step="EvaluateProtocol",
            patient=patient.key,
            structure=goal.structure,
            limit=goal.limit,
            wish=goal.wish,
            dose_kind=goal.dose_kind,
            verdict="not_evaluable",
            reason="No dose was calculated.",
            verified=goal.verified,
            source=goal.source or protocol.source.citation,
        )
        for goal in protocol.goal
    ]
