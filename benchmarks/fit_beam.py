"""Fit models/beams/generic_6mv.toml: matRad's kernels, moved to the shared TrueBeam TMR table.

Fitted on 4x4, 10x10 and 20x20 cm from 2 cm depth (and on the place of the maximum); 3, 6, 8, 12, 15 and
25 cm are not seen by the fit and printed as its test. Run: python benchmarks/fit_beam.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rtplan.planning.beam import BeamModel, square_field

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "beam"
OUT = ROOT / "models" / "beams" / "generic_6mv.toml"

SIGMA_MM = (0.0, 2.5, 6.0, 14.0, 32.0, 72.0, 130.0)
#: How far each weight may leave matRad's: fields of 4 cm and more say little about narrow parts.
FREEDOM = np.array([0.01, 0.01, 0.02, 0.02, 0.1, 0.1, 0.1])
M0, BETA0 = 0.005066, np.array([0.3252, 0.016, 0.0051])
FITTED, UNSEEN = (4, 10, 20), (3, 6, 8, 12, 15, 25)
PEAK_MM, PEAK_SLOPE, TMR_SIGMA = 15.0, 2e-4, 0.003
SSD_MM = 900  # matRad's kernels for 10 cm depth at the isocentre

Float = NDArray[np.float64]


def main() -> None:
    """Fit, print the errors, write the beam file."""
    table = np.genfromtxt(DATA / "generic_truebeam_6mv_tmr.csv", delimiter=",", names=True)
    start = model_of(M0, BETA0, matrad_weights())
    fitted = fit(start, table)
    for name, model in (("matRad's kernels", start), ("fitted", fitted)):
        print(name)
        for side in sorted(FITTED + UNSEEN):
            print(f"  {side:2d} cm", *(f"{e:+6.2f}" for e in errors(model, table, side)), "%")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(toml(fitted, table), encoding="utf-8")
    print(f"wrote {OUT.relative_to(ROOT)}")


def matrad_weights() -> Float:
    """Return matRad's kernels as Gaussian weights, shape (3, J): least squares on ring integrals."""
    kernels = np.genfromtxt(DATA / "matrad_generic_6mv_kernels.csv", delimiter=",", names=True)
    r = kernels["r_mm"][1:]
    sigma = np.array(SIGMA_MM[1:])
    ring = r[:, None] / sigma**2 * np.exp(-(r[:, None] ** 2) / 2 / sigma**2)
    rows = []
    for i in (1, 2, 3):
        values = kernels[f"K{i}_ssd{SSD_MM}"]  # per pixel of 0.5 mm
        wanted = 2 * np.pi * r * values[1:] / 0.25
        a = np.concatenate([ring * r[:, None], 1e-3 * np.eye(sigma.size)])
        b = np.concatenate([wanted * r, np.zeros(sigma.size)])
        rows.append(np.concatenate([[values[0]], np.linalg.lstsq(a, b, rcond=None)[0]]))
    return np.array(rows)


def model_of(m: float, beta: Float, weight: Float, fit_facts: dict[str, object] | None = None) -> BeamModel:
    horn = np.genfromtxt(DATA / "matrad_generic_6mv_primary_fluence.csv", delimiter=",", names=True)
    return BeamModel(
        name="generic_6mv",
        energy_mv=6.0,
        sad_mm=1000.0,
        attenuation_per_mm=float(m),
        beta_per_mm=tuple(float(b) for b in beta),
        source_fwhm_mm=5.0,
        kernel={"sigma_mm": SIGMA_MM, "weight": [[float(w) for w in row] for row in weight]},
        horn={"radius_mm": horn["r_mm"].tolist(), "relative_fluence": horn["relative_fluence"].tolist()},
        calibration={"dose_gy": 1.0, "mu": 100.0, "field_mm": 100.0, "depth_mm": 100.0},
        source={
            "kernels": "matRad / pyRadPlan generic 6 MV photon machine (BSD-3-Clause), SSD 900 mm",
            "reference": "TMR table of the OpposingFields program, generic TrueBeam 6 MV, no standard",
            "method": "benchmarks/fit_beam.py",
        },
        fit=fit_facts or {},
    )


