"""The bony pelvis: a shape drawn from the model of real pelves, its landmarks, and its signed distance."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy import ndimage
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from rtplan.phantom.field import FAR_MM, Array, Axes, Box
from rtplan.resources import checked, find

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Mean, modes and triangles of the pelvis.

    Parameters
    ----------
    mean : ndarray, shape (n, 3)
        Vertices of the mean pelvis, LPS mm.
    modes : ndarray, shape (m, n, 3)
        Displacements of one standard deviation each, mm.
    triangles : ndarray, shape (t, 3)
        Vertex indices, outward orientation.
    parts : mapping of str to (first, stop)
        Vertex range of each bone.
    """

    mean: Float
    modes: Float
    triangles: NDArray[np.int64]
    parts: Mapping[str, tuple[int, int]]


@cache
def shape_model() -> ShapeModel:
    """Return the shipped shape model; its SHA-256 is checked.

    References
    ----------
    Han R. et al., Phys Med Biol 2019, doi 10.1088/1361-6560/ab1456 (CC BY 4.0).
    """
    card = find("models", "pelvis_bones")
    facts = tomllib.loads(card.read_text(encoding="utf-8"))
    tensors = load_file(checked(card.parent / facts["weights"]["file"], facts["weights"]["sha256"]))
    scale = tensors["mode_scale_mm"].astype(np.float64)
    parts = {name: (int(a), int(b)) for name, (a, b) in zip(facts["parts"], tensors["parts"], strict=True)}
    return ShapeModel(
        mean=tensors["mean_hundredth_mm"].astype(np.float64) / 100.0,
        modes=tensors["modes"].astype(np.float64) * scale[:, None, None],
        triangles=tensors["triangles"].astype(np.int64),
        parts=MappingProxyType(parts),
    )


@dataclass(frozen=True, eq=False)
class Pelvis:
    """One drawn pelvis.

    Parameters
    ----------
    vertices : ndarray, shape (n, 3)
        LPS mm.
    heads : ndarray, shape (2, 4)
        Centre and radius of the left and the right acetabular sphere, (x, y, z, r), mm.
    """

    vertices: Float
    heads: Float

    def part(self, name: str) -> tuple[Float, NDArray[np.int64]]:
        """Return the vertices and triangles of one bone (``hip_left``, ``hip_right``, ``sacrum``)."""
        model = shape_model()
        first, stop = model.parts[name]
        own = (model.triangles[:, 0] >= first) & (model.triangles[:, 0] < stop)
        return self.vertices[first:stop], model.triangles[own] - first


def draw_pelvis(rng: np.random.Generator, spread: float, size: float, limit: float) -> Pelvis:
    """Draw a pelvis.

    Parameters
    ----------
    rng : Generator
        Source of the draw.
    spread : float
        Factor on the model's standard deviations (1: as in the population).
    size : float
        Factor on all lengths.
    limit : float
        Weights are drawn again beyond this many standard deviations.
    """
    model = shape_model()
    weights = rng.standard_normal(len(model.modes))
    while (np.abs(weights) > limit).any():
        far = np.abs(weights) > limit
        weights[far] = rng.standard_normal(int(far.sum()))
    vertices = (model.mean + np.tensordot(spread * weights, model.modes, 1)) * size
    return Pelvis(vertices, np.array([_sphere(vertices[_cup(side)]) for side in ("hip_left", "hip_right")]))


@cache
def _cup(side: str) -> NDArray[np.int64]:
    """Vertices of the acetabular cup: those that see the cup's centre along their normal, in the mean."""
    model = shape_model()
    first, stop = model.parts[side]
    centre = np.array([85.0 if side == "hip_left" else -85.0, -28.0, -48.0])
    normal = _normals(model.mean, model.triangles)
    chosen = np.arange(first, stop)
    for _ in range(6):
        ray = centre - model.mean[first:stop]
        length = np.linalg.norm(ray, axis=1)
        facing = (ray * normal[first:stop]).sum(1) / np.maximum(length, 1e-9)
        chosen = first + np.flatnonzero((facing > 0.93) & (length > 20.0) & (length < 34.0))
        centre = _sphere(model.mean[chosen])[:3]
    return chosen


def _sphere(points: Float) -> Float:
    """Return the sphere (x, y, z, r) that fits points best (linear least squares)."""
    solution = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(1), rcond=None)[0]
    return np.append(solution[:3], np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def _normals(vertices: Float, triangles: NDArray[np.int64]) -> Float:
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(out, triangles[:, corner], face)
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9))


