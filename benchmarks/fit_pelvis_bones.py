"""Refit the bony pelvis: thin the mesh, keep the strongest modes, quantise; print the residual.

Run as ``python benchmarks/fit_pelvis_bones.py ../shared/data/pelvis_bones/shape_model.npz``. It writes
``models/pelvis_bones/pelvis_bones.safetensors`` and prints the lines that model.toml and card.md state.
"""

from __future__ import annotations

import heapq
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.spatial import cKDTree

from rtplan.resources import sha256

VERTICES, MODES, SHAPES, SEED = 5400, 14, 20, 1
PARTS = {"hip_left": (0, 5000), "hip_right": (5000, 10000), "sacrum": (10000, 15000)}
OUT = Path(__file__).resolve().parent.parent / "models" / "pelvis_bones" / "pelvis_bones.safetensors"


def quadrics(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Sum of squared-distance forms of the planes round each vertex, shape (n, 4, 4)."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = normal / np.maximum(area, 1e-9)
    plane = np.concatenate([normal, -(normal * a).sum(1, keepdims=True)], axis=1)
    form = plane[:, :, None] * plane[:, None, :] * area[:, :, None]
    total = np.zeros((len(vertices), 4, 4))
    for corner in range(3):
        np.add.at(total, triangles[:, corner], form)
    return total


def thin(vertices: np.ndarray, triangles: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: C901
    """Collapse edges onto one of their ends in the order of quadric error; keep the surface's topology.

    Returns the indices of the kept vertices and the triangles in the new numbering.
    """
    form = quadrics(vertices, triangles)
    homogeneous = np.c_[vertices, np.ones(len(vertices))]
    faces = {k: list(t) for k, t in enumerate(triangles.tolist())}
    of_vertex = [set() for _ in vertices]
    for k, t in faces.items():
        for v in t:
            of_vertex[v].add(k)
    ring = [({w for k in s for w in faces[k]} - {v}) for v, s in enumerate(of_vertex)]
    stamp = np.zeros(len(vertices), int)
    alive = {v for v in range(len(vertices)) if of_vertex[v]}

    def price(v: int, w: int) -> float:
        p = homogeneous[w]
        return float(p @ (form[v] + form[w]) @ p + 1e-3 * ((vertices[v] - vertices[w]) ** 2).sum())

    heap = [(price(v, w), v, w, 0, 0) for v in alive for w in ring[v]]
    heapq.heapify(heap)
    while len(alive) > wanted and heap:
        _, v, w, sv, sw = heapq.heappop(heap)
        if v not in alive or w not in alive or (sv, sw) != (stamp[v], stamp[w]) or w not in ring[v]:
            continue
        shared = of_vertex[v] & of_vertex[w]
        if (
            len(shared) != 2
            or len(ring[v] & ring[w]) != 2
            or flips(vertices, faces, of_vertex[v] - shared, v, w)
        ):
            continue
        for k in shared:
            for u in faces.pop(k):
                of_vertex[u].discard(k)
        for k in of_vertex[v]:
            faces[k] = [w if u == v else u for u in faces[k]]
            of_vertex[w].add(k)
        form[w] += form[v]
        alive.discard(v)
        for u in ring[v]:
            ring[u].discard(v)
            if u != w:
                ring[u].add(w)
                ring[w].add(u)
        stamp[w] += 1
        for u in ring[w]:
            heapq.heappush(heap, (price(u, w), u, w, stamp[u], stamp[w]))
            heapq.heappush(heap, (price(w, u), w, u, stamp[w], stamp[u]))
    kept = np.array(sorted(alive))
    number = np.full(len(vertices), -1)
    number[kept] = np.arange(len(kept))
    return kept, number[np.array(list(faces.values()))]


def flips(vertices: np.ndarray, faces: dict, around: set, v: int, w: int) -> bool:
    """Whether moving v onto w turns a triangle by more than about 75 degrees."""
    for k in around:
        old = vertices[faces[k]]
        new = vertices[[w if u == v else u for u in faces[k]]]
        n0 = np.cross(old[1] - old[0], old[2] - old[0])
        n1 = np.cross(new[1] - new[0], new[2] - new[0])
        if n0 @ n1 < 0.25 * np.linalg.norm(n0) * np.linalg.norm(n1):
            return True
    return False


def sampled(vertices: np.ndarray, triangles: np.ndarray, per_side: int = 4) -> np.ndarray:
    """Points spread over the triangles, shape (n, 3)."""
    corners = vertices[triangles]
    steps = [(i / per_side, j / per_side) for i in range(per_side + 1) for j in range(per_side + 1 - i)]
    return np.concatenate(
        [(1 - a - b) * corners[:, 0] + a * corners[:, 1] + b * corners[:, 2] for a, b in steps]
    )


def main(path: str) -> None:
    data = np.load(path, allow_pickle=False)
    mean, modes = data["mean"].astype(np.float64), data["modes"].astype(np.float64)
    triangles = data["tri"].astype(np.int64)
    kept, faces, parts, start = [], [], [], 0
    for first, stop in PARTS.values():
        own = triangles[((triangles >= first) & (triangles < stop)).all(axis=1)] - first
        index, small = thin(mean[first:stop], own, VERTICES // 3)
        kept.append(index + first)
        faces.append(small + start)
        parts.append((start, start + len(index)))
        start += len(index)
    kept, faces = np.concatenate(kept), np.concatenate(faces)
    basis = modes[:, kept].reshape(len(modes), -1)
    u, s, vt = np.linalg.svd(basis, full_matrices=False)  # z ~ N(0, 1): the refitted modes are s * vt
    share = np.cumsum(s**2) / (s**2).sum()
    new = (s[:, None] * vt)[:MODES].reshape(MODES, -1, 3)
    scale = np.abs(new).max(axis=(1, 2)) / 127.0
    tensors = {
        "mean_hundredth_mm": np.round(mean[kept] * 100).astype(np.int16),
        "modes": np.round(new / scale[:, None, None]).astype(np.int8),
        "mode_scale_mm": scale.astype(np.float32),
        "triangles": faces.astype(np.uint16),
        "parts": np.array(parts, np.int32),
    }
    save_file(tensors, OUT)
    rng = np.random.default_rng(SEED)
    one_way, used = [], np.unique(triangles)
    for _ in range(SHAPES):
        z = rng.standard_normal(len(modes))
        true = mean + np.tensordot(z, modes, 1)
        y = (u.T @ z)[:MODES]
        ours = tensors["mean_hundredth_mm"] / 100 + np.tensordot(y * scale, tensors["modes"].astype(float), 1)
        tree = cKDTree(sampled(ours, faces))
        one_way.append(tree.query(true[used])[0])
    distance = np.array(one_way)
    print(f"vertices {len(kept)} of {len(mean)}, triangles {len(faces)}, modes {MODES} of {len(modes)}")
    print(f"variance share of the kept modes {share[MODES - 1]:.4f} of the source's 16 (which carry 0.94)")
    print(
        f"surface residual over {SHAPES} shapes: mean {distance.mean():.2f} mm, "
        f"95th percentile {np.percentile(distance, 95):.2f} mm, max {distance.max():.2f} mm"
    )
    print(f"bytes {OUT.stat().st_size}\nsha256 {sha256(OUT)}")


if __name__ == "__main__":
    main(sys.argv[1])
