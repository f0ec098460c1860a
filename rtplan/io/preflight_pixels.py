"""Preflight of pixels: whether they decode, whether a CT is in HU, and whether the skin is in the image."""

from __future__ import annotations

from collections.abc import Mapping

from rtplan.domain import Grid, Image
from rtplan.errors import RtplanError, StructureError
from rtplan.imaging.body import LEAST_SKIN, body_mask, skin_seen
from rtplan.io.image import read_stack
from rtplan.io.look import Look
from rtplan.io.stack import Stack

#: The skin is looked at on voxels of about this size [z, y, x], mm: the fraction is the same within 3 %.
COARSE_MM = (4.0, 2.0, 2.0)
#: A CT whose lowest value is above this shows no air at all, HU.
NO_AIR_HU = -500.0


def look_at_pixels(look: Look, stacks: Mapping[str, Stack]) -> None:
    """Read the images that are used, one at a time, and add what their pixels tell."""
    refused = {notice.uid for notice in look.notices if notice.severity == "refuse"}
    for stack in stacks.values():
        if stack.first.sop_uid in refused:
            continue
        try:
            image = read_stack(stack)
        except RtplanError as wrong:
            look.say(
                "PIXELS_BROKEN", "refuse", wrong.message, wrong.action or "export it again.", stack.first
            )
            continue
        _units(look, stack, image)
        _skin(look, stack, _coarse(image))


def _units(look: Look, stack: Stack, image: Image) -> None:
    lowest = float(image.array.min())
    if image.modality == "CT" and lowest > NO_AIR_HU:
        message = f"The lowest value of {stack.description!r} is {lowest:g} HU: there is no air in it."
        action = "check RescaleIntercept: the values may not be HU."
        look.say("CT_WITHOUT_AIR", "warn", message, action, stack.first)
    if image.modality == "MR" and lowest == float(image.array.max()):
        message = f"All values of {stack.description!r} are {lowest:g}: there is no picture in it."
        look.say("IMAGE_BLANK", "refuse", message, "export the series again.", stack.first)


def _skin(look: Look, stack: Stack, image: Image) -> None:
    name = stack.description
    try:
        seen = skin_seen(image, body_mask(image))
    except StructureError as nothing:
        message = f"{name!r}: {nothing.message}"
        look.say("BODY_NOT_FOUND", "warn", message, "look at the image before use.", stack.first)
        return
    if seen >= LEAST_SKIN:
        return
    message = (
        f"The skin is cut in {name!r}: {1.0 - seen:.0%} of the body's outline is the image's border, not "
        "skin. Beams through the border meet tissue that is not in the image: absolute dose, goals and MU "
        "are not evaluable on it."
    )
    action = (
        f"supply {'an' if image.modality == 'MR' else 'a'} {image.modality} that shows the skin all round."
    )
    look.say("SKIN_CUT", "warn", message, action, stack.first)


def _coarse(image: Image) -> Image:
    """Return every n-th voxel of an image, so that the outline is found fast."""
    steps = [max(round(c / s), 1) for c, s in zip(COARSE_MM, image.grid.spacing_zyx_mm, strict=True)]
    array = image.array[:: steps[0], :: steps[1], :: steps[2]]
    affine = image.grid.affine.copy()
    affine[:3, :3] *= steps
    return Image(Grid(array.shape, affine, image.grid.frame_of_reference), array, modality=image.modality)
