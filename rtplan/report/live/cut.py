"""One plane of a case as numbers and lines: images, doses, differences and spreads; outlines and isodoses."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray

from rtplan.domain import Volume
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.errors import GeometryMismatch, UnknownName
from rtplan.report.live.stage import Stage, View, on_plane
from rtplan.report.planes import VIEWS, Plane, outline

Float = NDArray[np.float64]
Pixels = NDArray[np.float32]
#: Lines: one array of shape (n, 2) each, mm along the display axes (across, then the other).
Lines = tuple[Float, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """What one plane shows; coordinates are mm along the display axes.

    Parameters
    ----------
    x_mm, y_mm : tuple of float
        Lower and upper edge of the pixels.
    layers : mapping of str to ndarray, shape (rows, columns)
        By name; rows and columns rise with the coordinates; NaN where there is nothing.
    outlines : mapping of str to tuple of ndarray
        By structure.
    isodoses : mapping of str to tuple of tuple of ndarray
        By dose layer, then by level.
    """

    x_mm: tuple[float, float]
    y_mm: tuple[float, float]
    layers: Mapping[str, Pixels]
    outlines: Mapping[str, Lines]
    isodoses: Mapping[str, tuple[Lines, ...]]


def layer_names(stage: Stage) -> tuple[str, ...]:
    """Return every layer of a case: ``image:CT``, ``dose:CT``, ``spread:SynCT``, ``difference:SynCT-CT``."""
    patient = stage.patient
    arms = list(patient.doses)
    return (
        *(f"image:{name}" for name in patient.images),
        *(f"dose:{arm}" for arm in arms),
        *(f"spread:{arm}" for arm in stage.spreads),
        *(f"difference:{arm}-{other}" for arm in arms for other in arms if arm != other),
    )


def cut_of(stage: Stage, view: View, k: int, layers: tuple[str, ...]) -> Cut:
    """Return slice ``k`` of a view.

    Raises
    ------
    UnknownName
        If a layer or the slice is not there.
    """
    unknown = sorted(set(layers) - set(layer_names(stage)))
    if unknown or not 0 <= k < stage.slices(view).count:
        raise UnknownName("This case has no such slice or layer.")
    plane = stage.plane(view, k)
    frame = _Frame.of(stage, plane)
    body = _body_on(stage, plane)
    values = {name: _layer(stage, name, plane, body) for name in layers}
    lines = {name: frame.lines(_outline(stage, name, plane)) for name in stage.drawn}
    doses = {name: values[name] for name in layers if name.startswith("dose:")}
    return Cut(
        frame.x_mm,
        frame.y_mm,
        {name: frame.rising(pixels) for name, pixels in values.items()},
        {name: found for name, found in lines.items() if found},
        {name: _isodoses(stage, pixels, plane, frame) for name, pixels in doses.items()},
    )


def packed(cut: Cut) -> bytes:
    """Return a plane as it is sent: length of the head (uint32), the head (JSON), then float32 pixels.

    The head is padded with blanks, so that the pixels begin at a multiple of four bytes; all little-endian.
    """
    shapes = [list(pixels.shape) for pixels in cut.layers.values()]
    head = {
        "x": cut.x_mm,
        "y": cut.y_mm,
        "layers": list(cut.layers),
        "shape": shapes[0] if shapes else [0, 0],
        "outlines": {name: _plain(lines) for name, lines in cut.outlines.items()},
        "isodoses": {name: [_plain(lines) for lines in levels] for name, levels in cut.isodoses.items()},
    }
    text = json.dumps(head, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    pixels = (np.ascontiguousarray(p, "<f4").tobytes() for p in cut.layers.values())
    return b"".join((struct.pack("<I", len(text)), text, *pixels))


def _plain(lines: Lines) -> list[list[list[float]]]:
    """Return lines as pairs of coordinate lists, to 0.01 mm."""
    return [[np.round(line[:, 0], 2).tolist(), np.round(line[:, 1], 2).tolist()] for line in lines]


@dataclass(frozen=True)
class _Frame:
    """Where a plane's pixels lie along the display axes; ``down`` is −1 where rows go against their axis."""

    x_mm: tuple[float, float]
    y_mm: tuple[float, float]
    down: int
    step_mm: float

    @classmethod
    def of(cls, stage: Stage, plane: Plane) -> _Frame:
        across, down, _ = VIEWS[plane.name]
        first = stage.axes.T @ plane.grid.origin_mm
        width, height = plane.size_mm
        half, sign = 0.5 * plane.step_mm, int(np.sign(down))
        left, start = float(first[abs(across) - 1]) - half, float(first[abs(down) - 1]) - sign * half
        ends = sorted((start, start + sign * height))
        return cls((left, left + width), (ends[0], ends[1]), sign, plane.step_mm)

    def rising(self, pixels: Pixels) -> Pixels:
        return pixels if self.down > 0 else pixels[::-1]

    def lines(self, lines: Lines) -> Lines:
        """Return lines in mm right and down from the first pixel's centre along the display axes."""
        half = 0.5 * self.step_mm
        start = self.y_mm[0] + half if self.down > 0 else self.y_mm[1] - half
        return tuple(
            np.stack([self.x_mm[0] + half + line[:, 0], start + self.down * line[:, 1]], axis=1)
            for line in lines
        )


