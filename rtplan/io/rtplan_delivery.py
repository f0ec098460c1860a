"""RTPLAN of any system, whole: prescription, fraction groups, beams, control points, jaws and leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from rtplan.domain import ClinicalPlan, ControlPoint, DeliveredBeam, Device, FractionGroup
from rtplan.domain.delivery import JAWS, LEAVES, Turn
from rtplan.errors import DicomError, DoseError
from rtplan.io import header as hd

#: Sequences of a beam that change its fluence in a way that no aperture tells: keyword to what it is.
MODIFIERS = {
    "WedgeSequence": "a wedge",
    "CompensatorSequence": "a compensator",
    "BlockSequence": "a block",
    "ReferencedBolusSequence": "a bolus",
    "ApplicatorSequence": "an applicator",
    "GeneralAccessorySequence": "an accessory",
}
#: Angles that must be 0 and are not known to the engine: keyword to what it is.
LEVEL = {
    "TableTopEccentricAngle": "the table top is turned about another axis",
    "TableTopPitchAngle": "the table top is pitched",
    "TableTopRollAngle": "the table top is rolled",
    "GantryPitchAngle": "the gantry is pitched",
}
#: What control points may move while the beam is on, besides gantry, jaws and leaves.
FIXED = {
    "isocentre_mm": "the isocentre",
    "collimator_deg": "the collimator",
    "couch_deg": "the couch",
    "energy_mv": "the energy",
}
#: Source to axis distances of machines, mm; what lies outside is a wrong unit.
SAD_MM = (500.0, 2000.0)


#: TreatmentDeliveryTypes (PS3.3 C.8.8.14), and whether they treat.
DELIVERIES = {
    "": True,
    "TREATMENT": True,
    "CONTINUATION": True,
    "SETUP": False,
    "OPEN_PORTFILM": False,
    "TRMT_PORTFILM": False,
}


def read(path: Path) -> ClinicalPlan:
    """Read a plan as it is delivered.

    Values that a control point does not repeat are those of the one before (PS3.3 C.8.8.14). Beams that no
    fraction group refers to, and beams for setup, are left out. A beam that cannot be recalculated from its
    apertures is kept, with its reasons in ``obstacles``.

    Raises
    ------
    DicomError
        If the file is not a readable RTPLAN, or its control points contradict each other.
    """
    path = Path(path)
    header = hd.read(path)
    with hd.guarded(path):
        hd.demand_kind(header, "RTPLAN", path)
        return plan_of(header, str(path))


def plan_of(header: Dataset, where: str = "") -> ClinicalPlan:
    """Return the plan of an RTPLAN's data set; raise DicomError as `read` does."""
    groups = fraction_groups(header)
    setups = hd.items(header, "PatientSetupSequence")
    sets = hd.items(header, "ReferencedStructureSetSequence")
    try:
        beams = tuple(_Beam(item, groups).read() for item in hd.items(header, "BeamSequence") if treats(item))
    except DoseError as wrong:
        raise DicomError(wrong.message, where=where, action="export the plan again.") from None
    return ClinicalPlan(
        name=hd.line(header, "RTPlanLabel"),
        targets=MappingProxyType(targets_of(header)),
        groups=groups,
        beams=tuple(beam for beam in beams if not groups or _given(beam.number, groups)),
        frame_of_reference=hd.uid(header, "FrameOfReferenceUID"),
        patient_position=hd.code(setups[0], "PatientPosition") if setups else "",
        source_uid=hd.uid(header, "SOPInstanceUID"),
        structure_set_uids=tuple(hd.uid(item, "ReferencedSOPInstanceUID") for item in sets),
    )


def targets_of(header: Dataset) -> dict[str, float]:
    """Return the prescribed doses of targets by description, Gy of the course."""
    found: dict[str, float] = {}
    for count, item in enumerate(hd.items(header, "DoseReferenceSequence"), start=1):
        dose = hd.number(item, "TargetPrescriptionDose")
        if hd.code(item, "DoseReferenceType") == "TARGET" and dose:
            name = hd.line(item, "DoseReferenceDescription") or f"target {count}"
            found[name if name not in found else f"{name} ({count})"] = dose
    return found


