"""What all pictures of slices share: the point, the planes, the structures and the isodose levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid, Image, Patient, Structure
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.errors import GeometryMismatch, StructureError
from rtplan.report.book import prescribed
from rtplan.report.figures import looks
from rtplan.report.planes import (
    Plane,
    box_of,
    display_axes,
    frame_of,
    join,
    outline,
    planes,
    points_of,
    sample,
    section,
)

Float = NDArray[np.float64]

#: Isodoses that are drawn, % of the reference dose.
LEVELS_PERCENT = (25.0, 50.0, 80.0, 95.0, 105.0, 120.0)
#: What is shown around the point, mm to either side: left and right, front and back, up and down.
AROUND_MM = np.array([125.0, 110.0, 85.0])
MOST_STRUCTURES = 10
#: Organs in the order in which they are drawn when nothing else speaks for one of them.
_FIRST = ("Rectum", "Bladder", "Prostate", "Urethra", "Femur_Head_L", "Femur_Head_R", "PenileBulb")


@dataclass(frozen=True)
class Isodoses:
    """Levels of the isodose lines and what 100 % means.

    Parameters
    ----------
    levels_gy : tuple of float
        Rising.
    labels : tuple of str
        One per level, for the line itself (``95``).
    words : tuple of str
        One per level, for the key (``95 % · 73.2 Gy``).
    base : str
        What 100 % is.
    base_gy : float
        100 % in Gy.
    """

    levels_gy: tuple[float, ...]
    labels: tuple[str, ...]
    words: tuple[str, ...]
    base: str
    base_gy: float


@dataclass(frozen=True, eq=False)
class Scene:
    """The planes of one report with the structures cut by them.

    Parameters
    ----------
    grid : Grid
        Of the image whose axes are shown.
    centre_mm : ndarray, shape (3,)
        The shown point, LPS mm; ``centre_words`` says what it is.
    planes : tuple of Plane
        Axial, coronal, sagittal.
    outlines : tuple of mapping
        Per plane: structure name to its lines (see `rtplan.report.planes.outline`).
    bodies : tuple of ndarray or None
        Per plane: the share of the body, shape (rows, columns).
    skins : tuple of tuple of ndarray
        Per plane: the lines of the body's outline.
    looks : mapping
        Structure name to colour and line style.
    isodoses : Isodoses or None
        None without a dose.
    left_out : mapping of str to str
        Structures that are not drawn, and why.
    """

    grid: Grid
    centre_mm: Float
    centre_words: str
    planes: tuple[Plane, ...]
    outlines: tuple[Mapping[str, tuple[Float, ...]], ...]
    bodies: tuple[Float | None, ...]
    skins: tuple[tuple[Float, ...], ...]
    looks: Mapping[str, tuple[str, tuple[int, tuple[float, ...]]]]
    isodoses: Isodoses | None
    left_out: Mapping[str, str]


def frame_image(patient: Patient) -> Image | None:
    """Return the image in whose axes is shown: the reference, else the first arm, MR or image."""
    for name in (*patient.arms, *patient.mr, *patient.images):
        return patient.images[name]
    return None


def chosen(patient: Patient) -> tuple[str, ...]:
    """Return the structures worth a colour: targets by dose, organs with results, then the known ones."""
    prescribed = patient.plan.prescription.targets if patient.plan else {}
    with_results = [f.structure for f in patient.findings if f.structure and f.value is not None]

    def rank(structure: Structure) -> tuple[int, float, int, str]:
        name = structure.name
        if structure.is_target:
            return 0, -prescribed.get(name, 0.0), 0, name
        known = _FIRST.index(name) if name in _FIRST else len(_FIRST)
        if name.endswith("_Wall"):  # its organ is drawn already
            return 3, 0.0, known, name
        return 1 if name in with_results else 2, 0.0, known, name

    shown = [s for s in patient.structures.values() if s.kind not in ("EXTERNAL", "CONTROL", "SUPPORT")]
    return tuple(s.name for s in sorted(shown, key=rank))


def centre_of(patient: Patient, image: Image) -> tuple[Float, str]:
    """Return the point through which the planes go, LPS mm, and what it is.

    The centre of the target of the highest dose (the boost, where there are several); else the isocentre, the
    centre of a target, or that of the image.
    """
    asked = dict(patient.plan.prescription.targets) if patient.plan else {}
    here = {
        name: structure
        for name, structure in patient.structures.items()
        if frame_of(structure) == image.grid.frame_of_reference
    }
    for name in sorted((n for n in asked if n in here), key=lambda n: -asked[n]):
        points = points_of(here[name])
        if len(points):
            boost = " (the boost)" if len(set(asked.values())) > 1 else ""
            return _middle(points), f"the centre of {name}{boost}"
    if patient.plan is not None and patient.plan.beams:
        return np.array(patient.plan.beams[0].isocentre_mm, np.float64), "the isocentre"
    for name in chosen(patient):
        structure = patient.structures[name]
        points = points_of(structure)
        if len(points) and structure.is_target:
            return _middle(points), f"the centre of {name}"
    middle = 0.5 * (np.array(image.grid.shape) - 1.0)
    return image.grid.to_patient(middle), "the centre of the image"


def _middle(points: Float) -> Float:
    middle: Float = 0.5 * (points.min(axis=0) + points.max(axis=0))
    return middle


def scene_of(patient: Patient, point: tuple[Float, str] | None = None) -> Scene | None:
    """Return the scene of a patient; None when there is no image at all.

    Parameters
    ----------
    patient : Patient
    point : (ndarray, str), optional
        The shown point, LPS mm, in the frame of `frame_image`, and what it is; `centre_of` by default.
    """
    image = frame_image(patient)
    if image is None:
        return None
    centre, words = point or centre_of(patient, image)
    axes = display_axes(image.grid)
    box = _field(patient, image, centre, axes)
    step = float(
        np.clip(max(np.max(box[1] - box[0]) / 420.0, min(image.grid.spacing_zyx_mm) / 2.0), 0.4, 2.0)
    )
    shown = planes(image.grid, centre, box, step)
    left_out: dict[str, str] = {}
    cuts: dict[str, tuple[Float, ...]] = {}
    for name in chosen(patient):
        cut = _cut(patient, name, shown, image.grid, left_out) if len(cuts) < MOST_STRUCTURES else None
        if cut is not None:
            cuts[name] = cut
        else:
            left_out.setdefault(name, "kept out for clarity")
    body = _cut(patient, EXTERNAL, shown, image.grid, left_out) if EXTERNAL in patient.structures else None
    bodies = body or (None,) * len(shown)
    return Scene(
        grid=image.grid,
        centre_mm=centre,
        centre_words=words,
        planes=shown,
        outlines=tuple(
            {name: outline(cut[n], plane) for name, cut in cuts.items()} for n, plane in enumerate(shown)
        ),
        bodies=bodies,
        skins=tuple(
            () if part is None else outline(part, plane) for part, plane in zip(bodies, shown, strict=True)
        ),
        looks=looks(list(cuts)),
        isodoses=isodoses_of(patient, centre),
        left_out=left_out,
    )


def _field(patient: Patient, image: Image, centre: Float, axes: Float) -> tuple[Float, Float]:
    """Return the box that is shown along the display axes: around the targets, inside the image."""
    low, high = box_of(image.grid.corners(), axes)
    middle = axes.T @ centre
    wanted = [(middle - AROUND_MM, middle + AROUND_MM)]
    for structure in patient.structures.values():
        points = points_of(structure) if structure.is_target else np.empty((0, 3))
        if len(points):
            ends = box_of(points, axes)
            wanted.append((ends[0] - 0.6 * AROUND_MM, ends[1] + 0.6 * AROUND_MM))
    near_low = np.max([low, np.min([a for a, _ in wanted], axis=0)], axis=0)
    near_high = np.min([high, np.max([b for _, b in wanted], axis=0)], axis=0)
    outside = near_high - near_low < 10.0  # the point lies beside the image: show all of it
    return np.where(outside, low, near_low), np.where(outside, high, near_high)


def _cut(
    patient: Patient, name: str, shown: tuple[Plane, ...], grid: Grid, left_out: dict[str, str]
) -> tuple[Float, ...] | None:
    """Return a structure's share on every plane; None, with the reason, when it cannot be drawn."""
    structure = patient.structures[name]
    try:
        link = join(patient, frame_of(structure), grid.frame_of_reference)
        return tuple(section(structure, plane, grid, link) for plane in shown)
    except (GeometryMismatch, StructureError):
        left_out[name] = "it lies in another frame of reference than the image"
        return None


