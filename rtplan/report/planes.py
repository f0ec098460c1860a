"""The planes that are shown: through one point, in radiological convention, with volumes sampled on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray

from rtplan.domain import Contours, Grid, Mask, Patient, Registration, Structure, Volume
from rtplan.imaging.contour import fraction_on
from rtplan.imaging.resample import resample

Float = NDArray[np.float64]

#: Name of a plane to (axis to the right, axis down, letters left, right, top, bottom); signed axes of the
#: basis: 1 to the patient's left, 2 to posterior, 3 to superior.
VIEWS: dict[str, tuple[int, int, str]] = {
    "axial": (1, 2, "RLAP"),
    "coronal": (1, -3, "RLSI"),
    "sagittal": (2, -3, "APSI"),
}
TILT_SHOWN_DEG = 0.5


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of display.

    Parameters
    ----------
    name : str
        axial, coronal or sagittal.
    grid : Grid
        One slice: rows go down the picture, columns to its right.
    letters : str
        Patient directions at the left, right, top and bottom edge.
    cross_mm : tuple of float
        Where the shown point lies, mm to the right and down from the centre of the first pixel.
    tilt_deg : float
        Angle between the plane and the patient's own; 0 when it is the patient's.
    """

    name: str
    grid: Grid
    letters: str
    cross_mm: tuple[float, float]
    tilt_deg: float = 0.0

    @property
    def step_mm(self) -> float:
        """Size of a pixel, mm."""
        return self.grid.spacing_zyx_mm[2]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height, mm."""
        return self.grid.shape[2] * self.step_mm, self.grid.shape[1] * self.step_mm

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top for imshow, mm in the picture (down is positive)."""
        width, height = self.size_mm
        half = 0.5 * self.step_mm
        return -half, width - half, height - half, -half


