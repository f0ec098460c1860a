"""What the user asks of a batch, and the limits within which it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtplan.case.settings import CaseSettings
from rtplan.errors import FormatError
from rtplan.io.index import SALT


@dataclass(frozen=True)
class Limits:
    """How patient a batch is with its machines.

    Parameters
    ----------
    attempts : int
        How often a patient is begun before a fault of the machines counts as his end.
    patience_s : float
        How long the batch waits for a disk, a share or workers that are gone before it stops.
    memory_mib : int
        What one patient needs on a worker. Local workers are as many as fit; on workers that declare a
        resource ``MEMORY`` (MiB) each patient takes this much of it.
    """

    attempts: int = 3
    patience_s: float = 300.0
    memory_mib: int = 3000

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.patience_s < 0.0 or self.memory_mib < 1:
            raise FormatError("Attempts and memory are at least 1, and the patience at least 0 seconds.")


@dataclass(frozen=True)
class BatchSettings:
    """A batch.

    Parameters
    ----------
    case : CaseSettings
        What is asked on each patient.
    source : Path or None
        A folder of patients' folders, a folder of mixed DICOM, or a text or CSV file of folders.
    phantoms : int
        Number of digital patients (seeds 1 to this), where there is no source.
    spacing_zyx_mm : tuple of float
        Voxels of the digital patients.
    names, pseudonyms : Path or None
        Map of a clinic's structure names to TG-263; table of pseudonyms.
    salt : str
        Enters the keys.
    limits : Limits
        Attempts, patience and memory.
    """

    case: CaseSettings
    source: Path | None = None
    phantoms: int = 0
    spacing_zyx_mm: tuple[float, float, float] = (3.0, 2.0, 2.0)
    names: Path | None = None
    pseudonyms: Path | None = None
    salt: str = SALT
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if (self.source is None) == (self.phantoms == 0):
            raise FormatError(
                "A batch is of a list or folder of patients, or of digital patients.",
                action="give a folder, a list of folders, or phantom:N.",
            )

    def plain(self) -> dict[str, Any]:
        """Return what decides the results of a patient, for the manifest; no path and no salt."""
        source: dict[str, Any] = {"patients": "phantom" if self.source is None else "folder"}
        if self.source is None:
            source["spacing_zyx_mm"] = list(self.spacing_zyx_mm)
        return {**source, **self.case.plain(), "seed": self.case.seed, "device": self.case.device}