def fraction_groups(header: Dataset) -> tuple[FractionGroup, ...]:
    """Return the fraction groups that plan at least one fraction."""
    found = []
    for count, group in enumerate(hd.items(header, "FractionGroupSequence"), start=1):
        planned = hd.number(group, "NumberOfFractionsPlanned")
        if not planned or planned < 1:
            continue
        mu = {}
        for item in hd.items(group, "ReferencedBeamSequence"):
            meterset = hd.number(item, "BeamMeterset")
            if meterset is not None:
                mu[hd.whole(item, "ReferencedBeamNumber")] = meterset
        number = hd.whole(group, "FractionGroupNumber", count)
        found.append(FractionGroup(number, int(planned), MappingProxyType(mu)))
    return tuple(found)


def treats(item: Dataset) -> bool:
    """Whether a beam is for treatment, not for setup or a portal image.

    Raises
    ------
    DicomError
        If TreatmentDeliveryType is none of the standard's: a beam must not be lost by a wrong word.
    """
    said = hd.code(item, "TreatmentDeliveryType")
    if said not in DELIVERIES:
        message = "A beam's TreatmentDeliveryType is none of the standard's."
        raise DicomError(message, where=hd.place(item), action="export the plan again.")
    return DELIVERIES[said]


def _given(number: int, groups: tuple[FractionGroup, ...]) -> bool:
    return any(number in group.mu for group in groups)


