"""Voxel values on a grid: images (HU or MR units), doses (Gy) and masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from rtplan.domain.grid import Grid
from rtplan.errors import GeometryMismatch


@dataclass(frozen=True)
class Source:
    """Where an image came from, as far as later objects must refer to it.

    Parameters
    ----------
    series_uid, study_uid : str
        DICOM UIDs; empty when the image was made here.
    sop_uids : tuple of str
        One SOPInstanceUID per slice, in the order of the array's first axis.
    sop_class_uid : str
        SOPClassUID of the slices.
    patient_position : str
        As in the header (``HFS``, ``FFS`` …).
    description : str
        SeriesDescription, or how the image was made.
    acquisition : mapping
        Header facts that later steps judge by (field strength, distortion correction, bandwidth …).
    frame_numbers : tuple of int
        Of multi-frame objects the number of each slice's frame in its object, from 1; else empty.
    """

    series_uid: str = ""
    study_uid: str = ""
    sop_uids: tuple[str, ...] = ()
    sop_class_uid: str = ""
    patient_position: str = ""
    description: str = ""
    acquisition: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    frame_numbers: tuple[int, ...] = ()

    def frame(self, k: int) -> int | None:
        """Return which frame of its object slice k is, from 1; None where it is an object of its own."""
        return self.frame_numbers[k] if self.frame_numbers else None


@dataclass(frozen=True, eq=False)
class Volume:
    """An array on its grid.

    Parameters
    ----------
    grid : Grid
        Place of the voxels.
    array : ndarray, shape (z, y, x)
        Values; kept as a read-only view in the class's dtype.

    Raises
    ------
    GeometryMismatch
        If the array's shape is not the grid's.
    """

    grid: Grid
    array: NDArray[Any]

    DTYPE: ClassVar[type] = np.float32

    def __post_init__(self) -> None:
        array: NDArray[Any] = np.asarray(self.array, dtype=self.DTYPE)
        if array.shape != self.grid.shape:
            raise GeometryMismatch(
                f"An array of shape {array.shape} does not fit a grid of shape {self.grid.shape}."
            )
        view = array.view()
        view.flags.writeable = False
        object.__setattr__(self, "array", view)

    def with_array(self, array: NDArray[Any]) -> Self:
        """Return a volume of the same kind and place with other values."""
        return replace(self, array=array)

    def demand_same_grid(self, other: Volume) -> None:
        """Raise GeometryMismatch, naming both grids, unless the other volume lies on this grid."""
        if not self.grid.same_as(other.grid):
            raise GeometryMismatch(
                f"Two volumes do not lie on one grid: {self.grid} and {other.grid}.",
                action="bring one onto the other with imaging.resample, by name.",
            )


@dataclass(frozen=True, eq=False)
class Image(Volume):
    """A CT (float32 HU) or an MR (float32, scanner units)."""

    modality: str = "CT"
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, eq=False)
class Dose(Volume):
    """An absorbed dose (float32 Gy) of the whole course.

    Parameters
    ----------
    kind : str
        ``physical``, or ``EQD2(<alpha/beta in Gy>)``.
    fractions : int or None
        Number of fractions in which it is given; None when unknown.
    source : Source
        UIDs of the RTDOSE it came from.
    """

    kind: str = "physical"
    fractions: int | None = None
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, eq=False)
class Mask(Volume):
    """A yes or no for every voxel (bool)."""

    DTYPE: ClassVar[type] = np.bool_
