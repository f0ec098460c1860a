"""Gaussian random fields of a given correlation length: by FFT on a lattice, or by factors along axes.

References
----------
.. [1] Wood ATA, Chan G. Simulation of stationary Gaussian processes in [0, 1]^d. J Comput Graph Stat
   1994;3:409-432.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from rtplan.errors import RtplanError

Array = NDArray[np.float32]
Shape = Literal["exponential", "gaussian"]

#: Correlation at a distance in units of the length: rough (exponential) or smooth (Gaussian) fields.
CORRELATIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "exponential": lambda h: np.exp(-h),
    "gaussian": lambda h: np.exp(-0.5 * h**2),
}
#: The lattice is padded by so many lengths, so that one end does not feel the other.
APART = {"exponential": 3.0, "gaussian": 3.0}


def gaussian_fields(
    shape: tuple[int, int, int],
    spacing_zyx_mm: tuple[float, float, float],
    length_mm: float,
    rng: np.random.Generator,
    *,
    correlation: Shape = "exponential",
) -> Iterator[Array]:
    """Yield, without end, independent fields of mean 0 and variance 1.

    Parameters
    ----------
    shape : tuple of int
        Of the lattice, [z, y, x].
    spacing_zyx_mm : tuple of float
        Of its nodes.
    length_mm : float
        The correlation of two nodes at a distance h is ``exp(-h/length)`` (exponential) or
        ``exp(-h²/(2 length²))`` (gaussian).
    rng : numpy.random.Generator
        Of the draws.

    Raises
    ------
    RtplanError
        If the length is not above 0.

    Notes
    -----
    Circulant embedding [1]_: the correlation on a padded torus is the spectrum with which white noise is
    filtered. Negative parts of the spectrum, which a short padding leaves, are cut, and the variance is
    set to 1 again.

    Examples
    --------
    >>> fields = gaussian_fields((40, 40, 40), (1.0, 1.0, 1.0), 3.0, np.random.default_rng(1))
    >>> one = next(fields)
    >>> one.shape, bool(abs(one.std() - 1.0) < 0.2)
    ((40, 40, 40), True)
    """
    if not length_mm > 0.0:
        raise RtplanError(f"A correlation length is above 0 mm, got {length_mm}.")
    pad = APART[correlation] * length_mm
    padded = tuple(
        fft.next_fast_len(n + int(np.ceil(pad / step)), real=True)
        for n, step in zip(shape, spacing_zyx_mm, strict=True)
    )
    amplitude = _amplitude(padded, spacing_zyx_mm, length_mm, correlation)
    window = tuple(slice(n) for n in shape)
    while True:
        white = rng.standard_normal(padded, dtype=np.float32)
        field = fft.irfftn(fft.rfftn(white) * amplitude, s=padded)
        yield np.ascontiguousarray(field[window], dtype=np.float32)


def _amplitude(
    padded: tuple[int, ...], spacing: tuple[float, float, float], length_mm: float, correlation: str
) -> Array:
    squared = np.zeros(padded, np.float64)
    for axis, (n, step) in enumerate(zip(padded, spacing, strict=True)):
        along = np.minimum(np.arange(n), n - np.arange(n)) * step
        squared += (along**2).reshape([-1 if a == axis else 1 for a in range(3)])
    covariance = CORRELATIONS[correlation](np.sqrt(squared) / length_mm)
    spectrum = np.maximum(fft.rfftn(covariance).real, 0.0)
    whole = fft.irfftn(spectrum, s=padded)[0, 0, 0]
    amplitude: Array = np.sqrt(spectrum / whole).astype(np.float32)
    return amplitude


def axis_factor(places_mm: NDArray[np.float64], length_mm: float) -> NDArray[np.float64]:
    """Return the factor of the Gaussian correlation along one axis, shape (n, rank).

    Parameters
    ----------
    places_mm : ndarray, shape (n,)
        Nodes, in any distances.
    length_mm : float
        The correlation at a distance h is ``exp(-h²/(2 length²))``.

    Notes
    -----
    A three-dimensional Gaussian correlation is the product of those along the axes, so white noise of shape
    (rank, rank, rank) times one factor per axis is a smooth field, on irregular planes too. Components
    below 1e-6 of the largest are left out, and the variance is set to 1 again.

    Examples
    --------
    >>> factor = axis_factor(np.arange(0.0, 60.0, 2.0), 15.0)
    >>> factor.shape[1] < 15, bool(np.allclose((factor**2).sum(axis=1), 1.0))
    (True, True)
    """
    apart = places_mm[:, None] - places_mm[None, :]
    values, vectors = np.linalg.eigh(np.exp(-0.5 * (apart / length_mm) ** 2))
    kept = values > 1e-6 * values[-1]
    factor: NDArray[np.float64] = vectors[:, kept] * np.sqrt(values[kept])
    factor /= np.linalg.norm(factor, axis=1, keepdims=True)
    return factor
