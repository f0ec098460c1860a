"""What must be said of a plan: limits that break, cold targets, cropped images, HU beyond the curve."""

from __future__ import annotations

from collections.abc import Sequence

from rtplan.domain import Notice
from rtplan.planning.around import through_crop
from rtplan.planning.density import Curve
from rtplan.planning.optimise import Outcome
from rtplan.planning.prepare import Prepared

#: A target is called cold when a smaller part of it gets 95 % of its dose.
COLD = 0.95
#: Part of the body whose HU may lie beyond the curve before it is said.
BEYOND_CURVE = 1e-3


def warnings_of(prepared: Prepared, outcome: Outcome, absent: Sequence[str] = ()) -> tuple[Notice, ...]:
    """Return the notices of a plan; ``absent`` are prescribed targets that the patient lacks."""
    sad_mm = prepared.engine.model.sad_mm
    crossed = through_crop(outcome.plan.beams, prepared.body, prepared.leading.mask, sad_mm)
    return (
        *(missing_target(name) for name in absent),
        *_broken(prepared, outcome),
        *_cold(prepared, outcome),
        *crop_notices(crossed),
        *_beyond(prepared),
    )


def missing_target(name: str) -> Notice:
    """Say that a prescribed target is not there and the others are planned."""
    return Notice(
        "TARGET_MISSING",
        "warn",
        f"The protocol prescribes to {name}, which is not among the structures: planned without.",
        "supply it by --structures FILE.dcm, or map its name by --names.",
        structure=name,
    )


def crop_notices(beams: Sequence[str]) -> tuple[Notice, ...]:
    """Say which beams enter where the image ends; nothing where none does."""
    if not beams:
        return ()
    return (
        Notice(
            "BEAM_CROSSES_CROP",
            "warn",
            f"{len(beams)} beams enter where the image ends ({', '.join(beams)}): tissue is missing there.",
            "read differences between arms only, or use images that show the skin all round.",
        ),
    )


def _broken(prepared: Prepared, outcome: Outcome) -> list[Notice]:
    found = []
    for b in outcome.broken:
        overlap = prepared.overlap_cc(b.organ)
        where = f" {overlap:.2f} cc of it lie in the targets." if overlap > 0.0 else ""
        found.append(
            Notice(
                "LIMIT_BROKEN",
                "warn",
                f"{b.organ}: {b.limit.name} cannot be kept, the dose is {b.excess_gy:.1f} Gy too high."
                + where,
                "look at the overlap of target and organ, or lower the prescription.",
                structure=b.organ.split(" ")[0],
            )
        )
    return found


def _cold(prepared: Prepared, outcome: Outcome) -> list[Notice]:
    plain = [entry.target for entry in prepared.wanted if entry.to != "up_to"]
    return [
        Notice(
            "TARGET_COLD",
            "warn",
            f"{name}: {100.0 * outcome.coverage[name]:.1f} % of it get 95 % of the prescribed dose.",
            "look at the limits of the organs that lie in it, or lower the prescription.",
            structure=name,
        )
        for name in plain
        if outcome.coverage[name] < COLD
    ]


def _beyond(prepared: Prepared) -> tuple[Notice, ...]:
    return curve_notices(prepared.beyond_curve(), prepared.engine.curve)


def curve_notices(part: float, curve: Curve, arm: str = "") -> tuple[Notice, ...]:
    """Say that so large a part of the body (on an arm) has HU beyond the curve; nothing where negligible."""
    if part <= BEYOND_CURVE:
        return ()
    message = (
        f"{100.0 * part:.1f} % of the body{f' on {arm}' if arm else ''} have HU outside the nodes of the "
        f"curve {curve.name} ({curve.hu[0]:g} to {curve.hu[-1]:g}): its end values are taken."
    )
    action = "look for metal or a wrong rescale in the image, or give a curve that reaches further."
    return (Notice("HU_BEYOND_CURVE", "warn", message, action),)
