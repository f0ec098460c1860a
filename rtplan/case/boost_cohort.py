"""The cohort that the boost network learns from: digital pelves with drawn boosts, planned by our planner."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gamma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtplan import planning
from rtplan.case.boost import boosted_to, case_of, grid_of, plan_settings, prepare_boost
from rtplan.case.digital import with_targets
from rtplan.domain import Mask, Patient, Structure
from rtplan.dosimetry.protocol import Protocol, load_protocol
from rtplan.errors import FormatError, RtplanError
from rtplan.imaging.margin import expand
from rtplan.learning.boost import BoostCase, load_boost, save_boost
from rtplan.learning.boost_settings import BoostData
from rtplan.phantom.cohort import make_patient
from rtplan.phantom.shapes import Shape
from rtplan.planning.device import one_thread
from rtplan.planning.optimise import optimise
from rtplan.planning.prepare import Prepared

Say = Callable[[str], None]
#: Protocols in turn.
PROTOCOLS = ("prostate_boost_flame", "prostate_boost_5fx")
#: Image voxels of the digital pelves, mm: finer than the dose grid.
SPACING_ZYX_MM = (3.0, 2.0, 2.0)
_DIRECTIONS = ("L", "R", "A", "P", "S", "I")


@dataclass(frozen=True)
class Drawn:
    """What is drawn for one case beside the pelvis itself.

    Parameters
    ----------
    protocol : str
        One of `PROTOCOLS`.
    ratio : float or None
        Boost over gland; None: the protocol's own.
    beams : int
        7 or 9 fields.
    spacer : bool
        Whether a spacer parts prostate and rectum.
    gland_cc : float or None
        Volume of an ellipsoid in the place of the drawn gland; None: as the population draws it.
    lesion_cc : tuple of float
        Of one or two ellipsoids in the place of the drawn lesion; empty: as the population draws it.
    margin_mm : tuple of float
        Of the gland's target, all round and to posterior.
    """

    protocol: str
    ratio: float | None
    beams: int
    spacer: bool
    gland_cc: float | None
    lesion_cc: tuple[float, ...]
    margin_mm: tuple[float, float]


def draw(seed: int) -> Drawn:
    """Return what a seed draws.

    Examples
    --------
    >>> draw(5001) == draw(5001), draw(5001) == draw(5002)
    (True, False)
    """
    rng = np.random.default_rng([seed, 8])
    ratio = float(rng.uniform(1.03, 1.26)) if rng.random() < 0.5 else None
    gland = float(np.exp(rng.uniform(np.log(20.0), np.log(130.0)))) if rng.random() < 0.4 else None
    count = int(rng.integers(1, 3)) if gland is not None or rng.random() < 0.5 else 0
    lesions = tuple(float(cc) for cc in np.exp(rng.uniform(np.log(0.15), np.log(8.0), count)) / max(count, 1))
    margin = float(rng.uniform(4.0, 8.0))
    return Drawn(
        PROTOCOLS[seed % 2],
        ratio,
        int(rng.choice((7, 9))),
        bool(rng.random() < 1.0 / 3.0),
        gland,
        lesions,
        (margin, margin - float(rng.uniform(0.0, 2.0))),
    )


def digital_boost(cohort: str, seed: int, drawn: Drawn) -> tuple[Patient, Protocol]:
    """Return the digital pelvis of a seed with what was drawn, and its protocol."""
    protocol = load_protocol(drawn.protocol)
    if drawn.ratio is not None:
        gland_gy = next(e.dose_gy for e in protocol.prescription if e.to != "up_to")
        protocol = boosted_to(protocol, round(drawn.ratio * gland_gy, 1))
    rng = np.random.default_rng([seed, 9])
    shape = None if drawn.gland_cc is None else _ellipsoid_gland(drawn.gland_cc, rng)
    patient = make_patient(
        cohort,  # type: ignore[arg-type]
        seed,
        spacing_zyx_mm=SPACING_ZYX_MM,
        spacer=drawn.spacer,
        contrasts=(),
        shape=shape,
    )
    if drawn.lesion_cc:
        patient = patient.with_structures(_lesions(patient, drawn.lesion_cc, rng))
    return _with_margin(patient, protocol, drawn.margin_mm), protocol


def planned_case(patient: Patient, protocol: Protocol, beams: int) -> BoostCase:
    """Return a patient's case with the dose of our planner: ideal fluences, normalised as planned."""
    with one_thread():
        return planned(patient, protocol, beams)[0]


def planned(patient: Patient, protocol: Protocol, beams: int) -> tuple[BoostCase, Prepared]:
    """Plan on the network's grid; return the case with the dose, and what was planned with."""
    prepared = prepare_boost(patient, protocol)
    settings = plan_settings(beams)
    outcome = optimise(prepared.task, prepared.image, prepared.body, prepared.engine, settings)
    grid = grid_of(patient, prepared)
    dose = prepared.engine.calculate(outcome.plan.beams, [prepared.image], prepared.body, grid)[0]
    return case_of(patient, protocol, prepared, beams, grid=grid, dose=dose), prepared


