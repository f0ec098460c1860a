"""A beam model fitted to a clinic's measurements: what each row should be, and the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rtplan.planning.beam import BeamModel
from rtplan.planning.measured import REFERENCE_MM, Measured

Float = NDArray[np.float64]

#: Rows nearer to the surface are not fitted (electrons of the head are not modelled), mm.
SHALLOW_MM = 10.0
#: How far the fit may leave the model it starts from: logarithms of attenuations and of the source's width,
#: kernel weights by width (narrow ones are known, wide ones are the machine's), logarithm of the horn.
LOG_FREEDOM, SOURCE_FREEDOM, HORN_FREEDOM = 0.5, 0.7, 0.05
WEIGHT_FREEDOM = (0.02, 0.02, 0.04, 0.04, 0.15, 0.15, 0.15)
#: What a residual of each quantity weighs: its usual uncertainty, in its own unit.
SIGMA = {"tmr": 0.003, "pdd": 0.4, "profile": 1.0, "output_factor": 0.002}
#: Radii at which the horn is moved, mm.
HORN_MM = (0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 200.0)
PEAK_MM = np.arange(6.0, 40.0, 1.0)
PIXEL_MM = 2.5
PROBE_MM = np.array([5.0, 10, 15, 20, 30, 50, 100, 150, 200, 250, 300, 350])


@dataclass(frozen=True, eq=False)
class Row:
    """One field's rows of one quantity, with what the model says to each."""

    quantity: str
    field_mm: float
    depth_mm: Float
    offset_mm: Float
    measured: Float
    modelled: Float

    @property
    def deviation_percent(self) -> Float:
        """Model over measurement less 1 in %; for profiles the difference in % of the axis."""
        if self.quantity == "profile":
            return self.modelled - self.measured
        return 100.0 * (self.modelled / self.measured - 1.0)


def compared(model: BeamModel, measured: Measured, ssd_mm: float) -> tuple[Row, ...]:
    """Return every field's rows with what the pencil beam says to them."""
    rows = []
    for quantity in SIGMA:
        for side in measured.of(quantity).fields:
            part = measured.of(quantity, side)
            said = predicted(model, part, ssd_mm)
            rows.append(Row(quantity, side, part.depth_mm, part.offset_mm, part.value, said))
    return tuple(rows)


def predicted(model: BeamModel, rows: Measured, ssd_mm: float) -> Float:
    """Return what the pencil beam says to rows of one quantity and one field, shape (n,)."""
    return _QUANTITIES[str(rows.quantity[0])](model, rows, ssd_mm)


def _tmr(model: BeamModel, rows: Measured, _: float) -> Float:
    axis = model.weights @ lateral(model, rows.field_mm[0], np.zeros(1))
    peak, deep = (_depths(model, d) @ axis[:, 0] for d in (PEAK_MM, rows.depth_mm))
    return np.asarray(deep / peak.max())


def _pdd(model: BeamModel, rows: Measured, ssd_mm: float) -> Float:
    axis = model.weights @ lateral(model, rows.field_mm[0], np.zeros(1))
    peak, deep = ((_depths(model, d) @ axis[:, 0]) / (ssd_mm + d) ** 2 for d in (PEAK_MM, rows.depth_mm))
    return np.asarray(100.0 * deep / peak.max())


def _profile(model: BeamModel, rows: Measured, ssd_mm: float) -> Float:
    projected = rows.offset_mm * model.sad_mm / (ssd_mm + rows.depth_mm)
    at = model.weights @ lateral(model, rows.field_mm[0], np.append(projected, 0.0))
    depth = _depths(model, rows.depth_mm)
    off = np.einsum("ni,in->n", depth, at[:, :-1])
    return np.asarray(100.0 * off / (depth @ at[:, -1]))


def _output(model: BeamModel, rows: Measured, _: float) -> Float:
    depth = _depths(model, rows.depth_mm)
    one, reference = (
        depth @ (model.weights @ lateral(model, side, np.zeros(1))[:, 0])
        for side in (float(rows.field_mm[0]), REFERENCE_MM)
    )
    return np.asarray(one / reference)


