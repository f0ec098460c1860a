"""Make models/kernels/water_6mv.toml: exponentials fitted to a Monte-Carlo energy deposition kernel.

The table (benchmarks/kernels/edk_varian_6mv.txt) is kerneldata/varian_6.csv of the program conehead: EGSnrc
edknrc, Varian 6 MV spectrum, 2e7 histories, 48 cones of 3.75 degrees (upper edge in the first column),
24 shells with the outer radii below. Run: python benchmarks/fit_kernel.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "kernels" / "edk_varian_6mv.txt"
OUT = ROOT / "models" / "kernels" / "water_6mv.toml"
RADII_MM = 10.0 * np.array(
    [0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 60]
)
#: No electron of a 6 MV beam gets farther; so much of the shells is within it.
ELECTRONS_MM, NEAR = 20.0, 12

Float = NDArray[np.float64]


def main() -> None:
    """Fit both parts, print what they miss, write the kernel."""
    shells = np.loadtxt(TABLE)[:, 1:]
    scatter = shells.copy()
    level = shells[:, NEAR] / (
        RADII_MM[NEAR + 1] - RADII_MM[NEAR]
    )  # scatter per mm just beyond the electrons
    scatter[:, :NEAR] = np.minimum(level[:, None] * np.diff(RADII_MM)[:NEAR], shells[:, :NEAR])
    primary = (shells - scatter)[:, :NEAR]
    parts = {
        "primary": fitted(primary / primary.sum(), RADII_MM[: NEAR + 1], (2.5, 0.34, 0.2), positive),
        "scatter": fitted(scatter / scatter.sum(), RADII_MM, (0.004, 0.0096), signed),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("\n".join(lines(parts)) + "\n", encoding="utf-8")
    print(f"wrote {OUT.relative_to(ROOT)}")


def positive(basis: Float, wanted: Float) -> Float:
    """Weights of each cone, none below 0, shape (cones, K)."""
    return np.array([nnls(basis, row)[0] for row in wanted])


def signed(basis: Float, wanted: Float) -> Float:
    """Weights of each cone, any sign: scatter keeps its level for some cm before it falls."""
    found: Float = np.linalg.lstsq(basis, wanted.T, rcond=None)[0].T
    return found


def fitted(part: Float, edges: Float, start: tuple[float, ...], solve) -> tuple[Float, Float]:  # type: ignore[no-untyped-def]
    """Return attenuations and weights (K, cones) that follow the energy within each radius best."""
    wanted = np.cumsum(part, axis=1)

    def weights(log_rate: Float) -> tuple[Float, Float]:
        basis = -np.expm1(-np.outer(edges[1:], np.exp(log_rate)))
        rows = solve(basis, wanted)
        return rows, rows @ basis.T - wanted

    best = minimize(lambda q: (weights(q)[1] ** 2).sum(), np.log(start), method="Nelder-Mead")
    rows, off = weights(best.x)
    print(
        "rates per mm",
        np.exp(best.x).round(4),
        "energy",
        rows.sum(axis=0).round(3),
        "sum",
        rows.sum().round(4),
    )
    print("  missed within each radius, all cones, %", (100.0 * off.sum(axis=0)).round(2))
    return np.exp(best.x), (rows / rows.sum()).T


def lines(parts: dict[str, tuple[Float, Float]]) -> list[str]:
    """Lines of the file."""
    made = [
        "# Where the energy of a 6 MV beam's interactions in water goes: 48 cones of 3.75 degrees from the",
        "# photon's direction, exponentials of the distance. Made by benchmarks/fit_kernel.py.",
        "schema = 1",
        'name = "water_6mv"',
        "verified = true",
        "",
        "[source]",
        'table = "conehead, kerneldata/varian_6.csv: EGSnrc edknrc, Varian 6 MV spectrum"',
        'licence = "MIT, copyright (c) 2018 samuelpeet"',
        'method = "benchmarks/fit_kernel.py; each part has the integral 1, its tail beyond 60 cm included"',
    ]
    for name, (rate, weight) in parts.items():
        made += ["", f"[{name}]", f"rate_per_mm = {[float(f'{x:.5g}') for x in rate]}", "weight = ["]
        made += [f"  [{', '.join(f'{x:.3e}' for x in row)}]," for row in weight]
        made += ["]"]
    return made


if __name__ == "__main__":
    main()