@cache
def _controls() -> NDArray[np.int64]:
    """Return indices of vertices spread evenly over the bones (farthest point sampling), for the warp."""
    mean = shape_model().mean
    chosen, gap = [0], np.full(len(mean), np.inf)
    for _ in range(139):
        gap = np.minimum(gap, ((mean - mean[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(gap.argmax()))
    return np.array(chosen)


def warp(pelvis: Pelvis, *, to_template: bool) -> RBFInterpolator:
    """Return the smooth map of points (n, 3) between this patient and the mean pelvis, mm.

    Notes
    -----
    A thin-plate spline through 140 corresponding bone points; far off it runs on as an affine map.
    """
    template, own = shape_model().mean[_controls()], pelvis.vertices[_controls()]
    source, target = (own, template) if to_template else (template, own)
    return RBFInterpolator(source, target, kernel="thin_plate_spline", smoothing=30.0)


def bone_distance(
    vertices: Float, triangles: NDArray[np.int64], axes: Axes, margin_mm: float
) -> tuple[Box, Array]:
    """Return the signed distance of a closed mesh in a box round it, mm, negative inside.

    Parameters
    ----------
    vertices, triangles : ndarray
        The mesh, outward orientation, LPS mm.
    axes : Axes
        The grid.
    margin_mm : float
        Room round the mesh in the box.

    Notes
    -----
    Inside is decided by the majority of three scan directions (small holes do no harm); the distance is
    taken to the tangent plane of the nearest surface point near the surface, and from the distance
    transform further off.
    """
    box = axes.box(vertices.min(0) - margin_mm, vertices.max(0) + margin_mm)
    local = axes.cut(box)
    if min(local.shape) < 2:
        return box, np.full(local.shape, FAR_MM, np.float32)
    votes = sum(_scan(vertices, triangles, local, axis).astype(np.int8) for axis in range(3))
    inside = np.asarray(votes >= 2)
    spacing = local.spacing_mm
    outer = ndimage.distance_transform_edt(~inside, sampling=spacing)
    inner = ndimage.distance_transform_edt(inside, sampling=spacing)
    distance = np.where(inside, 0.5 * spacing[2] - inner, outer - 0.5 * spacing[2]).astype(np.float32)
    near = np.abs(distance) < 2.0 * max(spacing)
    distance[near] = _plane_distance(vertices, triangles, local, near, distance[near])
    return box, ndimage.gaussian_filter(distance, (0.0, 0.5, 0.5), truncate=2.0)


def _plane_distance(
    vertices: Float, triangles: NDArray[np.int64], axes: Axes, near: NDArray[np.bool_], rough: Array
) -> Array:
    normal = _normals(vertices, triangles)
    corners, directions = vertices[triangles], normal[triangles]
    surface = np.concatenate([vertices, corners.mean(1), 0.5 * (corners[:, 0] + corners[:, 1])])
    facing = np.concatenate([normal, directions.mean(1), 0.5 * (directions[:, 0] + directions[:, 1])])
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
    k, j, i = np.nonzero(near)
    points = np.stack([axes.x[i], axes.y[j], axes.z[k]], axis=1)
    length, index = cKDTree(surface).query(points)
    plane = ((points - surface[index]) * facing[index]).sum(1)
    size = np.maximum(np.abs(plane), length - 2.0)
    return np.asarray(np.where(length < 2.5, plane, np.sign(rough) * size), np.float32)


def _scan(vertices: Float, triangles: NDArray[np.int64], axes: Axes, axis: int) -> NDArray[np.bool_]:
    """Whether voxel centres lie inside, by counting signed crossings along one patient axis (0: x)."""
    lines = (axes.x, axes.y, axes.z)
    u, v = (axis + 1) % 3, (axis + 2) % 3
    start = np.array([lines[a][0] for a in (axis, u, v)], float)
    step = np.array([lines[a][1] - lines[a][0] for a in (axis, u, v)], float)
    size = [len(lines[a]) for a in (axis, u, v)]
    # a tiny shift keeps rays off the mesh's corners
    place = (vertices[:, [axis, u, v]] - start) / step + np.array([0.0, 1.7e-4, 2.9e-4])
    corners = place[triangles]
    low = np.maximum(np.ceil(corners[:, :, 1:].min(1)), 0).astype(int)
    high = np.minimum(np.floor(corners[:, :, 1:].max(1)), np.array(size[1:]) - 1).astype(int)
    count = np.maximum(high - low + 1, 0)
    total = count.prod(1)
    owner = np.repeat(np.arange(len(corners)), total)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(total) - total, total)
    pu = low[owner, 0] + rank // np.maximum(count[owner, 1], 1)
    pv = low[owner, 1] + rank % np.maximum(count[owner, 1], 1)
    a, b, c = (corners[owner, k] for k in range(3))
    area = (b[:, 1] - a[:, 1]) * (c[:, 2] - a[:, 2]) - (c[:, 1] - a[:, 1]) * (b[:, 2] - a[:, 2])
    w1 = (pu - a[:, 1]) * (c[:, 2] - a[:, 2]) - (c[:, 1] - a[:, 1]) * (pv - a[:, 2])
    w2 = (b[:, 1] - a[:, 1]) * (pv - a[:, 2]) - (pu - a[:, 1]) * (b[:, 2] - a[:, 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        s, t = w1 / area, w2 / area
    hit = (area != 0) & (s >= 0) & (t >= 0) & (s + t <= 1)
    depth = (a[:, 0] + s * (b[:, 0] - a[:, 0]) + t * (c[:, 0] - a[:, 0]))[hit]
    first = np.clip(np.ceil(depth), 0, size[0]).astype(int)
    crossings = np.zeros((size[1], size[2], size[0] + 1), np.int16)
    np.add.at(crossings, (pu[hit], pv[hit], first), np.where(area[hit] > 0, -1, 1).astype(np.int16))
    inside = np.cumsum(crossings, axis=2)[:, :, :-1] > 0
    # (u, v, axis) -> (z, y, x)
    order = {0: (1, 0, 2), 1: (0, 2, 1), 2: (2, 1, 0)}[axis]
    return np.transpose(inside, order)
