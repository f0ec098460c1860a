"""A registration: how points of one frame of reference lie in another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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

    def inverse(self) -> Registration:
        """Return the way back.

        Raises
        ------
        RegistrationError
            If the registration is deformable.

        Examples
        --------
        >>> matrix = np.eye(4)
        >>> matrix[:3, 3] = (1.0, 2.0, 3.0)
        >>> Registration("A", "B", matrix).inverse().apply([1.0, 2.0, 3.0])
        array([0., 0., 0.])
        """
        if self.displacement is not None:
            raise RegistrationError("A deformable registration has no inverse here.")
        back: NDArray[np.float64] = np.linalg.inv(self.matrix).astype(np.float64)
        return replace(self, from_frame=self.to_frame, to_frame=self.from_frame, matrix=back)

    def then(self, other: Registration) -> Registration:
        """Return this registration followed by another one, from this one's first frame to the other's last.

        Raises
        ------
        RegistrationError
            If the frames do not meet, or one is deformable.
        """
        if self.to_frame != other.from_frame or self.displacement or other.displacement:
            raise RegistrationError("Only rigid registrations whose frames meet can follow each other.")
        return Registration(self.from_frame, other.to_frame, other.matrix @ self.matrix)


def links(registrations: Iterable[Registration]) -> dict[tuple[str, str], Registration]:
    """Return how every frame comes into every other one that it is linked with, by the fewest steps.

    Those that are given stand as they are; rigid ones also lead back, and through frames in between.
    """
    table = {(r.from_frame, r.to_frame): r for r in registrations}
    rigid = [r for r in table.values() if r.displacement is None]
    steps: dict[str, list[Registration]] = {}
    for item in (*rigid, *(r.inverse() for r in rigid)):
        steps.setdefault(item.from_frame, []).append(item)
    for start in steps:
        reached = {start: Registration(start, start, np.eye(4), kind="identity")}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            for step in steps.get(here, ()):
                if step.to_frame not in reached:
                    reached[step.to_frame] = step if here == start else reached[here].then(step)
                    queue.append(step.to_frame)
        for end, found in reached.items():
            if end != start:
                table.setdefault((start, end), found)
    return table
