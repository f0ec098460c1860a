"""From optimised openings to a plan as it is delivered, and whether a machine can deliver it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Beam, ClinicalPlan, ControlPoint, DeliveredBeam, Device, FractionGroup
from rtplan.planning.arc import Arc
from rtplan.planning.machine import Machine
from rtplan.planning.refine import Static
from rtplan.planning.sequence import Segments
from rtplan.planning.shapes import Frame

Float = NDArray[np.float64]
#: A pair counts as closed when it is open by no more than this beyond the machine's gap, mm.
SHUT_MM = 0.05
#: How far a limit may be broken by rounding, mm, and in MU.
ROUNDING = 2e-3


@dataclass(frozen=True)
class Labels:
    """What a delivered plan says of itself.

    Parameters
    ----------
    name : str
        RTPlanLabel.
    targets : mapping of str to float
        Prescribed doses of the course, Gy.
    fractions : int
        Number of fractions.
    energy_mv : float
        Of the beam file.
    frame_of_reference : str
        Of the isocentres.
    """

    name: str
    targets: Mapping[str, float]
    fractions: int
    energy_mv: float
    sad_mm: float
    frame_of_reference: str = ""


def delivered(layout: Static | Arc, labels: Labels) -> ClinicalPlan:
    """Return the plan of a layout: whole leaf banks, jaws close to the openings, control points.

    Closed pairs, and pairs beyond the jaws, wait behind a jaw with the machine's gap; where leaves must not
    interdigitate, in-field pairs stay where they are and the others beside their neighbours.
    """
    if isinstance(layout, Arc):
        beams = [_arc(layout, labels)]
    else:
        beams = [_field(n, s, layout.machine, labels) for n, s in enumerate(layout.segments, start=1)]
    mu = MappingProxyType({beam.number: (beam.mu or 0.0) / labels.fractions for beam in beams})
    return ClinicalPlan(
        name=labels.name,
        targets=MappingProxyType(dict(labels.targets)),
        groups=(FractionGroup(1, labels.fractions, mu),),
        beams=tuple(beams),
        frame_of_reference=labels.frame_of_reference,
        patient_position="HFS",
    )


def _field(number: int, segments: Segments, machine: Machine, labels: Labels) -> DeliveredBeam:
    frame, mu = segments.frame, segments.mu
    left, right, jaws = _banks(frame, segments.left, segments.right, machine)
    shares = np.concatenate([[0.0], np.cumsum(mu) / mu.sum()])
    shares[-1] = 1.0
    points = []
    for n in range(len(mu)):
        leaves = np.stack([left[n], right[n]], axis=1)
        points += [_point(frame.beam, shares[m], leaves, jaws, labels) for m in (n, n + 1)]
    return _beam(number, frame.beam, machine, points, float(mu.sum()), labels)


def _arc(arc: Arc, labels: Labels) -> DeliveredBeam:
    left, right, jaws = _banks(arc.frame, arc.left, arc.right, arc.machine, moving=True)
    shares = np.concatenate([[0.0], np.cumsum(arc.mu) / arc.mu.sum()])
    shares[-1] = 1.0
    points = []
    for n, angle in enumerate(arc.angles_deg):
        turn = "CW" if n < len(arc.angles_deg) - 1 else "NONE"
        leaves = np.stack([left[n], right[n]], axis=1)
        points.append(_point(arc.frame.beam, shares[n], leaves, jaws, labels, float(angle) % 360.0, turn))
    return _beam(1, arc.frame.beam, arc.machine, points, float(arc.mu.sum()), labels)


def _point(
    beam: Beam,
    share: float,
    leaves: Float,
    jaws: tuple[Float, Float],
    labels: Labels,
    angle: float | None = None,
    turn: str = "NONE",
) -> ControlPoint:
    return ControlPoint(
        share=float(share),
        gantry_deg=beam.gantry_deg if angle is None else angle,
        collimator_deg=beam.collimator_deg,
        couch_deg=beam.couch_deg,
        isocentre_mm=beam.isocentre_mm,
        openings={"ASYMX": jaws[0][None], "ASYMY": jaws[1][None], "MLCX": leaves},
        gantry_turn=turn,  # type: ignore[arg-type]
        energy_mv=labels.energy_mv,
    )


def _beam(
    number: int, beam: Beam, machine: Machine, points: list[ControlPoint], mu: float, labels: Labels
) -> DeliveredBeam:
    edges = tuple(float(edge) for edge in machine.leaves.boundaries_mm)
    devices = (Device("ASYMX"), Device("ASYMY"), Device(machine.leaves.kind, edges))
    return DeliveredBeam(number, beam.name, beam.machine, devices, tuple(points), mu, sad_mm=labels.sad_mm)


def _banks(
    frame: Frame, left: Float, right: Float, machine: Machine, *, moving: bool = False
) -> tuple[Float, Float, tuple[Float, Float]]:
    """Return both banks whole, shape (states, pairs of the machine), to 0.001 mm, and the jaws (x, y)."""
    leaves, count = machine.leaves, len(machine.leaves.boundaries_mm) - 1
    gap = leaves.min_gap_mm
    open_ = right - left > gap + SHUT_MM
    lit = open_.any(axis=0)
    rows = np.flatnonzero(lit) if lit.any() else np.arange(frame.pairs)
    jaws_y = frame.edges_mm[[rows[0], rows[-1] + 1]]
    x1 = np.floor(left[open_].min()) if open_.any() else frame.jaws_x_mm[0]
    x2 = np.ceil(right[open_].max()) if open_.any() else frame.jaws_x_mm[1]
    park = float(x2) + 0.5 * gap
    centre = np.full((len(left), count), park)
    half = np.full((len(left), count), 0.5 * gap)
    inside = slice(frame.first, frame.first + frame.pairs)
    stays = open_ if leaves.interdigitation and not moving else np.ones_like(open_)
    centre[:, inside] = np.where(stays, 0.5 * (left + right), park)
    half[:, inside] = np.where(stays, 0.5 * (right - left), 0.5 * gap)
    if not leaves.interdigitation:
        centre[:, : frame.first] = centre[:, [frame.first]]
        centre[:, frame.first + frame.pairs :] = centre[:, [frame.first + frame.pairs - 1]]
    ends = np.round(centre - half, 3), np.round(centre + half, 3)
    return ends[0], ends[1], (np.array([x1, x2], np.float64), np.asarray(jaws_y, np.float64))


def faults(plan: ClinicalPlan, machine: Machine) -> list[str]:
    """Return what of a plan a machine cannot deliver; empty: all of it."""
    found: list[str] = []
    for beam in plan.beams:
        for point in beam.points:
            found += [f"beam {beam.name}: {what}" for what in _standing(point.openings["MLCX"], machine)]
        found += [f"beam {beam.name}: {what}" for what in _moving(beam, plan, machine)]
    return list(dict.fromkeys(found))


def _standing(ends: Float, machine: Machine) -> Iterator[str]:
    leaves = machine.leaves
    left, right = ends.T
    if (right - left).min() < leaves.min_gap_mm - ROUNDING:
        yield "leaves of a pair are nearer than the gap"
    if np.abs(ends).max() > leaves.max_position_mm + ROUNDING:
        yield "a leaf goes too far from the axis"
    if max(np.ptp(left), np.ptp(right)) > leaves.max_span_mm + ROUNDING:
        yield "the leaves of a bank lie too far apart"
    if not leaves.interdigitation:
        across = np.concatenate([right[1:] - left[:-1], right[:-1] - left[1:]])
        if across.min() < leaves.min_gap_mm - ROUNDING:
            yield "leaves interdigitate"


def _moving(beam: DeliveredBeam, plan: ClinicalPlan, machine: Machine) -> Iterator[str]:
    if not beam.is_arc:
        mu = (beam.mu or 0.0) / (plan.fractions or 1) * np.diff([p.share for p in beam.points])
        if mu[mu > 0].min() < machine.output.min_mu_per_segment - ROUNDING:
            yield "a segment has too few monitor units"
        return
    for a, b in zip(beam.points[:-1], beam.points[1:], strict=True):
        travel = float(np.abs(b.openings["MLCX"] - a.openings["MLCX"]).max())
        turn = (b.gantry_deg - a.gantry_deg) % 360.0
        reach = machine.leaves.speed_mm_per_s * turn / machine.gantry.speed_deg_per_s
        if travel > reach + 2.0 * ROUNDING:
            yield "a leaf is too slow for the gantry"


def seconds_of(plan: ClinicalPlan, machine: Machine) -> float:
    """Return how long the beam is on in one fraction, s; an arc slows down where the dose rate demands it."""
    total = 0.0
    rate = machine.output.max_mu_per_min / 60.0
    for beam in plan.beams:
        mu = (beam.mu or 0.0) / (plan.fractions or 1)
        for a, b in zip(beam.points[:-1], beam.points[1:], strict=True):
            turn = (b.gantry_deg - a.gantry_deg) % 360.0 if beam.is_arc else 0.0
            total += max(mu * (b.share - a.share) / rate, turn / machine.gantry.speed_deg_per_s)
    return total
