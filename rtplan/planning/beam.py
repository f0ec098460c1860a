"""The photon machine: singular-value pencil-beam kernels, depth functions, horn, source, calibration."""

from __future__ import annotations

import math
import tomllib
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from rtplan import resources
from rtplan.errors import FormatError
from rtplan.planning.raster import gaussian_spread

Positive = Field(gt=0)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kernel(_Part):
    """Lateral kernels as sums of Gaussians of unit integral, at the isocentre plane.

    Parameters
    ----------
    sigma_mm : tuple of float
        Widths; 0 is the part that does not spread (the primary, but for the source).
    weight : tuple of tuple of float
        One row per depth function, one column per width.
    """

    sigma_mm: tuple[float, ...]
    weight: tuple[tuple[float, ...], ...]


class Horn(_Part):
    """Relative primary fluence against the distance from the axis in the isocentre plane."""

    radius_mm: tuple[float, ...]
    relative_fluence: tuple[float, ...]


class Calibration(_Part):
    """The dose that the stated monitor units give at the stated point of the stated open field."""

    dose_gy: float = Positive
    mu: float = Positive
    field_mm: float = Positive
    depth_mm: float = Positive


class Spectrum(_Part):
    """The beam's photons as a few energies, in water.

    Parameters
    ----------
    energy_mev : tuple of float
        Energies, rising.
    energy_fluence : tuple of float
        Which part of the beam's energy each carries; together 1.
    attenuation_per_mm, absorption_per_mm : tuple of float
        Attenuation of each, and its part that goes to electrons (energy absorption).
    """

    energy_mev: tuple[float, ...]
    energy_fluence: tuple[float, ...]
    attenuation_per_mm: tuple[float, ...]
    absorption_per_mm: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> Spectrum:
        columns = (self.energy_fluence, self.attenuation_per_mm, self.absorption_per_mm)
        if any(len(column) != len(self.energy_mev) for column in columns):
            raise ValueError("a spectrum needs one number of each kind per energy")
        if abs(sum(self.energy_fluence) - 1.0) > 1e-4 or min(self.energy_fluence) < 0.0:
            raise ValueError("the energy fluences must not be negative and add up to 1")
        both = zip(self.absorption_per_mm, self.attenuation_per_mm, strict=True)
        if any(not 0.0 < absorbed < attenuated for absorbed, attenuated in both):
            raise ValueError("absorption must lie between 0 and attenuation")
        return self


class ExtraFocal(_Part):
    """Photons scattered in the head, as a second, wide source.

    Parameters
    ----------
    weight : float
        Its part of the fluence of a very large field, 0 to 1.
    sigma_mm : float
        Standard deviation of its image in the isocentre plane.
    """

    weight: float = Field(ge=0.0, lt=1.0)
    sigma_mm: float = Positive


class ConeModel(_Part):
    """What the collapsed-cone algorithm knows of the machine, beside horn and calibration.

    Parameters
    ----------
    kernel : str
        Energy deposition kernel (``models/kernels``).
    spectrum : Spectrum
        The beam's photons.
    source_fwhm_mm : float
        Source, projected to the isocentre plane.
    extra_focal : ExtraFocal, optional
        Head scatter.
    gy_per_mu : float
        Dose per monitor unit for an energy fluence of 1 per mm^2 in the isocentre plane; it follows from
        the calibration, calculated once when the file is made.
    """

    kernel: str
    spectrum: Spectrum
    source_fwhm_mm: float = Positive
    gy_per_mu: float = Positive
    extra_focal: ExtraFocal | None = None

    @property
    def images(self) -> tuple[tuple[float, float], ...]:
        """Part of the fluence and width of each source's image in the isocentre plane, mm."""
        focal = self.source_fwhm_mm / (2.0 * math.sqrt(2.0 * math.log(2.0)))
        if self.extra_focal is None:
            return ((1.0, focal),)
        extra = self.extra_focal
        return ((1.0 - extra.weight, focal), (extra.weight, extra.sigma_mm))


class Output(_Part):
    """Collimator scatter: output in air against the jaws' opening, over that of the calibration's field.

    Parameters
    ----------
    side_mm : tuple of float
        Sides of square jaw openings, rising; beyond the ends the end values hold.
    factor : tuple of float
        Sc of each.
    """

    side_mm: tuple[float, ...]
    factor: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> Output:
        if len(self.side_mm) != len(self.factor) or not self.side_mm or min(self.factor) <= 0.0:
            raise ValueError("collimator scatter needs one factor above 0 per side")
        if any(b <= a for a, b in zip(self.side_mm, self.side_mm[1:], strict=False)):
            raise ValueError("the sides must rise")
        return self

    def of(self, width_mm: float, height_mm: float) -> float:
        """Return Sc of a rectangle, by its equivalent square 2 w h / (w + h)."""
        if width_mm <= 0.0 or height_mm <= 0.0:
            return float(self.factor[0])
        side = 2.0 * width_mm * height_mm / (width_mm + height_mm)
        return float(np.interp(side, self.side_mm, self.factor))


