"""What is wrong with the closed contours of one structure, with what it does to its volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Contours
from rtplan.domain.notice import Severity
from rtplan.imaging.crossing import cross, doubtful_area, plane_axes, shared_area, which_cross_themselves
from rtplan.imaging.planes import GAP_SPACINGS, Planes, area_vectors, planes_of
from rtplan.imaging.raster import contains, ring_area

Float = NDArray[np.float64]
Say = Callable[[str, Severity, str, str], None]

#: Largest distance of a contour's points from one plane, mm.
PLANE_TOLERANCE_MM = 0.1
#: Area below which a ring encloses nothing, mm².
NO_AREA_MM2 = 1e-9
#: Share of a structure's area from which a doubt about it is said.
DOUBT = 1e-3
#: Points nearer than this are one, mm.
SAME_MM = 1e-3
REDRAW = "correct the contours in the system that drew them."


def off_planes_mm(rings: Sequence[Float]) -> list[float]:
    """Return the largest distance of each ring's points, shape (n, 3), from their plane, mm."""
    first = _firsts(rings)
    heights = np.concatenate(rings)[:, 2]
    tall = np.maximum.reduceat(heights, first) - np.minimum.reduceat(heights, first)
    return [0.0 if mm < 1e-9 else _off_plane_mm(ring) for ring, mm in zip(rings, tall.tolist(), strict=True)]


def _off_plane_mm(points: Float) -> float:
    spread = points - points.mean(axis=0)
    normal = np.linalg.svd(spread, full_matrices=False)[2][-1]
    return float(np.abs(spread @ normal).max())


def _firsts(rings: Sequence[Float]) -> NDArray[np.int64]:
    """Return where each ring begins in the row of all their points."""
    lengths = np.array([len(ring) for ring in rings])
    firsts: NDArray[np.int64] = np.cumsum(lengths) - lengths
    return firsts


def areas_mm2(rings: Sequence[Float]) -> Float:
    """Return the area that each flat ring, shape (n, 3), encloses, mm²."""
    areas: Float = np.linalg.norm(area_vectors(list(rings)), axis=1)
    return areas


def without_twins(rings: Sequence[Float]) -> list[Float]:
    """Return the rings without those that hold the same points as an earlier one, in whatever order.

    Rings of one plane combine by exclusive or: one that stands twice would erase itself.
    """
    if not rings:
        return []
    whole = np.rint(np.concatenate(rings) / SAME_MM).astype(np.int64)
    first = _firsts(rings)
    sums = [tuple(three) for three in np.add.reduceat(whole, first).tolist()]  # of twins they are alike
    alike = Counter(sums)
    kept: dict[object, Float] = {}
    for n, (ring, three) in enumerate(zip(rings, sums, strict=True)):
        key: object = n
        if alike[three] > 1:
            rounded = whole[first[n] : first[n] + len(ring)]
            key = rounded[np.lexsort(rounded.T)].tobytes()
        kept.setdefault(key, ring)
    return list(kept.values())


def judge(contours: Contours, say: Say) -> None:
    """Say what is doubtful in the closed, flat rings of a structure: crossings, overlaps, gaps, directions.

    Parameters
    ----------
    contours : Contours
        Each ring of at least three points with an area.
    say : callable
        Gets code, severity, message and action of each notice.

    Raises
    ------
    StructureError
        If the rings are not parallel.
    """
    planes = planes_of(contours)
    axes = plane_axes(planes.normal)
    flat = [[ring @ axes for ring in rings] for rings in planes.rings]
    areas = [[ring_area(ring) for ring in rings] for rings in flat]
    total = sum(abs(area) for plane in areas for area in plane)
    _crossings(flat, total, say)
    _overlaps(flat, total, say)
    _gaps(planes, flat, say)
    _directions(flat, areas, say)


def _crossings(flat: Sequence[Sequence[Float]], total: float, say: Say) -> None:
    rings = [ring for plane in flat for ring in plane if len(ring) > 3]
    crossed = which_cross_themselves(rings)
    doubts = [doubtful_area(ring) for ring, bad in zip(rings, crossed, strict=True) if bad]
    if doubts and sum(doubts) > DOUBT * total:
        message = (
            f"{len(doubts)} contours cross themselves: up to {100 * sum(doubts) / total:.1f} % of the volume "
            "depends on the rule that fills them; here every loop counts."
        )
        say("CONTOUR_CROSSES_ITSELF", "warn", message, REDRAW)


