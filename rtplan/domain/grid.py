"""A regular grid in patient coordinates (LPS, mm): one affine, from which all else is derived."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtplan.errors import GeometryMismatch

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and place of a volume; knows no voxels' values.

    Parameters
    ----------
    shape : tuple of int
        Number of voxels along the array axes, in the order ``[z, y, x]``.
    affine : array_like, shape (4, 4)
        Takes an index in array order ``(k, j, i, 1)`` (voxel centres at whole numbers) to a patient
        point ``(x, y, z, 1)`` in LPS, mm.
    frame_of_reference : str
        FrameOfReferenceUID. Points of different frames must not be compared.

    Raises
    ------
    GeometryMismatch
        If the shape has an axis below 1, or the affine is singular or not finite.

    Examples
    --------
    >>> grid = Grid.axial((4, 5, 6), spacing_zyx_mm=(3.0, 2.0, 1.0), origin_mm=(10.0, 20.0, 30.0))
    >>> grid.to_patient([1, 1, 1])
    array([11., 22., 33.])
    """

    shape: tuple[int, int, int]
    affine: Float
    frame_of_reference: str = ""

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryMismatch(f"A grid needs three axes of at least one voxel, got {shape}.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryMismatch("A grid needs a finite 4 x 4 affine.")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryMismatch("The affine of a grid is singular: two axes coincide or a spacing is 0.")
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def axial(
        cls,
        shape: tuple[int, int, int],
        spacing_zyx_mm: tuple[float, float, float],
        origin_mm: tuple[float, float, float],
        frame_of_reference: str = "",
    ) -> Grid:
        """Make a grid whose axes are the patient's: k to superior, j to posterior, i to the left."""
        affine = np.eye(4)
        affine[:3, :3] = 0.0
        affine[2, 0], affine[1, 1], affine[0, 2] = spacing_zyx_mm
        affine[:3, 3] = origin_mm
        return cls(shape, affine, frame_of_reference)

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along the array axes [z, y, x], mm."""
        k, j, i = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(k), float(j), float(i)

    @property
    def origin_mm(self) -> Float:
        """Patient point of the centre of voxel [0, 0, 0], shape (3,), LPS mm."""
        return self.affine[:3, 3].copy()

    @property
    def direction(self) -> Float:
        """Unit vectors of the array axes as columns (z, y, x), shape (3, 3), LPS."""
        columns: Float = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return columns

    @property
    def voxel_cc(self) -> float:
        """Volume of one voxel, cc."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def is_axial(self) -> bool:
        """Whether the array axes are the patient's axes (k up, j posterior, i left) to 1e-5."""
        wanted = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
        return bool(np.allclose(self.direction, wanted, atol=1e-5))

    def to_patient(self, index: ArrayLike) -> Float:
        """Take indices (k, j, i), shape (..., 3), to patient points (x, y, z), LPS mm, same shape."""
        return np.asarray(index, np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, point: ArrayLike) -> Float:
        """Take patient points (x, y, z), shape (..., 3), LPS mm, to fractional indices (k, j, i)."""
        return (np.asarray(point, np.float64) - self.affine[:3, 3]) @ self._inverse.T

    @cached_property
    def _inverse(self) -> Float:
        """Matrix from millimetres to indices, shape (3, 3)."""
        inverse: Float = np.linalg.inv(self.affine[:3, :3]).astype(np.float64)
        return inverse

    def corners(self) -> Float:
        """Return the outer corners of the corner voxels as patient points, shape (8, 3), LPS mm."""
        ends = [(-0.5, n - 0.5) for n in self.shape]
        return self.to_patient([(k, j, i) for k in ends[0] for j in ends[1] for i in ends[2]])

    def same_as(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape, frame and place, to a tolerance at every corner."""
        return (
            self.shape == other.shape
            and self.frame_of_reference == other.frame_of_reference
            and bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)
        )

    def crop(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Grid:
        """Return the grid of the voxels ``[start, stop)``; start may be negative (padding)."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_patient(start)
        k, j, i = (int(b) - int(a) for a, b in zip(start, stop, strict=True))
        return Grid((k, j, i), affine, self.frame_of_reference)

    def with_spacing(self, spacing_zyx_mm: tuple[float, float, float]) -> Grid:
        """Return a grid of the same outer box and axes with about this spacing.

        The number of voxels is rounded up, so the box is covered; the first corner stays.
        """
        old = np.array(self.spacing_zyx_mm)
        new = np.array(spacing_zyx_mm, dtype=np.float64)
        count = np.maximum(np.ceil(np.array(self.shape) * old / new - 1e-6).astype(int), 1)
        affine = self.affine.copy()
        affine[:3, :3] = self.direction * new
        corner = self.to_patient([-0.5, -0.5, -0.5])
        affine[:3, 3] = corner + affine[:3, :3] @ np.full(3, 0.5)
        return Grid((int(count[0]), int(count[1]), int(count[2])), affine, self.frame_of_reference)

    def __str__(self) -> str:
        z, y, x = self.shape
        dz, dy, dx = self.spacing_zyx_mm
        ox, oy, oz = self.origin_mm
        tilt = "" if self.is_axial else ", tilted"
        return (
            f"{z}x{y}x{x} voxels [z, y, x] of {dz:.3f}x{dy:.3f}x{dx:.3f} mm "
            f"at ({ox:.2f}, {oy:.2f}, {oz:.2f}) mm{tilt}"
        )
