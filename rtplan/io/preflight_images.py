"""Preflight of images: which series is used as what, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Mapping

from rtplan.io import choose
from rtplan.io import header as hd
from rtplan.io.acquisition import acquisition
from rtplan.io.geometry import grid_of
from rtplan.io.look import Look, short
from rtplan.io.stack import Stack

#: Kinds that `preflight_objects` looks at.
OBJECT_KINDS = ("RTSTRUCT", "RTPLAN", "RTDOSE", "REG")


def look_at_images(look: Look) -> Mapping[str, Stack]:
    """Add the rows and notices of one patient's images; return the stack that is used for each role."""
    choice = choose.choose(look.folder)
    look.notices += [*choice.notices, *choose.positions(choice.stacks)]
    used = {stack.first.series_uid: role for role, stack in choice.stacks.items()}
    for series in look.folder.series():
        if series.kind in OBJECT_KINDS:
            continue
        role = used.get(series.uid, "")
        shape = short(grid_of(choice.stacks[role].slices)[0]) if role else ""
        frame = (f"frame {series.first.frame}",) if series.first.frame else ()
        look.row(series.first, role, series.description, len(series.entries), shape, *frame)
    for stack in choice.stacks.values():
        _facts(look, stack)
    return choice.stacks


def _facts(look: Look, stack: Stack) -> None:
    first = stack.first
    if not first.frame:
        message = "The image has no FrameOfReferenceUID: nothing is known to lie in the same space."
        look.say("FRAME_MISSING", "warn", message, "export the series again.", first)
    if not hd.code(first.header, "PatientPosition"):
        message = "The image does not say PatientPosition."
        look.say("POSITION_MISSING", "info", message, "check the orientation on the page.", first)
    facts = acquisition(stack)
    if first.kind == "MR" and facts.get("distortion_correction", "3D") == "none":
        message = "The scanner did not correct gradient distortion (ImageType ND)."
        look.say("MR_DISTORTION_UNCORRECTED", "warn", message, "use the corrected series.", first)
    if first.kind == "CT" and hd.code(first.header, "RescaleType") not in ("", "HU"):
        message = f"RescaleType says {first.text('RescaleType')}, HU is wanted."
        look.say("CT_NOT_HU", "refuse", message, "export the series in HU.", first)
    if hd.code(first.header, "BurnedInAnnotation") == "YES":
        message = "The header says that text is burned into the pixels."
        look.say("BURNED_IN", "warn", message, "look at the image before use.", first)
    if hd.code(first.header, "Modality") != first.kind:
        message = f"Modality says {first.text('Modality') or 'nothing'}, the SOP class is {first.kind}."
        look.say("MODALITY_LIES", "warn", message, "the SOP class is believed.", first)
