"""Preflight of images: which series is used as what, and what their headers say that a user must know."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from rtplan.domain import Notice
from rtplan.errors import DicomError
from rtplan.io import choose
from rtplan.io import header as hd
from rtplan.io.codec import LOSSY, UNCOMPRESSED, syntax_of, undecodable
from rtplan.io.geometry import grid_of
from rtplan.io.index import Folder
from rtplan.io.look import Look, short
from rtplan.io.multiframe import ENHANCED
from rtplan.io.preflight_mr import look_at_mr
from rtplan.io.stack import Stack

#: Kinds that `preflight_objects` looks at.
OBJECT_KINDS = ("RTSTRUCT", "RTPLAN", "RTDOSE", "REG")
#: Modality of each kind of object whose SOP class allows one only.
MODALITIES = {
    **{kind: kind for kind in ("CT", "MR", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "SEG")},
    **ENHANCED,
}
#: Patient positions (PS3.3 C.7.3.1.1.2); all but the first are said.
POSITIONS = {
    "HFS": "on the back, head first",
    "HFP": "on the belly, head first",
    "FFS": "on the back, feet first",
    "FFP": "on the belly, feet first",
    "HFDR": "on the right side, head first",
    "HFDL": "on the left side, head first",
    "FFDR": "on the right side, feet first",
    "FFDL": "on the left side, feet first",
}
#: Names of the planes by the axis of the patient along which their normal points.
PLANES = ("sagittal", "coronal", "axial")
#: Slices are axial when tilted by no more than this, and of another plane when nearer to it, degrees.
AXIAL_DEG = 0.1
#: Thickness and step of the slices are the same within this fraction.
SAME_STEP = 0.02


def look_at_images(look: Look, wanted: Collection[str] = ()) -> Mapping[str, Stack]:
    """Add the rows and notices of one patient's images; return the stack that is used for each role."""
    choice = choose.choose(look.folder, wanted)
    look.notices += [*choice.notices, *choose.positions(choice.stacks)]
    used = {stack.first.series_uid: role for role, stack in choice.stacks.items()}
    for series in look.folder.series():
        _modality(look, series.kind, series.first.text("Modality"), series.uid)
        if series.kind in OBJECT_KINDS:
            continue
        if series.kind == "secondary capture":
            message = f"{len(series.entries)} secondary captures are here: pictures, not images of a scanner."
            look.notices.append(Notice("SECONDARY_CAPTURE", "info", message, uid=series.uid))
        role = used.get(series.uid, "")
        shape = short(grid_of(choice.stacks[role].slices)[0]) if role else ""
        frame = (f"frame {series.first.frame}",) if series.first.frame else ()
        look.row(series.first, role, series.description, len(series.entries), shape, *frame)
    look.notices += facts_of(look.folder, choice.stacks)
    return choice.stacks


def facts_of(folder: Folder, stacks: Mapping[str, Stack]) -> list[Notice]:
    """Return what the headers of the images that are used say that a user must know."""
    look = Look("", folder)
    for stack in stacks.values():
        for judge in (_space, _orientation, _slices, _encoding, _ct, look_at_mr):
            try:
                judge(look, stack)
            except DicomError as wrong:
                look.say("HEADER_DAMAGED", "refuse", wrong.message, "export the series again.", stack.first)
    return look.notices


def _modality(look: Look, kind: str, said: str, uid: str) -> None:
    wanted = MODALITIES.get(kind)
    if wanted is not None and said != wanted:
        shown = said if said.isalnum() and len(said) <= 16 else ("unreadable" if said else "nothing")
        message = f"Modality says {shown}, the SOP class is {kind}."
        action = "the SOP class is believed; check where the object comes from."
        look.notices.append(Notice("MODALITY_LIES", "warn", message, action, uid=uid))


def _space(look: Look, stack: Stack) -> None:
    first = stack.first
    if not first.frame:
        message = "The image has no FrameOfReferenceUID: nothing is known to lie in the same space."
        look.say("FRAME_MISSING", "warn", message, "export the series again.", first)
    position = hd.code(first.header, "PatientPosition")
    if not position:
        message = "The image does not say PatientPosition."
        look.say("POSITION_MISSING", "info", message, "check the orientation on the page.", first)
    elif position not in POSITIONS:
        message = f"PatientPosition says {position!r}, which DICOM does not know."
        look.say("POSITION_UNKNOWN", "warn", message, "check the orientation on the page.", first)
    elif position != "HFS":
        message = f"{stack.description!r}: the patient lies {POSITIONS[position]} ({position})."
        action = "coordinates are the patient's own, whatever the position; nothing is turned."
        look.say("POSITION_UNUSUAL", "info", message, action, first)


