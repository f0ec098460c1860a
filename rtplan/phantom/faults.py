"""Where an MR scanner puts things wrongly: gradient distortion, and blur round gas that moved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import Array, Axes, smooth_noise

#: Gas that moved less than this leaves no trace, mm.
STILL_MM = 0.2


def distortion(axes: Axes, draws: Draws) -> Array:
    """Return the gradient distortion of a patient's MR session.

    Parameters
    ----------
    axes : Axes
        Grid of the images.
    draws : Draws
        The patient's draws; ``distortion_mm`` is the longest shift.

    Returns
    -------
    ndarray, shape (3, z, y, x), float32
        Components (z, y, x), mm, of the way from each voxel to the place whose signal it shows; no vector
        is longer than the drawn ``distortion_mm``. Grows with the cube of the distance from the isocentre
        (the middle of the grid), with a smooth random part.
    """
    facts, size = table("models/tissue", "sequences")["distortion"], draws["distortion_mm"]
    rng = draws.stream("distortion")
    rest = [
        line - np.float32(0.5 * float(old[0] + old[-1]))
        for line, old in zip(axes.open(), (axes.z, axes.y, axes.x), strict=True)
    ]
    r = np.sqrt(sum(a * a for a in rest)) / facts["radius_mm"]
    out = np.empty((3, *axes.shape), np.float32)
    for a in range(3):
        random = 0.25 * np.clip(smooth_noise(rng, axes, facts["knots_mm"]), -2, 2)
        out[a] = size * (0.8 * rest[a] / facts["radius_mm"] * r * r + random)
    length = np.sqrt(np.einsum("azyx,azyx->zyx", out, out))
    out *= np.minimum(1.0, np.float32(size) / np.maximum(length, np.float32(1e-6)))
    return out


def distorted(values: Array, shift_mm: Array, axes: Axes) -> Array:
    """Return an image as a scanner with this distortion shows it (linear; edges held)."""
    places = shift_mm / np.array(axes.spacing_mm, np.float32)[:, None, None, None]
    for a, n in enumerate(axes.shape):
        places[a] += np.arange(n, dtype=np.float32).reshape([-1 if b == a else 1 for b in range(3)])
    return np.asarray(ndimage.map_coordinates(values, places, order=1, mode="nearest", output=np.float32))


def gas_motion(values: Array, gas: NDArray[np.bool_], axes: Axes, shift_mm: float) -> Array:
    """Blur an image along the phase direction (front-back) round gas that moved during the scan.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
        Signal.
    gas : ndarray of bool, shape (z, y, x)
        Where gas is.
    axes : Axes
        Grid of both.
    shift_mm : float
        How far the surroundings went to either side: half of the time in place, a quarter on each side.
        Under 0.2 mm nothing is done.
    """
    if shift_mm < STILL_MM or not gas.any():
        return values
    reach = table("models/tissue", "sequences")["motion"]["reach_mm"]
    sigma = [reach / 2.5 / d for d in axes.spacing_mm]
    found = np.argwhere(gas)
    room = np.ceil(4 * np.array(sigma)).astype(int)
    low, high = np.maximum(found.min(0) - room, 0), found.max(0) + room + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    near = np.clip(4.0 * ndimage.gaussian_filter(gas[box].astype(np.float32), sigma, truncate=3.0), 0, 1)
    part, out = values[box], values.copy()
    step = shift_mm / axes.spacing_mm[1]
    moved = sum(ndimage.shift(part, (0, s * step, 0), order=1, mode="nearest") for s in (-1.0, 1.0))
    out[box] = part + near * (0.25 * moved - 0.5 * part)
    return out
