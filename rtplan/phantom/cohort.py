"""Digital patients by cohort and seed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid, Identity, Mask, Patient, Record, Structure
from rtplan.domain.structure import Kind
from rtplan.phantom.anatomy import build_anatomy
from rtplan.phantom.ct import scan_ct
from rtplan.phantom.draws import Cohort, Draws, table
from rtplan.phantom.mr import demand_contrasts, scan_mr
from rtplan.phantom.shapes import Shape

KINDS: dict[str, Kind] = {
    "External": "EXTERNAL",
    "GTVp": "GTV",
    "PTVp": "PTV",
    "Prostate": "CTV",
    "zGas": "CONTROL",
}
#: What changes in the pelvis from one day to the next: gas in the rectum, filling of the bladder.
GAS_AND_BLADDER = ("rectum_gas", "bladder_cc")


def make_patient(
    cohort: Cohort,
    seed: int,
    *,
    spacing_zyx_mm: tuple[float, float, float] = (2.5, 1.5, 1.5),
    spacer: bool = False,
    contrasts: tuple[str, ...] = ("T2w", "T1w"),
    shape: Shape | None = None,
    mr_anew: tuple[str, ...] = (),
) -> Patient:
    """Make a digital patient: one anatomy, seen by a CT and an MR scanner.

    Parameters
    ----------
    cohort : {"train", "valid", "study"}
        The population; its ranges are in ``models/anatomy/<cohort>.toml``.
    seed : int
        Number of the patient in the cohort; the same number gives the same bytes.
    spacing_zyx_mm : tuple of float
        Voxel spacing of all images and masks, mm.
    spacer : bool
        Whether a hydrogel spacer parts prostate and rectum.
    contrasts : tuple of str
        Of ``T2w``, ``T1w`` and ``Dixon`` (which gives four images).
    shape : Shape, optional
        A real prostate (with zones and lesion, where known) in the place of the drawn one: its centre of
        volume lies where the drawn gland's centre would, moved off the pubic bones where it must; the organs
        round it keep off it. The key ends with a mark of the shape.
    mr_anew : tuple of str
        Draws that are made again for the MR, as on another day (``GAS_AND_BLADDER``); the structures are
        those of the CT.

    Returns
    -------
    Patient
        Images ``CT`` and the MR contrasts, structures as masks, all on one grid and frame of reference.

    Raises
    ------
    UnknownName
        If cohort or contrast is not known.
    """
    draws = Draws(cohort, int(seed))
    demand_contrasts(contrasts)
    who = f"{cohort}/{seed}" + (f"/{shape.digest}" if shape else "")
    anatomy = build_anatomy(draws, spacing_zyx_mm, uid(f"frame/{who}"), spacer=spacer, shape=shape)
    seen = anatomy
    if mr_anew:
        other_day = replace(draws, anew=mr_anew)
        seen = build_anatomy(other_day, spacing_zyx_mm, uid(f"frame/{who}"), spacer=spacer, shape=shape)
    images = {"CT": scan_ct(anatomy, draws), **scan_mr(seen, draws, contrasts)}
    masks = dict(anatomy.masks)
    masks["PTVp"] = _grown(masks["Prostate"], anatomy.grid)
    structures = {
        name: Structure(name, KINDS.get(name, "ORGAN"), Mask(anatomy.grid, mask))
        for name, mask in masks.items()
        if mask.any()
    }
    key = f"{cohort}{seed:04d}" + (f"_{shape.digest}" if shape else "")
    settings: dict[str, Any] = {
        "cohort": cohort,
        "spacing_zyx_mm": spacing_zyx_mm,
        "spacer": spacer,
        "contrasts": contrasts,
    }
    settings |= {"shape": shape.name, "shape_scale": shape.scale} if shape else {}
    settings |= {"mr_anew": mr_anew} if mr_anew else {}
    return Patient(
        key=key,
        images=images,
        structures=structures,
        notices=shape.notices if shape else (),
        history=(Record("MakePatient", settings, 0.0, seed=int(seed)),),
        identity=Identity(patient_id=key, name=f"Phantom^{key}", sex="M", study_uid=uid(f"study/{who}")),
    )


def uid(text: str) -> str:
    """Return a DICOM UID (UUID form, 2.25.…) that depends only on the text.

    Examples
    --------
    >>> uid("a") == uid("a"), uid("a") != uid("b"), uid("a").startswith("2.25.")
    (True, True, True)
    """
    return "2.25." + str(int(hashlib.sha256(f"rtplan phantom {text}".encode()).hexdigest()[:31], 16))


def _grown(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    """Grow a mask by the stated margin in each direction (an ellipsoid with six half axes)."""
    m = table("models/anatomy", "layout")["ptv"]
    dz, dy, dx = grid.spacing_zyx_mm
    reach = {
        k: int(np.ceil(m[k] / s))
        for k, s in (("lateral", dx), ("anterior", dy), ("posterior", dy), ("superior", dz), ("inferior", dz))
    }
    out = mask.copy()
    found = np.argwhere(mask)
    low, high = found.min(0) - 8, found.max(0) + 9
    box = tuple(slice(max(int(a), 0), int(b)) for a, b in zip(low, high, strict=True))
    part, grown = mask[box], mask[box].copy()
    for k in range(-reach["inferior"], reach["superior"] + 1):
        for j in range(-reach["anterior"], reach["posterior"] + 1):
            for i in range(-reach["lateral"], reach["lateral"] + 1):
                a = k * dz / (m["superior"] if k > 0 else m["inferior"])
                b = j * dy / (m["posterior"] if j > 0 else m["anterior"])
                if a * a + b * b + (i * dx / m["lateral"]) ** 2 <= 1.0:
                    grown |= np.roll(part, (k, j, i), (0, 1, 2))
    out[box] |= grown
    return out