def planner_sha256() -> str:
    """Return the SHA-256 of the planner's source files: which planner made a cohort."""
    folder = Path(next(iter(planning.__path__)))
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def gather_boost(data: BoostData, cache: Path, report: Say = lambda _: None) -> list[BoostCase]:
    """Return the cases of a source, planning those that the cache does not hold yet.

    Raises
    ------
    FormatError
        If cases are missing and those that are there were made by another planner.
    """
    folder = cache / f"{data.cohort}-{data.seed}"
    cases = []
    for seed in range(data.seed, data.seed + data.patients):
        path, refused = folder / f"{seed}.npz", folder / f"{seed}.refused"
        if not path.is_file() and not refused.is_file():
            demand_planner(folder)
            report(f"{data.cohort} {seed}: {_make(data.cohort, seed, path, refused)}")
        if path.is_file():
            cases.append(load_boost(path))
    return cases


def demand_planner(folder: Path) -> None:
    """Write which planner makes a folder's cases; raise FormatError where it was another one."""
    path, own = folder / "cohort.json", planner_sha256()
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8"))["planner_sha256"] != own:
            raise FormatError(
                "The cohort was begun by another version of the planner.",
                where=folder.name,
                action="finish it with that version, or begin another cache.",
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": 1, "planner_sha256": own}, indent=1), encoding="utf-8")


def _make(cohort: str, seed: int, path: Path, refused: Path) -> str:
    start = time.process_time()
    try:
        drawn = draw(seed)
        case = planned_case(*digital_boost(cohort, seed, drawn), drawn.beams)
    except RtplanError as error:
        refused.write_text(f"{type(error).__name__}: {error.message}", encoding="utf-8")
        return f"refused: {error.message}"
    save_boost(replace(case, name=f"{cohort}{seed}"), path)
    return f"{time.process_time() - start:.1f} s of processor"


def _ellipsoid_gland(volume_cc: float, rng: np.random.Generator) -> Shape:
    """Return a gland as a superellipsoid of so much volume, on voxels of 1 mm."""
    ratios = np.array([rng.uniform(0.9, 1.2), rng.uniform(0.8, 1.0), rng.uniform(1.05, 1.3)])  # z, y, x
    power = float(rng.uniform(2.0, 2.8))
    unit = 8.0 * gamma(1.0 + 1.0 / power) ** 3 / gamma(1.0 + 3.0 / power)  # volume of half axes 1
    half = ratios * (volume_cc * 1000.0 / (unit * ratios.prod())) ** (1.0 / 3.0)
    reach = np.ceil(half).astype(int) + 2
    z, y, x = np.ogrid[tuple(slice(-int(r), int(r) + 1) for r in reach)]
    size = np.abs(z / half[0]) ** power + np.abs(y / half[1]) ** power + np.abs(x / half[2]) ** power
    return Shape(size <= 1.0, (1.0, 1.0, 1.0), name="ellipsoid")


def _lesions(patient: Patient, volumes_cc: tuple[float, ...], rng: np.random.Generator) -> Structure:
    """Return ellipsoids about voxels of the prostate, cut to it."""
    region = patient.structure("Prostate").region
    assert isinstance(region, Mask)
    places = np.argwhere(region.array)
    low, high = places.min(0), places.max(0) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    spacing = np.array(region.grid.spacing_zyx_mm)
    axes = np.ogrid[box]
    inside = np.zeros(region.array[box].shape, bool)
    for volume in volumes_cc:
        centre = places[int(rng.integers(len(places)))]
        ratios = rng.uniform(0.7, 1.4, 3)
        half = ratios * (volume * 1000.0 / (4.1888 * ratios.prod())) ** (1.0 / 3.0)
        inside |= (
            sum(
                ((axis - c) * mm / h) ** 2 for axis, c, mm, h in zip(axes, centre, spacing, half, strict=True)
            )
            <= 1.0
        )
        inside[tuple(centre - low)] = True
    array: NDArray[np.bool_] = np.zeros(region.array.shape, bool)
    array[box] = inside & region.array[box]
    return Structure("GTVp", "GTV", Mask(region.grid, array))


def _with_margin(patient: Patient, protocol: Protocol, margin_mm: tuple[float, float]) -> Patient:
    """Return the patient with the protocol's gland target grown from the prostate by the drawn margin."""
    name = next(e.target for e in protocol.prescription if e.to != "up_to")
    round_, back = margin_mm
    sides = dict.fromkeys(_DIRECTIONS, round_) | {"P": back}
    target = expand(patient.structure("Prostate"), patient.images["CT"].grid, sides, name=name)
    return with_targets(patient, protocol, own_margins=(name,)).with_structures(target)
