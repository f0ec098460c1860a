"""Real prostates: gland, zones and lesion given as masks, put in the place of the closed forms."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Mask, Notice, Patient
from rtplan.errors import GeometryMismatch, StructureError
from rtplan.phantom.field import Array, Axes, signed_distance, upsample

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Labels of ``Shape.zones``.
PERIPHERAL, TRANSITION = 1, 2
#: A gland is between so wide and so wide in each direction, mm; anything else has a wrong spacing.
SMALLEST_MM, LARGEST_MM = 12.0, 90.0
#: Round about the masks the distance is worked out so far; beyond, it grows by the way to that box, mm.
PAD_MM = 12.0
#: Steps between voxels are smoothed over so far (and over half a voxel at least), mm.
SMOOTH_MM = 0.8
#: Half width of the strip round the midline in which front and back of a gland are measured, mm.
STRIP_MM = 5.0


@dataclass(frozen=True, eq=False)
class Shape:
    """A prostate as masks.

    Parameters
    ----------
    gland : ndarray of bool, shape (z, y, x)
        The prostate. Axes run from inferior to superior, anterior to posterior, right to left of the patient.
    spacing_zyx_mm : tuple of float
        Voxel spacing, mm.
    lesion : ndarray of bool, shape (z, y, x), optional
        The dominant lesion; what lies outside the gland is left out (see `notices`).
    zones : ndarray of int, shape (z, y, x), optional
        1 peripheral zone, 2 transition zone; inside the gland, what is not 2 counts as peripheral.
    scale : float
        All lengths are multiplied by this; 1 keeps the shape as it came.
    name : str
        What the shape is called in the patient's record; never a patient's name.

    Raises
    ------
    GeometryMismatch
        If the arrays do not have one 3-D shape.
    StructureError
        If the gland is empty or no prostate by its size, or less than half of the lesion lies in it.

    Examples
    --------
    >>> z, y, x = np.ogrid[-20:21, -20:21, -24:25]
    >>> shape = Shape((z / 19) ** 2 + (y / 17) ** 2 + (x / 22) ** 2 < 1, (1.0, 1.0, 1.0))
    >>> round(shape.volume_cc, 1)  # 4/3 pi 19 17 22 mm3 = 29.8 cc
    29.7
    """

    gland: Bool
    spacing_zyx_mm: tuple[float, float, float]
    lesion: Bool | None = None
    zones: NDArray[np.integer] | None = None
    scale: float = 1.0
    name: str = "mask"
    lesion_outside: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        gland = np.array(self.gland, bool)
        for part in (self.lesion, self.zones):
            if gland.ndim != 3 or (part is not None and np.shape(part) != gland.shape):
                raise GeometryMismatch("Gland, lesion and zones need one 3-D shape [z, y, x].")
        object.__setattr__(self, "gland", gland)
        object.__setattr__(self, "spacing_zyx_mm", tuple(float(mm) for mm in self.spacing_zyx_mm))
        self._demand_a_prostate()
        if self.lesion is not None and np.any(self.lesion):
            lesion = np.array(self.lesion, bool)
            object.__setattr__(self, "lesion_outside", float((lesion & ~gland).sum() / lesion.sum()))
            object.__setattr__(self, "lesion", lesion & gland)
            if self.lesion_outside > 0.5:
                raise StructureError(
                    f"{100 * self.lesion_outside:.0f} % of the lesion lies outside the gland.",
                    action="check that both masks lie on one grid, or leave the lesion out.",
                )
        else:
            object.__setattr__(self, "lesion", None)

    def _demand_a_prostate(self) -> None:
        if min(self.spacing_zyx_mm) <= 0.0 or not self.gland.any():
            raise StructureError("The gland's mask is empty, or its spacing is not above zero.")
        found = np.argwhere(self.gland)
        size = (np.ptp(found, axis=0) + 1) * np.array(self.spacing_zyx_mm) * self.scale
        if size.min() < SMALLEST_MM or size.max() > LARGEST_MM:
            raise StructureError(
                f"The gland measures {size[2]:.0f} x {size[1]:.0f} x {size[0]:.0f} mm (left-right, "
                f"front-back, up-down); {SMALLEST_MM:.0f} to {LARGEST_MM:.0f} mm are wanted in each.",
                action="check the spacing and the scale, and that there is one gland in the mask.",
            )

    @classmethod
    def of(cls, patient: Patient, *, scale: float = 1.0) -> Shape:
        """Take the shape from a patient's masks ``Prostate``, ``GTVp`` and ``Prostate_TZ`` (on axial grids).

        Raises
        ------
        StructureError
            If there is no ``Prostate``, or one of the three is not a mask.
        GeometryMismatch
            If the masks do not lie on one axial grid.
        """
        gland = patient.structure("Prostate").region
        parts = {n: patient.structures[n].region for n in ("GTVp", "Prostate_TZ") if n in patient.structures}
        if not isinstance(gland, Mask) or not all(isinstance(m, Mask) for m in parts.values()):
            raise StructureError("A shape needs masks.", action="lay the contours on an axial grid first.")
        arrays = {}
        for name, mask in parts.items():
            if isinstance(mask, Mask):
                gland.demand_same_grid(mask)
                arrays[name] = np.asarray(mask.array, bool)
        if not gland.grid.is_axial:
            raise GeometryMismatch("The masks lie on a tilted grid.", action="resample to an axial one.")
        zones = None
        if "Prostate_TZ" in arrays:
            zones = np.where(arrays["Prostate_TZ"], TRANSITION, PERIPHERAL)
        array = np.asarray(gland.array, bool)
        spacing = gland.grid.spacing_zyx_mm
        return cls(array, spacing, arrays.get("GTVp"), zones, scale=scale, name=patient.key)

    @cached_property
    def digest(self) -> str:
        """Eight characters that depend on every voxel, the spacing and the scale."""
        text = hashlib.sha256(repr((self.gland.shape, self.spacing_zyx_mm, self.scale)).encode())
        for part in (self.gland, self.lesion, self.zones):
            text.update(b"none" if part is None else np.asarray(part, np.uint8).tobytes())
        return text.hexdigest()[:8]

    @property
    def volume_cc(self) -> float:
        """Volume of the gland, cc."""
        return self._cc(self.gland)

    @property
    def lesion_cc(self) -> float:
        """Volume of the lesion inside the gland, cc; 0 where there is none."""
        return 0.0 if self.lesion is None else self._cc(self.lesion)

    def _cc(self, mask: Bool) -> float:
        return float(mask.sum() * np.prod(self.spacing_zyx_mm) * self.scale**3 / 1000.0)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What was left out: the lesion's part outside the gland."""
        if self.lesion_outside == 0.0:
            return ()
        message = (
            f"{100 * self.lesion_outside:.1f} % of the lesion lay outside the gland and was left out; "
            f"GTVp has {self.lesion_cc:.2f} cc."
        )
        return (Notice("LESION_CUT", "info", message, structure="GTVp"),)

    @cached_property
    def axes(self) -> Axes:
        """Axes of the padded masks from the gland's centre of volume, mm (of the shape as it came)."""
        centre = np.argwhere(self.gland).mean(0)
        lines = [
            (mm * (np.arange(n + 2 * pad) - pad - middle)).astype(np.float32)
            for n, pad, middle, mm in zip(
                self.gland.shape, self._pad, centre, self.spacing_zyx_mm, strict=True
            )
        ]
        return Axes(lines[0], lines[1], lines[2])

    @property
    def _pad(self) -> tuple[int, ...]:
        return tuple(int(np.ceil(PAD_MM / mm)) for mm in self.spacing_zyx_mm)

    @cached_property
    def _fields(self) -> dict[str, Array]:
        """Signed distances, mm, of the parts on `axes`."""
        parts: dict[str, Bool] = {"gland": self.gland}
        if self.lesion is not None:
            parts["lesion"] = self.lesion
        if self.zones is not None and np.any(self.gland & (self.zones == TRANSITION)):
            parts["transition_zone"] = self.gland & (self.zones == TRANSITION)
        sigma = [max(SMOOTH_MM / mm, 0.5) for mm in self.spacing_zyx_mm]
        grown = {name: np.pad(mask, [(p, p) for p in self._pad]) for name, mask in parts.items()}
        return {
            name: ndimage.gaussian_filter(signed_distance(mask, self.spacing_zyx_mm), sigma, mode="nearest")
            for name, mask in grown.items()
        }

    def has(self, part: str) -> bool:
        """Whether a part (``gland``, ``lesion``, ``transition_zone``) is given."""
        return part in self._fields

    def distance(self, part: str, axes: Axes, at_mm: Float, within: Array | None = None) -> Array:
        """Return the signed distance, mm, of a part on other axes, its volume that of the mask.

        Parameters
        ----------
        part : str
            ``gland``, ``lesion`` or ``transition_zone``.
        axes : Axes
            A box that holds the whole gland.
        at_mm : ndarray, shape (3,)
            Where the gland's centre of volume is put, LPS mm.
        within : ndarray, shape (z, y, x), optional
            Signed distance of the whole (the gland on these axes): the part keeps inside it.

        Notes
        -----
        Smoothing and partly covered voxels change a volume by some per cent; the surface is therefore the
        level of the distance inside which there is the mask's volume, to a voxel.
        """
        lines = [
            (line - np.float32(c)) / np.float32(self.scale)
            for line, c in zip((axes.z, axes.y, axes.x), at_mm[::-1], strict=True)
        ]
        local, own = Axes(lines[0], lines[1], lines[2]), self.axes
        inside = upsample(self._fields[part], own, local)
        beyond = [
            np.maximum(np.maximum(old[0] - new, new - old[-1]), 0.0)
            for new, old in zip(local.open(), (own.z, own.y, own.x), strict=True)
        ]
        distance = self.scale * (inside + np.sqrt(sum(b * b for b in beyond)))
        room = distance if within is None else distance[within < 0]
        volume = {"gland": self.gland, "lesion": self.lesion}.get(part)
        if volume is None:
            volume = self.gland & (np.asarray(self.zones) == TRANSITION)
        distance = distance - _level(room, self._cc(volume) / axes.voxel_cc)
        return np.asarray(distance if within is None else np.maximum(distance, within), np.float32)

    @cached_property
    def fitted(self) -> tuple[Float, Float, float]:
        """Middle (from the centre of volume), half axes (x, y, z), mm, and tilt, rad, of the gland.

        Notes
        -----
        The tilt follows the back of the gland near the midline; front and back are taken there, so that the
        organs that are laid by the gland's axes (rectum, bladder, vesicles, urethra) meet the real surface.
        """
        z, y, x = (np.asarray(line, np.float64) for line in (self.axes.z, self.axes.y, self.axes.x))
        k, j, i = np.nonzero(np.pad(self.gland, [(p, p) for p in self._pad]))
        strip = np.abs(x[i]) < STRIP_MM
        heights = np.unique(k[strip])
        middle = heights[len(heights) // 6 : len(heights) - len(heights) // 6]
        back = [y[j[strip & (k == slice_)]].max() for slice_ in middle]
        slope = float(np.polyfit(z[middle], back, 1)[0]) if len(middle) > 2 else 0.0
        tilt = float(np.clip(-np.arctan(slope), np.deg2rad(-5.0), np.deg2rad(25.0)))
        c, s = np.cos(tilt), np.sin(tilt)
        v, w = c * y[j] + s * z[k], c * z[k] - s * y[j]
        half = 0.5 * np.array(self.spacing_zyx_mm[::-1])
        low = np.array([x[i].min(), v[strip].min(), w[strip].min()]) - half
        high = np.array([x[i].max(), v[strip].max(), w[strip].max()]) + half
        a, b = 0.5 * (low + high)[1:]
        offset = np.array([0.5 * (low[0] + high[0]), c * a - s * b, s * a + c * b])
        return self.scale * offset, self.scale * 0.5 * (high - low), tilt


def _level(values: Array, count: float) -> float:
    """Return the level below which there are so many of the values."""
    n = int(np.clip(round(count), 1, values.size - 1))
    low, high = np.partition(values.ravel(), (n - 1, n))[n - 1 : n + 1]
    return float(0.5 * (low + high))
