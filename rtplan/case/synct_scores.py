"""Score synthetic-CT networks on a folder of MR-CT pairs: one network, one per fold, or finished images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rtplan.case.outfolder import whole
from rtplan.case.training import aligned
from rtplan.domain import Finding, Image, Mask, Patient
from rtplan.errors import FormatError
from rtplan.evaluation.lookup import Counts, counts, looked_up, lookup
from rtplan.evaluation.synct import STYLES, Bodies, CaseScore, bodies_of, score_case
from rtplan.evaluation.synct_summary import summary
from rtplan.io.datasets.matched import read_pairs
from rtplan.io.datasets.synthrad import MASK
from rtplan.io.nifti import ENDINGS, read_volume
from rtplan.learning.predict import synthesise
from rtplan.learning.zoo import Model

#: Makes the synthetic CT of a patient's MR.
Maker = Callable[[Patient, Image], Image]


@dataclass(frozen=True, eq=False)
class Part:
    """Cases that one maker answers for: a network and the names it is asked about (none: all)."""

    name: str
    make: Maker
    only: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SynctScores:
    """The cases' scores and the findings over them."""

    cases: tuple[CaseScore, ...]
    findings: tuple[Finding, ...]
    style: str
    aligned: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return the fields that ``rtplan evaluate synct --json`` prints beside the findings."""
        return {
            "style": self.style,
            "aligned": self.aligned,
            "n": len(self.cases),
            "cases": {
                one.key: {
                    "overlap": one.overlap,
                    "apart": one.apart,
                    "figures": _finite(one.figures),
                    "lookup": _finite(one.lookup),
                }
                for one in self.cases
            },
        }


def by_network(model: Model, only: Sequence[str] = ()) -> Part:
    """Return the part that a network answers for."""
    return Part(model.card.name, lambda _, mr: synthesise(model, mr), tuple(only))


def by_images(folder: Path, only: Sequence[str] = ()) -> Part:
    """Return the part that volume files ``<case>.nii.gz`` (or ``.mha``) in a folder answer for."""

    def read(patient: Patient, mr: Image) -> Image:
        files = [folder / f"{patient.key}{ending}" for ending in ENDINGS]
        file = next((path for path in files if path.is_file()), None)
        if file is None:
            raise FormatError("There is no synthetic CT of this case in the folder.", where=patient.key)
        made = read_volume(file, kind="CT", frame_of_reference=mr.grid.frame_of_reference)
        assert isinstance(made, Image)
        mr.demand_same_grid(made)
        return replace(made, grid=mr.grid)

    return Part(folder.name, read, tuple(only))


def score_synct(
    data: Path,
    parts: Sequence[Part],
    style: str,
    *,
    align: bool = False,
    save: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> SynctScores:
    """Score synthetic CTs of the pairs in a folder, beside an intensity lookup.

    Parameters
    ----------
    data : Path
        Folder of pairs (`io.datasets.matched`).
    parts : sequence of Part
        Who makes the synthetic CT of which cases; no case may have two makers.
    style : str
        One of `evaluation.synct.STYLES`.
    align : bool
        Lay each CT on its MR first (`imaging.laid`): the score on pairs that agree. Say so beside it.
    save : Path, optional
        New folder for ``scores.json``.

    Raises
    ------
    FormatError
        If a case has two makers, or the folder cannot be read.
    ModelError
        If a network refuses an MR.

    Notes
    -----
    The lookup of a case is learned from all other pairs of the folder, scored or not; a folder with one
    pair has none.
    """
    pairs = _pairs(data, align)
    known = {patient.key: _counted(patient) for patient in pairs(())}
    scored: dict[str, CaseScore] = {}
    for part in parts:
        for patient in pairs(part.only):
            if patient.key in scored:
                raise FormatError("Two networks answer for one case.", where=patient.key)
            others = [table for key, table in known.items() if key != patient.key]
            scored[patient.key] = _score(patient, part, others, style)
            report(_line(scored[patient.key]))
    cases = tuple(scored[key] for key in sorted(scored))
    names = " + ".join(part.name for part in parts)
    found = (replace(f, detail={**f.detail, "aligned": align}) for f in summary(cases, names, style))
    done = SynctScores(cases, tuple(found), style, align)
    if save is not None:
        with whole(save) as out:
            text = {"schema": 1, "findings": [f.as_dict() for f in done.findings], **done.as_dict()}
            (out / "scores.json").write_text(json.dumps(text, indent=1, allow_nan=False), encoding="utf-8")
    return done


def _pairs(data: Path, align: bool) -> Callable[[tuple[str, ...]], Iterable[Patient]]:
    """Return a reader of the pairs of some names (none: all); those that were laid on are kept."""
    if not align:
        return lambda only: read_pairs(data, only=only)
    kept = {patient.key: aligned(patient) for patient in read_pairs(data)}

    def asked(only: tuple[str, ...]) -> list[Patient]:
        lacks = [name for name in only if name not in kept]
        if lacks:
            raise FormatError(f"These cases are not in the folder: {', '.join(lacks)}.", where=data.name)
        return [patient for key, patient in kept.items() if not only or key in only]

    return asked


def _score(patient: Patient, part: Part, others: Sequence[Counts], style: str) -> CaseScore:
    mr, ct, bodies = _seen(patient)
    score = score_case(patient.key, part.make(patient, mr), ct, bodies, STYLES[style])
    if not others:
        return score
    simple = score_case(patient.key, looked_up(mr, bodies.mr, lookup(others)), ct, bodies, STYLES[style])
    return replace(score, lookup=simple.figures)


def _counted(patient: Patient) -> Counts:
    mr, ct, bodies = _seen(patient)
    return counts(mr, ct, bodies.mr, bodies.masks["intersection"])


def _seen(patient: Patient) -> tuple[Image, Image, Bodies]:
    mr = next(iter(patient.mr.values()))
    ct = patient.images["CT"]
    own = patient.structures[MASK].region if MASK in patient.structures else None
    return mr, ct, bodies_of(mr, ct, own if isinstance(own, Mask) else None)


def _line(score: CaseScore) -> str:
    beside = f", lookup {score.lookup['MAE']:.1f}" if score.lookup else ""
    return (
        f"{score.key}: MAE {score.figures['MAE']:.1f} HU{beside}, bone Dice {score.figures['Dice bone']:.2f}"
    )


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}
