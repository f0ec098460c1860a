"""One curve of a DVH export: checked against what its file says, and taken apart into doses and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import FormatError

Float = NDArray[np.float64]
Type = Literal["cumulative", "differential", ""]

#: Part of the volume that a curve may lack at its start, and hold at its last dose.
START, END = 0.005, 1e-3
#: Part by which the sum of a differential curve, and the mean dose, may miss what the header says.
SUM, MEAN = 0.02, 0.01


@dataclass(frozen=True, eq=False)
class TextDvh:
    """A structure's DVH as a planning system wrote it.

    Parameters
    ----------
    structure : str
        Name, as in the file until it is renamed.
    doses_gy, volumes : ndarray, shape (n,)
        Physical doses and volumes of the parts.
    volume_unit : str
        ``cc`` where the file says how large the organ is, else ``%``.
    system : str
        Which planning system wrote it.
    type : str
        What stood in the file: ``cumulative`` or ``differential``.
    plan : str
        Its name in the file; never printed.
    fractions : int or None
        Where the file says it.
    covered_fraction : float
        Part of the organ inside the dose grid, as the file says; 1 where it does not.
    kind : str
        ``physical``, or ``physical sum`` of several plans: no voxel has one dose per fraction.
    """

    structure: str
    doses_gy: Float
    volumes: Float
    volume_unit: str
    system: str
    type: str
    plan: str = ""
    fractions: int | None = None
    covered_fraction: float = 1.0
    kind: str = "physical"

    def differential(self) -> tuple[Float, Float]:
        """Return doses, Gy, and volumes of the parts."""
        return self.doses_gy, self.volumes


@dataclass(frozen=True, eq=False)
class Raw:
    """A curve's columns and what its file says about them.

    Parameters
    ----------
    structure, system, where : str
        Names; ``where`` is the file, for messages.
    dose_gy, volume : ndarray, shape (n,)
        Columns.
    volume_unit : str
        ``cc`` or ``%``.
    type : str
        ``cumulative``, ``differential``, or empty where the file does not say.
    per_gy : bool
        Whether a differential volume is per Gy.
    volume_cc, mean_gy : float or None
        Of the structure, from the header.
    plan, fractions, covered_fraction, kind
        As in `TextDvh`.
    """

    structure: str
    system: str
    where: str
    dose_gy: Float
    volume: Float
    volume_unit: str
    type: Type = ""
    per_gy: bool = False
    volume_cc: float | None = None
    mean_gy: float | None = None
    plan: str = ""
    fractions: int | None = None
    covered_fraction: float = 1.0
    kind: str = "physical"

    @property
    def whole(self) -> float | None:
        """The structure's volume in the column's unit."""
        return 100.0 if self.volume_unit == "%" else self.volume_cc

    def fault(self, what: str, action: str = "") -> FormatError:
        """Return the error of this curve."""
        return FormatError(what, where=f"{self.where}, {self.structure}", action=action)


def curve_of(raw: Raw) -> TextDvh:
    """Return the parts of a curve.

    Raises
    ------
    FormatError
        If numbers are missing, the doses do not rise, the volume of a cumulative curve rises, a part of
        the curve is missing, it is not said whether it is cumulative, or it contradicts its header.
    """
    if len(raw.dose_gy) < 2:
        raise raw.fault("The DVH has fewer than two lines of numbers.")
    if not (np.isfinite(raw.dose_gy).all() and np.isfinite(raw.volume).all()):
        raise raw.fault("The DVH holds values that are not finite.")
    if (raw.dose_gy < 0).any() or (raw.volume < 0).any() or not raw.volume.max() > 0:
        raise raw.fault("Doses and volumes are >= 0, and some volume is above 0.")
    if (np.diff(raw.dose_gy) <= 0).any():
        raise raw.fault("The doses do not rise.")
    kind = raw.type or _type_of(raw)
    doses, volumes = _cumulative(raw) if kind == "cumulative" else _differential(raw)
    _demand_mean(raw, doses, volumes)
    unit = raw.volume_unit
    if unit == "%" and raw.volume_cc:
        volumes, unit = volumes * (raw.volume_cc / volumes.sum()), "cc"
    return TextDvh(
        structure=raw.structure,
        doses_gy=doses,
        volumes=volumes,
        volume_unit=unit,
        system=raw.system,
        type=kind,
        plan=raw.plan,
        fractions=raw.fractions,
        covered_fraction=raw.covered_fraction,
        kind=raw.kind,
    )


def _type_of(raw: Raw) -> str:
    """Return what a curve without a word about it must be: it starts at the whole volume and never rises."""
    volume, whole = raw.volume, raw.whole
    falls = not (np.diff(volume) > 0).any() and volume[-1] <= END * volume[0]
    starts = abs(volume[0] - whole) <= START * whole if whole else bool(volume[0] == volume[1])
    if falls and starts:
        return "cumulative"
    summed = whole is not None and abs(volume.sum() - whole) <= SUM * whole
    if summed and raw.mean_gy is not None:
        return "differential"
    if starts and (np.diff(volume) > 0).any():
        raise raw.fault("The volume rises with dose.")
    raise raw.fault(
        "The file does not say whether the DVH is cumulative or differential, and its curve leaves it open.",
        "export a cumulative DVH in % of the volume, down to no volume.",
    )


def _cumulative(raw: Raw) -> tuple[Float, Float]:
    volume, whole = raw.volume, raw.whole
    falls = -np.diff(volume)
    if (falls < -1e-6 * volume.max()).any():
        raise raw.fault("The volume of a cumulative DVH rises with dose.")
    if whole and abs(volume[0] - whole) > max(START * whole, 0.06 if raw.volume_unit == "cc" else 0.0):
        raise raw.fault(
            f"The cumulative DVH begins at {volume[0]:.4g} {raw.volume_unit}, the structure has "
            f"{whole:.4g}: a part is missing.",
        )
    if volume[-1] > END * volume[0]:
        raise raw.fault(
            "The cumulative DVH does not end at no volume: its upper part is missing.",
            "export the whole dose range; the file may have been cut.",
        )
    doses = np.append(0.5 * (raw.dose_gy[1:] + raw.dose_gy[:-1]), raw.dose_gy[-1])
    return doses, np.append(np.maximum(falls, 0.0), volume[-1])


def _differential(raw: Raw) -> tuple[Float, Float]:
    volumes = raw.volume
    if raw.per_gy:
        edges = 0.5 * (raw.dose_gy[1:] + raw.dose_gy[:-1])
        first, last = (
            1.5 * raw.dose_gy[0] - 0.5 * raw.dose_gy[1],
            1.5 * raw.dose_gy[-1] - 0.5 * raw.dose_gy[-2],
        )
        volumes = volumes * np.diff(np.concatenate([[first], edges, [last]]))
    if raw.whole is None:
        raise raw.fault("A differential DVH is read only where the file states the structure's volume.")
    if abs(volumes.sum() - raw.whole) > SUM * raw.whole:
        raise raw.fault(
            f"The parts of the differential DVH sum to {volumes.sum():.4g} {raw.volume_unit}, the structure "
            f"has {raw.whole:.4g}.",
            "the file may have been cut, or its unit is another one.",
        )
    return raw.dose_gy, volumes


def _demand_mean(raw: Raw, doses: Float, volumes: Float) -> None:
    if raw.mean_gy is None:
        return
    mean = float(np.average(doses, weights=volumes))
    step = float(np.median(np.diff(raw.dose_gy)))
    if abs(mean - raw.mean_gy) > max(MEAN * raw.mean_gy, step + 0.05):
        raise raw.fault(
            f"The mean dose of the curve is {mean:.2f} Gy, the header says {raw.mean_gy:.2f} Gy.",
            "one of both is in another unit, of another structure, or cut.",
        )
