"""Fit the collapsed-cone part of models/beams/generic_6mv.toml to the shared TrueBeam TMR table.

The kernel is fixed (models/kernels/water_6mv.toml). Fitted: the energies' shares of the beam, from an
Ali-Rogers spectrum on, to 4x4, 10x10 and 20x20 cm from 2 cm depth, for the smallest largest error at the
depths of the bars, and of 10x10 cm against the pencil beam as well; the head scatter, to the output factors
of the pencil beam. The engine's own cubes and directions are in the fit: their share is calculated by the
engine between the rounds. No number of another field enters.
Run: python benchmarks/fit_cone.py (after fit_kernel.py and fit_beam.py; some minutes of one core)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rtplan.domain import Grid, Image, Mask
from rtplan.planning.beam import BeamModel, ConeModel, ExtraFocal, Spectrum, load_beam
from rtplan.planning.cone import ConeEngine
from rtplan.planning.coneaxis import cone_on_axis, parts_on_axis
from rtplan.planning.density import load_curve
from rtplan.planning.kernel import load_kernel
from rtplan.planning.openfield import open_field

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT.parent / "shared" / "data" / "beam" / "generic_truebeam_6mv_tmr.csv"
FILE = ROOT / "models" / "beams" / "generic_6mv.toml"
MODEL, KERNEL = load_beam("generic_6mv"), load_kernel("water_6mv")
SOURCE_MM = 4.0
FITTED, UNSEEN = (4, 10, 20), (3, 6, 8, 12, 15, 25)
PEAK_MM = np.arange(5.0, 30.0, 1.0)
DEEP_MM = np.array([20, 25, 30, 40, 50, 75, 100, 125, 150, 175, 200, 225, 250, 300, 350.0])
GATED_MM = (50.0, 100.0, 150.0, 200.0, 250.0)
#: By how much the logarithm of an energy's share may leave the published spectrum's at the price of one
#: residual of 1 % to the power below; what the residuals of other depths weigh beside those of the bars.
FREEDOM, BAR, LOOSE, POWER, ROUNDS = 4.0, 0.01, 0.03, 12, 2

#: Energy, MeV, and mass attenuation and energy absorption of water, cm2/g: NIST, Hubbell and Seltzer,
#: NISTIR 5632; tungsten's and aluminium's attenuation at the knots below it.
WATER = np.array([
    [0.2, 0.1370, 0.02967], [0.3, 0.1186, 0.03192], [0.5, 0.09687, 0.03299], [1.0, 0.07072, 0.03103],
    [1.5, 0.05754, 0.02833], [2.0, 0.04942, 0.02608], [3.0, 0.03969, 0.02281], [4.0, 0.03403, 0.02066],
    [5.0, 0.03031, 0.01915],
])  # fmt: skip
KNOTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0)
TUNGSTEN = (0.7844, 0.3238, 0.1925, 0.1378, 0.1093, 0.08066, 0.06618, 0.05577, 0.05, 0.04433, 0.04075,
            0.04038, 0.04103, 0.0421)  # fmt: skip
ALUMINIUM = (0.1223, 0.1042, 0.09276, 0.08445, 0.07802, 0.06841, 0.06146, 0.05496, 0.05006, 0.04324, 0.03541,
             0.03106, 0.02836, 0.02655)  # fmt: skip
ENERGY_MEV = np.array([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0])
#: Ali and Rogers, Phys Med Biol 57:31 (2012), Varian 6 MV.
C1, C2, C3, END_MEV = 1.222, 5.147, -1.186, 5.76

Float = NDArray[np.float64]


def main() -> None:
    """Fit, print the errors of the formula, write the part."""
    torch.set_num_threads(1)
    table = np.genfromtxt(TABLE, delimiter=",", names=True)
    model, worst = fitted(table)
    print(f"largest error of a bar {100.0 * worst:.3f} %", flush=True)
    cone = model.cone
    assert cone is not None
    cone = cone.model_copy(update={"gy_per_mu": 0.01 / in_tank(model)})
    model = model.model_copy(update={"cone": cone})
    for side in sorted(FITTED + UNSEEN):
        error = 100.0 * (tmr(model, side, np.array(GATED_MM)) / wanted(table, side, np.array(GATED_MM)) - 1.0)
        print(f"{side:2d} cm", *(f"{e:+6.2f}" for e in error), "%")
    text = FILE.read_text(encoding="utf-8")
    FILE.write_text(
        text.split("\n[cone]")[0].rstrip() + "\n\n" + "\n".join(lines(model)) + "\n", encoding="utf-8"
    )
    print(f"wrote {FILE.relative_to(ROOT)}: [cone]")


def fitted(table: Float) -> tuple[BeamModel, float]:
    """Return the machine, and the largest error of a bar on the fitted fields."""
    head, ratio = ExtraFocal(weight=0.0, sigma_mm=30.0), dict.fromkeys(FITTED, np.ones(DEEP_MM.size))
    for left in range(ROUNDS, -1, -1):
        spectrum, worst = fitted_spectrum(table, with_cone(spectrum_of(published()), head), ratio)
        head = fitted_head(with_cone(spectrum, head))
        model = with_cone(spectrum, head)
        if left:
            ratio = {side: engine_over_formula(model, side) for side in FITTED}
    return model, worst


def published() -> Float:
    """Return the shares of the energies in Ali and Rogers' spectrum, shape (E,)."""
    x = np.linspace(0.2, END_MEV - 0.001, 400)
    thin = (1.0 + C3 * x / END_MEV + (x / END_MEV) ** 2) * (np.log(END_MEV * (END_MEV - x) / x + 1.65) - 0.5)
    filtered = np.interp(x, KNOTS, TUNGSTEN) * C1**2 + np.interp(x, KNOTS, ALUMINIUM) * C2**2
    fluence = np.maximum(thin * np.exp(-filtered), 0.0)
    shares = np.array([(np.interp(x, ENERGY_MEV, one) * fluence).sum() for one in np.eye(ENERGY_MEV.size)])
    return shares / shares.sum()


