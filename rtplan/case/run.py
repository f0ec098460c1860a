"""One patient: read the folder, run the clinical steps, write the out folder whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rtplan import pipeline, resources
from rtplan.case import export, pseudonym, tables
from rtplan.case.archive import write_case
from rtplan.case.assemble import clinical_steps
from rtplan.case.curves import bands_of, curves_of
from rtplan.case.manifest import Input, Manifest, outputs, records, versions
from rtplan.case.outfolder import demand_space, refuse_occupied, whole
from rtplan.case.provenance import data_files_of, finished_before, weights_of
from rtplan.case.rendering import DOCUMENT, PAGE, content_of, rendered
from rtplan.case.settings import CaseSettings
from rtplan.domain import Patient
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import load_protocol
from rtplan.io.index import SALT, index
from rtplan.io.patient import read_patient
from rtplan.io.tps import load
from rtplan.planning.device import threads
from rtplan.report.discretion import discreet

Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where a case is read from and written to.

    Parameters
    ----------
    folder : Path
        DICOM of one patient.
    out : Path
        Folder of the results.
    structures : Path or None
        An RTSTRUCT that is not in the folder.
    names : Path or None
        Map of clinic names to TG-263.
    resume : bool
        Keep finished results of the same inputs and settings.
    overwrite : bool
        Replace finished results.
    series : tuple of str
        SeriesInstanceUIDs to use where the rule would take another one.
    salt : str
        Enters the patient's pseudonym.
    pseudonyms : Path or None
        Table of pseudonyms (`rtplan.case.pseudonym`).
    """

    folder: Path
    out: Path
    structures: Path | None = None
    names: Path | None = None
    resume: bool = False
    overwrite: bool = False
    series: tuple[str, ...] = ()
    salt: str = SALT
    pseudonyms: Path | None = None


def read(place: Place) -> Patient:
    """Read the patient through the DICOM door; with a table of pseudonyms he bears his own."""
    table = None if place.pseudonyms is None else pseudonym.load(place.pseudonyms)
    patient = read_patient(
        place.folder, structures=place.structures, names=place.names, series=place.series, salt=place.salt
    )
    if table is None:
        return patient
    return replace(patient, key=pseudonym.of(table, patient.identity.patient_id))


def run_case(
    place: Place, settings: CaseSettings, *, command: str = "run", say: Say = lambda _: None
) -> Patient:
    """Read, run and write one patient.

    Parameters
    ----------
    place : Place
        Where from and where to.
    settings : CaseSettings
        What is asked.
    command : str
        Stands in the manifest.
    say : callable
        Gets a line of text before each part.

    Returns
    -------
    Patient
        With findings, notices and history.

    Raises
    ------
    RtplanError
        If the input cannot be used or the out folder cannot be made; then nothing was written.
    """
    ledger = Ledger()
    steps = clinical_steps(load_protocol(settings.protocol), settings, ledger)
    patient, finished = opened(place, settings, command=command, say=say)
    if finished:
        return patient
    with whole(place.out, overwrite=place.overwrite or place.resume) as folder:
        demand_space(folder, _bytes_of_results(patient, settings))
        patient = pipeline.run(steps, patient, seed=settings.seed, report=say)
        say("Write")
        return _written(folder, patient, place, settings, command, ledger)


def opened(
    place: Place, settings: CaseSettings, *, command: str = "run", say: Say = lambda _: None
) -> tuple[Patient, bool]:
    """Read the patient; say whether the out folder holds his finished results already.

    With `closed`, the two ends of `run_case` for who runs the steps between them elsewhere.

    Raises
    ------
    RtplanError
        If the input or what is asked cannot be used, or the out folder is occupied.
    """
    load(settings.tps)  # an unknown system is refused before anything is reckoned
    if not place.resume:
        refuse_occupied(place.out, overwrite=place.overwrite)
    say("Read")
    patient = read(place)
    finished = place.resume and finished_before(place.out, _manifest(place, settings, patient, command))
    if finished:
        say(f"Finished before with the same inputs and settings: {place.out}")
    return patient, finished


def closed(
    patient: Patient,
    place: Place,
    settings: CaseSettings,
    *,
    command: str = "run",
    say: Say = lambda _: None,
    ledger: Ledger | None = None,
) -> Patient:
    """Write the out folder of a patient whose steps have run, whole or not at all.

    With the ``ledger`` of these steps (`rtplan.case.assemble.clinical_steps`) no DVH is made twice.

    Raises
    ------
    OutputError
        If the out folder cannot be made.
    """
    with whole(place.out, overwrite=place.overwrite or place.resume) as folder:
        demand_space(folder, _bytes_of_results(patient, settings))
        say("Write")
        return _written(folder, patient, place, settings, command, ledger or Ledger())


