"""The MR images of an anatomy by the signal equations: T2w, T1w and Dixon, with the scanner's faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtplan.domain import Image, Source
from rtplan.errors import UnknownName
from rtplan.phantom.anatomy import Anatomy
from rtplan.phantom.draws import Draws, table
from rtplan.phantom.faults import distorted, distortion, gas_motion
from rtplan.phantom.field import Array, Axes, grain, smooth_noise

#: Contrasts that can be asked for; Dixon gives four images.
CONTRASTS = ("T2w", "T1w", "Dixon")
DIXON = ("Dixon_W", "Dixon_F", "Dixon_IP", "Dixon_OP")


def spin_echo(pd: float, t1_ms: float, t2_ms: float, tr_ms: float, te_ms: float) -> float:
    """Return the spin-echo signal PD (1 - exp(-TR/T1)) exp(-TE/T2).

    Examples
    --------
    >>> round(spin_echo(1.0, 1000.0, 100.0, 1e9, 100.0), 4)
    0.3679
    """
    return float(pd * (1.0 - np.exp(-tr_ms / t1_ms)) * np.exp(-te_ms / t2_ms))


def gradient_echo(
    pd: float, t1_ms: float, t2star_ms: float, tr_ms: float, te_ms: float, flip_deg: float
) -> float:
    """Return the spoiled gradient-echo signal PD sin a (1 - E1) / (1 - E1 cos a) exp(-TE/T2*).

    Examples
    --------
    >>> round(gradient_echo(1.0, 500.0, 1e9, 1e9, 1.0, 90.0), 4)
    1.0
    """
    e1, angle = np.exp(-tr_ms / t1_ms), np.deg2rad(flip_deg)
    return float(pd * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle)) * np.exp(-te_ms / t2star_ms))


def signals(contrast: str, draws: Draws) -> dict[str, float]:
    """Return the signal of each tissue for ``T2w``, ``T1w``, ``Dixon_W`` or ``Dixon_F`` (relative units).

    Raises
    ------
    UnknownName
        If the contrast is none of these.
    """
    facts = table("models/tissue", "relaxation")
    if contrast not in ("T2w", "T1w", "Dixon_W", "Dixon_F"):
        raise UnknownName(f"There is no contrast {contrast!r}.", action="choose T2w, T1w or Dixon.")
    at_3t = draws["field_3t"] >= 0.5
    tesla, factor = ("3t" if at_3t else "1_5t"), draws["relaxation"]
    flow = facts["flow"]["T2w" if contrast == "T2w" else "T1w"]
    relax = {n: _relaxation(n, t, draws, tesla, factor) for n, t in facts["tissue"].items()}
    out = {}
    for name, t in facts["tissue"].items():
        water, fat = (
            _signal(contrast, t["proton_density"], *relax[n], draws, tesla, name) for n in (name, "fat")
        )
        share = float(t["fat"])
        mixed = {"Dixon_W": (1 - share) * water, "Dixon_F": share * fat}
        out[name] = mixed.get(contrast, (1 - share) * water + share * fat) * (
            flow if name == "blood" else 1.0
        )
    return out


def _relaxation(
    name: str, facts: Mapping[str, Any], draws: Draws, tesla: str, factor: float
) -> tuple[float, float]:
    """T1 and T2 of a tissue in this patient, ms: as published, times the draws."""
    own = draws.stream(f"relaxation/{name}").normal(1.0, 0.03, 2)
    return facts[f"t1_{tesla}"] * factor * own[0], facts[f"t2_{tesla}"] * factor * own[1]


def _signal(contrast: str, pd: float, t1: float, t2: float, draws: Draws, tesla: str, name: str) -> float:
    sequences = table("models/tissue", "sequences")
    if contrast == "T2w":
        return spin_echo(pd, t1, t2, draws["t2w_tr_ms"], draws["t2w_te_ms"])
    t2star = t2 * sequences["t2star"][f"share_of_t2_{tesla}"]
    t2star *= sequences["t2star"]["trabecular"] if "spongiosa" in name else 1.0
    if contrast == "T1w":
        return gradient_echo(
            pd, t1, t2star, draws["t1w_tr_ms"], sequences["T1w"][f"te_{tesla}"], draws["t1w_flip_deg"]
        )
    s = sequences["Dixon"]
    return gradient_echo(pd, t1, t2star, s["tr_ms"], s[f"te_{tesla}"], s["flip_deg"])


def demand_contrasts(contrasts: tuple[str, ...]) -> None:
    """Raise UnknownName unless every contrast is in ``CONTRASTS``."""
    unknown = set(contrasts) - set(CONTRASTS)
    if unknown:
        raise UnknownName(
            f"There is no contrast {sorted(unknown)[0]!r}.", action=f"choose of {', '.join(CONTRASTS)}."
        )


def scan_mr(anatomy: Anatomy, draws: Draws, contrasts: tuple[str, ...]) -> dict[str, Image]:
    """Return the MR images asked for, by role (``T2w``, ``T1w``, ``Dixon_W`` …), on the anatomy's grid.

    Raises
    ------
    UnknownName
        If a contrast is not in ``CONTRASTS``.
    """
    demand_contrasts(contrasts)
    scanner = _Scanner(anatomy, draws)
    out = {c: scanner.image(c, [scanner.clean(c)])[0] for c in contrasts if c != "Dixon"}
    if "Dixon" in contrasts:
        out |= _dixon(scanner, draws)
    source = "digital patient, cohort " + draws.cohort
    return {
        name: Image(
            anatomy.grid,
            array,
            modality="MR",
            source=Source(patient_position="HFS", description=f"{source}, {name}"),
        )
        for name, array in out.items()
    }


def _dixon(scanner: _Scanner, draws: Draws) -> dict[str, Array]:
    """In and out of phase from water and fat; water and fat back from them, swapped where drawn so."""
    water, fat = scanner.clean("Dixon_W"), scanner.clean("Dixon_F")
    inside, outside = scanner.image("Dixon", [water + fat, np.abs(water - fat)])
    both, gap = 0.5 * (inside + outside), np.maximum(0.5 * (inside - outside), 0.0)
    mostly_fat = scanner.warped(fat) > scanner.warped(water)
    if draws["fat_water_swap"] >= 0.5:
        mostly_fat = ~mostly_fat
    water_image, fat_image = np.where(mostly_fat, gap, both), np.where(mostly_fat, both, gap)
    return dict(
        zip(
            DIXON,
            (np.round(a).astype(np.float32) for a in (water_image, fat_image, inside, outside)),
            strict=True,
        )
    )


class _Scanner:
    """Distortion, motion, bias and noise of one patient's MR session; local to scan_mr."""

    def __init__(self, anatomy: Anatomy, draws: Draws) -> None:
        self.anatomy, self.draws = anatomy, draws
        self.facts = table("models/tissue", "sequences")
        self.axes = Axes.of(anatomy.grid)
        _, dy, dx = anatomy.grid.spacing_zyx_mm
        self.grain = grain(draws.stream("mr_grain"), anatomy.grid.shape, (0.5, 1.3 / dy, 1.3 / dx))
        self.shift = distortion(self.axes, draws)
        self.bias = np.exp(
            draws["bias"] * smooth_noise(draws.stream("bias"), self.axes, self.facts["coil"]["knots_mm"])
        )

    def clean(self, contrast: str) -> Array:
        """Painted signal before the scanner's faults."""
        texture = {n: t["texture"] for n, t in table("models/tissue", "relaxation")["tissue"].items()}
        values = signals(contrast, self.draws)
        return self.anatomy.paint(values, {n: texture[n] * values[n] for n in values}, self.grain)

    def warped(self, values: Array) -> Array:
        """Values as the distorted scanner places them."""
        return distorted(values, self.shift, self.axes)

    def image(self, name: str, clean: list[Array]) -> list[Array]:
        """Return images in scanner units (rounded) with motion, distortion, bias and Rician noise."""
        rng, out = self.draws.stream(f"mr/{name}"), []
        for values in clean:
            values = self.warped(self._moved(values)) * self.bias
            level = self.draws["mr_noise"] * float(np.percentile(clean[0][::4, ::4, ::4], 99.0))
            _, dy, dx = self.anatomy.grid.spacing_zyx_mm
            real, imaginary = (level * grain(rng, values.shape, (0.0, 0.6 / dy, 0.6 / dx)) for _ in range(2))
            magnitude = np.sqrt((values + real) ** 2 + imaginary**2)
            gain = self.draws["scanner_gain"] / float(np.percentile(clean[0][::4, ::4, ::4], 99.0))
            out.append(np.round(magnitude * gain).astype(np.float32))
        return out

    def _moved(self, values: Array) -> Array:
        return gas_motion(values, self.anatomy.masks["zGas"], self.axes, self.draws["gas_motion_mm"])
