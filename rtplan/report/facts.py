"""What was run and on what, and who and what made it: images, structures, plan, provenance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rtplan.domain import Contours, Image, Mask, Patient, Structure
from rtplan.imaging.contour import fraction_on
from rtplan.report.content import Block, Cell, Table, row
from rtplan.report.planes import TILT_SHOWN_DEG, display_axes
from rtplan.report.words import ARM_WORDS, counted, listed, number


def run_block(patient: Patient) -> Block:
    """Return the block that says what was run and on what."""
    tables = [_images(patient), _structures(patient), _plan(patient)]
    sentences = []
    if patient.plan is None:
        sentences.append("No plan was made or read.")
    if not patient.structures:
        sentences.append("No structure came with the images.")
    return Block(
        "run",
        "What was run, and on what",
        sentences=tuple(sentences),
        tables=tuple(table for table in tables if table is not None),
    )


def _images(patient: Patient) -> Table | None:
    if not patient.images:
        return None
    came = [name for name in patient.images if name not in patient.arms[1:]]
    names = sorted(came, key=lambda name: name != "CT") + [n for n in patient.arms if n not in came]
    first: list[str] = []
    rows = []
    for name in names:
        grid = patient.images[name].grid
        twin = next((known for known in first if patient.images[known].grid.same_as(grid)), None)
        geometry = f"as {twin}" if twin else geometry_words(patient.images[name])
        rows.append(row(Cell(name, "strong"), _image_words(name, patient), geometry))
        first += [] if twin else [name]
    return Table(
        caption="Images as they came, and the arms (density images) made from them.",
        head=("Image", "What it is", "Geometry (z × y × x)"),
        rows=tuple(rows),
        widths=(1.1, 3.0, 4.0),
    )


def _image_words(name: str, patient: Patient) -> str:
    image = patient.images[name]
    words = f"arm: {ARM_WORDS[name]}" if name in patient.arms else f"{image.modality} image"
    if not image.source.description:
        return words
    said = image.source.description
    return f"{words}; series “{said}”" if image.source.series_uid else f"{words}; {said}"


def geometry_words(image: Image) -> str:
    """Return size, spacing, extent and direction of an image's grid."""
    grid = image.grid
    spacing = grid.spacing_zyx_mm
    shape = " × ".join(str(n) for n in grid.shape)
    steps = " × ".join(f"{s:.2f}" for s in spacing)
    extent = " × ".join(f"{n * s:.0f}" for n, s in zip(grid.shape, spacing, strict=True))
    return f"{shape} voxels of {steps} mm; {extent} mm; {tilt_words(image)}"


def tilt_words(image: Image) -> str:
    """Return whether an image lies along the patient's axes, or how far it is tilted."""
    axes = display_axes(image.grid)
    tilt = float(np.degrees(np.arccos(np.clip(axes[2, 2], -1.0, 1.0))))
    turned = float(np.degrees(np.arccos(np.clip(np.diag(axes), -1.0, 1.0))).max())
    if turned < TILT_SHOWN_DEG:
        return "along the patient's axes"
    return f"tilted {tilt:.1f}°" if tilt >= TILT_SHOWN_DEG else f"turned {turned:.1f}°"


def volume_cc(structure: Structure, patient: Patient) -> float | None:
    """Return the volume of a structure, cc: of a mask's voxels, or of contours on the first image's grid."""
    region = structure.region
    if isinstance(region, Mask):
        return float(np.count_nonzero(region.array)) * region.grid.voxel_cc
    for image in patient.images.values():
        if image.grid.frame_of_reference == region.frame_of_reference:
            return float(fraction_on(structure, image.grid).sum()) * image.grid.voxel_cc
    return None


def _structures(patient: Patient) -> Table | None:
    if not patient.structures:
        return None
    rows = []
    for name in sorted(patient.structures, key=lambda n: (not patient.structures[n].is_target, n)):
        structure = patient.structures[name]
        volume = volume_cc(structure, patient)
        came = "contours" if isinstance(structure.region, Contours) else "mask"
        size = number(volume, 1) if volume is not None else "n.e."
        rows.append(row(Cell(name, "strong"), structure.kind, size, came))
    return Table(
        caption="Structures.",
        head=("Structure", "Type", "Volume [cc]", "Kept as"),
        rows=tuple(rows),
        widths=(3.0, 1.5, 1.5, 1.5),
        numeric=(2,),
    )


def _plan(patient: Patient) -> Table | None:
    plan = patient.plan
    if plan is None:
        return None
    fractions = counted(plan.prescription.fractions, "fraction")
    targets = listed(f"{dose:g} Gy to {name}" for name, dose in plan.prescription.targets.items())
    items = {"Prescription": f"{targets}, in {fractions}", "Made on": plan.made_on}
    if plan.beams:
        points = sorted({tuple(round(c, 1) for c in beam.isocentre_mm) for beam in plan.beams})
        items["Beams"] = f"{len(plan.beams)}, gantry {', '.join(f'{b.gantry_deg:g}°' for b in plan.beams)}"
        items["Isocentre, LPS [mm]"] = "; ".join(", ".join(number(c) for c in point) for point in points)
        items["Machine"] = listed(sorted({beam.machine for beam in plan.beams}))
    rows = tuple(row(Cell(name, "strong"), text) for name, text in items.items())
    return Table("The plan that all arms share.", ("Item", "Plan"), rows, (1.5, 5.0))


def provenance_block(patient: Patient, provenance: Mapping[str, Any]) -> Block:
    """Return the block of versions, seeds, settings, steps, weights, inputs and data files."""
    tables = [
        _program(provenance),
        _steps(patient, provenance),
        _inputs(patient, provenance),
        _weights(patient, provenance),
        _data_files(provenance),
        _registrations(patient),
    ]
    return Block(
        "provenance",
        "Provenance",
        sentences=("With these inputs, versions and seeds the same numbers come out again.",),
        tables=tuple(table for table in tables if table is not None),
    )


