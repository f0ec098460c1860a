"""What becomes of a plan when the patient lies otherwise, or contours are another reader's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from rtplan.domain import Beam, Dose, Finding, Grid, Mask, Patient
from rtplan.errors import DoseError, UnknownName
from rtplan.imaging.contour import mask_on
from rtplan.imaging.resample import resample
from rtplan.imaging.vary import ContourVariation, varied
from rtplan.planning.device import one_thread
from rtplan.planning.field import Influence
from rtplan.planning.objective import excess_gy
from rtplan.planning.prepare import Prepared
from rtplan.planning.solve import Scenarios

STEP = "OptimisePlan"
AXES = ("x", "y", "z")
#: A plan of more beams than this (an arc) is evaluated by moving its dose, not by calculating it again.
RECALCULATED = 20
#: So many contour samples serve as scenarios of an optimisation.
DRAWN = 4


@dataclass(frozen=True)
class Robust:
    """Which scenarios a plan shall serve.

    Parameters
    ----------
    shift_mm : float
        Displacement along each axis, both ways; 0: none.
    contours : ContourVariation or None
        How far contours vary; none is shipped, because none was sourced.
    how : str
        ``worst`` or ``expected``, of an optimisation.
    seed : int
        Of the contour samples.
    """

    shift_mm: float = 3.0
    contours: ContourVariation | None = None
    how: str = "worst"
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.shift_mm <= 20.0:
            raise DoseError(f"A setup error of {self.shift_mm:g} mm is out of range; give 0 to 20 mm.")
        if self.how not in ("worst", "expected"):
            raise UnknownName(f"Scenarios are taken at their {self.how!r}?", action="worst or expected.")


@dataclass(frozen=True)
class Result:
    """What a plan is worth in one scenario.

    Parameters
    ----------
    name : str
        ``+x`` …, or ``contours#3``.
    coverage, d98_gy : mapping of str to float
        Part of each target that gets 95 % of its dose, and its near-minimum.
    excess_gy : mapping of (str, str) to float
        By how much each hard limit (organ, limit) is broken; below 0: kept.
    """

    name: str
    coverage: Mapping[str, float]
    d98_gy: Mapping[str, float]
    excess_gy: Mapping[tuple[str, str], float]


def shifts(shift_mm: float) -> dict[str, tuple[float, float, float]]:
    """Return the six displacements of the patient along the axes (LPS), by name.

    Examples
    --------
    >>> shifts(3.0)["-z"]
    (0.0, 0.0, -3.0)
    """
    found = {}
    for axis, name in enumerate(AXES):
        for sign, mark in ((1.0, "+"), (-1.0, "-")):
            way = [0.0, 0.0, 0.0]
            way[axis] = sign * shift_mm
            found[f"{mark}{name}"] = (way[0], way[1], way[2])
    return found


def displaced(beams: Sequence[Beam], shift_mm: tuple[float, float, float]) -> tuple[Beam, ...]:
    """Return the beams as they meet a patient who is displaced by a shift: isocentres moved the other way."""
    moved = []
    for beam in beams:
        x, y, z = (c - d for c, d in zip(beam.isocentre_mm, shift_mm, strict=True))
        moved.append(replace(beam, isocentre_mm=(x, y, z)))
    return tuple(moved)


def evaluate(
    prepared: Prepared, beams: Sequence[Beam], dose: Dose, patient: Patient, robust: Robust
) -> tuple[Result, ...]:
    """Return what a plan is worth as planned (first) and in each scenario.

    Parameters
    ----------
    prepared : Prepared
        Targets and organs of the plan.
    beams : sequence of Beam
        Of the plan, with MU.
    dose : Dose
        Of the plan, on any grid.
    patient : Patient
        With the structures, for contour samples.
    robust : Robust
        The scenarios.

    Notes
    -----
    Up to 20 beams are calculated again for a patient who is displaced; the dose of more (an arc) is moved
    as if it were fixed in the room, which leaves out that depths change.
    """
    grid = prepared.leading.mask.grid
    here = resample(dose, grid).array
    masks = _masks(prepared)
    found = [_result("as planned", prepared, here, masks)]
    if robust.shift_mm > 0.0:
        again = len(beams) <= RECALCULATED
        for name, shift in shifts(robust.shift_mm).items():
            there = _again(prepared, beams, shift, masks) if again else _moved(dose, grid, shift)
            found.append(_result(name, prepared, there, masks))
    if robust.contours is not None:
        for n, drawn in enumerate(samples(prepared, patient, robust, robust.contours.samples)):
            found.append(_result(f"contours#{n}", prepared, here, {**masks, **drawn}))
    return tuple(found)


def samples(prepared: Prepared, patient: Patient, robust: Robust, count: int) -> Iterator[dict[str, Mask]]:
    """Yield targets and limited organs as other readers drew them, on the dose grid; each set by name."""
    assert robust.contours is not None
    grid = prepared.leading.mask.grid
    names = [n for n in _masks(prepared) if n in patient.structures]
    streams = {
        name: islice(varied(patient.structure(name), robust.contours, robust.seed + k), count)
        for k, name in enumerate(names)
    }
    for drawn in zip(*streams.values(), strict=True):
        yield {name: mask_on(structure, grid) for name, structure in zip(streams, drawn, strict=True)}


def scenarios_of(
    prepared: Prepared, influence: Influence, index: NDArray[np.int64], patient: Patient, robust: Robust
) -> Scenarios:
    """Return the scenarios of an optimisation: displaced influences, and some contour samples."""
    engine, grid = prepared.engine, prepared.leading.mask.grid
    scene = engine.scene([prepared.image], prepared.body, grid, index)
    moved = [
        Influence.of(engine, scene, displaced(influence.beams, shift), influence.open_, 2.0)
        for shift in (shifts(robust.shift_mm).values() if robust.shift_mm > 0.0 else ())
    ]
    drawn = () if robust.contours is None else tuple(samples(prepared, patient, robust, DRAWN))
    return Scenarios(tuple(moved), drawn, robust.how)  # type: ignore[arg-type]


def robust_findings(results: Sequence[Result], robust: Robust, *, calculated: bool) -> list[Finding]:
    """Return the worst coverage and D98 of each target and the worst excess of each limit, with scenarios."""
    told = {
        "shift_mm": robust.shift_mm,
        "contour_samples": 0 if robust.contours is None else robust.contours.samples,
        "method": "calculated again" if calculated else "dose moved",
    }
    found = []
    for name in results[0].coverage:
        parts = [100.0 * r.coverage[name] for r in results]
        for metric, unit, values in (
            ("V95%[%] worst scenario", "%", parts),
            ("D98%[Gy] worst scenario", "Gy", [r.d98_gy[name] for r in results]),
        ):
            worst = int(np.argmin(values))
            detail = {**told, "scenario": results[worst].name, "as_planned": round(values[0], 3)}
            found.append(Finding(metric, round(values[worst], 3), unit, STEP, structure=name, detail=detail))
    for key in results[0].excess_gy:
        values = [r.excess_gy.get(key, -np.inf) for r in results]
        worst = int(np.argmax(values))
        detail = {**told, "scenario": results[worst].name, "as_planned": round(values[0], 3)}
        metric = f"Excess of {key[1]}, worst scenario"
        found.append(Finding(metric, round(values[worst], 3), "Gy", STEP, structure=key[0], detail=detail))
    return found


def _masks(prepared: Prepared) -> dict[str, Mask]:
    targets = {name: target.mask for name, target in prepared.task.targets.items()}
    hard = {n: o.mask for n, o in prepared.task.organs.items() if any(x.hard for x in o.limits)}
    return {**targets, **hard}


def _again(
    prepared: Prepared, beams: Sequence[Beam], shift: tuple[float, float, float], masks: Mapping[str, Mask]
) -> NDArray[np.float32]:
    """Return the dose of displaced beams where it is looked at, 0 elsewhere."""
    engine, grid = prepared.engine, prepared.leading.mask.grid
    index = np.argwhere(np.any([mask.array for mask in masks.values()], axis=0))
    with one_thread(), torch.no_grad():
        scene = engine.scene([prepared.image], prepared.body, grid, index)
        parts = [engine.beam_dose(scene, beam)[0] for beam in displaced(beams, shift)]
    array = np.zeros(grid.shape, np.float32)
    array[tuple(index.T)] = torch.stack(parts).sum(dim=0).cpu().numpy()
    return array


def _moved(dose: Dose, grid: Grid, shift: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return a dose that stays in the room while the patient moves by a shift."""
    affine = dose.grid.affine.copy()
    affine[:3, 3] -= shift
    there = replace(dose, grid=replace(dose.grid, affine=affine))
    moved: NDArray[np.float32] = resample(there, grid).array
    return moved


def _result(name: str, prepared: Prepared, dose: NDArray[np.float32], masks: Mapping[str, Mask]) -> Result:
    coverage, d98 = {}, {}
    for target, wanted in prepared.task.targets.items():
        values = dose[masks[target].array]
        coverage[target] = float((values >= 0.95 * wanted.dose_gy).mean()) if values.size else 0.0
        d98[target] = float(np.percentile(values, 2)) if values.size else 0.0
    excess = {
        (organ, limit.name): excess_gy(
            torch.as_tensor(dose[masks[organ].array]), limit, prepared.task.fractions
        )
        for organ, entry in prepared.task.organs.items()
        for limit in entry.limits
        if limit.hard and masks[organ].array.any()
    }
    return Result(name, MappingProxyType(coverage), MappingProxyType(d98), MappingProxyType(excess))
