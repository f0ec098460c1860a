"""Step: the risk (NTCP, TCP) of every model of a protocol on every arm, with intervals and differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from rtplan.domain import Finding, Patient
from rtplan.dosimetry.dvh import Settings
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.parameters import load_set
from rtplan.dosimetry.population import constraints_only
from rtplan.dosimetry.protocol import Protocol
from rtplan.dosimetry.risk import STEP, Ask, estimate
from rtplan.imaging.vary import ContourVariation


@dataclass(frozen=True)
class EstimateOutcome:
    """Add one finding per model and arm, and one per paired difference.

    Parameters
    ----------
    protocol : Protocol
        Names the models.
    samples : int
        Sobol draws of the parameters.
    parameter_seed : int
        Of the draws.
    settings : Settings
        Of the DVH.
    contours : ContourVariation or None
        How far contours vary between readers; None: they are taken as they are, and the findings say so.
        No variation is shipped, because none was sourced.
    ledger : Ledger
        With the DVHs that were made before; no setting.
    """

    protocol: Protocol
    samples: int = 2000
    parameter_seed: int = 1
    settings: Settings = field(default_factory=Settings)
    contours: ContourVariation | None = None
    ledger: Ledger = field(default_factory=Ledger, repr=False, compare=False)

    needs: ClassVar[tuple[str, ...]] = ()
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the findings; a protocol without models is said to have none."""
        patient = patient.with_notices(*constraints_only(self.protocol.site, patient.structures))
        if not self.protocol.outcome:
            return patient.with_findings(_no_model(patient, self.protocol))
        if not patient.doses:
            return patient.with_findings(*_no_dose(patient, self.protocol))
        ask = Ask(self.samples, self.parameter_seed, self.settings, self.contours, self.ledger)
        return patient.with_findings(*estimate(patient, self.protocol, ask))


def _no_model(patient: Patient, protocol: Protocol) -> Finding:
    return Finding(
        metric="NTCP",
        value=None,
        unit="1",
        step=STEP,
        patient=patient.key,
        verdict="not_evaluable",
        reason=f"No outcome model is named for the site {protocol.site}: no organ at risk is evaluated.",
    )


def _no_dose(patient: Patient, protocol: Protocol) -> list[Finding]:
    sets = [load_set(outcome.model) for outcome in protocol.outcome]
    return [
        Finding(
            metric=asked.kind.upper(),
            value=None,
            unit="1",
            step=STEP,
            patient=patient.key,
            structure=asked.structure,
            verdict="not_evaluable",
            reason="No dose was calculated.",
            model=asked.name,
            verified=asked.verified,
        )
        for asked in sets
    ]