def _body_on(stage: Stage, plane: Plane) -> NDArray[np.bool_]:
    """Return which pixels lie in the body; all, where there is no outline of it."""
    share = stage.share(EXTERNAL) if EXTERNAL in stage.patient.structures else None
    if share is None:
        return np.ones(plane.grid.shape[1:], bool)
    return np.nan_to_num(on_plane(share, plane)) >= 0.5


def _outline(stage: Stage, name: str, plane: Plane) -> Lines:
    """Return a structure's lines, mm right and down from the plane's first pixel."""
    share = stage.share(name)
    if share is None:
        return ()
    index = plane.grid.to_index(share.grid.corners())
    low = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, plane.grid.shape)
    if (low >= high).any():
        return ()
    start, stop = (0, int(low[1]), int(low[2])), (1, int(high[1]), int(high[2]))
    part = replace(plane, grid=plane.grid.crop(start, stop))
    corner = np.array([start[2], start[1]]) * plane.step_mm
    found = outline(np.nan_to_num(on_plane(share, part)).astype(np.float64), part)
    return tuple(line + corner for line in found)


def _layer(stage: Stage, name: str, plane: Plane, body: NDArray[np.bool_]) -> Pixels:
    kind, _, rest = name.partition(":")
    patient = stage.patient
    if kind == "image":
        return _values(stage, patient.images[rest], plane)
    if kind == "dose":
        return _values(stage, patient.doses[rest], plane) * np.float32(dose_factor(stage))
    if kind == "spread":
        found = _values(stage, stage.spreads[rest], plane)
    else:
        arm, other = rest.split("-")
        found = _values(stage, patient.doses[arm], plane) - _values(stage, patient.doses[other], plane)
    return np.where(body, found, np.float32(np.nan))


def dose_factor(stage: Stage) -> float:
    """Return what a dose in Gy is multiplied with: 1, or to % where absolute dose is withheld."""
    if stage.patient.absolute_withheld is None:
        return 1.0
    return 100.0 / stage.isodoses.base_gy if stage.isodoses is not None else float("nan")


def _values(stage: Stage, volume: Volume, plane: Plane) -> Pixels:
    try:
        return on_plane(volume, plane, stage.link(volume))
    except GeometryMismatch:
        return np.full(plane.grid.shape[1:], np.nan, np.float32)


def _isodoses(stage: Stage, pixels: Pixels, plane: Plane, frame: _Frame) -> tuple[Lines, ...]:
    if stage.isodoses is None:
        return ()
    shown = contour_generator(z=np.ma.masked_invalid(pixels.astype(np.float64)))
    factor = dose_factor(stage)
    return tuple(
        frame.lines(tuple(np.asarray(line, np.float64) * plane.step_mm for line in shown.lines(factor * gy)))
        for gy in stage.isodoses.levels_gy
    )