class Collimation(_Part):
    """What jaws and leaves let through and how leaves end; all 0 where nothing was measured.

    Parameters
    ----------
    leaf_transmission, jaw_transmission : float
        Mean share of the fluence behind closed leaves (leakage between them included) and behind jaws.
    leaf_offset_mm : float
        By how much each rounded leaf end opens more than its position says, in the isocentre plane (half
        of the dosimetric leaf gap).
    leaf_end_sigma_mm : float
        Width of the Gaussian that stands for the rounded ends' penumbra.
    """

    leaf_transmission: float = Field(default=0.0, ge=0.0, lt=0.2)
    jaw_transmission: float = Field(default=0.0, ge=0.0, lt=0.2)
    leaf_offset_mm: float = Field(default=0.0, ge=0.0, le=5.0)
    leaf_end_sigma_mm: float = Field(default=0.0, ge=0.0, le=10.0)


class BeamModel(_Part):
    """A photon beam by the singular-value pencil-beam formula, with its calibration.

    The dose per monitor unit at radiological depth t [mm] behind the point (u, v) of the isocentre
    plane, at axial distance s from the source, is

        D = k (SAD / s)^2 sum_i w_i(t) (K_i * F)(u, v),
        w_i(t) = beta_i / (beta_i - m) (exp(-m t) - exp(-beta_i t)),

    where F is the fluence in the isocentre plane times the horn, K_i the kernels widened by the
    source, and k follows from the calibration. ``machine_names`` are the machines of plans
    (TreatmentMachineName) that the user says this file stands for: monitor units are meant for those alone.
    ``collimator_scatter`` is 1 for every field where the file has none; ``extra_focal`` adds head scatter to
    the pencil beam (the kernels of a fit to output factors hold it already).

    References
    ----------
    Bortfeld T, Schlegel W, Rhein B. Decomposition of pencil beam kernels for fast dose calculations
    in three-dimensional treatment planning. Med Phys 20:311 (1993).
    """

    schema_: Literal[1] = 1
    name: str
    energy_mv: float = Positive
    sad_mm: float = Positive
    attenuation_per_mm: float = Positive
    beta_per_mm: tuple[float, ...]
    source_fwhm_mm: float = Positive
    kernel: Kernel
    horn: Horn
    calibration: Calibration
    cone: ConeModel | None = None
    machine_names: tuple[str, ...] = ()
    collimation: Collimation = Collimation()
    collimator_scatter: Output | None = None
    extra_focal: ExtraFocal | None = None
    source: dict[str, str]
    fit: dict[str, object] = {}
    verified: bool = False

    @model_validator(mode="after")
    def _fits(self) -> BeamModel:
        rows, columns = len(self.beta_per_mm), len(self.kernel.sigma_mm)
        if len(self.kernel.weight) != rows or any(len(row) != columns for row in self.kernel.weight):
            raise ValueError("the kernel weights need one row per beta and one column per sigma")
        if any(beta <= 0 for beta in self.beta_per_mm) or any(s < 0 for s in self.kernel.sigma_mm):
            raise ValueError("beta must be above 0, and sigma not below")
        if len(self.horn.radius_mm) != len(self.horn.relative_fluence):
            raise ValueError("the horn needs one fluence per radius")
        return self

    @cached_property
    def width_mm(self) -> NDArray[np.float64]:
        """Gaussian widths with the source's (then the head scatter's) added in square, mm, shape (J,)."""
        source = self.source_fwhm_mm / (2.0 * math.sqrt(2.0 * math.log(2.0)))
        sigma = np.array(self.kernel.sigma_mm)
        widths: list[NDArray[np.float64]] = [np.hypot(sigma, source)]
        if self.extra_focal is not None:
            widths.append(np.hypot(sigma, self.extra_focal.sigma_mm))
        return np.concatenate(widths)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each Gaussian in each depth function, shape (I, J)."""
        weight = np.array(self.kernel.weight)
        if self.extra_focal is None:
            return weight
        part = self.extra_focal.weight
        return np.concatenate([(1.0 - part) * weight, part * weight], axis=1)

    @cached_property
    def gy_per_mu(self) -> float:
        """Factor k of the formula, Gy per monitor unit."""
        c = self.calibration
        shape = self._shape(c.field_mm, [c.depth_mm])
        return c.dose_gy / c.mu / float(shape[0])

    def horn_at(self, radius_mm: ArrayLike) -> NDArray[np.float64]:
        """Return the relative primary fluence at distances from the axis in the isocentre plane."""
        horn: NDArray[np.float64] = np.interp(
            np.asarray(radius_mm, np.float64), self.horn.radius_mm, self.horn.relative_fluence
        )
        return horn

    def depth_functions(self, depth_mm: Tensor) -> Tensor:
        """Return w_i(t), shape (I, ...), of radiological depths in mm of water, shape (...).

        ``expm1`` keeps the digits where beta is close to m; 0 above the surface.
        """
        depth = depth_mm.clamp(min=0.0)
        m = self.attenuation_per_mm
        left = torch.exp(-m * depth)
        return torch.stack([self._risen(depth, beta - m) * (beta * left) for beta in self.beta_per_mm])

    def dose_of(self, depth_mm: Tensor, unit: Tensor) -> Tensor:
        """Return sum_i w_i(t) unit_i, shape (A, n): what the images share is multiplied before they differ.

        Parameters
        ----------
        depth_mm : Tensor, shape (A, n)
            Radiological depths t in several images.
        unit : Tensor, shape (I, n)
            The kernels' responses, the same in all images.
        """
        depth = depth_mm.clamp(min=0.0)
        m, total = self.attenuation_per_mm, torch.zeros_like(depth)
        for beta, one in zip(self.beta_per_mm, unit, strict=True):
            rate = beta - m
            if abs(rate) < 1e-12:
                total = torch.addcmul(total, depth, one * beta)
            else:
                total = torch.addcmul(total, torch.expm1(depth * -rate), one * (-beta / rate))
        return total * torch.exp(depth * -m)

    @staticmethod
    def _risen(depth: Tensor, rate: float) -> Tensor:
        """Return (1 - exp(-rate t)) / rate, which is t where the rate is 0."""
        return depth if abs(rate) < 1e-12 else torch.expm1(-rate * depth) * (-1.0 / rate)

    def spread(self, edges_mm: Tensor, at_mm: Tensor) -> Tensor:
        """Return what each pixel between two edges gives at each place along one axis, shape (J, Q, P)."""
        return gaussian_spread(edges_mm, at_mm, self.width_mm)

    def on_axis(self, field_mm: float, depth_mm: ArrayLike, ssd_mm: float) -> NDArray[np.float64]:
        """Return Gy per MU on the axis of a square field in a water tank, by the formula alone.

        Parameters
        ----------
        field_mm : float
            Side of the field in the isocentre plane.
        depth_mm : array_like, shape (n,)
            Depths in water.
        ssd_mm : float
            Distance of the water's surface from the source.
        """
        depth = np.asarray(depth_mm, np.float64)
        inverse_square = (self.sad_mm / (ssd_mm + depth)) ** 2
        axis: NDArray[np.float64] = self.gy_per_mu * self._shape(field_mm, depth) * inverse_square
        return axis

    def tmr(self, field_mm: float, depth_mm: ArrayLike) -> NDArray[np.float64]:
        """Return the tissue-maximum ratio of a square field, by the formula alone, shape (n,)."""
        fine = self._shape(field_mm, np.arange(2.0, 60.0, 0.25))
        ratio: NDArray[np.float64] = self._shape(field_mm, depth_mm) / fine.max()
        return ratio

    def _shape(self, field_mm: float, depth_mm: ArrayLike) -> NDArray[np.float64]:
        depth = torch.as_tensor(np.atleast_1d(np.asarray(depth_mm, np.float64)))
        kernels = self.weights @ square_field(self, field_mm)
        shape: NDArray[np.float64] = self.depth_functions(depth).numpy().T @ kernels
        return shape


def square_field(model: BeamModel, field_mm: float, pixel_mm: float = 1.0) -> NDArray[np.float64]:
    """Return the Gaussians' response at the centre of a square open field with horn, shape (J,)."""
    count = max(2 * round(field_mm / pixel_mm / 2), 2)
    edges = torch.linspace(-field_mm / 2, field_mm / 2, count + 1, dtype=torch.float64)
    one = model.spread(edges, torch.zeros(1, dtype=torch.float64))[:, 0].numpy()
    centre = (edges[1:] + edges[:-1]).numpy() / 2
    horn = model.horn_at(np.hypot(centre[:, None], centre[None, :]))
    response: NDArray[np.float64] = np.einsum("jp,pq,jq->j", one, horn, one)
    return response


def load_beam(name: str) -> BeamModel:
    """Return a machine of ``models/beams`` by its name, or of a TOML file by its path.

    Raises
    ------
    UnknownName
        If there is no such machine; the message lists the known ones.
    FormatError
        If the file is not a beam model.
    """
    path = resources.find("models/beams", name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        raw["schema_"] = raw.pop("schema", None)
        return BeamModel(**raw)
    except (ValidationError, tomllib.TOMLDecodeError) as wrong:
        raise FormatError(f"This is not a beam model: {wrong}", where=path.name) from wrong
