"""A clinical plan's jaws and leaves as fluence maps: beams that the dose engine can calculate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from rtplan.domain import Beam, ClinicalPlan, ControlPoint, DeliveredBeam, Fluence
from rtplan.errors import DoseError
from rtplan.planning.beam import BeamModel, Collimation, Output

Float = NDArray[np.float64]

#: Half of the largest field that any machine opens, mm.
WIDEST_MM = 250.0


#: As far from the axis what passes through the jaws is followed, mm.
LEAKS_MM = 200.0


#: Nothing passes, leaves end sharply.
IDEAL = Collimation()


@dataclass(frozen=True)
class Head:
    """What of a beam file concerns apertures.

    Parameters
    ----------
    collimation : Collimation
        Transmission and leaf ends.
    scatter : Output, optional
        Collimator scatter against the jaws' opening.
    """

    collimation: Collimation = IDEAL
    scatter: Output | None = None

    def output_of(self, width_mm: float, height_mm: float) -> float:
        """Return the output factor in air of a jaw opening."""
        return 1.0 if self.scatter is None else self.scatter.of(width_mm, height_mm)


def head_of(model: BeamModel) -> Head:
    """Return what of a beam file concerns apertures."""
    return Head(model.collimation, model.collimator_scatter)


#: What of an aperture a beam file may tell, in words: of every plan, and of those with leaves.
JAWS = {"jaw_transmission": "transmission through jaws"}
LEAVES = {
    "leaf_transmission": "transmission through leaves",
    "leaf_offset_mm": "the offset of rounded leaf ends",
    "leaf_end_sigma_mm": "the penumbra of leaf ends",
}
#: What no beam file can tell, where there are leaves.
NEVER = "tongue and groove (never calculated)"


def left_out(plan: ClinicalPlan, model: BeamModel) -> tuple[str, ...]:
    """Return in words what of a plan's apertures is idealised: not calculated, or 0 in the beam file.

    Parameters
    ----------
    plan : ClinicalPlan
        Of jaws alone, or with leaves.
    model : BeamModel
        What is known of the machine.
    """
    leaves = any(device.kind.startswith("MLC") for beam in plan.beams for device in beam.devices)
    words = JAWS | LEAVES if leaves else JAWS
    missing = [told for name, told in words.items() if not getattr(model.collimation, name)]
    if model.collimator_scatter is None and model.extra_focal is None:
        missing.append("head scatter against the jaws' opening")
    return (*missing, *([NEVER] if leaves else []))


@dataclass(frozen=True)
class ApertureSettings:
    """How finely apertures become maps.

    Parameters
    ----------
    spacing_mm : float
        Pixel in the isocentre plane. Openings are exact within a pixel (its open part counts).
    arc_step_deg : float
        Largest turn of the gantry that one static beam stands for.
    """

    spacing_mm: float = 2.0
    arc_step_deg: float = 2.0


@dataclass(frozen=True, eq=False)
class _Stretch:
    """A part of a beam between two states, with its monitor units; jaws stand at their mean."""

    gantry_deg: float
    mu: float
    before: ControlPoint
    after: ControlPoint
    start: float
    end: float

    def opening(self, kind: str) -> tuple[Float, Float]:
        """Return the positions of a device at both ends, shape (pairs, 2) each."""
        a, b = self.before.openings[kind], self.after.openings[kind]
        return a + self.start * (b - a), a + self.end * (b - a)


def beams_of(
    plan: ClinicalPlan,
    machine: str,
    energy_mv: float,
    settings: ApertureSettings | None = None,
    head: Head | None = None,
) -> tuple[Beam, ...]:
    """Return a clinical plan as static beams of fluence maps, with the monitor units of the whole course.

    A beam with a standing gantry becomes one beam, whatever its leaves do; an arc becomes one beam for each
    stretch between control points, at its mean angle. Leaves and jaws move linearly between control points.

    Parameters
    ----------
    plan : ClinicalPlan
        As it is delivered.
    machine : str
        Name of the beam file that stands for the plan's machine.
    energy_mv : float
        Energy of that file; all beams must have it.
    settings : ApertureSettings, optional
        Fineness.
    head : Head, optional
        What of the machine is known beside the openings; nothing by default.

    Raises
    ------
    DoseError
        If the plan has obstacles (wedges, electrons …), another energy, or is not for a patient head first
        and supine.

    Notes
    -----
    Without ``head`` nothing passes through closed leaves or jaws (1 to 2 % do), leaves end sharply where
    their positions say, and output does not depend on the jaws. Tongue and groove is never calculated.
    Differences between density images hardly depend on them; absolute dose does.
    """
    settings, head = settings or ApertureSettings(), head or Head()
    _demand(plan, energy_mv)
    return tuple(made for beam in plan.beams for made in _beams(beam, machine, settings, head))


def _demand(plan: ClinicalPlan, energy_mv: float) -> None:
    if plan.obstacles:
        raise DoseError(
            f"The plan {plan.name!r} cannot be recalculated: {'; '.join(plan.obstacles)}.",
            action="let rtplan make its own plan from the structures.",
        )
    if plan.patient_position not in ("", "HFS"):
        raise DoseError(
            f"The plan {plan.name!r} is for a patient in {plan.patient_position}; only HFS is known.",
            action="let rtplan make its own plan from the structures.",
        )
    other = [
        b for b in plan.beams if b.points[0].energy_mv is None or abs(b.points[0].energy_mv - energy_mv) > 0.1
    ]
    if other:
        listed = ", ".join(f"{b.name!r} {b.points[0].energy_mv or 'unknown'} MV" for b in other)
        raise DoseError(
            f"The beam file is of {energy_mv:g} MV, but beams of the plan {plan.name!r} are not: {listed}.",
            action="give the beam file of that energy by --machine (rtplan models beams).",
        )


def _beams(beam: DeliveredBeam, machine: str, settings: ApertureSettings, head: Head) -> Iterator[Beam]:
    stretches = list(_stretches(beam, settings))
    groups: list[list[_Stretch]] = []
    for stretch in stretches:
        if groups and groups[-1][0].gantry_deg == stretch.gantry_deg:
            groups[-1].append(stretch)
        else:
            groups.append([stretch])
    first = beam.points[0]
    for count, group in enumerate(groups, start=1):
        yield Beam(
            beam.name if len(groups) == 1 else f"{beam.name} {count}/{len(groups)}",
            group[0].gantry_deg,
            first.isocentre_mm,
            _fluence(beam, group, settings.spacing_mm, head),
            machine,
            first.collimator_deg,
            first.couch_deg,
        )


def _stretches(beam: DeliveredBeam, settings: ApertureSettings) -> Iterator[_Stretch]:
    """Yield the parts of a beam in which monitor units are given, short enough in angle and in jaw travel."""
    assert beam.mu is not None
    for a, b in zip(beam.points[:-1], beam.points[1:], strict=True):
        mu = beam.mu * (b.share - a.share)
        if mu <= 0.0:
            continue
        turn = turned_deg(a, b)
        travel = max(
            (
                float(np.abs(b.openings[k] - a.openings[k]).max())
                for k in a.openings
                if not k.startswith("MLC")
            ),
            default=0.0,
        )
        parts = max(math.ceil(abs(turn) / settings.arc_step_deg), math.ceil(travel / settings.spacing_mm), 1)
        for n in range(parts):
            middle = (a.gantry_deg + turn * (n + 0.5) / parts) % 360.0
            yield _Stretch(middle, mu / parts, a, b, n / parts, (n + 1) / parts)


def turned_deg(a: ControlPoint, b: ControlPoint) -> float:
    """Return by how much the gantry turns from one control point to the next, degrees; clockwise is positive.

    Raises
    ------
    DoseError
        If the angle changes but no direction is said.
    """
    if abs((b.gantry_deg - a.gantry_deg + 180.0) % 360.0 - 180.0) < 1e-6 and a.gantry_turn == "NONE":
        return 0.0
    if a.gantry_turn == "CW":
        return (b.gantry_deg - a.gantry_deg) % 360.0
    if a.gantry_turn == "CC":
        return -((a.gantry_deg - b.gantry_deg) % 360.0)
    raise DoseError(
        f"The gantry turns from {a.gantry_deg:g} to {b.gantry_deg:g} degrees; which way is not said."
    )


def _fluence(beam: DeliveredBeam, stretches: list[_Stretch], spacing: float, head: Head) -> Fluence:
    """Return the map of some stretches: the mean open part of each pixel times the monitor units."""
    kind = next((d.kind for d in beam.devices if d.kind.startswith("MLC")), "")
    passing = head.collimation
    rows, columns = _pixel_edges(stretches, kind == "MLCY", spacing, passing)
    total = np.zeros((len(rows) - 1, len(columns) - 1))
    boundaries = next((np.array(d.boundaries_mm) for d in beam.devices if d.kind == kind), None)
    for stretch in stretches:
        across, along = _jaws(stretch, "Y"), _jaws(stretch, "X")
        if kind == "MLCY":
            across, along = along, across
        if boundaries is None or kind not in stretch.before.openings:
            strips, ends = np.array(across), (np.array([along]), np.array([along]))
        else:
            strips, (start, end) = boundaries, stretch.opening(kind)
            ends = _opened(start, passing.leaf_offset_mm), _opened(end, passing.leaf_offset_mm)
        open_ = _shares(rows, strips, across) @ _open_parts(columns, ends, along) / spacing
        between = np.outer(_within(rows, across), _within(columns, along))
        through = passing.leaf_transmission * (between - open_) + passing.jaw_transmission * (1.0 - between)
        output = head.output_of(along[1] - along[0], across[1] - across[0])
        total += stretch.mu * output * (open_ + through)
    if passing.leaf_end_sigma_mm and boundaries is not None:
        total = gaussian_filter1d(total, passing.leaf_end_sigma_mm / spacing, axis=1, mode="nearest")
    if kind == "MLCY":
        total, (rows, columns) = total.T, (columns, rows)
    corner = (float(columns[0]) + spacing / 2.0, float(rows[0]) + spacing / 2.0)
    return Fluence(np.maximum(total, 0.0).astype(np.float32), spacing, corner)


def _opened(positions: Float, more_mm: float) -> Float:
    """Return leaf positions opened by so much at both ends; pairs that touch stay closed."""
    closed = positions[:, 1] - positions[:, 0] < 1e-3
    wider = positions + np.array([-more_mm, more_mm])
    return np.where(closed[:, None], positions, wider)


def _within(edges: Float, jaws: tuple[float, float]) -> Float:
    """Return which part of each pixel lies between the jaws."""
    inside = np.minimum(edges[1:], jaws[1]) - np.maximum(edges[:-1], jaws[0])
    part: Float = np.clip(inside / (edges[1] - edges[0]), 0.0, 1.0)
    return part


def _jaws(stretch: _Stretch, axis: str) -> tuple[float, float]:
    """Return the mean position of the jaws along ``X`` or ``Y``; wide open where there are none."""
    for kind in (axis, f"ASYM{axis}"):
        if kind in stretch.before.openings:
            low, high = np.mean(stretch.opening(kind), axis=0)[0]
            return float(low), float(high)
    return -WIDEST_MM, WIDEST_MM


def _pixel_edges(
    stretches: list[_Stretch], turned: bool, spacing: float, passing: Collimation
) -> tuple[Float, Float]:
    """Return the pixels' edges across and along the leaves: multiples of the spacing round all openings."""
    found: list[Float] = []
    for axis in ("X", "Y") if turned else ("Y", "X"):
        jaws = [_jaws(stretch, axis) for stretch in stretches]
        low, high = min(j[0] for j in jaws), max(j[1] for j in jaws)
        beyond = 3.0 * passing.leaf_end_sigma_mm
        low, high = low - beyond, high + beyond
        if passing.jaw_transmission:
            low, high = min(low, -LEAKS_MM), max(high, LEAKS_MM)
        first, last = math.floor(low / spacing + 1e-9), math.ceil(high / spacing - 1e-9)
        found.append(np.arange(first, max(last, first + 1) + 1, dtype=np.float64) * spacing)
    return found[0], found[1]


