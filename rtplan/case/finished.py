"""A finished run as it is shown for review: one image, the structures, findings and notices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rtplan.case.archive import read_case, read_facts
from rtplan.case.kept import KeptPatient
from rtplan.case.review import run_of
from rtplan.domain import Image, Patient, Registration, Structure
from rtplan.domain.patient import ARMS
from rtplan.errors import StructureError
from rtplan.report.planes import frame_of, join

#: Kinds of structures that nobody draws for a patient: they carry a rule of rtplan.
NOT_DRAWN = ("CONTROL", "SUPPORT")


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What a finished run says.

    Parameters
    ----------
    folder : Path
        The out folder.
    patient : Patient
        With one image, on which the structures are shown, and without doses.
    """

    folder: Path
    patient: Patient

    @property
    def image_name(self) -> str:
        """Name of the image on which the structures are shown."""
        return next(iter(self.patient.images))

    @property
    def image(self) -> Image:
        """The image on which the structures are shown."""
        return self.patient.images[self.image_name]

    def link(self, structure: Structure) -> Registration | None:
        """Return what brings a structure onto the image, as far as it is there and needed."""
        return join(self.patient, frame_of(structure), self.image.grid.frame_of_reference)


def open_run(folder: Path) -> FinishedRun:
    """Read from a finished run's out folder what a reviewer sees.

    Raises
    ------
    FormatError
        If it is no finished run, or one of its files does not parse.
    GeometryMismatch
        If the image does not lie where the run says.
    StructureError
        If it holds no image or no structures.
    """
    run_of(folder)
    facts = read_facts(folder)
    drawn = [structure.name for structure in facts.structures if structure.kind not in NOT_DRAWN]
    if not facts.images or not drawn:
        raise StructureError(
            f"The run holds no {'structures' if facts.images else 'image'}, so there is nothing to look at.",
            where=str(folder),
            action="run rtplan run with structures (--structures RS.dcm) into a new folder.",
        )
    name = _shown(facts)
    alone = {"images": {name: facts.images[name]}, "doses": {}, "spreads": {}}
    return FinishedRun(folder, read_case(folder, facts.model_copy(update=alone)).patient)


def _shown(facts: KeptPatient) -> str:
    """Return the image on which the structures are shown: what was planned on, CT, synthetic CT, the rest."""
    planned = facts.plan.made_on if facts.plan else ""
    ranked = (planned, "CT", "SynCT", *ARMS, *facts.images)
    return next(name for name in ranked if name in facts.images)
