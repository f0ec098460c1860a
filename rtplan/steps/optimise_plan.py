"""OptimisePlan: one plan on the reference arm, from the protocol's prescriptions and sourced limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar

from rtplan.domain import Notice, Patient, Plan
from rtplan.dosimetry.protocol import Protocol
from rtplan.planning.optimise import OptimiseSettings, optimise
from rtplan.planning.prepare import SUPPLY_TARGET, Means, prepare, prescribed
from rtplan.planning.warnings import warnings_of


@dataclass(frozen=True)
class OptimisePlan:
    """Optimise a plan on the reference arm (the CT, else the synthetic CT), or on a named one.

    Parameters
    ----------
    protocol : Protocol
        Its prescriptions are what the user asked for; of its goals only the verified ones drive the plan,
        unless ``allow_unverified``.
    settings : OptimiseSettings
        Beams, spacing, iterations.
    plan_on : str or None
        Arm to plan on; None: the reference.
    allow_unverified : bool
        Whether goals whose source was not seen may drive the plan.
    machine, curve : str
        Names of a beam and a density curve.
    device : str
        Computing device.
    risk : bool
        Whether the protocol's outcome models are terms of the objective.
    """

    protocol: Protocol
    settings: OptimiseSettings = field(default_factory=OptimiseSettings)
    plan_on: str | None = None
    allow_unverified: bool = False
    machine: str = "generic_6mv"
    curve: str = "matrad_default"
    device: str = "cpu"
    risk: bool = False

    needs: ClassVar[tuple[str, ...]] = ("arms", "external", "target")
    makes: ClassVar[tuple[str, ...]] = ("plan",)

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with a plan, normalised once on its arm, and notices of what it lacks."""
        wanted, absent = prescribed(patient, self.protocol)
        if not any(entry.to != "up_to" for entry in wanted):
            return patient.with_notices(_no_target(absent))
        found = prepare(patient, self.protocol, self.means)
        outcome = optimise(found.task, found.image, found.body, found.engine, self.settings)
        notices = warnings_of(found, outcome, absent)
        return replace(patient, plan=named(outcome.plan, found.arm, self.protocol, self.curve)).with_notices(
            *notices
        )

    @property
    def means(self) -> Means:
        """What the plan is made with."""
        return Means(
            self.settings.grid_mm,
            self.plan_on,
            self.allow_unverified,
            self.risk,
            self.machine,
            self.curve,
            self.device,
        )


def named(plan: Plan, arm: str, protocol: Protocol, curve: str) -> Plan:
    """Return a plan that says what it was made on and by."""
    settings = {**plan.settings, "protocol": protocol.name, "curve": curve}
    return replace(plan, made_on=arm, settings=MappingProxyType(settings))


def _no_target(absent: tuple[str, ...]) -> Notice:
    return Notice(
        "TARGET_MISSING",
        "warn",
        f"No plan was made: none of the protocol's targets ({', '.join(absent)}) is among the structures.",
        SUPPLY_TARGET,
    )