def _shares(rows: Float, strips: Float, jaws: tuple[float, float]) -> Float:
    """Return which length of each row of pixels each leaf pair covers between the jaws, over the pixel."""
    low = np.maximum(np.maximum(rows[:-1, None], strips[None, :-1]), jaws[0])
    high = np.minimum(np.minimum(rows[1:, None], strips[None, 1:]), jaws[1])
    shares: Float = np.maximum(high - low, 0.0) / (rows[1] - rows[0])
    return shares


def _open_parts(columns: Float, ends: tuple[Float, Float], jaws: tuple[float, float]) -> Float:
    """Return the mean open length of each pixel for pairs that move linearly, shape (pairs, columns), mm."""
    x = np.clip(columns, jaws[0], max(jaws[0], jaws[1]))
    passed = [_passed(x, ends[0][:, n], ends[1][:, n]) for n in (0, 1)]
    opened: Float = np.diff(passed[0] - passed[1], axis=1)
    return opened


def _passed(x: Float, start: Float, end: Float) -> Float:
    """Return the integral up to x of the share of time for which an edge is below, shape (pairs, len(x)).

    An edge that moves from a to b is below x for the share (x - a) / (b - a) of the time.
    """
    low = np.minimum(start, end)[:, None]
    width = np.maximum(np.abs(end - start)[:, None], 1e-9)
    inside = np.clip(x[None, :] - low, 0.0, width)
    beyond: Float = inside**2 / (2.0 * width) + np.maximum(x[None, :] - low - width, 0.0)
    return beyond
