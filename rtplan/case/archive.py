"""A finished case in its out folder and back: what `rtplan report` reads, the run's report read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rtplan.case import tables
from rtplan.case.kept import (
    KeptDose,
    KeptImage,
    KeptPatient,
    KeptRegistration,
    KeptStructure,
    plain_patient,
)
from rtplan.domain import (
    Contours,
    Displacement,
    Dose,
    Grid,
    Image,
    Mask,
    Notice,
    Patient,
    Registration,
    Structure,
    Volume,
)
from rtplan.dosimetry.bands import SAMPLE
from rtplan.errors import FormatError, GeometryMismatch, RtplanError
from rtplan.io import nifti
from rtplan.io.datasets.arrays import read_arrays

#: Where a case lies in the out folder.
FOLDER, FACTS, REGIONS = "volumes", "patient.json", "patient.npz"
#: A volume file may lie this far from the grid that was kept, mm at its corners: its numbers are texts.
APART_MM = 0.01
#: A kind (image, dose, dose_sd) and a name to the voxels [z, y, x].
Voxels = Callable[[str, str], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Case:
    """A finished case.

    Parameters
    ----------
    patient : Patient
        Without identity, monitor units and dose samples.
    spreads : mapping of str to Dose
        Standard deviation of the dose samples, Gy, by arm.
    base_gy : float or None
        What 100 % of the relative doses in the folder is, where absolute dose is withheld.
    """

    patient: Patient
    spreads: Mapping[str, Dose] = field(default_factory=dict)
    base_gy: float | None = None


def write_case(patient: Patient, folder: Path) -> Case:
    """Write findings, notices, volumes and regions; return the case as `read_case` will find it.

    Parameters
    ----------
    patient : Patient
        Without identity, in its texts too (`rtplan.report.discretion.discreet`). Where its absolute dose is
        withheld, doses are written in % of the highest one.
    folder : Path
        The out folder.

    Returns
    -------
    Case
        Equal to what `read_case` returns; the voxels are shared with ``patient``, not read again.
    """
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    tables.write_findings(patient, folder)
    base_gy = _base_gy(patient)
    spreads = _shares(spreads_of(patient), base_gy)
    held: dict[str, Mapping[str, Volume]] = {
        "image": patient.images,
        "dose": _shares(patient.doses, base_gy),
        "dose_sd": spreads,
    }
    for kind, volumes in held.items():
        for name, volume in volumes.items():
            nifti.write_volume(volume, place / _file(kind, name, base_gy))
    facts = plain_patient(patient, spreads, base_gy)
    tables.write_json(place / FACTS, facts.model_dump(by_alias=True))
    np.savez_compressed(place / REGIONS, allow_pickle=False, **_regions(patient))
    return _case(
        folder,
        facts,
        patient.structures,
        patient.registrations,
        lambda kind, name: held[kind][name].array,
    )


def read_case(folder: Path, facts: KeptPatient | None = None) -> Case:
    """Return the case of a finished out folder.

    Parameters
    ----------
    folder : Path
        The out folder.
    facts : KeptPatient, optional
        What `read_facts` says, less the images and doses that need not be read.

    Raises
    ------
    FormatError
        If the folder holds no finished case, or a file does not parse.
    GeometryMismatch
        If a volume does not lie where the case says.
    """
    place = folder / FOLDER
    facts = facts or read_facts(folder)
    arrays = _read_regions(place / REGIONS)
    structures = {s.name: _structure(s, n, arrays, place) for n, s in enumerate(facts.structures)}
    registrations = tuple(_registration(r, n, arrays, place) for n, r in enumerate(facts.registrations))
    return _case(folder, facts, structures, registrations, _from_files(place, facts))


def spreads_of(patient: Patient) -> dict[str, Dose]:
    """Return the standard deviation of an arm's dose samples, Gy, by arm; of two samples or more."""
    found: dict[str, list[Dose]] = {}
    for name, dose in patient.samples.items():
        found.setdefault(name.split(SAMPLE)[0], []).append(dose)
    return {
        arm: doses[0].with_array(np.std([dose.array for dose in doses], axis=0, ddof=1, dtype=np.float64))
        for arm, doses in found.items()
        if len(doses) > 1
    }


def _base_gy(patient: Patient) -> float | None:
    if patient.absolute_withheld is None:
        return None
    return max((float(dose.array.max()) for dose in patient.doses.values()), default=0.0) or 1.0


def _shares(doses: Mapping[str, Dose], base_gy: float | None) -> Mapping[str, Dose]:
    if base_gy is None:
        return doses
    return {
        name: dose.with_array(np.asarray(dose.array, np.float64) * (100.0 / base_gy))
        for name, dose in doses.items()
    }


def _file(kind: str, name: str, base_gy: float | None) -> str:
    stem = kind if base_gy is None else kind.replace("dose", "relative")
    return f"{name}.mha" if kind == "image" else f"{stem}_{name}.mha"


def read_facts(folder: Path) -> KeptPatient:
    """Return what is kept of a patient beside the volumes; raises FormatError as `read_case`."""
    path = folder / FOLDER / FACTS
    if not path.is_file():
        raise FormatError(
            "There is no finished case here (no volumes/patient.json).",
            where=str(path.parent.parent),
            action="give the folder that rtplan run, demo or study wrote with this version.",
        )
    try:
        return KeptPatient.model_validate_json(path.read_bytes())
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unreadable(path, f"{first['msg']} ({where})") from None