def _orientation(look: Look, stack: Stack) -> None:
    item, first = stack.slices[0], stack.first
    along = np.abs(item.normal)
    axis = int(along.argmax())
    tilt = float(np.degrees(np.arccos(min(along[axis], 1.0))))
    if PLANES[axis] != "axial" or tilt > AXIAL_DEG:
        how = f"{PLANES[axis]}, tilted by {tilt:.1f} degrees" if tilt > AXIAL_DEG else PLANES[axis]
        message = f"The slices of {stack.description!r} are {how}."
        action = "they keep their place; what is written for a planning system lies on an axial grid."
        look.say("SLICES_NOT_AXIAL", "info", message, action, first)
    dy, dx = item.spacing
    if abs(dy - dx) > 1e-4 * dx:
        message = f"The pixels of {stack.description!r} are {dy:g} mm (rows) by {dx:g} mm (columns)."
        action = "some other programs take them for square; compare distances there."
        look.say("PIXELS_NOT_SQUARE", "info", message, action, first)
    if hd.number(first.header, "GantryDetectorTilt", 0.0):
        message = "GantryDetectorTilt is not 0, but the slices form a box at right angles."
        look.say("GANTRY_TILT_SAID", "info", message, "the positions are believed.", first)


def _slices(look: Look, stack: Stack) -> None:
    first = stack.first
    thickness = hd.number(first.header, "SliceThickness")
    step = grid_of(stack.slices)[0].spacing_zyx_mm[0]
    if thickness is None or abs(thickness - step) <= SAME_STEP * step:
        return
    said = f"SliceThickness is {thickness:g} mm, the slices of {stack.description!r} lie {step:.3g} mm apart"
    if thickness > step:
        action = "the positions are believed; small things are blurred along the stack."
        look.say("SLICES_OVERLAP", "info", f"{said}: they overlap.", action, first)
    else:
        action = "the positions are believed; what lies between the slices was not seen."
        look.say("SLICES_GAPPED", "info", f"{said}: there are gaps between them.", action, first)


def _encoding(look: Look, stack: Stack) -> None:
    first = stack.first
    if first.unrolled:
        message = (
            f"{stack.description!r} is an enhanced multi-frame object: {len(stack.entries)} frames are used."
        )
        action = "structures are written with references to its frames, but no Segmentation."
        look.say("ENHANCED_UNROLLED", "info", message, action, first)
    syntax = syntax_of(first.header)
    codec = undecodable(syntax) if syntax is not None else "an unknown transfer syntax"
    if codec:
        message = f"The pixels of {stack.description!r} are compressed as {codec}, which is not decoded here."
        look.say("PIXELS_UNDECODABLE", "refuse", message, UNCOMPRESSED, first)
    said = any(hd.text(entry.header, "LossyImageCompression") == "01" for entry in stack.entries)
    if said or syntax in LOSSY:
        message = f"{stack.description!r} was compressed with loss: its values are not the scanner's."
        look.say("PIXELS_LOSSY", "warn", message, "export it without loss.", first)
    rescales = {
        (hd.number(e.header, "RescaleSlope", 1.0), hd.number(e.header, "RescaleIntercept", 0.0))
        for e in stack.entries
    }
    if len(rescales) > 1:
        message = (
            f"The slices of {stack.description!r} have {len(rescales)} different rescales; each has its own."
        )
        look.say("RESCALE_PER_SLICE", "info", message, "", first)
    if hd.code(first.header, "BurnedInAnnotation") == "YES":
        message = "The header says that text is burned into the pixels."
        look.say("BURNED_IN", "warn", message, "look at the image before use.", first)


def _ct(look: Look, stack: Stack) -> None:
    kind = hd.code(stack.first.header, "RescaleType")
    if stack.first.kind == "CT" and kind not in ("", "HU"):
        message = f"RescaleType says {kind}, HU is wanted."
        look.say("CT_NOT_HU", "refuse", message, "export the series in HU.", stack.first)