def _written(
    folder: Path, patient: Patient, place: Place, settings: CaseSettings, command: str, ledger: Ledger
) -> Patient:
    if settings.tps != CaseSettings.tps:
        patient = patient.with_notices(load(settings.tps).notice())
    _write(folder, patient, _manifest(place, settings, patient, command), place, ledger)
    return patient


def _write(folder: Path, patient: Patient, manifest: Manifest, place: Place, ledger: Ledger) -> None:
    provenance = as_plain(manifest)
    told, _ = discreet(with_near_files(patient, place.folder), {})
    curves = curves_of(told, ledger)
    case = write_case(told, folder)
    tables.write_curves(curves, folder / "dvh", base_gy=case.base_gy)
    tables.write_bands(bands_of(told, curves, ledger), folder / "dvh", base_gy=case.base_gy)
    made = rendered(content_of(folder, case, provenance))
    (folder / PAGE).write_text(made.page, encoding="utf-8")
    (folder / DOCUMENT).write_bytes(made.document)
    absolute = _only_absolute(patient)
    shown = curves if absolute.doses else {}
    asked = export.Asked(manifest.settings["tps"], alpha_beta_of(patient), shown, made.document)
    export.write_dicom(absolute, folder / "dicom", asked)
    tables.write_json(folder / "manifest.json", provenance | {"outputs": as_plain_outputs(folder)})


def with_near_files(patient: Patient, folder: Path) -> Patient:
    """Return the patient whose notices name files as seen from the folder, or by their names alone."""
    notices = tuple(
        notice if notice.file is None else replace(notice, file=_near(notice.file, folder))
        for notice in patient.notices
    )
    return replace(patient, notices=notices)


def _near(file: str, folder: Path) -> str:
    path = Path(file)
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return path.name


def _only_absolute(patient: Patient) -> Patient:
    """Return the patient without plan and doses where their absolute values are withheld."""
    return patient if patient.absolute_withheld is None else replace(patient, plan=None, doses={})


def _bytes_of_results(patient: Patient, settings: CaseSettings) -> int:
    """Return about how much the out folder takes: each image as a volume, each arm as DICOM, with doses."""
    largest = max(image.array.size for image in patient.images.values())
    return largest * (4 * len(patient.images) + 10 * len(settings.arms))


def as_plain(manifest: Manifest) -> dict[str, Any]:
    """Return the manifest as plain data, ready for JSON."""
    plain: dict[str, Any] = json.loads(manifest.model_dump_json(by_alias=True))
    return plain


def as_plain_outputs(folder: Path) -> list[dict[str, str]]:
    """Return every file below a folder with its SHA-256, as plain data."""
    return [output.model_dump() for output in outputs(folder)]


def alpha_beta_of(patient: Patient) -> float | None:
    """Return the α/β (Gy) of the EQD2 doses that the outcome models used; None when none did."""
    kinds = {f.dose_kind for f in patient.findings if f.metric == "NTCP" and f.dose_kind}
    found = sorted(float(kind[5:-1]) for kind in kinds if kind.startswith("EQD2("))
    return found[0] if found else None


def _manifest(place: Place, settings: CaseSettings, patient: Patient, command: str) -> Manifest:
    made = Manifest(
        schema=1,
        rtplan_version=version("rtplan"),
        command=command,
        settings=settings.plain() | ({"series": list(place.series)} if place.series else {}),
        seed=settings.seed,
        device=settings.device,
        threads=threads(),
        versions=versions(),
        inputs=inputs_of(place),
        weights=weights_of(settings, bool(patient.mr)),
        data_files=data_files_of(settings),
        steps=records(patient),
        outputs=(),
    )
    return Manifest.model_validate(discreet(patient, as_plain(made))[1])


def inputs_of(place: Place) -> tuple[Input, ...]:
    """Return every DICOM object that a place holds, with its SHA-256."""
    folders = [place.folder, *([place.structures] if place.structures else [])]
    entries = [entry for folder in folders for entry in index(folder).entries]
    made = {Input(uid=e.sop_uid, sha256=resources.sha256(e.path), role=e.kind) for e in entries}
    return tuple(sorted(made, key=lambda item: (item.role, item.uid)))