_QUANTITIES: dict[str, Callable[[BeamModel, Measured, float], Float]] = {
    "tmr": _tmr, "pdd": _pdd, "profile": _profile, "output_factor": _output
}  # fmt: skip


def lateral(model: BeamModel, side_mm: float, at_mm: Float) -> Float:
    """Return the Gaussians' response to a square field with horn, along its middle line, shape (J, n)."""
    count = max(2 * round(side_mm / PIXEL_MM / 2), 2)
    edges = torch.linspace(-side_mm / 2, side_mm / 2, count + 1, dtype=torch.float64)
    centre = (edges[1:] + edges[:-1]).numpy() / 2
    horn = model.horn_at(np.hypot(centre[:, None], centre[None, :]))
    across = model.spread(edges, torch.zeros(1, dtype=torch.float64))[:, 0].numpy()
    along = model.spread(edges, torch.as_tensor(at_mm)).numpy()
    response: Float = np.einsum("jq,jnq->jn", across @ horn, along)
    return response


def _depths(model: BeamModel, depth_mm: Float) -> Float:
    found: Float = model.depth_functions(torch.as_tensor(depth_mm, dtype=torch.float64)).numpy().T
    return found


def fit_pencil(start: BeamModel, measured: Measured, ssd_mm: float) -> BeamModel:
    """Return the model whose pencil beam follows the measurements best, near the one it starts from.

    Fitted are attenuation, depth functions, kernel weights, source and horn: the output factors follow from
    the kernels. Rows above 10 mm depth are left out.
    """
    use = measured.depth_mm >= SHALLOW_MM
    deep = measured.where(use)
    weight = np.array(start.kernel.weight)
    freedom = np.resize(np.array(WEIGHT_FREEDOM), weight.shape[1])
    groups = [deep.of(quantity, side) for quantity in SIGMA for side in deep.of(quantity).fields]
    share = {
        q: np.sqrt(max((deep.quantity == q).sum(), 1) / 40.0) for q in SIGMA
    }  # many rows are not many facts

    def residuals(q: Float) -> Float:
        model = _moved(start, q, freedom)
        total = _depths(model, PROBE_MM) @ np.array(model.kernel.weight)
        out = [q, 1e3 * np.minimum(total, 0.0).ravel()]
        for rows in groups:
            quantity = str(rows.quantity[0])
            off = predicted(model, rows, ssd_mm) - rows.value
            out.append(off / SIGMA[quantity] / max(share[quantity], 1.0))
        return np.concatenate(out)

    size = 1 + len(start.beta_per_mm) + weight.size + 1 + len(HORN_MM) - 1
    best = least_squares(residuals, np.zeros(size), max_nfev=30, x_scale="jac")
    return _moved(start, best.x, freedom)


def _moved(start: BeamModel, q: Float, freedom: Float) -> BeamModel:
    """Return a model moved by parameters in units of their freedom."""
    betas, weight = len(start.beta_per_mm), np.array(start.kernel.weight)
    logs, rest = q[: 1 + betas] * LOG_FREEDOM, q[1 + betas :]
    moved = weight + rest[: weight.size].reshape(weight.shape) * freedom
    source = start.source_fwhm_mm * float(np.exp(rest[weight.size] * SOURCE_FREEDOM))
    radius = np.array(start.horn.radius_mm)
    shape = np.concatenate([[0.0], rest[weight.size + 1 :]]) * HORN_FREEDOM
    horn = np.array(start.horn.relative_fluence) * np.exp(np.interp(radius, HORN_MM, shape))
    update = {
        "attenuation_per_mm": start.attenuation_per_mm * float(np.exp(logs[0])),
        "beta_per_mm": tuple(float(b) for b in np.array(start.beta_per_mm) * np.exp(logs[1:])),
        "source_fwhm_mm": source,
        "kernel": start.kernel.model_copy(
            update={"weight": tuple(tuple(float(w) for w in row) for row in moved)}
        ),
        "horn": start.horn.model_copy(update={"relative_fluence": tuple(float(h) for h in horn)}),
    }
    return start.model_copy(update=update)