def _unreadable(path: Path, why: str) -> FormatError:
    return FormatError(
        f"A file of the case does not parse: {why}.", where=str(path), action="make the case again."
    )


def _regions(patient: Patient) -> dict[str, NDArray[Any]]:
    """Return masks as packed bits, contours as points with their counts, vectors of registrations."""
    arrays: dict[str, NDArray[Any]] = {}
    for n, structure in enumerate(patient.structures.values()):
        region = structure.region
        if isinstance(region, Mask):
            arrays[f"mask_{n}"] = np.packbits(region.array)
        else:
            arrays[f"points_{n}"] = np.concatenate([np.empty((0, 3)), *region.rings])
            arrays[f"counts_{n}"] = np.array([len(ring) for ring in region.rings], np.int64)
    for n, item in enumerate(patient.registrations):
        if item.displacement is not None:
            arrays[f"vectors_{n}"] = item.displacement.vectors
    return arrays


def _read_regions(path: Path) -> Mapping[str, NDArray[Any]]:
    if not path.is_file():
        raise _unreadable(path, "the file is not there")
    return read_arrays(path)


def _structure(kept: KeptStructure, n: int, arrays: Mapping[str, NDArray[Any]], place: Path) -> Structure:
    try:
        if kept.grid is not None:
            grid = kept.grid.grid()
            bits = np.unpackbits(arrays[f"mask_{n}"], count=int(np.prod(grid.shape)))
            return Structure(kept.name, kept.kind, Mask(grid, bits.reshape(grid.shape).astype(bool)))
        counts = arrays[f"counts_{n}"]
        rings = np.split(arrays[f"points_{n}"], np.cumsum(counts)[:-1]) if len(counts) else []
        return Structure(kept.name, kept.kind, Contours(tuple(rings), kept.frame_of_reference))
    except (KeyError, ValueError, TypeError):
        raise _unreadable(place / REGIONS, f"the region of structure {n + 1} is not whole") from None


def _registration(
    kept: KeptRegistration, n: int, arrays: Mapping[str, NDArray[Any]], place: Path
) -> Registration:
    moved = None
    if kept.grid is not None:
        try:
            moved = Displacement(kept.grid.grid(), arrays[f"vectors_{n}"])
        except (KeyError, RtplanError):
            raise _unreadable(place / REGIONS, f"the field of registration {n + 1} is not whole") from None
    matrix = np.array(kept.matrix)
    return Registration(kept.from_frame, kept.to_frame, matrix, kept.kind, kept.quality, moved)


def _from_files(place: Path, facts: KeptPatient) -> Voxels:
    grids = {
        kind: {name: kept.grid for name, kept in listed.items()} for kind, listed in _listed(facts).items()
    }

    def read(kind: str, name: str) -> NDArray[Any]:
        path = place / _file(kind, name, facts.relative_to_gy)
        if not path.is_file():
            raise _unreadable(path, "the file is not there")
        found = nifti.read_volume(path, kind="MR" if kind == "image" else "dose")
        _demand_place(found.grid, grids[kind][name].grid(), path)
        return found.array

    return read


def _listed(facts: KeptPatient) -> Mapping[str, Mapping[str, KeptImage | KeptDose]]:
    return {"image": facts.images, "dose": facts.doses, "dose_sd": facts.spreads}


def _demand_place(found: Grid, kept: Grid, path: Path) -> None:
    corners = found.corners(), kept.corners()
    if found.shape != kept.shape or float(np.abs(corners[0] - corners[1]).max()) > APART_MM:
        raise GeometryMismatch(
            "A volume does not lie where the case says.", where=str(path), action="make the case again."
        )


def _case(
    folder: Path,
    facts: KeptPatient,
    structures: Mapping[str, Structure],
    registrations: tuple[Registration, ...],
    voxels: Voxels,
) -> Case:
    gy = 1.0 if facts.relative_to_gy is None else facts.relative_to_gy / 100.0

    def doses(kind: str, listed: Mapping[str, KeptDose]) -> dict[str, Dose]:
        return {
            name: Dose(kept.grid.grid(), gy * voxels(kind, name), kept.kind, kept.fractions)
            for name, kept in listed.items()
        }

    patient = Patient(
        key=facts.key,
        images={
            name: Image(kept.grid.grid(), voxels("image", name), kept.modality, kept.source())
            for name, kept in facts.images.items()
        },
        structures=structures,
        plan=None if facts.plan is None else facts.plan.plan(),
        doses=doses("dose", facts.doses),
        registrations=registrations,
        findings=tables.read_findings(folder),
        notices=read_notices(folder / "notices.json"),
        history=tuple(record.record() for record in facts.history),
    )
    return Case(patient, doses("dose_sd", facts.spreads), facts.relative_to_gy)


def read_notices(path: Path) -> tuple[Notice, ...]:
    """Return the notices of a finished out folder; raises FormatError as `read_case`."""
    try:
        return tuple(
            Notice(row["code"], row["severity"], row["message"], row["action"], **row["where"])
            for row in _rows(path, "notices")
        )
    except (TypeError, KeyError) as wrong:
        raise _unreadable(path, str(wrong)) from None


def _rows(path: Path, name: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema") != tables.SCHEMA:
            raise _unreadable(path, f"schema {tables.SCHEMA} is wanted")
        rows: list[dict[str, Any]] = content[name]
        return rows
    except FileNotFoundError:
        raise _unreadable(path, "the file is not there") from None
    except RtplanError:
        raise
    except (ValueError, KeyError, AttributeError) as wrong:
        raise _unreadable(path, str(wrong)) from None
