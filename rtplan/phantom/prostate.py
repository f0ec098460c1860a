"""The prostate with zones, lesion and urethra, the seminal vesicles and the penile bulb, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import Array, Axes, even_axes, smooth_noise, tube
from rtplan.phantom.shapes import Shape
from rtplan.phantom.skeleton import Skeleton

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gland:
    """Place and size of a prostate.

    Parameters
    ----------
    centre : ndarray, shape (3,)
        LPS mm.
    radii : ndarray, shape (3,)
        Half width, half depth and half height, mm.
    tilt_rad : float
        How far the base leans forward.
    shape : Shape, optional
        A real gland in place of the closed form; centre, radii and tilt are fitted to it.
    """

    centre: Float
    radii: Float
    tilt_rad: float
    shape: Shape | None = None

    @property
    def anchor(self) -> Float:
        """Where the real shape's centre of volume lies, LPS mm (the centre for the closed form)."""
        return self.centre if self.shape is None else self.centre - self.shape.fitted[0]

    def local(self, axes: Axes) -> tuple[Array, Array, Array]:
        """Return coordinates (u to the left, v to posterior, w to the base) in units of the radii."""
        z, y, x = axes.open()
        c, s = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        dy, dz = y - self.centre[1], z - self.centre[2]
        v, w = c * dy + s * dz, c * dz - s * dy
        return (x - self.centre[0]) / self.radii[0], v / self.radii[1], w / self.radii[2]

    def at(self, u: float, v: float, w: float) -> Float:
        """Return the patient point of local coordinates (in units of the radii)."""
        c, s = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        a, b = v * self.radii[1], w * self.radii[2]
        return np.asarray(self.centre + np.array([u * self.radii[0], c * a - s * b, s * a + c * b]))

    def surface(self, axes: Axes, draws: Draws) -> Array:
        """Return the signed distance of the gland's surface, mm: uneven as drawn, or as the real one is."""
        if self.shape is not None:
            return self.shape.distance("gland", axes, self.anchor)
        return self.distance(axes) + np.float32(0.7) * smooth_noise(draws.stream("gland_surface"), axes, 16.0)

    def distance(self, axes: Axes) -> Array:
        """Return about the signed distance of the smooth gland, mm (of the closed form)."""
        facts = table("models/anatomy", "layout")["prostate"]
        u, v, w = self.local(axes)
        narrow = 1.0 - facts["apex_taper"] * np.clip(-w, 0.0, 1.0) ** 1.5 - 0.10 * np.clip(w, 0.0, 1.0) ** 2
        furrow = 1.0 - facts["posterior_hollow"] * np.exp(-((u / 0.35) ** 2)) * (v > 0)
        p = facts["power"]
        size = (np.abs(u / narrow) ** p + np.abs(v / (narrow * furrow)) ** p + np.abs(w) ** p) ** (1.0 / p)
        return np.asarray((size - 1.0) * float(np.cbrt(self.radii.prod())), np.float32)


def draw_gland(skeleton: Skeleton, draws: Draws) -> Gland:
    """Draw a prostate behind the symphysis, its volume as drawn."""
    upper, lower = (skeleton.landmarks[f"symphysis_back_{k}"] for k in ("upper", "lower"))
    wide, high = draws["prostate_width"], draws["prostate_height"]
    shape = np.array([wide * 1.18, 0.80, high * 1.05])
    gland = Gland(np.zeros(3), 20.0 * shape, np.deg2rad(draws["prostate_tilt_deg"]))
    for _ in range(3):
        axes = even_axes(-1.5 * gland.radii.max() * np.ones(3), 1.5 * gland.radii.max() * np.ones(3), 2.0)
        volume = float(np.clip(0.5 - gland.distance(axes) / 2.0, 0, 1).sum()) * axes.voxel_cc
        gland = Gland(gland.centre, gland.radii * (draws["prostate_cc"] / volume) ** (1 / 3), gland.tilt_rad)
    apex_z = lower[2] + draws["apex_above_mm"]
    z = apex_z + gland.radii[2]
    along = np.clip((z - lower[2]) / (upper[2] - lower[2]), 0.0, 1.0)
    back = lower[1] + along * (upper[1] - lower[1])
    y = back + draws["retropubic_mm"] + gland.radii[1]
    x = float(draws.stream("gland").normal(0.0, 1.0)) + 0.5 * (upper[0] + lower[0])
    return Gland(np.array([x, y, z]), gland.radii, gland.tilt_rad)


def put_in(gland: Gland, shape: Shape) -> Gland:
    """Return the gland with a real shape whose centre of volume lies at the drawn gland's centre."""
    offset, radii, tilt = shape.fitted
    return Gland(gland.centre + offset, radii, tilt, shape)


