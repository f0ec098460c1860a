"""What the interactive page can show of a case, and the planes on which it shows it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid, Patient, Registration, Structure, Volume
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.errors import GeometryMismatch, StructureError
from rtplan.imaging.contour import fraction_on
from rtplan.report.planes import VIEWS, Plane, box_of, display_axes, frame_of, join, planes, sample
from rtplan.report.scene import Isodoses, centre_of, chosen, frame_image, isodoses_of

Float = NDArray[np.float64]
View = Literal["axial", "coronal", "sagittal"]

#: Size of a pixel of a plane, mm: as fine as shows, no finer than fluent scrolling allows.
STEP_MM = (0.4, 2.0)
MOST_PIXELS = 420.0


@dataclass(frozen=True)
class Slices:
    """The slices of one view, along the axis through them.

    Parameters
    ----------
    axis : int
        Display axis: 0 to the patient's left, 1 to posterior, 2 to superior.
    first_mm, step_mm : float
        Place of slice 0 on that axis, and the distance of slices.
    count : int
        How many there are.
    """

    axis: int
    first_mm: float
    step_mm: float
    count: int

    def at(self, k: int) -> float:
        """Return the place of a slice on its axis, mm."""
        return self.first_mm + k * self.step_mm

    def nearest(self, place_mm: float) -> int:
        """Return the slice nearest to a place, mm; the outermost one beyond the ends."""
        return int(np.clip(round((place_mm - self.first_mm) / self.step_mm), 0, self.count - 1))


@dataclass(frozen=True, eq=False)
class Stage:
    """A case as it is shown.

    Parameters
    ----------
    patient : Patient
        Without identity.
    spreads : mapping of str to Dose
        Standard deviation of the dose samples, Gy, by arm.
    grid : Grid
        Of the image in whose axes is shown.
    axes : ndarray, shape (3, 3)
        Display axes as columns, LPS (`rtplan.report.planes.display_axes`).
    box : tuple of ndarray, each shape (3,)
        Lowest and highest coordinates along the display axes, mm.
    step_mm : float
        Size of a pixel.
    centre_mm : ndarray, shape (3,)
        The point that is shown first, LPS mm; ``centre_words`` says what it is.
    isodoses : Isodoses or None
        None without a dose.
    shares : dict
        Structure to its share of each voxel around it; filled when first asked for.
    """

    patient: Patient
    spreads: Mapping[str, Dose]
    grid: Grid
    axes: Float
    box: tuple[Float, Float]
    step_mm: float
    centre_mm: Float
    centre_words: str
    isodoses: Isodoses | None
    shares: dict[str, Volume | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def slices(self, view: View) -> Slices:
        """Return the slices of a view: those of the image where its axes are shown."""
        across, down, _ = VIEWS[view]
        axis = ({1, 2, 3} - {abs(across), abs(down)}).pop() - 1
        along = self.axes[:, axis] @ self.grid.direction
        array_axis = int(np.abs(along).argmax())
        count, step = self.grid.shape[array_axis], self.grid.spacing_zyx_mm[array_axis]
        middle = self.axes.T @ self.grid.to_patient(0.5 * (np.array(self.grid.shape) - 1.0))
        return Slices(axis, float(middle[axis] - 0.5 * (count - 1) * step), step, count)

    def plane(self, view: View, k: int) -> Plane:
        """Return slice ``k`` of a view."""
        slices = self.slices(view)
        point = self.axes.T @ self.centre_mm
        point[slices.axis] = slices.at(k)
        shown = planes(self.grid, self.axes @ point, self.box, self.step_mm)
        return next(plane for plane in shown if plane.name == view)

    @property
    def drawn(self) -> tuple[str, ...]:
        """The structures that can be outlined: the targets first, the body last."""
        body = (EXTERNAL,) if EXTERNAL in self.patient.structures else ()
        return (*chosen(self.patient), *body)

    def share(self, name: str) -> Volume | None:
        """Return a structure's share of each voxel around it; None where it cannot be brought here."""
        with self._lock:
            if name not in self.shares:
                self.shares[name] = _share(self.patient, self.patient.structure(name), self.grid)
            return self.shares[name]

    def link(self, volume: Volume) -> Registration | None:
        """Return what brings a volume into the frame that is shown, where that is needed."""
        return join(self.patient, volume.grid.frame_of_reference, self.grid.frame_of_reference)


def stage_of(patient: Patient, spreads: Mapping[str, Dose] | None = None) -> Stage:
    """Return a case as it is shown.

    Raises
    ------
    StructureError
        If it holds no image.
    """
    image = frame_image(patient)
    if image is None:
        raise StructureError("The run holds no image, so there is nothing to look at.")
    axes = display_axes(image.grid)
    box = box_of(image.grid.corners(), axes)
    finest = min(image.grid.spacing_zyx_mm)
    step = float(np.clip(max(float(np.max(box[1] - box[0])) / MOST_PIXELS, finest / 2.0), *STEP_MM))
    centre, words = centre_of(patient, image)
    return Stage(
        patient, spreads or {}, image.grid, axes, box, step, centre, words, isodoses_of(patient, centre)
    )


def _share(patient: Patient, structure: Structure, grid: Grid) -> Volume | None:
    try:
        link = join(patient, frame_of(structure), grid.frame_of_reference)
        share = fraction_on(structure, grid, link)
    except (GeometryMismatch, StructureError):
        return None
    inside = [np.flatnonzero(share.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if any(len(found) == 0 for found in inside):
        return None
    start = [max(int(found[0]) - 2, 0) for found in inside]
    stop = [min(int(found[-1]) + 3, n) for found, n in zip(inside, grid.shape, strict=True)]
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    cropped = grid.crop((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return Volume(cropped, share[window].copy())


def on_plane(volume: Volume, plane: Plane, link: Registration | None = None) -> NDArray[np.float32]:
    """Return the values of a volume on a plane, shape (rows, columns), float32; NaN outside the volume.

    The same numbers as `rtplan.report.planes.sample`, from the slab of voxels that the plane cuts.
    """
    slab = volume if link is not None else _slab(volume, plane)
    if slab is None:
        return np.full(plane.grid.shape[1:], np.nan, np.float32)
    return sample(slab, plane, link).astype(np.float32)


def _slab(volume: Volume, plane: Plane) -> Volume | None:
    """Return the part of a volume that a plane meets, with voxels enough to interpolate; None if none."""
    grid = volume.grid
    index = grid.to_index(plane.grid.corners())
    start = np.maximum(np.floor(index.min(axis=0)).astype(int) - 1, 0)
    stop = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 2, grid.shape)
    if (start >= stop).any():
        return None
    low, high = (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return Volume(grid.crop(low, high), volume.array[window])
