"""What two finished runs, studies or batches are compared by, read from their out folders."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rtplan.case import tables
from rtplan.case.archive import read_notices
from rtplan.case.manifest import Manifest
from rtplan.domain import Finding
from rtplan.errors import FormatError
from rtplan.evaluation.comparison import Results
from rtplan.evaluation.study_file import NAME as STUDY
from rtplan.evaluation.study_file import StudyFile, read_study

PATIENTS = "patients"
#: Characters of a checksum that are shown.
SHORT = 12

Facts = dict[str, dict[str, Any]]


def read_results(folder: Path) -> Results:
    """Return what of an out folder is compared.

    Parameters
    ----------
    folder : Path
        Of ``rtplan run`` or ``demo``; of ``rtplan study`` or ``batch`` (``patients/<key>/`` in it).

    Raises
    ------
    FormatError
        If it is none of these, or a file of it does not parse.
    """
    if (folder / PATIENTS).is_dir():
        return _cohort(folder)
    manifest = _manifest(folder)
    return Results(
        "run",
        _facts([manifest]),
        tables.read_findings(folder),
        read_notices(folder / "notices.json"),
    )


def _cohort(folder: Path) -> Results:
    places = sorted(place for place in (folder / PATIENTS).iterdir() if (place / "manifest.json").is_file())
    if not places:
        raise FormatError("No patient of this cohort is finished.", where=str(folder))
    findings: list[Finding] = []
    notices = []
    for place in places:
        findings += [replace(f, patient=place.name) for f in tables.read_findings(place)]
        notices += list(read_notices(place / "notices.json"))
    facts = _facts([_manifest(place) for place in places])
    facts["patients"] = {place.name: "finished" for place in places}
    if (folder / STUDY).is_file():
        study = read_study(folder)
        facts["statistics"] = dict(study.statistics)
        facts["patients"] |= {
            p.key or f"number {p.number}": _state(p.state, p.reason) for p in study.patients
        }
        findings += list(_agreement(study))
        notices += list(study.notices)
    return Results("cohort", facts, tuple(findings), tuple(notices))


def _state(state: str, reason: str | None) -> str:
    return {"done": "finished"}.get(state, state) + (f": {reason}" if reason else "")


def _manifest(folder: Path) -> Manifest:
    path = folder / "manifest.json"
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(
            "There is no finished run, study or batch here (no manifest.json, no patients).",
            where=str(folder),
            action="give a folder that rtplan run, demo, study or batch wrote.",
        ) from None
    except (ValidationError, UnicodeDecodeError):
        raise FormatError("The manifest does not parse.", where=str(path)) from None


def _facts(manifests: list[Manifest]) -> Facts:
    """Return the facts of all manifests: what differs among them stands as a list."""
    told: Facts = {"rtplan": {}, "settings": {}, "versions": {}, "weights": {}, "data files": {}, "steps": {}}
    for manifest in manifests:
        for section, facts in _of_one(manifest).items():
            for name, value in facts.items():
                told[section].setdefault(name, []).append(value)
    joined: Facts = {
        section: {name: _joined(values, len(manifests)) for name, values in facts.items()}
        for section, facts in told.items()
    }
    return joined | {"inputs": _inputs(manifests)}


def _of_one(manifest: Manifest) -> Facts:
    plain = manifest.model_dump()
    named = {name: plain[name] for name in ("rtplan_version", "command", "seed", "device", "threads")}
    return {
        "rtplan": named,
        "settings": dict(_flat(plain["settings"])),
        "versions": dict(plain["versions"]),
        "weights": {item["name"]: item["sha256"][:SHORT] for item in plain["weights"]},
        "data files": {item["path"]: item["sha256"][:SHORT] for item in plain["data_files"]},
        "steps": {
            f"{step['name']}.{name}": v for step in plain["steps"] for name, v in _flat(step["settings"])
        }
        | {step["name"]: "run" for step in plain["steps"]},
    }


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _joined(values: list[Any], patients: int) -> Any:
    """Return the one value that all patients share, else each value with how many have it."""
    counted = Counter(json.dumps(value, sort_keys=True, default=str) for value in values)
    if len(counted) == 1 and len(values) == patients:
        return json.loads(next(iter(counted)))
    return {text.strip('"'): n for text, n in sorted(counted.items())}


def _inputs(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the number of input files and a checksum over theirs, by role."""
    found: dict[str, list[str]] = {}
    for manifest in manifests:
        for item in manifest.inputs:
            found.setdefault(item.role, []).append(item.sha256)
    return {
        role: f"{len(sums)} files, {hashlib.sha256(''.join(sorted(sums)).encode()).hexdigest()[:SHORT]}"
        for role, sums in sorted(found.items())
    }


def _agreement(study: StudyFile) -> Iterator[Finding]:
    """Yield mean and limits of agreement of a cohort as findings; the verdict stands with the mean."""
    for row in study.cohort:
        what = row.metric if row.scale == "as_is" else f"logit {row.metric}"
        numbers = {"mean": row.mean, "lower limit": row.lower, "upper limit": row.upper}
        for name, value in numbers.items():
            if value is not None:
                verdict = row.verdict if name == "mean" else "none"
                yield Finding(
                    f"{name} of {what}",
                    value,
                    row.unit,
                    "Agreement",
                    patient="cohort",
                    arm=row.arm,
                    reference_arm=row.reference_arm,
                    structure=row.structure,
                    model=row.model,
                    verified=row.verified,
                    verdict=verdict,
                )
