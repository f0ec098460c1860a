"""Fluence rasters on the isocentre plane: their pixels, their spreading by Gaussians, maps to read."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Fluence

Float = NDArray[np.float64]


def pixel_edges(fluence: Fluence) -> tuple[Float, Float]:
    """Return the edges of a raster's pixels along v and u, mm."""
    rows, columns = fluence.mu.shape
    v = fluence.corner_mm[1] + fluence.spacing_mm * (np.arange(rows + 1) - 0.5)
    u = fluence.corner_mm[0] + fluence.spacing_mm * (np.arange(columns + 1) - 0.5)
    return v, u


def pixel_radii(fluence: Fluence) -> Float:
    """Return the distances of a raster's pixels from the axis, shape (v, u), mm."""
    v, u = (edges[:-1] + fluence.spacing_mm / 2.0 for edges in pixel_edges(fluence))
    radii: Float = np.hypot(v[:, None], u[None, :])
    return radii


def gaussian_spread(edges_mm: Tensor, at_mm: Tensor, width_mm: Float) -> Tensor:
    """Return what each pixel between two edges gives at each place, along one axis.

    Parameters
    ----------
    edges_mm : Tensor, shape (P + 1,)
        Pixel edges in the isocentre plane, rising.
    at_mm : Tensor, shape (Q,)
        Places in the isocentre plane.
    width_mm : ndarray, shape (J,)
        Standard deviations.

    Returns
    -------
    Tensor, shape (J, Q, P)
        Integrals of the Gaussians over the pixels. A kernel is a sum over J of products of two of
        these, so that its convolution with a map of pixels is exact: two small matrix products.
    """
    width = torch.as_tensor(width_mm, dtype=at_mm.dtype, device=at_mm.device)
    far = (edges_mm - at_mm[:, None]) / (math.sqrt(2.0) * width[:, None, None])
    return 0.5 * torch.diff(torch.erf(far), dim=-1)


def map_axes(uv: tuple[Tensor, Tensor], spacing_mm: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of points in a map round them (for sampling), and the map's nodes along v and u.

    Parameters
    ----------
    uv : tuple of Tensor, shape (n,) each
        Points in the isocentre plane, mm.
    spacing_mm : float
        Of the nodes.

    Returns
    -------
    tuple of Tensor, shapes (n, 2), (V,), (U,)
    """
    nodes, places = [], []
    for x in uv:
        low = float(x.min()) - spacing_mm
        count = math.ceil((float(x.max()) - low) / spacing_mm) + 2
        nodes.append(torch.arange(count, dtype=x.dtype, device=x.device) * spacing_mm + low)
        places.append((2.0 * (x - low) / spacing_mm + 1.0) / count - 1.0)
    return torch.stack(places, dim=-1), nodes[1], nodes[0]
