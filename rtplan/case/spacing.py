"""One patient planned twice, without and with a virtual spacer, by the same rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rtplan import pipeline
from rtplan.case.assemble import clinical_steps
from rtplan.case.settings import CaseSettings
from rtplan.domain import Dose, Notice, Patient
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.dosimetry.protocol import Protocol
from rtplan.errors import DoseError, StructureError
from rtplan.imaging.contour import mask_on
from rtplan.imaging.displace import Gel, Inserted
from rtplan.pipeline import Step
from rtplan.planning.benefit import Pair
from rtplan.planning.gel_samples import GelSamples, sample_gels
from rtplan.planning.spacer import load_gel
from rtplan.steps.insert_spacer import InsertSpacer
from rtplan.steps.reference import reference_image

Say = Callable[[str], None]
#: The steps before the plan, and those that make it and its dose.
BEFORE = ("Register", "CorrectMR", "FindBody", "SynthesiseCT", "MakeBulkArms", "AddMargins")
PLANNING = ("OptimisePlan", "RecalculateArms")
NO_PLAN = "No plan can be made of the protocol's targets, so there is nothing to compare."
SUPPLY = "supply the protocol's targets by --structures FILE.dcm or --margin."
#: Structures whose dose is sampled under other gels.
SAMPLED = ("Rectum", "Rectal_Wall")


@dataclass(frozen=True)
class SpacerSettings:
    """What is asked of a spacer's benefit.

    Parameters
    ----------
    case : CaseSettings
        Protocol, margins, beams, device, seed.
    volume_cc, thickness_mm : float
        Of the gel.
    gel_samples : int
        Other gels for the intervals: 0 for none, else 40 or more.
    cell_mm : float
        Side of the cells of the flow.
    """

    case: CaseSettings
    volume_cc: float = 10.0
    thickness_mm: float = 12.0
    gel_samples: int = 40
    cell_mm: float = 2.5

    def __post_init__(self) -> None:
        _ = self.gel

    @property
    def gel(self) -> Gel:
        """The gel that is asked for."""
        return Gel(self.volume_cc, self.thickness_mm, cell_mm=self.cell_mm)


@dataclass(frozen=True, eq=False)
class Spaced:
    """A patient without and with a gel, each with a plan and its dose.

    Parameters
    ----------
    without, with_gel : Patient
        The latter with ``Spacer`` and everything moved.
    inserted : Inserted
        How the tissue gave way.
    """

    without: Patient
    with_gel: Patient
    inserted: Inserted

    @property
    def arm(self) -> str:
        """The density image that both were planned on."""
        return self.without.arms[0]

    def pair(self, gels: GelSamples | None = None) -> Pair:
        """Return both with their doses, to be compared."""
        return Pair(
            self.without, self.with_gel, (self.dose(self.without), self.dose(self.with_gel)), self.arm, gels
        )

    def dose(self, patient: Patient) -> Dose:
        """Return the dose of one of the two; raise DoseError where no plan was made."""
        if self.arm not in patient.doses:
            raise DoseError(NO_PLAN, action=SUPPLY)
        return patient.doses[self.arm]


def prepared(
    patient: Patient, protocol: Protocol, settings: SpacerSettings, say: Say = lambda _: None
) -> Patient:
    """Return the patient with one density image, outline and targets.

    Raises
    ------
    StructureError
        If there is no outline or no density image, or absolute dose is withheld.
    """
    case = replace(settings.case, arms=("CT",) if "CT" in patient.images else ("SynCT",))
    patient = pipeline.run(_steps(protocol, case, BEFORE), patient, seed=case.seed, report=say)
    if not patient.arms:
        raise StructureError(
            "There is no density image to plan on.", action="supply a CT, or an MR that a network can read."
        )
    if patient.absolute_withheld is not None:
        raise StructureError(f"No benefit is told: {patient.absolute_withheld}", where=EXTERNAL)
    patient.structure(EXTERNAL)
    return patient


def spaced(
    patient: Patient, protocol: Protocol, settings: SpacerSettings, say: Say = lambda _: None
) -> Spaced:
    """Return a prepared patient planned without and with a gel.

    Raises
    ------
    StructureError
        If no gel can be inserted (`rtplan.steps.insert_spacer`).
    DoseError
        If no plan is made.
    """
    case = replace(settings.case, arms=patient.arms[:1])
    if not any(e.target in patient.structures for e in protocol.prescription if e.to != "up_to"):
        raise DoseError(NO_PLAN, action=SUPPLY)
    say("Insert the spacer")
    step = InsertSpacer(settings.volume_cc, settings.thickness_mm, settings.cell_mm)
    after, inserted = step.insert(patient)
    planning = _steps(protocol, case, PLANNING)
    say("Plan without the spacer")
    without = pipeline.run(planning, patient, seed=case.seed)
    say("Plan with the spacer")
    with_gel = pipeline.run(planning, after, seed=case.seed)
    made = Spaced(without, with_gel, inserted)
    for one in (without, with_gel):
        made.dose(one)
    return made


def gels_of(made: Spaced, settings: SpacerSettings) -> GelSamples | None:
    """Return the doses under other gels; None where none are asked for."""
    if not settings.gel_samples:
        return None
    grid = reference_image(made.without).grid
    there = [name for name in SAMPLED if name in made.without.structures]
    masks = {name: mask_on(made.without.structures[name], grid) for name in there}
    return sample_gels(
        made.inserted,
        settings.gel,
        masks,
        made.dose(made.with_gel),
        facts=load_gel(),
        count=settings.gel_samples,
        seed=settings.case.seed,
    )


def own_notices(made: Spaced) -> tuple[Notice, ...]:
    """Return the notices of both patients, each once."""
    found = [*made.without.notices]
    found += [notice for notice in made.with_gel.notices if notice not in found]
    return tuple(found)


def _steps(protocol: Protocol, case: CaseSettings, names: tuple[str, ...]) -> tuple[Step, ...]:
    return tuple(step for step in clinical_steps(protocol, case) if type(step).__name__ in names)
