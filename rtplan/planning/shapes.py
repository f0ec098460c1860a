"""Openings of leaves between jaws, as numbers and as fluence that follows them with a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Beam, Fluence

Float = NDArray[np.float64]
#: Pixel in which openings become fluence, mm; edges of pixels lie at its multiples.
PIXEL_MM = 2.5


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the leaves of one direction move: the pairs between the jaws and the pixels of their fluence.

    Parameters
    ----------
    beam : Beam
        Angles, isocentre, machine; its fluence is the raster (of 0 MU).
    edges_mm : ndarray, shape (n + 1,)
        Edges of the n leaf pairs between the jaws, across their motion.
    first : int
        Place of the lowest of them among all pairs of the machine.
    jaws_x_mm, jaws_y_mm : tuple of float
        Along and across the leaves.
    """

    beam: Beam
    edges_mm: Float
    first: int
    jaws_x_mm: tuple[float, float]
    jaws_y_mm: tuple[float, float]

    @property
    def pairs(self) -> int:
        """Number of pairs between the jaws."""
        return len(self.edges_mm) - 1

    @property
    def columns_mm(self) -> Float:
        """Edges of the pixels along the leaves."""
        fluence = self.beam.fluence
        first = fluence.corner_mm[0] - fluence.spacing_mm / 2.0
        return first + fluence.spacing_mm * np.arange(fluence.mu.shape[1] + 1)

    def shares(self) -> Float:
        """Return which part of each row of pixels each pair covers, shape (rows, pairs)."""
        fluence = self.beam.fluence
        low = fluence.corner_mm[1] - fluence.spacing_mm / 2.0
        rows = low + fluence.spacing_mm * np.arange(fluence.mu.shape[0] + 1)
        bottom = np.maximum(rows[:-1, None], self.edges_mm[None, :-1])
        top = np.minimum(rows[1:, None], self.edges_mm[None, 1:])
        shares: Float = np.maximum(top - bottom, 0.0) / fluence.spacing_mm
        return shares


def frame_around(beam: Beam, boundaries_mm: Float) -> Frame:
    """Return the frame of a beam with a fluence map: leaf pairs and jaws that enclose its open pixels.

    Parameters
    ----------
    beam : Beam
        With the ideal fluence.
    boundaries_mm : ndarray, shape (pairs + 1,)
        Of all pairs of the machine.
    """
    fluence = beam.fluence
    half = fluence.spacing_mm / 2.0
    rows = fluence.corner_mm[1] + fluence.spacing_mm * np.arange(fluence.mu.shape[0])
    lit = (fluence.mu > 0).any(axis=1) if (fluence.mu > 0).any() else np.ones(len(rows), bool)
    low, high = rows[lit].min() - half, rows[lit].max() + half
    first = max(int(np.searchsorted(boundaries_mm, low + 1e-6, side="right")) - 1, 0)
    last = min(int(np.searchsorted(boundaries_mm, high - 1e-6)), len(boundaries_mm) - 1)
    edges = np.asarray(boundaries_mm[first : last + 1], np.float64)
    left = fluence.corner_mm[0] - half
    right = left + fluence.spacing_mm * fluence.mu.shape[1]
    start = np.floor(edges[0] / PIXEL_MM + 1e-9), np.floor(left / PIXEL_MM + 1e-9)
    stop = np.ceil(edges[-1] / PIXEL_MM - 1e-9), np.ceil(right / PIXEL_MM - 1e-9)
    raster = Fluence(
        np.zeros((int(stop[0] - start[0]), int(stop[1] - start[1])), np.float32),
        PIXEL_MM,
        (float((start[1] + 0.5) * PIXEL_MM), float((start[0] + 0.5) * PIXEL_MM)),
    )
    placed = Beam(
        beam.name,
        beam.gantry_deg,
        beam.isocentre_mm,
        raster,
        beam.machine,
        beam.collimator_deg,
        beam.couch_deg,
    )
    return Frame(placed, edges, first, (float(left), float(right)), (float(edges[0]), float(edges[-1])))


def strips_of(beam: Beam, frame: Frame) -> Float:
    """Return the mean fluence of a beam's map along each leaf pair of a frame, shape (pairs, columns), MU."""
    fluence = beam.fluence
    low = fluence.corner_mm[1] - fluence.spacing_mm / 2.0
    rows = low + fluence.spacing_mm * np.arange(fluence.mu.shape[0] + 1)
    bottom = np.maximum(rows[None, :-1], frame.edges_mm[:-1, None])
    top = np.minimum(rows[None, 1:], frame.edges_mm[1:, None])
    share = np.maximum(top - bottom, 0.0) / np.diff(frame.edges_mm)[:, None]
    strips: Float = share @ fluence.mu.astype(np.float64)
    return strips


def opened(left: Tensor, right: Tensor, columns: Tensor) -> Tensor:
    """Return the open part of each pixel for standing leaves, shape (..., pairs, columns - 1).

    Parameters
    ----------
    left, right : Tensor, shape (..., pairs)
        Ends of the leaves, mm.
    columns : Tensor, shape (columns,)
        Edges of the pixels, rising, evenly spaced.
    """
    low, high = columns[:-1], columns[1:]
    to_right = torch.minimum(torch.maximum(right[..., None], low), high)
    to_left = torch.minimum(torch.maximum(left[..., None], low), high)
    return (to_right - to_left).clamp(min=0.0) / (columns[1] - columns[0])


def swept(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor], columns: Tensor) -> Tensor:
    """Return the mean open part of each pixel while leaves move linearly between two states.

    Shapes as in `opened`; each pair of tensors holds the positions before and after.
    """
    behind = passed(*left, columns) - passed(*right, columns)
    return torch.diff(behind, dim=-1) / (columns[1] - columns[0])


def passed(start: Tensor, end: Tensor, columns: Tensor) -> Tensor:
    """Return the integral up to each column of the share of time for which an edge lies below it, mm."""
    low = torch.minimum(start, end)[..., None]
    width = (end - start).abs().clamp(min=1e-6)[..., None]
    inside = torch.minimum((columns - low).clamp(min=0.0), width)
    return inside.square() / (2.0 * width) + (columns - low - width).clamp(min=0.0)
