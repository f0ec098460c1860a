"""The page, document, tables and manifest of a plan."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from rtplan import resources
from rtplan.case import tables
from rtplan.case.archive import write_case
from rtplan.case.curves import curves_of
from rtplan.case.manifest import DataFile, Manifest, records, versions
from rtplan.case.plan_settings import PlanSettings
from rtplan.case.provenance import kernels_of, said
from rtplan.case.rendering import DOCUMENT, PAGE, content_of, rendered
from rtplan.case.run import Place, as_plain, as_plain_outputs, inputs_of
from rtplan.domain import Patient
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.parameters import find_set
from rtplan.dosimetry.protocol import load_protocol
from rtplan.planning.device import threads
from rtplan.report.discretion import discreet


def write_report(
    folder: Path, patient: Patient, place: Place, settings: PlanSettings, ledger: Ledger
) -> None:
    """Write findings, volumes, DVHs, page, document and manifest."""
    manifest = _manifest(place, settings, patient)
    provenance = as_plain(manifest)
    told, _ = discreet(patient, {})
    case = write_case(told, folder)
    tables.write_curves(curves_of(told, ledger), folder / "dvh", base_gy=case.base_gy)
    made = rendered(content_of(folder, case, provenance))
    (folder / PAGE).write_text(made.page, encoding="utf-8")
    (folder / DOCUMENT).write_bytes(made.document)
    tables.write_json(folder / "manifest.json", provenance | {"outputs": as_plain_outputs(folder)})


def _manifest(place: Place, settings: PlanSettings, patient: Patient) -> Manifest:
    made = Manifest(
        schema=1,
        rtplan_version=version("rtplan"),
        command="plan",
        settings=settings.plain(),
        seed=settings.seed,
        device=settings.device,
        threads=threads(),
        versions=versions(),
        inputs=inputs_of(place),
        weights=(),
        data_files=_data_files(settings),
        steps=records(patient),
        outputs=(),
    )
    return Manifest.model_validate(discreet(patient, as_plain(made))[1])


def _data_files(settings: PlanSettings) -> tuple[DataFile, ...]:
    asked = (
        ("protocols", settings.protocol),
        ("models/beams", settings.machine),
        ("models/curves", settings.curve),
        ("models/machines", settings.mlc),
        *kernels_of(settings.machine, "cone" if settings.second else settings.algorithm),
    )
    found = [(shelf, resources.find(shelf, name)) for shelf, name in asked]
    found += [find_set(entry.model) for entry in load_protocol(settings.protocol).outcome]
    return tuple(
        DataFile(path=f"{shelf}/{path.name}", sha256=resources.sha256(path), **said(path))
        for shelf, path in found
    )
