"""What the interactive page is told beside the planes: names, colours, curves, findings and notices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Finding, Image
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.dosimetry.bands import Band
from rtplan.errors import GeometryMismatch
from rtplan.report.assemble import WARNING
from rtplan.report.book import Book, Row, book_of, is_outcome
from rtplan.report.figures import DASHES, ISODOSE_COLOURS, looks
from rtplan.report.live.cut import dose_factor
from rtplan.report.live.stage import Stage, on_plane
from rtplan.report.maps import difference_limit
from rtplan.report.planes import VIEWS, Plane
from rtplan.report.plots import Curves
from rtplan.report.scene import MOST_STRUCTURES
from rtplan.report.slices import window_of
from rtplan.report.words import ARM_WORDS, VERDICTS, amount, risk

Float = NDArray[np.float64]
Plain = dict[str, Any]

#: Doses at which the DVHs are sent.
CURVE_POINTS = 401
BODY_COLOUR = "#E8E8E8"


def facts_of(
    stage: Stage, curves: Curves, bands: Mapping[str, Mapping[str, Band]], provenance: Mapping[str, Any]
) -> Plain:
    """Return everything that the page is told at its start, as plain data.

    Parameters
    ----------
    stage : Stage
        The case.
    curves : mapping
        Arm to structure to (dose in Gy, volume in %).
    bands : mapping
        Arm to structure to the band of its DVH.
    provenance : mapping
        The manifest; may be empty.

    Returns
    -------
    dict
        No identity: the patient is named by his key alone. Where absolute dose is withheld, doses are in %
        of ``doses.base``.
    """
    book = book_of(stage.patient)
    return {
        "key": stage.patient.key,
        "protocol": str((provenance.get("settings") or {}).get("protocol") or ""),
        "warning": WARNING,
        "views": {view: _view(stage, view) for view in VIEWS},
        "centre": (stage.axes.T @ stage.centre_mm).tolist(),
        "centre_words": stage.centre_words,
        "axes": stage.axes.tolist(),
        "images": _images(stage),
        "doses": _doses(stage, book),
        "structures": _structures(stage),
        "dvh": _curves(stage, curves, bands),
        "arms": {arm: ARM_WORDS.get(arm, arm) for arm in book.arms},
        "findings": [_row(row, book) for row in (*book.outcomes, *book.goals, *_others(book))],
        "not_evaluable": [_missing(finding) for finding in book.not_evaluable],
        "notices": [_notice(notice.as_dict()) for notice in stage.patient.notices],
    }


def _view(stage: Stage, view: Any) -> Plain:
    slices = stage.slices(view)
    across, down, letters = VIEWS[view]
    plane = stage.plane(view, slices.nearest(float((stage.axes.T @ stage.centre_mm)[slices.axis])))
    return {
        "axis": slices.axis,
        "first": slices.first_mm,
        "step": slices.step_mm,
        "count": slices.count,
        "x_axis": abs(across) - 1,
        "y_axis": abs(down) - 1,
        "y_down": down > 0,
        "letters": letters,
        "tilt": round(plane.tilt_deg, 1),
        "width": plane.size_mm[0],
        "height": plane.size_mm[1],
    }


def _images(stage: Stage) -> list[Plain]:
    middle = stage.slices("axial").nearest(float((stage.axes.T @ stage.centre_mm)[2]))
    plane = stage.plane("axial", middle)
    made = []
    for name, image in stage.patient.images.items():
        seen = () if image.modality == "CT" else (_floats(stage, image, plane),)
        low, high = window_of(image, seen)
        words = ARM_WORDS.get(name, f"{image.modality} as it came")
        made.append(
            {
                "name": name,
                "words": words,
                "unit": "HU" if image.modality == "CT" else "",
                "window": [low, high],
            }
        )
    return made


def _floats(stage: Stage, image: Image, plane: Plane) -> Float:
    try:
        return on_plane(image, plane, stage.link(image)).astype(np.float64)
    except GeometryMismatch:
        return np.empty(0)


def _doses(stage: Stage, book: Book) -> Plain | None:
    patient, isodoses = stage.patient, stage.isodoses
    if not patient.doses or isodoses is None:
        return None
    factor = dose_factor(stage)
    arms = [arm for arm in book.arms if arm in patient.doses]
    highest = max(float(dose.array.max()) for dose in patient.doses.values())
    levels = [
        {"at": factor * gy, "label": label, "words": words, "colour": colour}
        for gy, label, words, colour in zip(
            isodoses.levels_gy, isodoses.labels, isodoses.words, ISODOSE_COLOURS, strict=True
        )
    ]
    return {
        "arms": arms,
        "reference": book.reference if book.reference in patient.doses else None,
        "unit": "Gy" if factor == 1.0 else "%",
        "highest": factor * highest,
        "base": isodoses.base,
        "levels": levels,
        "difference_limit": _limit(stage, arms),
        "spreads": {arm: difference_limit([[dose.array]]) for arm, dose in stage.spreads.items()},
        "withheld": patient.absolute_withheld,
    }


def _limit(stage: Stage, arms: list[str]) -> float:
    """Return the end of the scale for differences, Gy, that fits every arm against the first."""
    doses = [stage.patient.doses[arm] for arm in arms]
    pairs = [d.array - doses[0].array for d in doses[1:] if d.grid.same_as(doses[0].grid)]
    return difference_limit([[pair] for pair in pairs]) if pairs else 1.0


def _structures(stage: Stage) -> list[Plain]:
    shown = looks([name for name in stage.drawn if name != EXTERNAL])
    made = []
    for rank, name in enumerate(stage.drawn):
        share = stage.share(name)
        if share is None:
            continue
        structure = stage.patient.structure(name)
        colour, dash = (BODY_COLOUR, DASHES[0]) if name == EXTERNAL else shown[name]
        inside = np.flatnonzero(share.array >= 0.5 * float(share.array.max()))
        index = np.unravel_index(inside[len(inside) // 2], share.array.shape)
        middle = stage.axes.T @ share.grid.to_patient(index)
        made.append(
            {
                "name": name,
                "kind": structure.kind,
                "colour": colour,
                "dash": [round(part * 2) for part in dash[1]],
                "shown": rank < MOST_STRUCTURES or name == EXTERNAL,
                "point": middle.tolist(),
                "cc": round(float(share.array.sum()) * share.grid.voxel_cc, 1),
            }
        )
    return made


def _curves(stage: Stage, curves: Curves, bands: Mapping[str, Mapping[str, Band]]) -> Plain:
    factor = dose_factor(stage)
    if not np.isfinite(factor):  # withheld, and no dose that could stand for 100 %
        return {"dose": [0.0, 1.0], "curves": {}, "bands": {}}
    ends = [_end(gy, percent) for by_name in curves.values() for gy, percent in by_name.values() if len(gy)]
    dose = np.linspace(0.0, 1.02 * max(ends, default=1.0) or 1.0, CURVE_POINTS)
    return {
        "dose": np.round(factor * dose, 3).tolist(),
        "curves": {
            arm: {
                name: np.round(np.interp(dose, gy, percent, right=0.0), 2).tolist()
                for name, (gy, percent) in by_name.items()
                if len(gy)
            }
            for arm, by_name in curves.items()
        },
        "bands": {
            arm: {
                name: {
                    "low": np.round(np.interp(dose, band.dose_gy, band.low_percent), 2).tolist(),
                    "high": np.round(np.interp(dose, band.dose_gy, band.high_percent), 2).tolist(),
                    "what": band.what,
                }
                for name, band in by_name.items()
            }
            for arm, by_name in bands.items()
        },
    }


def _end(gy: Float, percent: Float) -> float:
    """Return the first dose that nothing of the structure gets."""
    some = np.flatnonzero(percent > 0.01)
    return float(gy[min(int(some[-1]) + 1, len(gy) - 1)]) if len(some) else 0.0


def _others(book: Book) -> tuple[Row, ...]:
    goals = {(row.structure, row.metric) for row in book.goals}
    doses = tuple(row for row in book.doses if (row.structure, row.metric) not in goals)
    return (*doses, *book.images, *book.registrations)


def _row(row: Row, book: Book) -> Plain:
    first = row.first
    return {
        "structure": row.structure,
        "metric": row.metric,
        "unit": "" if is_outcome(first) else first.unit,
        "model": first.model or "",
        "limit": first.limit or "",
        "verified": first.verified is not False,
        "values": {arm: _text(f) for arm, f in row.values.items()},
        "changes": {arm: _text(f, sign=True) for arm, f in row.changes.items()},
        "verdicts": {
            arm: " ".join(VERDICTS[f.verdict]) for arm, f in row.values.items() if f.verdict != "none"
        },
        "missing": {arm: f.reason or "" for arm, f in row.missing.items()},
    }


def _text(finding: Finding, *, sign: bool = False) -> str:
    value = float(finding.value or 0.0)
    if not is_outcome(finding):
        return amount(value, finding.unit, sign=sign)
    return f"{amount(100.0 * value, 'Gy', sign=True)} pp" if sign else risk(value)


def _missing(finding: Finding) -> Plain:
    return {
        "structure": finding.structure or "",
        "metric": finding.metric,
        "arm": finding.arm or "",
        "reason": finding.reason or "",
    }


def _notice(plain: Plain) -> Plain:
    return {key: plain[key] for key in ("code", "severity", "message", "action")}
