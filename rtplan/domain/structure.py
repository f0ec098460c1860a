"""A structure: a named region, kept as it came (contours or mask)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtplan.domain.volume import Mask
from rtplan.errors import StructureError

Kind = Literal["GTV", "CTV", "PTV", "ORGAN", "EXTERNAL", "AVOIDANCE", "SUPPORT", "BOLUS", "MARKER", "CONTROL"]


@dataclass(frozen=True, eq=False)
class Contours:
    """Closed planar contours as they came from an RTSTRUCT.

    Parameters
    ----------
    rings : tuple of ndarray, each shape (n, 3)
        Points (x, y, z) in LPS mm, without repetition of the first point. Rings of one plane combine
        by exclusive or (a ring inside another one is a hole).
    frame_of_reference : str
        FrameOfReferenceUID of the points.
    """

    rings: tuple[NDArray[np.float64], ...]
    frame_of_reference: str = ""

    def __post_init__(self) -> None:
        rings = []
        for ring in self.rings:
            points = np.array(ring, dtype=np.float64)
            if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
                raise StructureError(f"A contour needs finite points of shape (n, 3), got {points.shape}.")
            points.flags.writeable = False
            rings.append(points)
        object.__setattr__(self, "rings", tuple(rings))


@dataclass(frozen=True, eq=False)
class Structure:
    """A named region of the patient.

    Parameters
    ----------
    name : str
        TG-263 name.
    kind : str
        RTROIInterpretedType, as one of ``GTV, CTV, PTV, ORGAN, EXTERNAL, …``.
    region : Contours or Mask
        What came is kept; ``imaging.contour.mask_on`` is the one way to voxels.
    """

    name: str
    kind: Kind
    region: Contours | Mask

    @property
    def is_target(self) -> bool:
        """Whether the structure is a GTV, CTV or PTV."""
        return self.kind in ("GTV", "CTV", "PTV")
