"""A registration: how points of one frame of reference lie in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtplan.domain.grid import Grid
from rtplan.errors import RegistrationError


@dataclass(frozen=True, eq=False)
class Displacement:
    """A field of displacements, mm, as DICOM and ITK have them: it tells where a point comes from.

    Parameters
    ----------
    grid : Grid
        Where the vectors stand; in the registration's ``to_frame``.
    vectors : ndarray, shape (z, y, x, 3), float32
        (x, y, z), LPS mm. A point p of ``to_frame`` comes from ``matrix⁻¹ (p + d(p))``; outside the grid
        d is 0.
    """

    grid: Grid
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        vectors = np.array(self.vectors, dtype=np.float32)
        if vectors.shape != (*self.grid.shape, 3) or not np.isfinite(vectors).all():
            raise RegistrationError(
                f"A displacement field needs finite vectors of shape {(*self.grid.shape, 3)}, "
                f"got {vectors.shape}."
            )
        vectors.flags.writeable = False
        object.__setattr__(self, "vectors", vectors)


@dataclass(frozen=True, eq=False)
class Registration:
    """A transform from one frame of reference to another, with its quality.

    Parameters
    ----------
    from_frame, to_frame : str
        FrameOfReferenceUIDs.
    matrix : ndarray, shape (4, 4)
        Takes points (x, y, z, 1) of ``from_frame`` to points of ``to_frame``, LPS mm.
    kind : str
        ``identity``, ``rigid`` or ``deformable``.
    quality : mapping of str to float
        Stated figures (``body_overlap``, ``mutual_information``, ``shift_mm`` …).
    displacement : Displacement or None
        Of a deformable registration, on top of the matrix.
    """

    from_frame: str
    to_frame: str
    matrix: NDArray[np.float64]
    kind: str = "rigid"
    quality: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    displacement: Displacement | None = None

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """Take points of shape (..., 3), LPS mm, from ``from_frame`` to ``to_frame``.

        Raises
        ------
        RegistrationError
            If the registration is deformable: its field only tells where points come from
            (`rtplan.imaging.resample.carry_back`).
        """
        if self.displacement is not None:
            raise RegistrationError(
                "A deformable registration cannot carry points forward by its matrix alone.",
                action="carry points of the fixed frame back with imaging.resample.carry_back.",
            )
        points = np.asarray(points, np.float64)
        moved: NDArray[np.float64] = points @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return moved