def _program(provenance: Mapping[str, Any]) -> Table | None:
    words = {
        "rtplan_version": "rtplan",
        "rendered_by": "Report made by rtplan",
        "command": "Command",
        "protocol": "Protocol",
        "seed": "Seed",
        "device": "Device",
        "threads": "Threads",
    }
    rows = [
        row(Cell(t, "strong"), str(provenance[k])) for k, t in words.items() if provenance.get(k) is not None
    ]
    versions = provenance.get("versions") or {}
    if versions:
        rows.append(row(Cell("Versions", "strong"), ", ".join(f"{n} {v}" for n, v in versions.items())))
    if provenance.get("settings"):
        rows.append(row(Cell("Settings", "strong"), settings_words(provenance["settings"])))
    return Table("The program.", ("Item", "Value"), tuple(rows), (1.2, 6.0)) if rows else None


def settings_words(settings: Mapping[str, Any]) -> str:
    """Return settings as text, in the order given.

    Examples
    --------
    >>> settings_words({"beams": 7, "names": ["CT0", "CTpop"]})
    'beams = 7; names = ["CT0", "CTpop"]'
    """
    return "; ".join(f"{key} = {_plain(value)}" for key, value in settings.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _steps(patient: Patient, provenance: Mapping[str, Any]) -> Table | None:
    steps = provenance.get("steps") or [
        {"name": r.step, "settings": r.settings, "seconds": r.seconds, "peak_mib": r.peak_mib}
        for r in patient.history
    ]
    if not steps:
        return None
    rows = [
        row(
            str(n),
            Cell(str(step.get("name", "")), "strong"),
            settings_words(step.get("settings") or {}) or "–",
            number(float(step.get("seconds") or 0.0), 1),
            number(float(step.get("peak_mib") or 0.0), 0),
        )
        for n, step in enumerate(steps, 1)
    ]
    total = sum(float(step.get("seconds") or 0.0) for step in steps)
    return Table(
        caption=f"Steps, in order: {number(total, 1)} s together.",
        head=("No.", "Step", "Settings", "Seconds", "Peak [MiB]"),
        rows=tuple(rows),
        widths=(0.5, 1.7, 5.0, 0.9, 1.0),
        numeric=(3, 4),
        notes=("Peak: the largest memory of the process so far.",),
    )


def _inputs(patient: Patient, provenance: Mapping[str, Any]) -> Table | None:
    inputs = provenance.get("inputs") or ()
    rows = [
        row(Cell(name, "strong"), image.modality, image.source.series_uid, str(len(image.source.sop_uids)))
        for name, image in patient.images.items()
        if image.source.series_uid
    ]
    objects = {str(item.get("uid")): str(item.get("role")) for item in inputs}
    objects = {uid: role for uid, role in objects.items() if role.startswith(("RT", "REG", "SEG"))}
    rows += [row(Cell(role, "strong"), role, uid, "–") for uid, role in objects.items()]
    if not rows and not inputs:
        return None
    files = Counter(str(item.get("role") or "other") for item in inputs)
    read = listed(f"{count} {role}" for role, count in sorted(files.items()))
    note = (f"Files read: {read}; the UID and SHA-256 of each stand in manifest.json.",) if files else ()
    head = ("Role", "Modality", "Series or object UID", "Slices")
    return Table("Inputs.", head, tuple(rows), (1.2, 1.2, 5.0, 0.8), (3,), note)


def _weights(patient: Patient, provenance: Mapping[str, Any]) -> Table | None:
    found: Sequence[Mapping[str, Any]] = provenance.get("weights") or [
        {"name": r.step, "sha256": r.weights_sha256} for r in patient.history if r.weights_sha256
    ]
    if not found:
        return None
    rows = [row(Cell(str(w.get("name", "")), "strong"), str(w.get("sha256", ""))) for w in found]
    return Table("Weights of networks.", ("Network", "SHA-256"), tuple(rows), (2.0, 5.0))


def _data_files(provenance: Mapping[str, Any]) -> Table | None:
    files = provenance.get("data_files") or ()
    if not files:
        return None
    rows = []
    for item in files:
        verified = item.get("verified")
        mark = "–" if verified is None else "verified" if verified else "‡ not verified"
        source = str(item.get("source") or item.get("citation") or "–")
        rows.append(
            row(Cell(str(item.get("path", "")), "strong"), mark, source, str(item.get("sha256", ""))[:12])
        )
    return Table(
        "Files that gave numbers.",
        ("File", "Verified", "Source", "SHA-256, start"),
        tuple(rows),
        (2.6, 1.2, 3.2, 1.7),
    )


def _registrations(patient: Patient) -> Table | None:
    if not patient.registrations:
        return None
    rows = []
    for item in patient.registrations:
        names = [
            listed(n for n, i in patient.images.items() if i.grid.frame_of_reference == frame)
            or "other frame"
            for frame in (item.from_frame, item.to_frame)
        ]
        quality = ", ".join(f"{name} {number(float(v), 3)}" for name, v in item.quality.items()) or "–"
        rows.append(row(f"{names[0]} → {names[1]}", item.kind, quality))
    return Table("Registrations.", ("Frames", "Kind", "Quality"), tuple(rows), (3.0, 1.0, 3.5))


def _in_frame(patient: Patient, frame: str) -> str:
    """Return the images that lie in a frame of reference."""
    names = [name for name, image in patient.images.items() if image.grid.frame_of_reference == frame]
    return listed(names) or "another frame"
