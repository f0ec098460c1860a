"""Cases of a segmentation: tissue and organ labels of a small field of view as compact arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import FormatError
from rtplan.learning.card import Triple

#: Organs in the order of the network's outputs; the first is all the rest, both femoral heads are one.
LABELS = ("Background", "Prostate_TZ", "Prostate_PZ", "SeminalVes", "Bladder", "Rectum", "Femur_Heads")
_FORM = "rtplan segment case 1"


@dataclass(frozen=True, eq=False)
class SegmentCase:
    """What an image is painted from, and what is to be found in it; arrays [z, y, x].

    Parameters
    ----------
    name : str
        Case.
    tissue : ndarray
        uint8; number of the tissue.
    labels : ndarray
        uint8; place in `LABELS`.
    t2w : ndarray, shape (tissues,)
        float32; signal of each tissue in a T2w image, relative.
    spacing_zyx_mm : tuple of float
        Of the voxels.
    """

    name: str
    tissue: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    t2w: NDArray[np.float32]
    spacing_zyx_mm: Triple


def labelled(masks: Mapping[str, NDArray[np.bool_]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the labels of structures: the gland but for its peripheral zone is ``Prostate_TZ``.

    Examples
    --------
    >>> gland, zone = np.array([[[True, True, False]]]), np.array([[[False, True, False]]])
    >>> labelled({"Prostate": gland, "Prostate_PZ": zone}, gland.shape).tolist()
    [[[1, 2, 0]]]
    """
    out = np.zeros(shape, np.uint8)
    nothing = np.zeros(shape, bool)
    gland, peripheral = masks.get("Prostate", nothing), masks.get("Prostate_PZ", nothing)
    heads = masks.get("Femur_Head_L", nothing) | masks.get("Femur_Head_R", nothing)
    parts = {
        "Femur_Heads": heads,
        "Rectum": masks.get("Rectum", nothing),
        "Bladder": masks.get("Bladder", nothing),
        "SeminalVes": masks.get("SeminalVes", nothing),
        "Prostate_TZ": gland & ~peripheral,
        "Prostate_PZ": peripheral,
    }
    for name, mask in parts.items():
        out[mask] = LABELS.index(name)
    return out


def save_segments(case: SegmentCase, path: Path) -> None:
    """Write a case as npz, whole or not at all."""
    facts = {"form": _FORM, "name": case.name, "spacing_zyx_mm": list(case.spacing_zyx_mm)}
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    partial = path.with_suffix(".partial.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(partial, facts=text, tissue=case.tissue, labels=case.labels, t2w=case.t2w)
    partial.replace(path)


def load_segments(path: Path) -> SegmentCase:
    """Read a case; raise FormatError where the file is none."""
    try:
        with np.load(path, allow_pickle=False) as found:
            facts = json.loads(bytes(found["facts"]))
            tissue, labels, t2w = found["tissue"], found["labels"], found["t2w"]
    except (OSError, ValueError, KeyError) as broken:
        raise FormatError("The file is no segmentation case.", where=path.name) from broken
    if facts.pop("form", "") != _FORM:
        raise FormatError("The segmentation case is of another form.", where=path.name)
    return SegmentCase(facts["name"], tissue, labels, t2w, tuple(facts["spacing_zyx_mm"]))
