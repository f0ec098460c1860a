"""What the user asks of a paired study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rtplan.case.digital import Scenario
from rtplan.case.settings import CaseSettings
from rtplan.errors import FormatError, UnknownName
from rtplan.evaluation.agreement import Judging
from rtplan.evaluation.arms import Criterion
from rtplan.evaluation.limits import Bootstrap
from rtplan.io.index import SALT


@dataclass(frozen=True)
class Preset:
    """Settings that go together.

    Parameters
    ----------
    gamma : tuple of (float, float)
        Criteria of gamma, dose % and mm.
    grid_mm : float
        Spacing of the dose grid.
    """

    gamma: tuple[Criterion, ...]
    grid_mm: float = 3.0


#: ``fast`` calculates one gamma criterion; ``full`` the three that are customary for synthetic CT.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "fast": Preset(gamma=((2.0, 2.0),)),
        "full": Preset(gamma=((1.0, 1.0), (2.0, 2.0), (3.0, 2.0))),
    }
)


@dataclass(frozen=True)
class StudySettings:
    """A study.

    Parameters
    ----------
    case : CaseSettings
        What is asked on each patient.
    folder : Path or None
        Folder with one sub-folder of DICOM per patient, or of MR–CT pairs as npz.
    phantoms : int
        Number of digital patients of the cohort ``study`` (seeds 1 to this), where there is no folder.
    scenario : Scenario
        Of the digital patients.
    spacing_zyx_mm : tuple of float
        Voxels of the digital patients.
    judging : Judging
        Margin, precision, bootstrap.
    names : Path or None
        Map of a clinic's structure names to TG-263.
    pseudonyms : Path or None
        Table of pseudonyms that the patients' reports bear instead of their keys.
    workers : int
        Processes at once; each uses one thread.
    salt : str
        Enters the pseudonyms.
    """

    case: CaseSettings
    folder: Path | None = None
    phantoms: int = 0
    scenario: Scenario = field(default_factory=Scenario)
    spacing_zyx_mm: tuple[float, float, float] = (3.0, 2.0, 2.0)
    judging: Judging = field(default_factory=Judging)
    names: Path | None = None
    pseudonyms: Path | None = None
    workers: int = 1
    salt: str = SALT

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.phantoms == 0):
            raise FormatError(
                "A study is of a folder of patients or of digital patients.",
                action="give a folder, or --patients phantom:36.",
            )
        if self.folder is not None and self.scenario != Scenario():
            raise FormatError(
                "A registration error and changes of gas and bladder are made in digital patients only.",
                action="leave them out, or use --patients phantom:36.",
            )
        if self.workers < 1:
            raise FormatError(f"A study needs at least one worker, got {self.workers}.")
        if "CT" not in self.case.arms or len(self.case.arms) < 2:
            raise FormatError(
                "A study compares arms with the CT: it needs CT and at least one other arm.",
                action="for example --arms CT,CTstrat,SynCT.",
            )

    def plain(self) -> dict[str, Any]:
        """Return what decides the results of a patient, for ``study.json``."""
        source: dict[str, Any] = {"patients": "phantom" if self.folder is None else "folder"}
        if self.folder is None:
            source |= {"spacing_zyx_mm": list(self.spacing_zyx_mm), "scenario": self.scenario.plain()}
        return {**source, **self.case.plain(), "seed": self.case.seed}

    def with_margin_of(self, protocol_pp: float | None) -> StudySettings:
        """Return the settings with the protocol's margin where the user gave none on the command line."""
        if self.judging.margin is not None or protocol_pp is None:
            return self
        return replace(self, judging=replace(self.judging, margin=protocol_pp / 100.0))


def judging_of(
    margin_pp: float | None, precision_pp: float | None, bootstrap: Bootstrap, *, allow_unverified: bool
) -> Judging:
    """Return how agreement is judged, from percentage points.

    Raises
    ------
    FormatError
        If a margin or precision is not above 0 and below 100 pp.
    """
    margin, precision = (None if pp is None else pp / 100.0 for pp in (margin_pp, precision_pp))
    return Judging(margin, precision, bootstrap, allow_unverified)


def preset(name: str) -> Preset:
    """Return a preset by name; raise UnknownName that lists the known ones."""
    if name not in PRESETS:
        raise UnknownName(f"There is no preset {name!r}. Known: {', '.join(PRESETS)}.")
    return PRESETS[name]