def fit(start: BeamModel, table: Float) -> BeamModel:
    """Move m, beta and the weights; the total kernel stays above 0 in every Gaussian and depth."""
    weight0 = np.array(start.kernel.weight)
    response = {side: square_field(start, 10.0 * side) for side in FITTED}
    depth = table["depth_cm"] * 10.0
    use = (depth >= 20.0) & (depth <= 350.0)
    share = np.sqrt(np.gradient(depth[use]) / 5.0)
    probe = np.array([5.0, 10, 15, 20, 30, 50, 100, 150, 200, 250, 300, 350])

    def unpack(q: Float) -> tuple[float, Float, Float]:
        return np.exp(q[0]) * M0, np.exp(q[1:4]) * BETA0, weight0 + q[4:].reshape(3, -1)

    def residuals(q: Float) -> Float:
        m, beta, weight = unpack(q)
        out = [q[:4], (q[4:].reshape(3, -1) / FREEDOM).ravel()]
        out.append(1e3 * np.minimum(depth_functions(m, beta, probe) @ weight, 0.0).ravel())
        for side in FITTED:
            axis = weight @ response[side]
            peak = depth_functions(m, beta, np.array([14.0, 15.0, 16.0])) @ axis
            out.append(np.array([(peak[2] - peak[0]) / peak[1] / 2.0 / PEAK_SLOPE]))
            top = (depth_functions(m, beta, np.arange(5.0, 60.0, 0.5)) @ axis).max()
            tmr = depth_functions(m, beta, depth[use]) @ axis / top
            out.append((tmr - table[f"tmr_{side}x{side}"][use]) / TMR_SIGMA * share)
        return np.concatenate(out)

    answer = least_squares(residuals, np.zeros(4 + weight0.size), max_nfev=500, x_scale="jac")
    m, beta, weight = unpack(answer.x)
    model = model_of(float(f"{m:.6g}"), np.array([float(f"{b:.6g}") for b in beta]), np.round(weight, 6))
    facts = {
        "fitted_fields_cm": list(FITTED),
        "fitted_depths_cm": [2.0, 35.0],
        "depths_cm": [5, 10, 15, 20, 25],
        "error_percent": {
            f"{s}x{s}": errors(model, table, s).round(2).tolist() for s in sorted(FITTED + UNSEEN)
        },
        "tpr20_10": round(float(np.divide(*model.tmr(100.0, [200.0, 100.0]))), 4),
    }
    return model.model_copy(update={"fit": facts})


def depth_functions(m: float, beta: Float, depth_mm: Float) -> Float:
    rate = beta - m
    t = depth_mm[:, None]
    return beta * np.exp(-m * t) * -np.expm1(-rate * t) / rate


def errors(model: BeamModel, table: Float, side_cm: int) -> Float:
    """TMR difference in per cent of the table's value at 5, 10, 15, 20 and 25 cm."""
    depth = np.array([50.0, 100.0, 150.0, 200.0, 250.0])
    wanted = np.interp(depth / 10.0, table["depth_cm"], table[f"tmr_{side_cm}x{side_cm}"])
    return 100.0 * (model.tmr(10.0 * side_cm, depth) / wanted - 1.0)


def toml(model: BeamModel, table: Float) -> str:
    """Write the model by hand: TOML has no writer in the standard library."""
    lines = [
        "# Generic 6 MV flattened beam: matRad's pencil-beam kernels moved to a TrueBeam TMR table.",
        "# Made by benchmarks/fit_beam.py; a research machine, no standard of any linac's output.",
        "schema = 1",
        f'name = "{model.name}"',
        "verified = true",
        *(f"{key} = {getattr(model, key)}" for key in ("energy_mv", "sad_mm", "attenuation_per_mm")),
        f"beta_per_mm = {list(model.beta_per_mm)}",
        f"source_fwhm_mm = {model.source_fwhm_mm}  # at the isocentre; head scatter Sc is 1 for every field",
    ]
    for key in ("kernel", "horn", "calibration", "source", "fit"):
        part = getattr(model, key)
        rows = part if isinstance(part, dict) else part.model_dump()
        lines += ["", f"[{key}]", *(f"{name} = {_value(value)}" for name, value in rows.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}" = {_value(v)}' for k, v in value.items()) + "}"
    if isinstance(value, tuple | list) and value and isinstance(value[0], tuple | list):
        return "[\n" + "".join(f"  {list(row)},\n" for row in value) + "]"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
