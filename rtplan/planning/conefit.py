"""The collapsed cone's part of a beam file, fitted to measurements: spectrum, head scatter, calibration."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rtplan.planning.beam import BeamModel, ConeModel, ExtraFocal, Spectrum
from rtplan.planning.coneaxis import cone_on_axis, parts_on_axis
from rtplan.planning.kernel import load_kernel
from rtplan.planning.measured import REFERENCE_MM, Measured

Float = NDArray[np.float64]

PEAK_MM = np.arange(8.0, 30.0, 1.0)
#: Shallower rows hold electrons of the head, mm.
SHALLOW_MM = 20.0
#: How far the logarithm of an energy's share may go, and what a residual of a depth dose weighs.
FREEDOM, SIGMA = 1.0, 0.004


def fit_cone(model: BeamModel, start: BeamModel, measured: Measured, ssd_mm: float) -> ConeModel:
    """Return the cone part for a model whose pencil beam has been fitted.

    Parameters
    ----------
    model : BeamModel
        With the horn and the source that were fitted.
    start : BeamModel
        The machine whose cone part the fit starts from.
    measured : Measured
        Depth doses give the spectrum, output factors the head scatter.
    ssd_mm : float
        Of the depth doses in per cent.

    Notes
    -----
    The kernel stays. The calibration is carried over from the start's, which was calculated by the engine, by
    the ratio of both formulae.
    """
    assert start.cone is not None
    cone = start.cone.model_copy(update={"source_fwhm_mm": _source(model, start)})
    made = model.model_copy(update={"cone": cone})
    cone = cone.model_copy(update={"spectrum": _spectrum(made, measured, ssd_mm)})
    cone = cone.model_copy(update={"extra_focal": _head(model.model_copy(update={"cone": cone}), measured)})
    c = model.calibration
    old, new = (
        cone_on_axis(m, load_kernel(cone.kernel), c.field_mm, c.depth_mm, m.sad_mm - c.depth_mm)[0] * c.mu
        for m in (start, model.model_copy(update={"cone": cone}))
    )
    dose = old * c.dose_gy / start.calibration.dose_gy
    return cone.model_copy(update={"gy_per_mu": cone.gy_per_mu * float(dose / new)})


def _source(model: BeamModel, start: BeamModel) -> float:
    """Return the source of the cone: moved by as much as the pencil beam's, in square."""
    assert start.cone is not None
    square = start.cone.source_fwhm_mm**2 + model.source_fwhm_mm**2 - start.source_fwhm_mm**2
    return math.sqrt(max(square, 1.0))


def _spectrum(model: BeamModel, measured: Measured, ssd_mm: float) -> Spectrum:
    assert model.cone is not None
    cone, kernel = model.cone, load_kernel(model.cone.kernel)
    start = np.array(cone.spectrum.energy_fluence)
    groups = []
    for quantity, scale in (("tmr", 1.0), ("pdd", 0.01)):
        for side in measured.of(quantity).fields:
            rows = measured.of(quantity, side)
            depth = np.concatenate([PEAK_MM, rows.depth_mm])
            ssd = model.sad_mm - depth if quantity == "tmr" else np.full(depth.size, ssd_mm)
            parts = sum(
                share * parts_on_axis(model, kernel, cone.spectrum, width, (side, depth, ssd)).sum(axis=0)
                for share, width in cone.images
            )
            groups.append((parts, rows.depth_mm >= SHALLOW_MM, rows.value * scale))

    def residuals(q: Float) -> Float:
        shares = start * np.exp(q)
        out = [q / FREEDOM]
        for parts, deep, value in groups:
            dose = shares @ parts
            ratio = dose[PEAK_MM.size :] / dose[: PEAK_MM.size].max()
            out.append((ratio[deep] / value[deep] - 1.0) / SIGMA)
        return np.concatenate(out)

    shares = start * np.exp(least_squares(residuals, np.zeros(start.size)).x)
    return cone.spectrum.model_copy(update={"energy_fluence": tuple(float(s) for s in shares / shares.sum())})


def _head(model: BeamModel, measured: Measured) -> ExtraFocal:
    """Return the head scatter with which the output factors are followed best."""
    assert model.cone is not None
    cone, kernel, rows = model.cone, load_kernel(model.cone.kernel), measured.of("output_factor")
    spectrum, shares = cone.spectrum, np.array(cone.spectrum.energy_fluence)

    def doses(sigma: float, side: float, depth: float) -> float:
        tank = (side, np.array([depth]), np.array([model.sad_mm - depth]))
        return float(np.einsum("e,pen->n", shares, parts_on_axis(model, kernel, spectrum, sigma, tank))[0])

    focal = cone.images[0][1]
    pairs = list(zip(rows.field_mm, rows.depth_mm, strict=True))
    direct = np.array([doses(focal, *p) / doses(focal, REFERENCE_MM, p[1]) for p in pairs])
    scale = np.array([doses(focal, REFERENCE_MM, p[1]) for p in pairs])

    def residuals(q: Float) -> Float:
        weight, sigma = float(q[0]), float(q[1])
        wide = np.array([doses(sigma, *p) for p in pairs]) / scale
        reference = np.array([doses(sigma, REFERENCE_MM, p[1]) for p in pairs]) / scale
        off: Float = ((1.0 - weight) * direct + weight * wide) / (1.0 - weight + weight * reference)
        off = off / rows.value - 1.0
        return off

    best = least_squares(residuals, [0.05, 30.0], bounds=([0.0, 10.0], [0.3, 100.0]), x_scale=[0.01, 10.0])
    return ExtraFocal(weight=float(best.x[0]), sigma_mm=float(best.x[1]))
