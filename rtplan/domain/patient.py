"""A patient: everything that is known of one person in one study, in patient coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

from rtplan.domain.delivery import ClinicalPlan
from rtplan.domain.finding import Finding
from rtplan.domain.notice import Notice
from rtplan.domain.plan import Plan
from rtplan.domain.registration import Registration
from rtplan.domain.structure import Structure
from rtplan.domain.volume import Dose, Image
from rtplan.errors import StructureError

T = TypeVar("T")

#: The arms of the paired question in the order in which they are shown; the reference comes first.
ARMS = ("CT", "CT0", "CTpop", "CTpop_bone", "CTstrat", "SynCT")

#: Notices under which differences between arms are reported, but no absolute dose, goal or MU.
WITHHOLD_ABSOLUTE = ("BODY_TRUNCATED",)


@dataclass(frozen=True)
class Identity:
    """Who the patient is. Its repr hides everything: it must never reach a log or a message."""

    patient_id: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_uid: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""

    def __repr__(self) -> str:
        return "Identity(hidden)"


@dataclass(frozen=True)
class Record:
    """How one step went: settings, seconds, weights, seed."""

    step: str
    settings: Mapping[str, Any]
    seconds: float
    peak_mib: float = 0.0
    version: str = ""
    weights_sha256: str = ""
    seed: int | None = None


def _frozen(mapping: Mapping[str, T]) -> Mapping[str, T]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True, eq=False)
class Patient:
    """One patient, as a value. A step answers with a new one that has one thing more.

    Parameters
    ----------
    key : str
        Pseudonym used in folder names, findings and reports.
    images : mapping of str to Image
        By role: ``CT``, ``T2w``, ``T1w`` … as they came, and the arms (``CT0``, ``SynCT`` …).
    structures : mapping of str to Structure
        By TG-263 name.
    plan : Plan or None
        The one plan that all arms share.
    clinical_plan : ClinicalPlan or None
        The plan of another system, as it is delivered.
    doses : mapping of str to Dose
        By arm.
    samples : mapping of str to Dose
        The plan's dose on samples of the synthetic CT, by name (``SynCT#000`` …); never arms.
    registrations : tuple of Registration
        Between the frames of reference of the images.
    findings, notices : tuple
        Results and problems so far.
    history : tuple of Record
        One record per step.
    """

    key: str = "patient"
    images: Mapping[str, Image] = field(default_factory=dict)
    structures: Mapping[str, Structure] = field(default_factory=dict)
    plan: Plan | None = None
    doses: Mapping[str, Dose] = field(default_factory=dict)
    registrations: tuple[Registration, ...] = ()
    findings: tuple[Finding, ...] = ()
    notices: tuple[Notice, ...] = ()
    history: tuple[Record, ...] = ()
    identity: Identity = field(default_factory=Identity)
    clinical_plan: ClinicalPlan | None = None
    samples: Mapping[str, Dose] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("images", "structures", "doses", "samples"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    def with_images(self, **images: Image) -> Patient:
        """Return the patient with these images added or replaced."""
        return replace(self, images={**self.images, **images})

    def with_structures(self, *structures: Structure) -> Patient:
        """Return the patient with these structures added or replaced by name."""
        return replace(self, structures={**self.structures, **{s.name: s for s in structures}})

    def with_doses(self, **doses: Dose) -> Patient:
        """Return the patient with these doses added or replaced."""
        return replace(self, doses={**self.doses, **doses})

    def with_samples(self, samples: Mapping[str, Dose]) -> Patient:
        """Return the patient with these doses of samples added or replaced."""
        return replace(self, samples={**self.samples, **samples})

    def with_findings(self, *findings: Finding) -> Patient:
        """Return the patient with these findings added."""
        return replace(self, findings=self.findings + findings)

    def with_notices(self, *notices: Notice) -> Patient:
        """Return the patient with these notices added."""
        return replace(self, notices=self.notices + notices)

    @property
    def mr(self) -> Mapping[str, Image]:
        """The MR images by role."""
        return {name: image for name, image in self.images.items() if image.modality == "MR"}

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the density images that are there, in the order of ``ARMS``."""
        return tuple(name for name in ARMS if name in self.images)

    @property
    def reference_arm(self) -> str | None:
        """``CT`` where there is a real one, else None."""
        return "CT" if "CT" in self.images else None

    @property
    def absolute_withheld(self) -> str | None:
        """Why absolute dose, goals and MU are not evaluable (None: they are)."""
        for notice in self.notices:
            if notice.code in WITHHOLD_ABSOLUTE:
                return notice.message
        return None

    def structure(self, name: str) -> Structure:
        """Return a structure by name; raise StructureError that lists the known ones."""
        try:
            return self.structures[name]
        except KeyError:
            known = ", ".join(sorted(self.structures)) or "none"
            raise StructureError(f"There is no structure {name!r}. Known: {known}.") from None