def spectrum_of(shares: Float) -> Spectrum:
    """Return a spectrum with water's coefficients, rounded."""
    log = np.log(WATER)
    mu, absorbed = (np.exp(np.interp(np.log(ENERGY_MEV), log[:, 0], log[:, i])) / 10.0 for i in (1, 2))
    rounded = [round(float(x), 5) for x in shares / shares.sum()]
    rounded[int(np.argmax(rounded))] += 1.0 - sum(rounded)
    columns = [tuple(float(f"{x:.5g}") for x in column) for column in (ENERGY_MEV, rounded, mu, absorbed)]
    names = ("energy_mev", "energy_fluence", "attenuation_per_mm", "absorption_per_mm")
    return Spectrum(**dict(zip(names, columns, strict=True)))


def with_cone(spectrum: Spectrum, head: ExtraFocal) -> BeamModel:
    """Return the machine with a cone part, not calibrated yet."""
    cone = ConeModel(
        kernel=KERNEL.name, spectrum=spectrum, source_fwhm_mm=SOURCE_MM, gy_per_mu=1.0, extra_focal=head,
    )  # fmt: skip
    return MODEL.model_copy(update={"cone": cone})


def engine_over_formula(model: BeamModel, side_cm: int) -> Float:
    """Return the engine's TMR over the formula's at ``DEEP_MM``: what cubes and directions do to it."""
    side, engine = 10.0 * side_cm, ConeEngine(model, load_curve("matrad_default"))

    def dose(depth: Float, isocentre: float) -> Float:
        width = 2 * round((0.6 * side + 30.0) / 3.0)
        shape = (width, round((isocentre + 60.0) / 3.0) + 2, width)
        grid = Grid.axial(shape, (3.0, 3.0, 3.0), (-1.5 * (width - 1), -4.5, -1.5 * (width - 1)))
        inside = np.zeros(grid.shape, bool)
        inside[:, 2:] = True
        water, body = Image(grid, np.where(inside, 0.0, -1000.0)), Mask(grid, inside)
        line = Grid.axial((1, depth.size, 1), (1.0, 1.0, 1.0), (0.0, float(depth[0]), 0.0))
        beam = open_field((side, side), (0.0, isocentre, 0.0))
        return engine.calculate([beam], [water], body, line)[0].array[0, :, 0].astype(np.float64)

    near = np.arange(9.0, 27.0)
    peak = (dose(near, 15.0) * ((model.sad_mm - 15.0 + near) / model.sad_mm) ** 2).max()
    at = np.array([20.0, *GATED_MM])
    found = np.array([dose(np.array([d]), d)[0] for d in at]) / peak
    return np.interp(DEEP_MM, at, found / tmr(model, side_cm, at))


