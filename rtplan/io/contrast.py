"""What kind of MR a stack is: T2w, T1w or a Dixon channel; by header facts first, then by description."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from rtplan.io import header as hd
from rtplan.io.stack import Stack

#: Tokens of ImageType (third value and later) that name a Dixon channel, as the large vendors write them.
DIXON_TOKENS = {
    "W": "Dixon_W",
    "WATER": "Dixon_W",
    "F": "Dixon_F",
    "FAT": "Dixon_F",
    "IP": "Dixon_IP",
    "IN_PHASE": "Dixon_IP",
    "INPHASE": "Dixon_IP",
    "OP": "Dixon_OP",
    "OPP_PHASE": "Dixon_OP",
    "OUT_PHASE": "Dixon_OP",
    "OUTPHASE": "Dixon_OP",
}
#: Descriptions, tried in order.
DESCRIPTIONS = (
    (r"dixon.*(_| )(w|water)\b|\bwater\b", "Dixon_W"),
    (r"dixon.*(_| )(f|fat)\b", "Dixon_F"),
    (r"dixon.*(_| )(in|ip)\b|in.?phase", "Dixon_IP"),
    (r"dixon.*(_| )(opp|op|out)\b|(opp|out).?(of.?)?phase", "Dixon_OP"),
    (r"(?<![a-z0-9])t2w?(?![0-9])", "T2w"),
    (r"(?<![a-z0-9])t1w?(?![0-9])", "T1w"),
)
#: AcquisitionContrast of enhanced objects.
CONTRASTS = {"T2": "T2w", "T1": "T1w"}
#: Tokens of ImageType and ComplexImageComponent of images that are not magnitudes.
NOT_MAGNITUDE = ("P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY")
#: Words of ImageType or description that say: no anatomy for planning.
NOT_ANATOMY = re.compile(
    r"(?<![a-z])(adc|dwi|diff|diffusion|trace\w*|localizer|localiser|scout|b\d{2,4}|mip|max ip|sub|"
    r"projection image)(?![a-z])"
)

#: Spin echo of long TE and TR is T2-weighted; short TE and TR is T1-weighted (ms).
T2_TE_MS, T2_TR_MS, T1_TE_MS, T1_TR_MS = 60.0, 1500.0, 30.0, 1000.0


def role_of(stack: Stack) -> str:
    """Return the role of an MR stack: ``T2w``, ``T1w``, ``Dixon_W/F/IP/OP``, or ``MR`` when nothing tells."""
    header = stack.first.header
    for token in hd.words(header, "ImageType")[2:]:
        if token.upper() in DIXON_TOKENS:
            return DIXON_TOKENS[token.upper()]
    described = stack.description.lower().replace("_", " ")
    for pattern, role in DESCRIPTIONS[:4]:
        if re.search(pattern, described):
            return role
    weighted = _weighting(header)
    if weighted:
        return weighted
    for pattern, role in DESCRIPTIONS[4:]:
        if re.search(pattern, described):
            return role
    return "MR"


def _weighting(header: Dataset) -> str:
    """Return ``T2w`` or ``T1w`` by what the header says of contrast, echo and repetition; else nothing."""
    said = hd.text(header, "AcquisitionContrast")
    if said in CONTRASTS:
        return CONTRASTS[said]
    echo, repetition = hd.number(header, "EchoTime"), hd.number(header, "RepetitionTime")
    spin = any(word in ("SE", "RM") for word in hd.words(header, "ScanningSequence"))
    if echo and repetition:
        if spin and echo >= T2_TE_MS and repetition >= T2_TR_MS:
            return "T2w"
        if echo <= T1_TE_MS and repetition <= T1_TR_MS:
            return "T1w"
    return ""


def for_planning(stack: Stack) -> bool:
    """Whether a stack shows anatomy for planning: no localiser, diffusion, map or projection."""
    header = stack.first.header
    if hd.number(header, "DiffusionBValue") or hd.text(header, "AcquisitionContrast") == "DIFFUSION":
        return False
    complex_part = (*hd.words(header, "ImageType")[2:], hd.text(header, "ComplexImageComponent"))
    if stack.first.kind == "MR" and any(word.upper() in NOT_MAGNITUDE for word in complex_part):
        return False
    said = " ".join((*hd.words(header, "ImageType"), stack.description)).lower().replace("_", " ")
    return not NOT_ANATOMY.search(said)