def isodoses_of(patient: Patient, centre_mm: Float) -> Isodoses | None:
    """Return isodose levels: % of the highest prescribed dose, or relative ones where Gy are withheld."""
    if not patient.doses:
        return None
    arm = next((a for a in patient.arms if a in patient.doses), next(iter(patient.doses)))
    dose = patient.doses[arm]
    found = prescribed(patient)
    if patient.absolute_withheld is None and found is not None:
        target, base = found
        words = tuple(f"{p:.0f} % · {p * base / 100.0:.1f} Gy" for p in LEVELS_PERCENT)
        what = f"{base:g} Gy prescribed to {target}"
    else:
        k, j, i = np.clip(
            np.round(dose.grid.to_index(centre_mm)).astype(int), 0, np.array(dose.grid.shape) - 1
        )
        base = float(dose.array[k, j, i]) or float(dose.array.max())
        words = tuple(f"{p:.0f} %" for p in LEVELS_PERCENT)
        what = f"the dose on {arm} at the shown point (no Gy: absolute dose is withheld)"
        if patient.absolute_withheld is None:
            words = tuple(f"{p:.0f} % · {p * base / 100.0:.1f} Gy" for p in LEVELS_PERCENT)
            what = f"{base:.1f} Gy, the dose on {arm} at the shown point"
    if not base > 0.0:
        return None
    levels = tuple(p * base / 100.0 for p in LEVELS_PERCENT)
    return Isodoses(levels, tuple(f"{p:.0f}" for p in LEVELS_PERCENT), words, what, base)


def doses_on(patient: Patient, arm: str, scene: Scene) -> tuple[Float, ...] | None:
    """Return the dose of an arm on every plane, Gy, NaN outside its grid; None when it cannot be shown."""
    dose = patient.doses.get(arm)
    if dose is None:
        return None
    try:
        link = join(patient, dose.grid.frame_of_reference, scene.grid.frame_of_reference)
        return tuple(sample(dose, plane, link) for plane in scene.planes)
    except GeometryMismatch:
        return None
