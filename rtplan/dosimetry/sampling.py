"""Cells of a solid that contours define: shape-based interpolation between planes, caps at the ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.cells import CORE, LOWER, LOWER_REST, ROUND, UPPER, UPPER_REST, Cells, cut
from rtplan.dosimetry.closing import closing
from rtplan.dosimetry.distance import Lattice, Outline, signed_lattice
from rtplan.dosimetry.extremes import Patches
from rtplan.dosimetry.solid import Plane, Solid
from rtplan.errors import StructureError

Float = NDArray[np.float64]

#: Height of a layer of cells in sides of a cell: a dose along the normal sees whole layers at once.
THINNER = 0.7


@dataclass(frozen=True)
class _Layer:
    """Level function and its z derivatives on one layer of cells."""

    height_mm: float
    width_mm: float
    cap: int
    value: Float
    slope: Float
    bend: Float


@dataclass(frozen=True)
class _Fields:
    """Power functions of the rings of the planes of one level."""

    planes: tuple[Plane, ...]
    table: dict[tuple[int, str], Float]

    def of(self, k: int, which: str) -> Float:
        """Return the power function of plane k: all rings, those that go up or down, or end there."""
        flags = self.planes[k].up if which.endswith("up") else self.planes[k].down
        uniform = (
            "all"
            if which == "all" or (len(set(flags)) == 1 and all(flags) != which.startswith("not"))
            else which
        )
        return self.table[k, uniform]


def cells_of(solid: Solid, step_mm: float, *, single_slice_mm: float | None = None) -> Cells:
    """Return the cells of a solid for all cap policies.

    Parameters
    ----------
    solid : Solid
        Planes, depths and runs.
    step_mm : float
        Largest side of a cell.
    single_slice_mm : float, optional
        Thickness of a structure that has one plane only.

    Raises
    ------
    StructureError
        If there is one plane and no thickness is given.
    """
    lattice = _lattice(solid, step_mm)
    gap = _typical_gap(solid, single_slice_mm)
    layers: list[tuple[int, _Layer]] = []
    faces: list[tuple[Float, int]] = []
    for depth, planes in enumerate(solid.levels):
        sign = -1 if depth % 2 else 1
        fields = _fields(planes, lattice)
        layers += [(sign, layer) for layer in _between(fields, step_mm)]
        for layer_list, face_list in _ends(fields, lattice, step_mm, gap):
            layers += [(sign, layer) for layer in layer_list]
            faces += face_list
        faces += [(_lift(_vertices(plane, step_mm), plane.height_mm), CORE) for plane in planes]
    return _gather(solid, lattice, layers, faces)


def _vertices(plane: Plane, longest_mm: float) -> Float:
    outline = plane.outline()
    assert outline is not None
    return outline.split(longest_mm).points


def _lattice(solid: Solid, step_mm: float) -> Lattice:
    points = np.concatenate([ring for plane in solid.levels[0] for ring in plane.rings])
    low, high = points.min(axis=0), points.max(axis=0)
    count = np.ceil((high - low) / step_mm).astype(int) + 4
    corner = 0.5 * (low + high) - 0.5 * count * step_mm
    return Lattice((float(corner[0]), float(corner[1])), step_mm, (int(count[1]), int(count[0])))


def _typical_gap(solid: Solid, single_slice_mm: float | None) -> float:
    gaps = np.diff(solid.heights_mm)
    if len(gaps):
        return float(np.median(gaps))
    if single_slice_mm is None:
        raise StructureError("The structure has contours in one plane only, and no slice thickness is known.")
    return single_slice_mm


def _fields(planes: tuple[Plane, ...], lattice: Lattice) -> _Fields:
    keys: list[tuple[int, str]] = []
    outlines: list[Outline] = []
    for k, plane in enumerate(planes):
        for which in ("all", "up", "not up", "down", "not down"):
            flags = plane.up if which.endswith("up") else plane.down
            if which == "all" or len(set(flags)) > 1:
                outline = plane.outline(which)
                assert outline is not None
                keys.append((k, which))
                outlines.append(outline)
    whole = [not (all(planes[k].up) and all(planes[k].down)) for k, _ in keys]
    reach = 2 if len(keys) == len(planes) else 6
    distance, radius = signed_lattice(lattice, outlines, reach, whole)
    power = distance * (distance + 2.0 * radius)
    return _Fields(planes, dict(zip(keys, power, strict=True)))


def _goes_on(fields: _Fields, k: int) -> bool:
    return 0 <= k < len(fields.planes) - 1 and any(fields.planes[k].up)


def _gap(fields: _Fields, k: int) -> float:
    return fields.planes[k + 1].height_mm - fields.planes[k].height_mm


def _steepness(fields: _Fields, k: int) -> Float:
    rise: Float = (fields.of(k + 1, "down") - fields.of(k, "up")) / _gap(fields, k)
    return rise


def _bends(fields: _Fields) -> dict[int, Float]:
    """Return the second divided difference at every plane that has a gap on both sides."""
    bends = {}
    for k in range(1, len(fields.planes) - 1):
        if _goes_on(fields, k - 1) and _goes_on(fields, k):
            span = 0.5 * (_gap(fields, k) + _gap(fields, k - 1))
            bends[k] = (_steepness(fields, k) - _steepness(fields, k - 1)) / span
    return bends


def _bend_of_gap(bends: dict[int, Float], k: int, like: Float) -> Float:
    """Return the limited second derivative in the gap from plane k to k+1."""
    if k in bends and k + 1 in bends:
        pair = [bends[k], bends[k + 1]]
    elif k + 1 in bends:
        pair = [bends[j] for j in (k + 1, k + 2) if j in bends]
    else:
        pair = [bends[j] for j in (k, k - 1) if j in bends]
    if not pair:
        return np.zeros_like(like)
    a, b = pair[0], pair[-1]
    smaller: Float = np.where(a * b > 0, np.where(np.abs(a) < np.abs(b), a, b), 0.0)
    return smaller


def _count(height: float, step_mm: float) -> int:
    return max(int(np.ceil(height / (THINNER * step_mm) - 1e-9)), 1)


def _between(fields: _Fields, step_mm: float) -> list[_Layer]:
    layers = []
    bends = _bends(fields)
    for k in range(len(fields.planes) - 1):
        if not _goes_on(fields, k):
            continue
        low, high = fields.of(k, "up"), fields.of(k + 1, "down")
        gap = _gap(fields, k)
        bend = _bend_of_gap(bends, k, low)
        rise = (high - low) / gap
        count = _count(gap, step_mm)
        for level in range(count):
            z = (level + 0.5) * gap / count
            value = low + rise * z + 0.5 * bend * (z * (z - gap))
            height = fields.planes[k].height_mm + z
            layers.append(_Layer(height, gap / count, 0, value, rise + bend * (z - 0.5 * gap), bend))
    return layers


def _ends(
    fields: _Fields, lattice: Lattice, step_mm: float, typical_gap: float
) -> list[tuple[list[_Layer], list[tuple[Float, int]]]]:
    """Return the cap layers and the end faces of every ring that does not go on, up and down."""
    result = []
    bends = _bends(fields)
    for k, plane in enumerate(fields.planes):
        for way, flags in ((1, plane.up), (-1, plane.down)):
            if all(flags):
                continue
            value = fields.of(k, "not up" if way > 0 else "not down")
            gap, slope, bend = _outward(fields, bends, k, way, typical_gap)
            faces = [(_lift(_inside(lattice, value), plane.height_mm), CORE)]
            flat = np.zeros_like(value)
            layers = []
            parts = (UPPER, UPPER_REST) if way > 0 else (LOWER, LOWER_REST)
            half = way * 0.5 * gap
            outline = plane.outline("not up" if way > 0 else "not down")
            assert outline is not None
            rim = np.concatenate([outline.points, _inside(lattice, value)])
            for number, part in enumerate(parts):
                start = plane.height_mm + number * half
                layers += _cap(start, way, 0.5 * gap, step_mm, part, (value, flat, flat))
                faces.append((_lift(rim, start + half), part))
            height = closing(value, slope, bend, gap)
            layers += _cap(plane.height_mm, way, height, step_mm, ROUND, (value, slope, bend))
            top = value + slope * height + 0.5 * bend * height * height
            faces.append((_lift(_inside(lattice, top), plane.height_mm + way * height), ROUND))
            result.append((layers, faces))
    return result


def _outward(
    fields: _Fields, bends: dict[int, Float], k: int, way: int, typical_gap: float
) -> tuple[float, Float, Float]:
    """Return the gap to the plane that is not there, and the slope and bend of the level function into it."""
    value = fields.of(k, "not up" if way > 0 else "not down")
    inner = k - 1 if way > 0 else k
    if not _goes_on(fields, inner):
        return typical_gap, np.zeros_like(value), np.zeros_like(value)
    gap = _gap(fields, inner)
    bend = _bend_of_gap(bends, inner, value)
    other = fields.of(k - way, "up" if way > 0 else "down")
    slope = np.maximum((value - other) / gap + 0.5 * bend * gap, 0.0)
    return gap, slope, np.maximum(bend, 0.0)


def _cap(
    start: float, way: int, height: float, step_mm: float, label: int, shape: tuple[Float, Float, Float]
) -> list[_Layer]:
    value, slope, bend = shape
    count = _count(height, step_mm)
    layers = []
    for level in range(count):
        z = (level + 0.5) * height / count
        at = value + slope * z + 0.5 * bend * z * z
        layers.append(_Layer(start + way * z, height / count, label, at, way * (slope + bend * z), bend))
    return layers


def _inside(lattice: Lattice, value: Float) -> Float:
    row, column = np.nonzero(value < 0)
    return np.stack([lattice.u_mm[column], lattice.v_mm[row]], axis=1)


def _lift(points: Float, height_mm: float) -> Float:
    return np.column_stack([points, np.full(len(points), height_mm)])


@dataclass(frozen=True)
class _Cut:
    """What the surface leaves of the cells that it meets, and where it passes."""

    share: Float
    offset: Float
    taper: Float
    surface: Float
    normal: Float
    second: Float


def _gather(
    solid: Solid, lattice: Lattice, layers: Sequence[tuple[int, _Layer]], faces: Sequence[tuple[Float, int]]
) -> Cells:
    value = np.stack([layer.value for _, layer in layers])
    slope = np.stack([layer.slope for _, layer in layers])
    bend = np.stack([layer.bend for _, layer in layers])
    heights = np.array([layer.height_mm for _, layer in layers])
    thick = np.array([layer.width_mm for _, layer in layers])
    labels = np.array([layer.cap for _, layer in layers], dtype=np.int8)
    signs = np.array([sign for sign, _ in layers], dtype=np.float64)
    step = lattice.step_mm
    across, along = np.gradient(value, step, axis=1), np.gradient(value, step, axis=2)
    steep = np.sqrt(across**2 + along**2 + slope**2)
    reach = 0.5 * (step * (np.abs(along) + np.abs(across)) + thick[:, None, None] * np.abs(slope))
    near = np.abs(value) < 1.3 * reach + 0.25 * step * steep
    full = np.nonzero((value < 0) & ~near)
    met = np.nonzero(near & (steep > 0))
    gradient = np.stack([along[met], across[met], slope[met]], axis=1)
    parts = _cuts(
        value[met], gradient, _curvature(value, slope, bend, along, across, step, met), (step, thick[met[0]])
    )
    keep = parts.share > 1e-6
    whole_width = np.column_stack([np.full((len(full[0]), 2), step), thick[full[0]]])
    part_width = np.column_stack([np.full((len(met[0]), 2), step), thick[met[0]]])
    centre = _centres(lattice, heights, met)
    flat = np.concatenate([_centres(lattice, heights, full), (centre + parts.offset)[keep]])
    share = np.concatenate([np.ones(len(full[0])), parts.share[keep]])
    layer = np.concatenate([full[0], met[0][keep]])
    width = np.concatenate([whole_width, part_width[keep]])
    patches = _patches(parts, centre, part_width, labels[met[0]])
    surface = np.concatenate([patches.points, *[points for points, _ in faces]])
    face_labels = [np.full(len(points), label, dtype=np.int8) for points, label in faces]
    return Cells(
        points=flat @ solid.axes,
        volume_cc=signs[layer] * share * width.prod(axis=1) / 1000.0,
        width_mm=width,
        taper_mm=np.concatenate([np.zeros((len(full[0]), 3)), parts.taper[keep]]),
        cap=labels[layer],
        axes=solid.axes,
        surface=surface @ solid.axes,
        surface_cap=np.concatenate([patches.label, *face_labels]),
        full=(share == 1.0) & (signs[layer] > 0),
        patches=patches,
        notes=solid.notes,
    )


def _patches(parts: _Cut, centre: Float, width: Float, label: NDArray[np.int8]) -> Patches:
    """Return the pieces of the surface in the cells that it cuts."""
    points, half = centre + parts.surface, 0.5 * width[:, 2]
    beyond = np.abs(parts.surface[:, 2]) - half
    on = (parts.share > 0.0) & (parts.share < 1.0) & (beyond < 0.1 * half)
    low, high = (centre[:, 2] - half)[on], (centre[:, 2] + half)[on]
    points = points[on]
    points[:, 2] = np.clip(points[:, 2], low, high)
    return Patches(points, parts.normal[on], parts.second[on], width[on], low, high, label[on])


def _centres(lattice: Lattice, heights: Float, cells: tuple[NDArray[np.intp], ...]) -> Float:
    return np.stack([lattice.u_mm[cells[2]], lattice.v_mm[cells[1]], heights[cells[0]]], axis=1)


def _curvature(
    value: Float,
    slope: Float,
    bend: Float,
    along: Float,
    across: Float,
    step: float,
    met: tuple[NDArray[np.intp], ...],
) -> Float:
    """Return the second derivatives (uu, vv, nn, uv, un, vn) in the cells met, shape (n, 6)."""
    return np.stack(
        [
            np.gradient(along, step, axis=2)[met],
            np.gradient(across, step, axis=1)[met],
            bend[met],
            np.gradient(along, step, axis=1)[met],
            np.gradient(slope, step, axis=2)[met],
            np.gradient(slope, step, axis=1)[met],
        ],
        axis=1,
    )


def _cuts(value: Float, gradient: Float, second: Float, sides: tuple[float, Float]) -> _Cut:
    """Return the cut parts, by the plane that leaves the volume that the curved surface leaves."""
    step, thick = sides
    steep = np.sqrt(np.einsum("ij,ij->i", gradient, gradient))
    normal = gradient / steep[:, None]
    u, v, n = normal.T
    uu, vv, nn, uv, un, vn = second.T
    normal_second = u * u * uu + v * v * vv + n * n * nn + 2 * (u * v * uv + u * n * un + v * n * vn)
    width = np.column_stack([np.full((len(value), 2), step), thick])
    reach = np.einsum("ij,ij->i", np.abs(normal), width)
    first = value / steep
    distance = first + np.clip(0.5 * normal_second / steep * first * first, -0.3 * reach, 0.3 * reach)
    square = width * width
    swell = square[:, 0] * uu + square[:, 1] * vv + square[:, 2] * nn
    swell = swell - np.einsum("ij,ij->i", square, normal * normal) * normal_second
    mean = distance + np.clip(swell / (24.0 * steep), -0.3 * reach, 0.3 * reach)
    share, centroid, lost = cut(mean, normal, width)
    turned = square * normal
    turned /= np.einsum("ij,ij->i", turned, normal)[:, None]
    return _Cut(
        share=share,
        offset=centroid,
        taper=turned * np.sqrt(12.0 * lost)[:, None],
        surface=-normal * distance[:, None],
        normal=normal,
        second=second / steep[:, None],
    )
