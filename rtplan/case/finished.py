"""A finished run's out folder read back: the planning image, its structures, findings and notices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rtplan.case.manifest import Manifest
from rtplan.case.review import MANIFEST, run_of
from rtplan.domain import Finding, Image, Notice, Patient
from rtplan.domain.patient import ARMS
from rtplan.errors import FormatError, RtplanError, StructureError
from rtplan.io import header as hd
from rtplan.io import nifti, rtstruct

_AGAIN = "run rtplan run again into a new folder."
STRUCTURES = "dicom/RS.dcm"


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What a finished run says.

    Parameters
    ----------
    folder : Path
        The out folder.
    manifest : Manifest
        Who and what made it.
    patient : Patient
        With the image on which the structures are shown as its only one, the structures of ``dicom/RS.dcm``,
        findings and notices; without doses and plan.
    """

    folder: Path
    manifest: Manifest
    patient: Patient

    @property
    def image_name(self) -> str:
        """Name of the image on which the structures are shown."""
        return next(iter(self.patient.images))


def open_run(folder: Path) -> FinishedRun:
    """Read a finished run's out folder.

    Raises
    ------
    FormatError
        If it is no finished run, or one of its files does not parse.
    StructureError
        If it holds no structures, or no image in their frame of reference.
    """
    run_of(folder)
    manifest = _manifest(folder / MANIFEST)
    path = folder / STRUCTURES
    if not path.is_file():
        raise StructureError(
            "The run wrote no structures, so there is nothing to look at.",
            where=str(folder),
            action="run rtplan run with structures (--structures RS.dcm) into a new folder.",
        )
    drawn = rtstruct.read(path)
    name = _shown(folder, manifest, drawn.frame)
    image = nifti.read_volume(
        folder / "volumes" / f"{name}.mha",
        kind="CT" if name in ARMS else "MR",
        frame_of_reference=drawn.frame,
    )
    assert isinstance(image, Image)
    patient = Patient(
        images={name: image},
        structures={structure.name: structure for structure in drawn.structures},
        findings=read_findings(folder),
        notices=read_notices(folder),
    )
    return FinishedRun(folder, manifest, patient)


def read_findings(folder: Path) -> tuple[Finding, ...]:
    """Return the findings of ``findings.json``; raise FormatError when it does not parse."""
    rows = _rows(folder / "findings.json", "findings")
    try:
        return tuple(Finding(**{**row, "interval95": _pair(row.get("interval95"))}) for row in rows)
    except (TypeError, ValueError, FormatError):
        raise _broken(folder / "findings.json") from None


def read_notices(folder: Path) -> tuple[Notice, ...]:
    """Return the notices of ``notices.json``; raise FormatError when it does not parse."""
    rows = _rows(folder / "notices.json", "notices")
    try:
        plain = [{**row, **row["where"]} for row in rows]
        return tuple(Notice(**{k: v for k, v in row.items() if k != "where"}) for row in plain)
    except (TypeError, KeyError):
        raise _broken(folder / "notices.json") from None


def _manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise _broken(path) from None


def _rows(path: Path, name: str) -> list[Mapping[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError):
        raise _broken(path) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _broken(path)
    return rows


def _pair(ends: Any) -> tuple[float, float] | None:
    if ends is None:
        return None
    low, high = ends
    return float(low), float(high)


def _broken(path: Path) -> FormatError:
    return FormatError("A file of the run is missing or does not parse.", where=str(path), action=_AGAIN)


def _shown(folder: Path, manifest: Manifest, frame: str) -> str:
    """Return the image on which the structures are shown: what was planned on, or the MR they lie on.

    Volume files do not bear their frame of reference; that of the arms stands in their DICOM.
    """
    there = {path.stem for path in (folder / "volumes").glob("*.mha")}
    there = {name for name in there if not name.startswith(("dose_", "relative_"))} - {
        "uncertainty",
        "labels",
    }
    arms = [name for name in ARMS if name in there]
    others = sorted(there - set(arms))
    planned = manifest.settings.get("plan_on")
    if arms and _frame_of_arms(folder) in ("", frame):
        first = "CT" if "CT" in arms else "SynCT"
        return next(name for name in (planned, first, *arms) if name in arms)
    if len(others) != 1:
        raise StructureError(
            "The structures lie in another frame of reference than the planning image.",
            where=str(folder / STRUCTURES),
            action="run again with structures that were drawn on the planning image.",
        )
    return others[0]


def _frame_of_arms(folder: Path) -> str:
    """Return the frame of reference of the arms; empty where no DICOM says it."""
    for path in (*sorted(folder.glob("dicom/RD_*.dcm")), *sorted(folder.glob("dicom/CT_*/*.dcm"))):
        try:
            return hd.uid(hd.read(path), "FrameOfReferenceUID")
        except RtplanError:
            raise _broken(path) from None
    return ""