def display_axes(grid: Grid) -> Float:
    """Return unit vectors to the (nearest) patient's left, posterior and superior as columns, (3, 3), LPS.

    For a grid along the patient's axes these are the patient's own; a tilted grid is shown in its own
    slice planes.

    Examples
    --------
    >>> display_axes(Grid.axial((2, 2, 2), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    left, _, right = np.linalg.svd(grid.direction)
    rotation = left @ right  # the nearest orthonormal axes
    order = _nearest_axes(rotation)
    axes: Float = np.stack([rotation[:, order[n]] * np.sign(rotation[n, order[n]]) for n in range(3)], axis=1)
    tilt = np.degrees(np.arccos(np.clip(np.diag(axes), -1.0, 1.0))).max()
    return np.eye(3) if tilt < TILT_SHOWN_DEG else axes


def _nearest_axes(rotation: Float) -> tuple[int, int, int]:
    """Return, for x, y and z, which column lies nearest to it; each column once."""
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    return max(orders, key=lambda order: sum(abs(rotation[n, order[n]]) for n in range(3)))


def planes(grid: Grid, centre_mm: Float, box: tuple[Float, Float], step_mm: float) -> tuple[Plane, ...]:
    """Return the axial, coronal and sagittal plane through a point.

    Parameters
    ----------
    grid : Grid
        Whose axes are shown (see `display_axes`) and in whose frame the planes lie.
    centre_mm : ndarray, shape (3,)
        The point, LPS mm.
    box : tuple of ndarray, each shape (3,)
        Lowest and highest coordinates along the display axes, mm from the origin of the frame.
    step_mm : float
        Size of a pixel.
    """
    axes = display_axes(grid)
    centre = axes.T @ np.asarray(centre_mm, np.float64)
    return tuple(_plane(name, grid, axes, centre, box, step_mm) for name in VIEWS)


def _plane(
    name: str, grid: Grid, axes: Float, centre: Float, box: tuple[Float, Float], step_mm: float
) -> Plane:
    across, down, letters = VIEWS[name]
    directions = [np.sign(n) * axes[:, abs(n) - 1] for n in (across, down)]
    low, high = box
    start = centre.copy()
    cross, counts = [], []
    for signed in (across, down):
        n = abs(signed) - 1
        first = low[n] if signed > 0 else high[n]
        counts.append(max(round((high[n] - low[n]) / step_mm), 1))
        start[n] = first + np.sign(signed) * 0.5 * step_mm
        cross.append(float(abs(centre[n] - start[n])))
    affine = np.eye(4)
    affine[:3, 0] = np.cross(directions[0], directions[1]) * step_mm
    affine[:3, 1], affine[:3, 2] = directions[1] * step_mm, directions[0] * step_mm
    affine[:3, 3] = axes @ start
    normal = ({1, 2, 3} - {abs(across), abs(down)}).pop() - 1
    tilt = float(np.degrees(np.arccos(np.clip(axes[normal, normal], -1.0, 1.0))))
    shape = (1, counts[1], counts[0])
    return Plane(name, Grid(shape, affine, grid.frame_of_reference), letters, (cross[0], cross[1]), tilt)


def box_of(points: Float, axes: Float) -> tuple[Float, Float]:
    """Return lowest and highest coordinates of points, shape (n, 3), LPS mm, along display axes."""
    along = points @ axes
    return along.min(axis=0), along.max(axis=0)


def points_of(structure: Structure) -> Float:
    """Return points that span a structure (vertices, or centres of the voxels of its surface slices)."""
    if isinstance(structure.region, Contours):
        rings = structure.region.rings
        return np.concatenate(rings) if rings else np.empty((0, 3))
    index = np.argwhere(structure.region.array)
    return structure.region.grid.to_patient(index)


def frame_of(structure: Structure) -> str:
    """Return the frame of reference in which a structure lies."""
    region = structure.region
    return region.frame_of_reference if isinstance(region, Contours) else region.grid.frame_of_reference


def join(patient: Patient, moving: str, fixed: str) -> Registration | None:
    """Return the registration from one frame of reference to another; None: not needed, or not there."""
    if moving == fixed:
        return None
    found = [r for r in patient.registrations if (r.from_frame, r.to_frame) == (moving, fixed)]
    return found[-1] if found else None


def sample(volume: Volume, plane: Plane, registration: Registration | None = None) -> Float:
    """Return the values of a volume on a plane, shape (rows, columns); NaN outside the volume."""
    floats = Volume(volume.grid, volume.array)
    moved = resample(floats, plane.grid, order="linear", outside=np.nan, registration=registration)
    return np.asarray(moved.array[0], np.float64)


def section(
    structure: Structure, plane: Plane, grid: Grid, registration: Registration | None = None
) -> Float:
    """Return the share of a structure at each pixel of a plane, 0 to 1, shape (rows, columns).

    Parameters
    ----------
    structure : Structure
        A mask is sampled from its own grid; contours are filled on a slab of ``grid`` first.
    plane : Plane
        Where it is wanted.
    grid : Grid
        Voxels for contours; its axes should be those of the plane.
    registration : Registration, optional
        Takes the structure's frame to the plane's.
    """
    region = structure.region
    if isinstance(region, Mask):
        return np.nan_to_num(sample(region, plane, registration))
    slab = slab_of(grid, plane)
    if slab is None:
        return np.zeros(plane.grid.shape[1:])
    filled = Volume(slab, fraction_on(structure, slab, registration))
    return np.nan_to_num(sample(filled, plane))


def outline(share: Float, plane: Plane) -> tuple[Float, ...]:
    """Return the lines around what covers half a pixel or more, each shape (n, 2): mm right and down."""
    if not share.max() >= 0.5 > share.min():
        return ()
    lines = contour_generator(z=share).lines(0.5)
    return tuple(np.asarray(line, np.float64) * plane.step_mm for line in lines)


def slab_of(grid: Grid, plane: Plane) -> Grid | None:
    """Return the part of a grid that a plane needs for interpolation; None when they do not meet."""
    index = grid.to_index(plane.grid.corners())
    start = np.maximum(np.floor(index.min(axis=0)).astype(int) - 1, 0)
    stop = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 2, grid.shape)
    if (start >= stop).any():
        return None
    return grid.crop(_triple(start), _triple(stop))


def _triple(values: Sequence[int] | NDArray[np.int_]) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])
