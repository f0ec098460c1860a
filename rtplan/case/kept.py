"""What ``volumes/patient.json`` says of a patient beside the volumes: what a report needs, no identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rtplan.domain import (
    Beam,
    Contours,
    Dose,
    Fluence,
    Grid,
    Image,
    Patient,
    Plan,
    Prescription,
    Record,
    Source,
)
from rtplan.domain.structure import Kind

SCHEMA = 1
Point = tuple[float, float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeptGrid(_Strict):
    """A grid: shape [z, y, x], affine as four rows, frame of reference."""

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]
    frame_of_reference: str

    @classmethod
    def of(cls, grid: Grid) -> Self:
        """Return a grid as it is kept."""
        rows = tuple(tuple(float(part) for part in line) for line in grid.affine)
        return cls(shape=grid.shape, affine=rows, frame_of_reference=grid.frame_of_reference)

    def grid(self) -> Grid:
        """Return the grid."""
        return Grid(self.shape, np.array(self.affine), self.frame_of_reference)


class KeptImage(_Strict):
    """An image without its voxels; ``slices`` counts the objects that it came from."""

    grid: KeptGrid
    modality: str
    series_uid: str
    description: str
    slices: int

    @classmethod
    def of(cls, image: Image) -> Self:
        """Return what is kept of an image."""
        return cls(
            grid=KeptGrid.of(image.grid),
            modality=image.modality,
            series_uid=image.source.series_uid,
            description=image.source.description,
            slices=len(image.source.sop_uids),
        )

    def source(self) -> Source:
        """Return the image's source; of its objects only how many they were is known."""
        return Source(self.series_uid, sop_uids=("",) * self.slices, description=self.description)


class KeptStructure(_Strict):
    """A structure; its region lies in ``volumes/patient.npz``. Contours have a frame, masks a grid."""

    name: str
    kind: Kind
    frame_of_reference: str = ""
    grid: KeptGrid | None = None


class KeptDose(_Strict):
    """A dose without its voxels."""

    grid: KeptGrid
    kind: str
    fractions: int | None

    @classmethod
    def of(cls, dose: Dose) -> Self:
        """Return what is kept of a dose."""
        return cls(grid=KeptGrid.of(dose.grid), kind=dose.kind, fractions=dose.fractions)


class KeptBeam(_Strict):
    """A beam without its fluence."""

    name: str
    gantry_deg: float
    collimator_deg: float
    couch_deg: float
    isocentre_mm: Point
    machine: str


class KeptPlan(_Strict):
    """A plan without monitor units: those lie in ``dicom/RP.dcm``."""

    targets: dict[str, float]
    fractions: int
    name: str
    made_on: str
    beams: tuple[KeptBeam, ...]

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Return what is kept of a plan."""
        beams = tuple(
            KeptBeam(
                name=b.name,
                gantry_deg=b.gantry_deg,
                collimator_deg=b.collimator_deg,
                couch_deg=b.couch_deg,
                isocentre_mm=b.isocentre_mm,
                machine=b.machine,
            )
            for b in plan.beams
        )
        return cls(
            targets=dict(plan.prescription.targets),
            fractions=plan.prescription.fractions,
            name=plan.name,
            made_on=plan.made_on,
            beams=beams,
        )

    def plan(self) -> Plan:
        """Return the plan; its beams have no fluence."""
        dark = Fluence(np.zeros((1, 1), np.float32), 1.0, (0.0, 0.0))
        beams = tuple(
            Beam(b.name, b.gantry_deg, b.isocentre_mm, dark, b.machine, b.collimator_deg, b.couch_deg)
            for b in self.beams
        )
        return Plan(Prescription(self.targets, self.fractions), beams, self.name, self.made_on)


class KeptRegistration(_Strict):
    """A registration; the vectors of a deformable one lie in ``volumes/patient.npz`` on ``grid``."""

    from_frame: str
    to_frame: str
    matrix: tuple[tuple[float, float, float, float], ...]
    kind: str
    quality: dict[str, float]
    grid: KeptGrid | None = None


class KeptRecord(_Strict):
    """How one step went, as far as the manifest does not say it."""

    step: str
    settings: dict[str, Any]
    seconds: float
    peak_mib: float
    version: str
    weights_sha256: str
    seed: int | None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return a record as it is kept."""
        return cls(
            step=record.step,
            settings=dict(record.settings),
            seconds=round(record.seconds, 3),
            peak_mib=round(record.peak_mib, 1),
            version=record.version,
            weights_sha256=record.weights_sha256,
            seed=record.seed,
        )

    def record(self) -> Record:
        """Return the record."""
        return Record(
            self.step,
            self.settings,
            self.seconds,
            self.peak_mib,
            self.version,
            self.weights_sha256,
            self.seed,
        )


class KeptPatient(_Strict):
    """``volumes/patient.json``.

    Parameters
    ----------
    key : str
        Pseudonym.
    spreads : dict
        Standard deviation of dose samples, by arm.
    relative_to_gy : float or None
        Where absolute dose is withheld no dose is written in Gy: ``volumes/relative_<arm>.mha`` and
        ``dvh/relative_<arm>.csv`` hold % of this, for maps of differences alone. None: doses are in Gy.
    """

    schema_: Literal[1] = Field(1, alias="schema")
    key: str
    images: dict[str, KeptImage]
    structures: tuple[KeptStructure, ...]
    doses: dict[str, KeptDose]
    spreads: dict[str, KeptDose]
    plan: KeptPlan | None
    registrations: tuple[KeptRegistration, ...]
    history: tuple[KeptRecord, ...]
    relative_to_gy: float | None = None


def plain_patient(patient: Patient, spreads: Mapping[str, Dose], relative_to_gy: float | None) -> KeptPatient:
    """Return what is kept of a patient as plain data; voxels, regions and vectors are kept apart."""
    return KeptPatient(
        schema=SCHEMA,
        key=patient.key,
        images={name: KeptImage.of(image) for name, image in patient.images.items()},
        structures=tuple(
            KeptStructure(name=name, kind=s.kind, frame_of_reference=s.region.frame_of_reference)
            if isinstance(s.region, Contours)
            else KeptStructure(name=name, kind=s.kind, grid=KeptGrid.of(s.region.grid))
            for name, s in patient.structures.items()
        ),
        doses={arm: KeptDose.of(dose) for arm, dose in patient.doses.items()},
        spreads={arm: KeptDose.of(dose) for arm, dose in spreads.items()},
        plan=None if patient.plan is None else KeptPlan.of(patient.plan),
        registrations=tuple(
            KeptRegistration(
                from_frame=r.from_frame,
                to_frame=r.to_frame,
                matrix=tuple(tuple(float(part) for part in line) for line in r.matrix),
                kind=r.kind,
                quality={name: float(value) for name, value in r.quality.items()},
                grid=None if r.displacement is None else KeptGrid.of(r.displacement.grid),
            )
            for r in patient.registrations
        ),
        history=tuple(KeptRecord.of(record) for record in patient.history),
        relative_to_gy=relative_to_gy,
    )
