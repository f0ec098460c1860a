"""OptimisePlan: one plan on the reference arm, from the protocol's prescriptions and sourced limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from rtplan.domain import Grid, Mask, Notice, Patient, Plan
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.dosimetry.protocol import Protocol, TargetDose
from rtplan.errors import UnknownName
from rtplan.imaging.contour import mask_on
from rtplan.planning.aims import Organ, Target
from rtplan.planning.around import centre_of, dose_grid, through_crop
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.limits import guard, limits_of
from rtplan.planning.optimise import OptimiseSettings, Outcome, Task, optimise

#: A target is called cold when a smaller part of it gets 95 % of its dose.
COLD = 0.95


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
    """

    protocol: Protocol
    settings: OptimiseSettings = field(default_factory=OptimiseSettings)
    plan_on: str | None = None
    allow_unverified: bool = False
    machine: str = "generic_6mv"
    curve: str = "matrad_default"
    device: str = "cpu"

    needs: ClassVar[tuple[str, ...]] = ("arms", "external", "target")
    makes: ClassVar[tuple[str, ...]] = ("plan",)

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with a plan, normalised once on its arm, and notices of what it lacks."""
        wanted, absent = self._prescribed(patient)
        if not any(entry.to != "up_to" for entry in wanted):
            return patient.with_notices(_no_target(absent))
        arm = self._arm(patient)
        image = patient.images[arm]
        body = mask_on(patient.structure(EXTERNAL), image.grid)
        on_image = {entry.target: mask_on(patient.structure(entry.target), image.grid) for entry in wanted}
        grid = dose_grid(body, list(on_image.values()), self.settings.grid_mm)
        targets = {e.target: Target(_mask(patient, e.target, grid), e.dose_gy, e.to) for e in wanted}
        leading = next(entry.target for entry in wanted if entry.to != "up_to")
        engine = Engine(load_beam(self.machine), load_curve(self.curve), self.device)
        organs = self._organs(patient, targets, grid)
        task = Task(targets, organs, self.protocol.fractions, centre_of(on_image[leading]))
        outcome = optimise(task, image, body, engine, self.settings)
        crossed = through_crop(outcome.plan.beams, body, targets[leading].mask, engine.model.sad_mm)
        notices = (*_missing(absent), *_broken(outcome), *_cold(outcome, wanted), *_crop(crossed))
        return replace(patient, plan=self._named(outcome.plan, arm)).with_notices(*notices)

    def _named(self, plan: Plan, arm: str) -> Plan:
        settings = {**plan.settings, "protocol": self.protocol.name, "curve": self.curve}
        return replace(plan, made_on=arm, settings=MappingProxyType(settings))

    def _arm(self, patient: Patient) -> str:
        arm = (
            self.plan_on or patient.reference_arm or ("SynCT" if "SynCT" in patient.arms else patient.arms[0])
        )
        if arm not in patient.arms:
            raise UnknownName(
                f"There is no arm {arm!r} to plan on.", action=f"choose one of {', '.join(patient.arms)}."
            )
        return arm

    def _prescribed(self, patient: Patient) -> tuple[list[TargetDose], list[str]]:
        there = [e for e in self.protocol.prescription if e.target in patient.structures]
        return there, [e.target for e in self.protocol.prescription if e.target not in patient.structures]

    def _organs(self, patient: Patient, targets: Mapping[str, Target], grid: Grid) -> dict[str, Organ]:
        """Return the limited organs; where a boost is guarded, also their parts outside the PTV."""
        names = {goal.structure for goal in self.protocol.goal} | {"Rectum", "Bladder", "Urethra"}
        ptv = np.any([t.mask.array for t in targets.values() if t.to != "up_to"], axis=0)
        organs: dict[str, Organ] = {}
        for name in sorted(names & set(patient.structures) - set(targets)):
            mask = _mask(patient, name, grid)
            here = float(mask.array.sum()) * grid.voxel_cc
            if here <= 0.0:
                continue
            whole = max(_volume_cc(patient, name), here)
            found = limits_of(self.protocol, name, whole, allow_unverified=self.allow_unverified)
            share = whole / here  # an allowed part of the whole organ, seen on the part in the dose grid
            limits = tuple(replace(x, fraction=min(x.fraction * share, 1.0)) for x in found)
            organs[name] = Organ(mask, limits)
            outside = Mask(grid, mask.array & ~ptv)
            guarded = guard(self.protocol, name, float(outside.array.sum()) * grid.voxel_cc)
            if guarded and outside.array.any():
                organs[f"{name} outside the PTV"] = Organ(outside, guarded)
        return organs


def _volume_cc(patient: Patient, name: str) -> float:
    grid = patient.images[patient.arms[0]].grid
    return float(mask_on(patient.structure(name), grid).array.sum()) * grid.voxel_cc


def _mask(patient: Patient, name: str, grid: Grid) -> Mask:
    return mask_on(patient.structure(name), grid)


def _no_target(absent: list[str]) -> Notice:
    return Notice(
        "TARGET_MISSING",
        "warn",
        f"No plan was made: none of the protocol's targets ({', '.join(absent)}) is among the structures.",
        "supply the target by --structures FILE.dcm, map its name by --names, or make it by --margin.",
    )


def _missing(absent: list[str]) -> tuple[Notice, ...]:
    return tuple(
        Notice(
            "TARGET_MISSING",
            "warn",
            f"The protocol prescribes to {name}, which is not among the structures: planned without.",
            "supply it by --structures FILE.dcm, or map its name by --names.",
            structure=name,
        )
        for name in absent
    )


def _broken(outcome: Outcome) -> tuple[Notice, ...]:
    return tuple(
        Notice(
            "LIMIT_BROKEN",
            "warn",
            f"{b.organ}: {b.limit.name} cannot be kept, the dose is {b.excess_gy:.1f} Gy too high.",
            "look at the overlap of target and organ, or lower the prescription.",
            structure=b.organ.split(" ")[0],
        )
        for b in outcome.broken
    )


def _cold(outcome: Outcome, wanted: list[TargetDose]) -> tuple[Notice, ...]:
    plain = [entry.target for entry in wanted if entry.to != "up_to"]
    return tuple(
        Notice(
            "TARGET_COLD",
            "warn",
            f"{name}: {100.0 * outcome.coverage[name]:.1f} % of it get 95 % of the prescribed dose.",
            "look at the limits of the organs that lie in it, or lower the prescription.",
            structure=name,
        )
        for name in plain
        if outcome.coverage[name] < COLD
    )


def _crop(beams: tuple[str, ...]) -> tuple[Notice, ...]:
    if not beams:
        return ()
    return (
        Notice(
            "BEAM_CROSSES_CROP",
            "warn",
            f"{len(beams)} beams enter where the image ends ({', '.join(beams)}): tissue is missing there.",
            "read differences between arms only, or use images that show the skin all round.",
        ),
    )