def _overlaps(flat: Sequence[Sequence[Float]], total: float, say: Say) -> None:
    shared, count = 0.0, 0
    for plane in (rings for rings in flat if len(rings) > 1):
        for a, b in _near(plane):
            if cross(plane[a], plane[b]):
                shared += shared_area(plane[a], plane[b])
                count += 1
    if count and shared > DOUBT * total:
        message = (
            f"{count} pairs of contours of one plane overlap: their common part, "
            f"{100 * shared / total:.1f} % of the drawn area, counts as a hole (exclusive or)."
        )
        say("CONTOURS_OVERLAP", "warn", message, REDRAW)


def _near(plane: Sequence[Float]) -> NDArray[np.int64]:
    """Return the pairs of rings whose boxes overlap, shape (n, 2)."""
    pairs: NDArray[np.int64] = np.argwhere(np.triu(_meet(plane, plane), 1))
    return pairs


def _meet(rings: Sequence[Float], others: Sequence[Float]) -> NDArray[np.bool_]:
    """Return which boxes of rings overlap which boxes of others, shape (n, m)."""
    low, high = (np.array([side(ring) for ring in rings]) for side in (_low, _high))
    low_other, high_other = (np.array([side(ring) for ring in others]) for side in (_low, _high))
    meet: NDArray[np.bool_] = np.all(
        (low[:, None] < high_other[None]) & (high[:, None] > low_other[None]), axis=-1
    )
    return meet


def _low(ring: Float) -> Float:
    lowest: Float = ring.min(axis=0)
    return lowest


def _high(ring: Float) -> Float:
    highest: Float = ring.max(axis=0)
    return highest


def _gaps(planes: Planes, flat: Sequence[Sequence[Float]], say: Say) -> None:
    gaps = np.diff(planes.at_mm)
    if not gaps.size:
        return
    nominal = float(np.median(gaps))
    wide = np.flatnonzero(gaps > GAP_SPACINGS * nominal)
    if not wide.size:
        return
    missing = np.rint(gaps[wide] / nominal).astype(int) - 1
    places = ", ".join(f"{planes.at_mm[i]:.1f} to {planes.at_mm[i + 1]:.1f} mm" for i in wide[:3])
    more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""
    message = (
        f"Contours {nominal:.2f} mm apart leave {_counted(len(wide), 'gap')} ({places}{more}): "
        f"{_counted(int(missing.sum()), 'plane')} without a contour, counted as outside the structure."
    )
    forgotten = any(_meet(flat[i], flat[i + 1]).any() for i in wide[missing == 1])
    action = "draw the forgotten plane." if forgotten else "check that the structure has several parts."
    say("CONTOURS_GAP", "warn" if forgotten else "info", message, action)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _directions(flat: Sequence[Sequence[Float]], areas: Sequence[Sequence[float]], say: Say) -> None:
    if len({area > 0 for plane in areas for area in plane}) < 2:
        return
    turns = [turn for plane in flat for turn in _outer_turns(plane)]
    against = min(sum(turns), len(turns) - sum(turns))
    if against:
        message = (
            f"{against} of {len(turns)} outer contours run the other way round. The direction means nothing "
            "here: a contour inside another one is a hole, whichever way it runs."
        )
        say("CONTOURS_CLOCKWISE", "info", message, "check that the holes are where they should be.")


def _outer_turns(rings: Sequence[Float]) -> list[bool]:
    """Return for each ring that is no hole whether it runs counter-clockwise."""
    around = [0] * len(rings)
    for a, b in _near(rings):
        for inner, outer in ((a, b), (b, a)):
            middle = 0.5 * (rings[inner][:1] + rings[inner][1:2])
            around[inner] += bool(contains(rings[outer], middle)[0])
    return [ring_area(ring) > 0 for ring, depth in zip(rings, around, strict=True) if depth % 2 == 0]
