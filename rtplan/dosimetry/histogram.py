"""What a DVH is: its settings and the curves of a structure under a dose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.curve import Curve
from rtplan.dosimetry.doubt import Doubt
from rtplan.dosimetry.lookup import Interpolation

Float = NDArray[np.float64]
Caps = Literal["none", "half_slice", "rounded"]
Outside = Literal["refuse", "bounds", "zero"]


@dataclass(frozen=True)
class Settings:
    """How a DVH is made.

    Parameters
    ----------
    caps : str
        What lies beyond the end planes of contours. ``none``: nothing. ``half_slice``: the end plane
        goes on for half a slice. ``rounded`` (the default): the shape closes as its last three planes
        foretell, within one slice; a flat end becomes half a slice. It is the default because it alone
        meets both a sphere and a cylinder (benchmarks/results/dvh.md).
    interpolation : str
        Of the dose between voxels: ``cubic`` (the default; a local cubic through the voxel values, which
        keeps peaks that trilinear interpolation cuts off) or ``linear``.
    outside : str
        When the structure leaves the dose grid: ``refuse``, ``bounds`` (0 Gy and the highest dose of the
        grid stand for the unknown part; the value is their middle) or ``zero``.
    tolerance_gy : float
        The cells are chosen so that the error of D98, D50, D2 and the mean keeps it, and made finer where
        their change from cells twice as large says that it does not; for a highest dose of 60 Gy, and in
        proportion.
    most_cells : int
        Where refinement stops.
    """

    caps: Caps = "rounded"
    interpolation: Interpolation = "cubic"
    outside: Outside = "refuse"
    tolerance_gy: float = 0.02
    most_cells: int = 600_000


@dataclass(frozen=True, eq=False)
class Dvh:
    """A structure's dose-volume histogram under one dose.

    Parameters
    ----------
    name : str
        Of the structure.
    curves : mapping of str to Curve
        By cap policy, and ``low`` and ``high``: a whole slice at one end and nothing at the other. Masks
        have the chosen one only. With ``outside = "bounds"`` these are the lower curves.
    coarse : Curve
        The chosen policy's curve from cells twice as large, for the error bound.
    upper : Curve or None
        With ``outside = "bounds"``: the curve with the highest dose outside.
    covered_fraction : float
        Part of the volume inside the dose grid.
    settings : Settings
        How it was made.
    kind : str
        ``physical`` or ``EQD2(…)``, of the dose as it came.
    fractions : int or None
        Of the dose.
    notes : tuple of str
        What had to be decided.
    grain_gy : float
        Median span of the dose within one cell: the scale of what a sampling may miss.
    doubt : Doubt or None
        Bounds on what errors of the partial volumes do.
    """

    name: str
    curves: dict[str, Curve]
    coarse: Curve
    covered_fraction: float
    settings: Settings
    upper: Curve | None = None
    kind: str = "physical"
    fractions: int | None = None
    notes: tuple[str, ...] = field(default=())
    grain_gy: float = 0.0
    doubt: Doubt | None = None

    @property
    def curve(self) -> Curve:
        """The curve of the chosen cap policy."""
        return self.curves[self.settings.caps]

    @property
    def dose_gy(self) -> Float:
        """Nodes of the curve, Gy."""
        return self.curve.dose_gy

    @property
    def cumulative(self) -> Float:
        """Volume with at least each of ``dose_gy``, cc."""
        return self.curve.volume_cc

    @property
    def volume_percent(self) -> Float:
        """Volume with at least each of ``dose_gy``, % of the structure."""
        percent: Float = 100.0 * self.curve.volume_cc / self.curve.total_cc
        return percent

    def differential(self) -> tuple[Float, Float]:
        """Return mid-doses, Gy, and volumes, cc."""
        return self.curve.differential()

    def volume_at(self, dose_gy: float) -> float:
        """Return the volume, cc, with at least a dose, Gy."""
        return self.curve.volume_at(dose_gy)

    def dose_at(self, volume_cc: float) -> float:
        """Return the dose, Gy, that the hottest ``volume_cc`` receives at least."""
        return self.curve.dose_at(volume_cc)
