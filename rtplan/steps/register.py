"""Register: every MR onto the CT, by its position or by a registration, with the quality stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from rtplan.domain import Contours, Finding, Grid, Image, Mask, Notice, Patient, Registration, Structure
from rtplan.domain.nomenclature import EXTERNAL, SUPPORT
from rtplan.domain.registration import links
from rtplan.errors import RegistrationError
from rtplan.imaging.body import body_mask
from rtplan.imaging.contour import mask_on
from rtplan.imaging.register import RegisterSettings, identity, register
from rtplan.imaging.resample import covered, resample

STEP = "Register"
#: Bodies in one frame that overlap by less than this (Dice) are reported.
WEAK_OVERLAP = 0.93
_LABELS = {
    "body_overlap": ("BodyOverlap", "1"),
    "mutual_information": ("MutualInformation", "1"),
    "shift_mm": ("RegistrationShift[mm]", "mm"),
    "residual_mm": ("BodySurfaceDistance[mm]", "mm"),
}


@dataclass(frozen=True)
class Register:
    """Bring every MR onto the CT's grid under its role name, and store where both were measured.

    Parameters
    ----------
    deformable : bool
        Where a registration is needed, follow the rigid one by a B-spline.
    seed : int
        Of the registration's samples.
    believe_overlap : float
        An MR in the CT's frame stays where it is when the bodies overlap by at least this (Dice).
    settings : RegisterSettings
        Of a registration: resolution, and what is good enough.

    Notes
    -----
    An MR in the CT's frame of reference stays where it is when the bodies overlap well enough; otherwise
    it is registered rigidly, and a bad result is refused. Structures drawn in the MR's frame go with it.
    The common support (all MR and the CT) is stored as structure ``zSupport``. Without a CT the MR stay as
    they came. A repair within one frame of reference stands in the findings and a notice, not among the
    patient's registrations, which join different frames.
    """

    deformable: bool = False
    seed: int = 1
    believe_overlap: float = 0.90
    settings: RegisterSettings = field(default_factory=RegisterSettings)

    needs: ClassVar[tuple[str, ...]] = ("mr",)
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with every MR on the CT's grid.

        Raises
        ------
        RegistrationError
            If an MR cannot be brought onto the CT; the message holds the figures.
        """
        if "CT" not in patient.images:
            return patient
        ct = patient.images["CT"]
        support = np.ones(ct.grid.shape, np.bool_)
        moved: dict[str, Image] = {}
        known = links(patient.registrations)
        for role, mr in patient.mr.items():
            patient, found = self._found(patient, role, mr, ct, known)
            joined = None if found.kind == "identity" else found
            moved[role] = resample(mr, ct.grid, registration=joined)
            support &= covered(ct.grid, mr.grid, joined).array
        patient = _carry_structures(patient, ct.grid, known)
        region = Mask(ct.grid, support)
        patient = patient.with_images(**moved).with_structures(Structure(SUPPORT, "CONTROL", region))
        return patient.with_notices(*_support_notice(ct, region))

    def _found(
        self,
        patient: Patient,
        role: str,
        mr: Image,
        ct: Image,
        known: dict[tuple[str, str], Registration],
    ) -> tuple[Patient, Registration]:
        """Return the patient with findings and notices about one MR, and how it comes onto the CT."""
        frames = (mr.grid.frame_of_reference, ct.grid.frame_of_reference)
        same = frames[0] == frames[1]
        if same:
            found = identity(mr, ct)
            if found.quality["body_overlap"] >= self.believe_overlap:
                patient = patient.with_findings(*_findings(role, found.quality, found.kind))
                return patient.with_notices(*_position_notice(patient, role, found.quality)), found
            before = found.quality["body_overlap"]
        if frames in known and not same:
            return patient, known[frames]
        found = register(mr, ct, deformable=self.deformable, seed=self.seed, settings=self.settings)
        patient = patient.with_findings(*_findings(role, found.quality, found.kind))
        if same:
            return patient.with_notices(_moved_notice(role, before, found.quality)), found
        known[frames] = found
        patient = replace(patient, registrations=(*patient.registrations, found))
        return patient.with_notices(_frames_notice(role, found.quality)), found