def zones(gland: Gland, outline: Array, axes: Axes, draws: Draws) -> dict[str, Array]:
    """Return the signed distances of transition zone, stroma, urethra and lesion inside the outline, mm."""
    facts = table("models/anatomy", "layout")["prostate"]
    u, v, w = gland.local(axes)
    share = draws["transition_share"]
    r = (share * 1.25) ** (1 / 3) * 0.92
    inner = np.sqrt(
        (u / r) ** 2 + ((v + facts["transition_forward"]) / r) ** 2 + ((w - facts["transition_up"]) / r) ** 2
    )
    scale = float(np.cbrt(gland.radii.prod())) * r
    knobs = 1.2 * smooth_noise(draws.stream("transition"), axes, 14.0)
    transition = np.maximum((inner - 1.0) * scale + knobs, outline + 1.8)
    front = np.sqrt((u / 0.45) ** 2 + ((v + 0.95) / 0.38) ** 2 + ((w - 0.1) / 0.9) ** 2)
    stroma = np.maximum((front - 1.0) * 0.4 * gland.radii[1], outline + 0.5)
    course = [
        gland.at(0, -0.05, 1.02),
        gland.at(0, 0.10, 0.1),
        gland.at(0, 0.0, -0.6),
        gland.at(0, -0.1, -1.0),
    ]
    line = np.array([[*p, facts["urethra"]] for p in course])
    if gland.shape is not None and gland.shape.has("transition_zone"):
        transition = gland.shape.distance("transition_zone", axes, gland.anchor, outline)
        stroma = np.maximum(stroma, transition)  # the real zone holds its stroma
    return {
        "transition_zone": np.asarray(transition, np.float32),
        "stroma": np.asarray(stroma, np.float32),
        "urethra": tube(axes.points(), line),
        "lesion": _lesion(gland, outline, axes, draws),
    }


def _lesion(gland: Gland, outline: Array, axes: Axes, draws: Draws) -> Array:
    """Return a dominant lesion of the drawn volume, mostly in the peripheral zone."""
    if gland.shape is not None and gland.shape.has("lesion"):
        return gland.shape.distance("lesion", axes, gland.anchor, outline)
    rng = draws.stream("lesion")
    side = 1.0 if rng.random() < 0.5 else -1.0
    if rng.random() < 0.75:
        place = gland.at(side * rng.uniform(0.3, 0.62), rng.uniform(0.42, 0.6), rng.uniform(-0.45, 0.4))
    else:
        place = gland.at(side * rng.uniform(0.15, 0.4), rng.uniform(-0.5, -0.2), rng.uniform(-0.2, 0.4))
    shape = rng.uniform(0.8, 1.25, 3)
    radius = (3.0 * draws["lesion_cc"] * 1000.0 / (4.0 * np.pi * shape.prod())) ** (1 / 3)
    z, y, x = axes.open()
    bumps = 0.10 * smooth_noise(rng, axes, 6.0)
    for _ in range(4):
        a, b, c = ((q - p) / (s * radius) for q, p, s in zip((x, y, z), place, shape, strict=True))
        distance = np.maximum((np.sqrt(a * a + b * b + c * c) - 1.0 + bumps) * radius, outline + 0.6)
        volume = float(np.clip(0.5 - distance / 1.5, 0, 1).sum()) * axes.voxel_cc
        radius *= float(np.clip((draws["lesion_cc"] / max(volume, 1e-3)) ** (1 / 3), 0.7, 1.4))
    return np.asarray(distance, np.float32)


def vesicles(gland: Gland, axes: Axes, draws: Draws) -> Array:
    """Return the signed distance of both seminal vesicles, mm."""
    rng, radius = draws.stream("vesicles"), draws["vesicle_mm"]
    base = gland.at(0.0, 0.55, 0.95)
    chain = np.array(table("models/anatomy", "layout")["vesicle"]["chain"], float)
    out = np.full(axes.shape, 60.0, np.float32)
    points = axes.points()
    for side in (1.0, -1.0):
        line = (
            chain
            * [side, 1, 1, radius]
            * [rng.uniform(0.9, 1.1), 1, rng.uniform(0.8, 1.2), rng.uniform(0.9, 1.1)]
        )
        line[:, :3] += base + rng.normal(0, 1.0, 3) * [0.3, 1, 1]
        out = np.minimum(out, tube(points, line))
    return np.asarray(out + 0.9 * smooth_noise(rng, axes, 7.0), np.float32)


def bulb(gland: Gland, skeleton: Skeleton, axes: Axes, draws: Draws) -> tuple[Array, Float]:
    """Return the signed distance of the penile bulb, mm, and its centre (LPS mm)."""
    facts = table("models/anatomy", "layout")["bulb"]
    radii = np.array(facts["radii"], float)
    radii *= (draws["bulb_cc"] * 1000.0 / (4.0 / 3.0 * np.pi * radii.prod())) ** (1 / 3)
    apex = gland.at(0.0, 0.0, -1.0)
    centre = np.array(
        [apex[0], min(apex[1], skeleton.landmarks["symphysis_back_lower"][1] + facts["behind_symphysis"]), 0]
    )
    centre[2] = apex[2] - draws["bulb_below_mm"] - 0.55 * radii[2]
    z, y, x = axes.open()
    a, b, c = ((q - p) / r for q, p, r in zip((x, y, z), centre, radii, strict=True))
    size = np.sqrt(a * a + b * b + c * c)
    return np.asarray((size - 1.0) * float(np.cbrt(radii.prod())), np.float32), centre
