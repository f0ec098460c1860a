"""The manifest: who and what made a result (inputs, weights, data files, steps, versions, outputs)."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rtplan import resources
from rtplan.domain import Patient

LIBRARIES = ("torch", "monai", "pydicom", "SimpleITK", "numpy", "scipy", "matplotlib", "reportlab")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Strict):
    """One file that was read. ``uid`` is its SOPInstanceUID, ``role`` its modality."""

    uid: str
    sha256: str
    role: str


class Weights(_Strict):
    """Weights of one network that was used."""

    name: str
    sha256: str


class DataFile(_Strict):
    """One file of ``protocols/`` or ``models/`` that gave numbers, and where these come from."""

    path: str
    sha256: str
    verified: bool | None = None
    source: str = ""


class StepRecord(_Strict):
    """How one step went."""

    name: str
    settings: dict[str, Any]
    seconds: float
    peak_mib: float


class Output(_Strict):
    """One file that was written, relative to the out folder."""

    path: str
    sha256: str


class Manifest(_Strict):
    """``manifest.json``; the only file that holds times."""

    schema_: int = Field(1, alias="schema")
    rtplan_version: str
    command: str
    settings: dict[str, Any]
    seed: int
    device: str
    threads: int
    versions: dict[str, str]
    inputs: tuple[Input, ...]
    weights: tuple[Weights, ...]
    data_files: tuple[DataFile, ...]
    steps: tuple[StepRecord, ...]
    outputs: tuple[Output, ...]

    def same_question(self, other: Manifest) -> bool:
        """Whether both were made from the same inputs, numbers and settings by the same version."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("rtplan_version", "command", "settings", "seed", "inputs", "data_files", "weights")
        )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that make numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def records(patient: Patient) -> tuple[StepRecord, ...]:
    """Return the patient's history as it stands in the manifest."""
    return tuple(
        StepRecord(
            name=record.step,
            settings=dict(record.settings),
            seconds=round(record.seconds, 3),
            peak_mib=round(record.peak_mib, 1),
        )
        for record in patient.history
    )


def outputs(folder: Path) -> tuple[Output, ...]:
    """Return every file below a folder with its SHA-256, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        Output(path=path.relative_to(folder).as_posix(), sha256=resources.sha256(path)) for path in files
    )
