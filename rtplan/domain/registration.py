"""A registration: how points of one frame of reference lie in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
    """

    from_frame: str
    to_frame: str
    matrix: NDArray[np.float64]
    kind: str = "rigid"
    quality: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """Take points of shape (..., 3), LPS mm, from ``from_frame`` to ``to_frame``."""
        points = np.asarray(points, np.float64)
        moved: NDArray[np.float64] = points @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return moved
