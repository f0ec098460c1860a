"""One patient who needs no DICOM: run the clinical steps on him and write findings, DVHs and manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rtplan import pipeline
from rtplan.case import tables
from rtplan.case.assemble import clinical_steps
from rtplan.case.curves import curves_of
from rtplan.case.manifest import Input, Manifest, records, versions
from rtplan.case.outfolder import whole
from rtplan.case.provenance import data_files_of, finished_before, weights_of
from rtplan.case.run import as_plain, as_plain_outputs
from rtplan.case.settings import CaseSettings
from rtplan.domain import Patient
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import load_protocol
from rtplan.planning.device import threads

Say = Callable[[str], None]


@dataclass(frozen=True)
class Origin:
    """Where a patient in memory comes from.

    Parameters
    ----------
    make : callable
        Gives the patient.
    facts : mapping
        What tells him from any other; stands among the settings of the manifest.
    inputs : tuple of Input
        Files that he is read from.
    """

    make: Callable[[], Patient]
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()


def run_in_memory(
    origin: Origin,
    out: Path,
    settings: CaseSettings,
    *,
    resume: bool = False,
    say: Say = lambda _: None,
) -> bool:
    """Make, run and write one patient: ``findings``, ``notices``, ``dvh/`` and ``manifest.json``.

    Parameters
    ----------
    origin : Origin
        Of the patient.
    out : Path
        Appears whole or not at all.
    resume : bool
        Keep finished results of the same patient, settings and version; replace others.

    Returns
    -------
    bool
        False where the results were there already.

    Raises
    ------
    RtplanError
        If the patient cannot be used or the folder cannot be made; then nothing was written.
    """
    if resume and finished_before(out, _manifest(origin, settings, None)):
        return False
    ledger = Ledger()
    steps = clinical_steps(load_protocol(settings.protocol), settings, ledger)
    with whole(out, overwrite=resume and out.is_dir()) as folder:
        say("Make the patient")
        patient = pipeline.run(steps, origin.make(), seed=settings.seed, report=say)
        tables.write_findings(patient, folder)
        if patient.absolute_withheld is None:
            tables.write_curves(curves_of(patient, ledger), folder / "dvh")
        plain = as_plain(_manifest(origin, settings, patient))
        tables.write_json(folder / "manifest.json", plain | {"outputs": as_plain_outputs(folder)})
    return True


def _manifest(origin: Origin, settings: CaseSettings, patient: Patient | None) -> Manifest:
    return Manifest(
        schema=1,
        rtplan_version=version("rtplan"),
        command="study",
        settings=settings.plain() | {"patient": dict(origin.facts)},
        seed=settings.seed,
        device=settings.device,
        threads=threads(),
        versions=versions(),
        inputs=origin.inputs,
        weights=weights_of(settings, has_mr=True),
        data_files=data_files_of(settings),
        steps=records(patient) if patient is not None else (),
        outputs=(),
    )
