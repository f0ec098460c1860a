"""The collapsed cone's dose on the axis of a square field in water, by quadrature: for fits, checks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from rtplan.planning.beam import BeamModel, Spectrum
from rtplan.planning.kernel import EnergyKernel, Part

Float = NDArray[np.float64]

#: Nodes of the quadrature beside the kernel's cones: azimuths of an eighth turn, and paths.
AZIMUTHS, PATHS = 6, 100


def parts_on_axis(
    model: BeamModel,
    kernel: EnergyKernel,
    spectrum: Spectrum,
    width_mm: float,
    tank: tuple[float, Float, Float],
) -> Float:
    """Return what each energy gives on the axis, electrons and scatter apart, shape (2, E, n).

    The dose is ``gy_per_mu * sum(spectrum.energy_fluence * (electrons + scatter))`` per monitor unit.

    Parameters
    ----------
    model : BeamModel
        For horn and distance of the source.
    kernel : EnergyKernel
        Of water.
    spectrum : Spectrum
        The energies and their coefficients in water.
    width_mm : float
        Standard deviation of the source's image in the isocentre plane.
    tank : tuple of float and two ndarray, shape (n,)
        Side of the field in the isocentre plane, depths and distances of the surface from the source, mm.
    """
    side, depth, ssd = tank
    found = [
        _received(part, model, spectrum, width_mm, (side, depth, ssd))
        for part in (kernel.primary, kernel.scatter)
    ]
    attenuated, absorbed = np.array(spectrum.attenuation_per_mm), np.array(spectrum.absorption_per_mm)
    both: Float = np.stack([found[0] * absorbed[:, None], found[1] * (attenuated - absorbed)[:, None]])
    return both


def cone_on_axis(
    model: BeamModel, kernel: EnergyKernel, side_mm: float, depth_mm: ArrayLike, ssd_mm: ArrayLike
) -> Float:
    """Return Gy per MU on the axis of a square field in a water tank, shape (n,); see `parts_on_axis`."""
    assert model.cone is not None
    depth = np.atleast_1d(np.asarray(depth_mm, np.float64))
    ssd = np.broadcast_to(np.asarray(ssd_mm, np.float64), depth.shape)
    spectrum, tank = model.cone.spectrum, (side_mm, depth, ssd)
    parts = sum(
        share * parts_on_axis(model, kernel, spectrum, width, tank) for share, width in model.cone.images
    )
    dose: Float = model.cone.gy_per_mu * np.einsum("e,pen->n", np.array(spectrum.energy_fluence), parts)
    return dose


def _received(
    part: Part, model: BeamModel, spectrum: Spectrum, width: float, tank: tuple[float, Float, Float]
) -> Float:
    """Return the energy that reaches the axis from sources of exp(-mu depth), shape (E, n)."""
    side, depth, ssd = tank
    rows = np.array(part.weight)
    polar = (np.arange(rows.shape[1]) + 0.5) * math.pi / rows.shape[1]
    azimuth = (np.arange(AZIMUTHS) + 0.5) * math.pi / 4.0 / AZIMUTHS
    node, share = np.polynomial.legendre.leggauss(PATHS)
    total = np.zeros((len(spectrum.energy_mev), depth.size))
    mu = np.array(spectrum.attenuation_per_mm)[:, None, None, None]
    for rate, weight in zip(part.rate_per_mm, rows, strict=True):
        # paths in equal parts of the energy left: w = exp(-rate path), over the whole of [0, 1]
        path = -np.log((node + 1.0) / 2.0) / rate
        along = depth[:, None, None] - np.cos(polar)[:, None] * path  # shape (n, cones, paths)
        s = ssd[:, None, None] + along
        radius = np.sin(polar)[:, None] * path
        seen = np.zeros_like(s)
        for phi in azimuth:
            u, v = (radius * f(phi) * model.sad_mm / np.maximum(s, 1.0) for f in (math.cos, math.sin))
            open_ = _edge(u, side, width) * _edge(v, side, width)
            seen += open_ * model.horn_at(np.hypot(u, v)) / AZIMUTHS
        seen *= (along > 0.0) * (model.sad_mm / np.maximum(s, 1.0)) ** 2
        left = np.exp(-mu * np.maximum(along, 0.0)) * seen
        total += np.einsum("encp,c,p->en", left, weight, share / 2.0)
    return total


def _edge(x: Float, side: float, width: float) -> Float:
    open_: Float = 0.5 * (
        erf((x + side / 2.0) / width / math.sqrt(2.0)) - erf((x - side / 2.0) / width / math.sqrt(2.0))
    )
    return open_