@dataclass
class _Beam:
    """The reader of one beam: control points carry what they do not repeat."""

    item: Dataset
    groups: tuple[FractionGroup, ...]
    obstacles: dict[str, None] = field(default_factory=dict)
    carried: dict[str, Any] = field(default_factory=dict)

    def read(self) -> DeliveredBeam:
        number = hd.whole(self.item, "BeamNumber")
        self.name = hd.line(self.item, "BeamName") or f"beam {number}"
        devices = self._devices()
        points = self._points(devices)
        given = [group for group in self.groups if number in group.mu]
        mu = sum(group.fractions * group.mu[number] for group in given) if given else None
        self._judge(points, mu)
        return DeliveredBeam(
            number=number,
            name=self.name,
            machine=hd.line(self.item, "TreatmentMachineName"),
            devices=devices,
            points=points,
            mu=mu,
            radiation=hd.code(self.item, "RadiationType") or "PHOTON",
            sad_mm=self._sad_mm(),
            obstacles=tuple(self.obstacles),
        )

    def _hinder(self, why: str) -> None:
        self.obstacles[why] = None

    def _sad_mm(self) -> float | None:
        found = hd.number(self.item, "SourceAxisDistance")
        return found if found is not None and SAD_MM[0] <= found <= SAD_MM[1] else None

    def _devices(self) -> tuple[Device, ...]:
        found = []
        for item in hd.items(self.item, "BeamLimitingDeviceSequence"):
            kind = hd.code(item, "RTBeamLimitingDeviceType")
            edges = hd.numbers(item, "LeafPositionBoundaries")
            pairs = hd.whole(item, "NumberOfLeafJawPairs", 1)
            if kind in LEAVES and (len(edges) != pairs + 1 or np.any(np.diff(edges) <= 0)):
                raise DicomError(
                    f"Beam {self.name!r}: {pairs} leaf pairs want {pairs + 1} rising boundaries."
                )
            if kind not in JAWS + LEAVES:
                self._hinder(f"its device {kind or 'without a type'} is not known")
            distance = hd.number(item, "SourceToBeamLimitingDeviceDistance")
            found.append(Device(kind, edges if kind in LEAVES else (), distance))
        if {device.kind for device in found} >= set(LEAVES):
            self._hinder("it has leaves along x and along y")
        return tuple(found)

    def _points(self, devices: tuple[Device, ...]) -> tuple[ControlPoint, ...]:
        items = hd.items(self.item, "ControlPointSequence")
        if len(items) < 2:
            raise DicomError(f"Beam {self.name!r} has {len(items)} control points; at least two are wanted.")
        last = hd.number(self.item, "FinalCumulativeMetersetWeight")
        weights = [hd.number(item, "CumulativeMetersetWeight") for item in items]
        if not last or None in weights:
            self._hinder("its control points have no meterset weights")
            weights, last = [float(n) for n in range(len(items))], float(len(items) - 1)
        if abs((weights[-1] or 0.0) - last) > 1e-4 * last:
            raise DicomError(
                f"Beam {self.name!r} ends at a meterset weight of {weights[-1]:g}, not at its final {last:g}."
            )
        shares = [min(max((weight or 0.0) / last, 0.0), 1.0) for weight in weights]
        shares[-1] = 1.0
        return tuple(self._point(item, share, devices) for item, share in zip(items, shares, strict=True))

    def _point(self, item: Dataset, share: float, devices: tuple[Device, ...]) -> ControlPoint:
        state = self.carried
        for key, keyword in _ANGLES.items():
            state[key] = hd.number(item, keyword, state.get(key))
            turn = hd.code(item, _TURNS[key]) or state.get(f"{key} turn", "NONE")
            state[f"{key} turn"] = turn if turn in get_args(Turn) else "NONE"
        state["energy"] = hd.number(item, "NominalBeamEnergy", state.get("energy"))
        state["isocentre"] = hd.numbers(item, "IsocenterPosition") or state.get("isocentre", ())
        self._openings(item, devices)
        for keyword, why in LEVEL.items():
            if abs((hd.number(item, keyword) or 0.0) % 360.0) > 1e-3:
                self._hinder(why)
        if len(state["isocentre"]) != 3:
            self._hinder("it has no isocentre")
        x, y, z = state["isocentre"] if len(state["isocentre"]) == 3 else (0.0, 0.0, 0.0)
        if state["gantry"] is None:
            self._hinder("it has no gantry angle")
        return ControlPoint(
            share=share,
            gantry_deg=state["gantry"] or 0.0,
            collimator_deg=state["collimator"] or 0.0,
            couch_deg=state["couch"] or 0.0,
            isocentre_mm=(x, y, z),
            openings={kind: pairs for kind, pairs in state.items() if kind in JAWS + LEAVES},
            gantry_turn=state["gantry turn"],
            collimator_turn=state["collimator turn"],
            couch_turn=state["couch turn"],
            energy_mv=state["energy"],
        )

    def _openings(self, item: Dataset, devices: tuple[Device, ...]) -> None:
        pairs = {device.kind: device.pairs for device in devices}
        for moved in hd.items(item, "BeamLimitingDevicePositionSequence"):
            kind = hd.code(moved, "RTBeamLimitingDeviceType")
            positions: NDArray[np.float64] = hd.array(moved, "LeafJawPositions")
            if kind in pairs and kind in JAWS + LEAVES:
                if positions.size != 2 * pairs[kind]:
                    raise DicomError(
                        f"Beam {self.name!r}: {kind} has {pairs[kind]} pairs and {positions.size} positions."
                    )
                self.carried[kind] = positions.reshape(2, -1).T

    def _judge(self, points: tuple[ControlPoint, ...], mu: float | None) -> None:
        """Collect why the beam cannot be recalculated from its apertures."""
        radiation = hd.code(self.item, "RadiationType") or "PHOTON"
        unit = hd.code(self.item, "PrimaryDosimeterUnit") or "MU"
        modes = [
            hd.code(mode, "FluenceModeID") or "not standard"
            for mode in hd.items(self.item, "PrimaryFluenceModeSequence")
            if hd.code(mode, "FluenceMode") == "NON_STANDARD"
        ]
        moved = [w for key, w in FIXED.items() if len({getattr(point, key) for point in points}) > 1]
        said = {
            f"its radiation is {radiation}, not PHOTON": radiation != "PHOTON",
            "no fraction group gives its monitor units": mu is None,
            "its monitor units are negative": mu is not None and mu < 0.0,
            f"its meterset is in {unit}, not MU": unit != "MU",
            f"its fluence is {' '.join(modes)}": bool(modes),
            f"{' and '.join(moved)} changes while the beam is on": bool(moved),
            "nothing is said of its jaws and leaves": not points[0].openings,
        }
        said |= {f"it has {what}": bool(hd.items(self.item, word)) for word, what in MODIFIERS.items()}
        for why, holds in said.items():
            if holds:
                self._hinder(why)


_ANGLES = {
    "gantry": "GantryAngle",
    "collimator": "BeamLimitingDeviceAngle",
    "couch": "PatientSupportAngle",
}
_TURNS = {
    "gantry": "GantryRotationDirection",
    "collimator": "BeamLimitingDeviceRotationDirection",
    "couch": "PatientSupportRotationDirection",
}
