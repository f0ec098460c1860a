"""Preflight of an MR: what its headers say of distortion and of the shift of fat against water."""

from __future__ import annotations

from rtplan.io.acquisition import acquisition
from rtplan.io.look import Look
from rtplan.io.stack import Stack

#: Facts that the chemical shift is computed from, in words.
_SHIFT_NEEDS = {
    "field_strength_t": "MagneticFieldStrength",
    "bandwidth_hz_per_px": "PixelBandwidth",
    "phase_encoding": "InPlanePhaseEncodingDirection",
}


def look_at_mr(look: Look, stack: Stack) -> None:
    """Add the notices on distortion correction and chemical shift of one MR; nothing for a CT."""
    if stack.first.kind == "MR":
        facts = acquisition(stack)
        _distortion(look, stack, str(facts.get("distortion_correction", "")))
        _chemical_shift(look, stack)


def _distortion(look: Look, stack: Stack, correction: str) -> None:
    first, name = stack.first, stack.description
    if correction == "none":
        message = f"The scanner did not correct the gradient distortion of {name!r} (ImageType ND)."
        action = "use the corrected series (DIS2D, better DIS3D)."
        look.say("MR_DISTORTION_UNCORRECTED", "warn", message, action, first)
    elif correction == "2D":
        message = f"The gradient distortion of {name!r} was corrected in the slices only (DIS2D)."
        action = "slices far from the isocentre may still be bent along the stack; DIS3D corrects that too."
        look.say("MR_DISTORTION_2D", "info", message, action, first)
    elif not correction:
        message = f"The header of {name!r} does not say whether gradient distortion was corrected."
        look.say("MR_DISTORTION_UNKNOWN", "info", message, "ask the scanner's operator.", first)


def _chemical_shift(look: Look, stack: Stack) -> None:
    facts, first, name = acquisition(stack), stack.first, stack.description
    if "fat_shift_mm" in facts:
        message = (
            f"In {name!r} fat lies {facts['fat_shift_mm']:.2f} mm off along the frequency direction "
            f"({facts['fat_shift_px']:.2f} pixels; {facts['bandwidth_hz_per_px']:g} Hz per pixel at "
            f"{facts['field_strength_t']:g} T)."
        )
        action = "the skin's fat and the marrow are moved by it; count it into the margin."
        look.say("MR_CHEMICAL_SHIFT", "info", message, action, first)
        return
    lacks = ", ".join(word for key, word in _SHIFT_NEEDS.items() if key not in facts)
    message = f"The shift of fat against water in {name!r} is not evaluable: the header lacks {lacks}."
    look.say("MR_CHEMICAL_SHIFT_UNKNOWN", "info", message, "ask the scanner's operator.", first)