def _findings(role: str, quality: Mapping[str, float], kind: str) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            metric=f"{label} {role}",
            value=float(quality[key]),
            unit=unit,
            step=STEP,
            structure=EXTERNAL,
            source="Dice and median distance of the two bodies; Mattes 2003 for the similarity",
            detail={"role": role, "kind": kind},
        )
        for key, (label, unit) in _LABELS.items()
    )


def _position_notice(patient: Patient, role: str, quality: Mapping[str, float]) -> tuple[Notice, ...]:
    """Say that the bodies hardly overlap, or how contradicting patient positions were decided."""
    overlap = quality["body_overlap"]
    if overlap < WEAK_OVERLAP:
        return (
            Notice(
                "WEAK_OVERLAP",
                "warn",
                f"The bodies on CT and {role} overlap by only {overlap:.2f} (Dice) where they lie; {role} "
                "was not moved.",
                "look at the overlay: a limb may lie differently in the two scans.",
            ),
        )
    if not any(notice.code == "FOR_POSITION_CONFLICT" for notice in patient.notices):
        return ()
    if any(notice.code == "POSITION_DECIDED" for notice in patient.notices):
        return ()
    return (
        Notice(
            "POSITION_DECIDED",
            "info",
            f"The headers' patient positions contradict each other, but CT and {role} share a frame of "
            f"reference and their bodies overlap by {quality['body_overlap']:.2f} (Dice) where they lie: "
            "the image positions are believed and nothing is turned.",
            "look at the overlay in the report.",
        ),
    )


def _moved_notice(role: str, before: float, quality: Mapping[str, float]) -> Notice:
    return Notice(
        "MR_MOVED",
        "warn",
        f"{role} and the CT share a frame of reference, but their bodies overlapped by only {before:.2f}: "
        f"{role} was moved by {quality['shift_mm']:.1f} mm on average; now {quality['body_overlap']:.2f}.",
        "look at the overlay; if it is wrong, supply series that lie on each other.",
    )


def _frames_notice(role: str, quality: Mapping[str, float]) -> Notice:
    return Notice(
        "MR_REGISTERED",
        "info",
        f"{role} lies in another frame of reference than the CT and was registered to it: body overlap "
        f"{quality['body_overlap']:.2f}, median surface distance {quality['residual_mm']:.1f} mm.",
        "look at the overlay, or supply a spatial registration (REG) in the folder.",
    )


def _support_notice(ct: Image, support: Mask) -> tuple[Notice, ...]:
    """Say so when the MR do not cover the CT's body."""
    body = body_mask(ct).array
    share = float(np.count_nonzero(body & support.array) / np.count_nonzero(body))
    if share < 0.005:
        raise RegistrationError(
            "CT and MR have no part of the body in common.",
            action="check that both series show the same region of the same patient.",
        )
    if share > 0.995:
        return ()
    return (
        Notice(
            "PARTIAL_SUPPORT",
            "warn",
            f"The MR cover {share:.0%} of the CT's body. Outside this common support every arm takes the "
            "reference's value, so that differences between arms come from inside it.",
            "supply MR series that cover the CT.",
            structure=SUPPORT,
        ),
    )


def _carry_structures(patient: Patient, grid: Grid, known: Mapping[tuple[str, str], Registration]) -> Patient:
    """Take structures drawn in a registered frame of reference along to the CT's."""
    carried = []
    for structure in patient.structures.values():
        region = structure.region
        frame = region.frame_of_reference if isinstance(region, Contours) else region.grid.frame_of_reference
        joined = known.get((frame, grid.frame_of_reference))
        if frame == grid.frame_of_reference or joined is None:
            continue
        if isinstance(region, Contours) and joined.displacement is None:
            rings = tuple(joined.apply(ring) for ring in region.rings)
            carried.append(replace(structure, region=Contours(rings, grid.frame_of_reference)))
        else:
            carried.append(replace(structure, region=_mask_through(structure, patient, grid, joined)))
    return patient.with_structures(*carried)


def _mask_through(structure: Structure, patient: Patient, grid: Grid, joined: Registration) -> Mask:
    """Return a structure on the CT's grid through a registration that contours cannot follow."""
    if isinstance(structure.region, Mask):
        return mask_on(structure, grid, joined)
    drawn_on = next(i for i in patient.mr.values() if i.grid.frame_of_reference == joined.from_frame)
    own = mask_on(structure, drawn_on.grid)
    return mask_on(replace(structure, region=own), grid, joined)