def fitted_spectrum(table: Float, model: BeamModel, ratio: dict[int, Float]) -> tuple[Spectrum, float]:
    """Return the shares whose largest error is smallest, near the published ones, and that error.

    ``model`` gives the head, ``ratio`` the engine's TMR over the formula's, by field.
    """
    assert model.cone is not None
    start, depth = np.array(model.cone.spectrum.energy_fluence), np.concatenate([PEAK_MM, DEEP_MM])
    deep = {}
    for side in FITTED:
        tank = (10.0 * side, depth, MODEL.sad_mm - depth)
        parts = (parts_on_axis(model, KERNEL, model.cone.spectrum, s, tank) for _, s in model.cone.images)
        shares = (w for w, _ in model.cone.images)
        deep[side] = sum(w * part.sum(axis=0) for w, part in zip(shares, parts, strict=True))
    pencil = np.array([MODEL.on_axis(100.0, d, MODEL.sad_mm - d)[0] for d in DEEP_MM])
    gated = np.isin(DEEP_MM, GATED_MM)

    def errors(q: Float) -> tuple[Float, Float]:
        bars, others = [], []
        for side in FITTED:
            dose = (start * np.exp(q)) @ deep[side]
            said = dose[PEAK_MM.size :] / dose[: PEAK_MM.size].max() * ratio[side]
            off = said / wanted(table, side, DEEP_MM) - 1.0
            bars.append(off[gated])
            others.append(off[~gated])
            if side == 10:
                both = said / pencil
                bars.append((both / both[DEEP_MM == 100.0] - 1.0)[gated | (DEEP_MM == 20.0)])
        return np.concatenate(bars), np.concatenate(others)

    def residuals(q: Float, power: int) -> Float:
        bars, others = errors(q)
        return np.concatenate([raised(bars / BAR, power), others / LOOSE, q / FREEDOM])

    found = np.zeros(start.size)
    for power in (2, 4, POWER):
        found = least_squares(residuals, found, args=(power,)).x
    return spectrum_of(start * np.exp(found)), float(np.abs(errors(found)[0]).max())


def raised(off: Float, power: int) -> Float:
    """Return residuals whose squares are ``|off|^power``: a high power fits the largest alone."""
    raised_: Float = np.sign(off) * np.abs(off) ** (power / 2.0)
    return raised_


def fitted_head(model: BeamModel) -> ExtraFocal:
    """Return the head scatter with which the output at 10 cm depth follows the pencil beam's."""
    sides = np.array([10.0 * s for s in sorted(FITTED + UNSEEN)])
    pencil = np.array([float(model.on_axis(s, 100.0, 900.0)[0]) for s in sides])

    def cone(head: ExtraFocal) -> Float:
        made = with_cone(model.cone.spectrum, head)  # type: ignore[union-attr]
        return np.array([float(cone_on_axis(made, KERNEL, s, 100.0, 900.0)[0]) for s in sides])

    def residuals(q: Float) -> Float:
        ratio = cone(ExtraFocal(weight=float(q[0]), sigma_mm=float(q[1]))) / pencil
        return ratio / ratio[sides == 100.0] - 1.0

    best = least_squares(residuals, [0.05, 30.0], bounds=([0.0, 10.0], [0.3, 100.0]), x_scale=[0.01, 10.0])
    print("output, cone over pencil, %:", dict(zip(sides, (100.0 * residuals(best.x)).round(2), strict=True)))
    return ExtraFocal(weight=round(float(best.x[0]), 4), sigma_mm=round(float(best.x[1]), 1))


def in_tank(model: BeamModel) -> float:
    """Return the engine's dose per MU at the calibration's point, with the model's ``gy_per_mu``."""
    c = model.calibration
    grid = Grid.axial((60, 55, 60), (3.0, 3.0, 3.0), (-88.5, -4.5, -88.5))
    inside = np.zeros(grid.shape, bool)
    inside[:, 2:] = True
    water, body = Image(grid, np.where(inside, 0.0, -1000.0)), Mask(grid, inside)
    point = Grid.axial((1, 1, 1), (1.0, 1.0, 1.0), (0.0, c.depth_mm, 0.0))
    beam = open_field((c.field_mm, c.field_mm), (0.0, c.depth_mm, 0.0), mu=1.0)
    engine = ConeEngine(model, load_curve("matrad_default"))
    return float(engine.calculate([beam], [water], body, point)[0].array[0, 0, 0])


def tmr(model: BeamModel, side_cm: int, depth_mm: Float) -> Float:
    """Return the formula's tissue-maximum ratio."""
    peak, deep = (
        cone_on_axis(model, KERNEL, 10.0 * side_cm, d, model.sad_mm - d) for d in (PEAK_MM, depth_mm)
    )
    return deep / peak.max()


def wanted(table: Float, side_cm: int, depth_mm: Float) -> Float:
    return np.interp(depth_mm / 10.0, table["depth_cm"], table[f"tmr_{side_cm}x{side_cm}"])


def lines(model: BeamModel) -> list[str]:
    """Lines of the part."""
    cone = model.cone
    assert cone is not None
    assert cone.extra_focal is not None
    return [
        "[cone]  # collapsed cone; made by benchmarks/fit_cone.py",
        f'kernel = "{cone.kernel}"',
        f"source_fwhm_mm = {cone.source_fwhm_mm}",
        f"gy_per_mu = {cone.gy_per_mu:.6g}",
        "",
        "[cone.extra_focal]  # head scatter, output as the pencil beam's, whose kernels hold it",
        f"weight = {cone.extra_focal.weight}",
        f"sigma_mm = {cone.extra_focal.sigma_mm}",
        "",
        "[cone.spectrum]  # Ali and Rogers 2012 (Varian 6 MV), moved to the TMR table; water: NIST",
        *(f"{name} = {list(column)}" for name, column in cone.spectrum.model_dump().items()),
    ]


if __name__ == "__main__":
    main()
