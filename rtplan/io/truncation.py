"""What is cut: organs at the ends of an image, targets near them, structures beyond the dose grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Contours, Grid, Notice, Structure
from rtplan.errors import StructureError
from rtplan.imaging.contour import fraction_on, planes_of
from rtplan.imaging.raster import ring_area

#: How far the densities should be known above and below a target, mm: scatter comes from there.
RANGE_MM = 30.0
#: Kinds of structures whose dose is judged.
JUDGED = ("GTV", "CTV", "PTV", "ORGAN", "AVOIDANCE")
#: Smallest part of a structure beyond the dose grid that is said.
BEYOND = 1e-3
#: A cut face of this share of the largest contour ends an organ that goes on; a smaller one may be its end.
CUT_FACE = 0.2
#: Share of the spacing by which a contour may lie off its slice.
OFF_SLICE = 0.1
#: Voxels of a structure's box beyond which its part outside a dose grid is that of its box.
LARGEST_BOX = 60_000_000


def truncations(
    structures: Iterable[Structure], images: Mapping[str, Grid], doses: Mapping[str, Grid]
) -> list[Notice]:
    """Return all notices on what images (by role) and doses (by name) cut off; grids that are alike once."""
    listed = list(structures)
    notices: list[Notice] = []
    shown, given = _once(images), _once(doses)
    for role, grid in shown.items():
        notices += cut_organs(listed, grid, f"the image {role}")
    notices += short_ranges(listed, shown)
    for name, grid in given.items():
        notices += beyond_dose(listed, grid, f"the dose {name}")
        notices += cut_organs(listed, grid, f"the dose {name}")
    return notices


def _once(grids: Mapping[str, Grid]) -> dict[str, Grid]:
    """Return one entry for grids that are the same, under all their names."""
    groups: list[tuple[list[str], Grid]] = []
    for name, grid in grids.items():
        for names, other in groups:
            if other.same_as(grid):
                names.append(name)
                break
        else:
            groups.append(([name], grid))
    return {", ".join(names): grid for names, grid in groups}


def cut_organs(structures: Iterable[Structure], grid: Grid, what: str) -> list[Notice]:
    """Return a notice for each structure that ends with a contour in the first or last plane of a grid.

    Parameters
    ----------
    structures : iterable of Structure
        Contours in any orientation; those that are not parallel to the grid's planes are passed over.
    grid : Grid
        Of an image or a dose.
    what : str
        What it is (``the image CT``).
    """
    notices = []
    for structure in structures:
        region = structure.region
        if structure.kind not in JUDGED or not _comparable(region, grid):
            continue
        assert isinstance(region, Contours)
        faces = _end_faces(region, grid)
        if not faces:
            continue
        shares = " and ".join(f"the {end} plane ({100 * share:.0f} %" for end, share in faces.items())
        goes_on = max(faces.values()) >= CUT_FACE
        message = (
            f"{structure.name} has a contour in {shares} of its largest area) of {what}: "
            + ("it is cut there" if goes_on else "it may go on beyond")
            + ". Volume, and dose to a part of the volume, are those of the visible part."
        )
        action = "supply a longer image, or read only what does not depend on the whole organ."
        notices.append(
            Notice("ORGAN_CUT", "warn" if goes_on else "info", message, action, structure=structure.name)
        )
    return notices


def _comparable(region: object, grid: Grid) -> bool:
    return isinstance(region, Contours) and region.frame_of_reference == grid.frame_of_reference


def _end_faces(region: Contours, grid: Grid) -> dict[str, float]:
    """Return for the first and last plane, where the contours end there, the area's share of the largest."""
    depth = [grid.to_index(ring)[:, 0] for ring in region.rings]
    if not depth or max(float(np.ptp(d)) for d in depth) > 0.5:
        return {}
    middle = np.array([d.mean() for d in depth])
    last = grid.shape[0] - 1
    if last < 1 or middle.min() < -0.5 or middle.max() > last + 0.5:
        return {}
    area = np.array([abs(ring_area(grid.to_index(ring)[:, 1:])) for ring in region.rings])
    index = np.rint(middle).astype(int)
    planes = {int(k): float(area[index == k].sum()) for k in set(index.tolist())}
    ends = {"first": 0, "last": last}
    return {end: planes[k] / max(planes.values()) for end, k in ends.items() if k in planes}


def off_image(structures: Iterable[Structure], grid: Grid, what: str) -> list[Notice]:
    """Return notices on contours that lie off the slices of the image they were drawn on, or beyond it."""
    notices = []
    for structure in structures:
        if not _comparable(structure.region, grid):
            continue
        assert isinstance(structure.region, Contours)
        index = [grid.to_index(ring) for ring in structure.region.rings]
        off = [float(np.abs(i[:, 0] - np.rint(i[:, 0].mean())).max()) for i in index]
        count = sum(far > OFF_SLICE for far in off)
        ends = np.array(grid.shape) - 0.5
        outside = sum(bool((i.min(axis=0) < -0.5).any() or (i.max(axis=0) > ends).any()) for i in index)
        if count:
            message = (
                f"{count} of {len(index)} contours of {structure.name} do not lie on a slice of {what}: "
                f"up to {max(off) * grid.spacing_zyx_mm[0]:.2f} mm off. They are used where they are."
            )
            action = "check that the structures belong to this image."
            notices.append(Notice("CONTOURS_OFF_SLICES", "info", message, action, structure=structure.name))
        if outside:
            message = (
                f"{outside} of {len(index)} contours of {structure.name} lie at least partly beyond {what}."
            )
            action = "supply the whole series: of the organ there, nothing is known."
            notices.append(Notice("CONTOURS_BEYOND_IMAGE", "warn", message, action, structure=structure.name))
    return notices


def short_ranges(structures: Iterable[Structure], images: Mapping[str, Grid]) -> list[Notice]:
    """Return a notice for each image that ends less than `RANGE_MM` above or below a target.

    Above and below are along the patient's axis (LPS z), whatever the orientation of the image.
    """
    targets = [s for s in structures if s.is_target and isinstance(s.region, Contours)]
    notices = []
    for role, grid in images.items():
        found = [
            (_covered(target, grid), target.name) for target in targets if _comparable(target.region, grid)
        ]
        if not found:
            continue
        above, below = (min(found, key=lambda item: item[0][end]) for end in (0, 1))
        ends = [
            f"{max(pair[0][n], 0.0):.1f} mm {way} {pair[1]}"
            for n, (way, pair) in enumerate((("above", above), ("below", below)))
            if pair[0][n] < RANGE_MM - 1e-6
        ]
        if ends:
            worst = max(min(above[0][0], below[0][1]), 0.0)
            message = (
                f"The image {role} ends {' and '.join(ends)}: {100 * (1 - worst / RANGE_MM):.0f} % of the "
                f"{RANGE_MM:.0f} mm that are wanted is missing. Scatter from there, and beams that cross it, "
                "are not calculated."
            )
            action = "supply an image that covers the target and 30 mm more at both ends."
            notices.append(Notice("RANGE_SHORT", "warn", message, action, structure=above[1]))
    return notices


def _covered(target: Structure, grid: Grid) -> tuple[float, float]:
    """Return how far the grid's box reaches above and below every point of a target, mm (negative: not)."""
    assert isinstance(target.region, Contours)
    points = np.concatenate(target.region.rings)
    index = grid.to_index(points)
    step = grid.to_index([0.0, 0.0, 1.0]) - grid.to_index([0.0, 0.0, 0.0])  # index per mm to the head
    return _reach(index, step, grid), _reach(index, -step, grid)


def _reach(index: NDArray[np.float64], step: NDArray[np.float64], grid: Grid) -> float:
    shape = np.array(grid.shape, np.float64)
    reach = np.inf
    for axis in range(3):
        if abs(step[axis]) > 1e-9:
            end = shape[axis] - 0.5 if step[axis] > 0 else -0.5
            reach = min(reach, float(((end - index[:, axis]) / step[axis]).min()))
    return reach


def beyond_dose(structures: Iterable[Structure], grid: Grid, what: str) -> list[Notice]:
    """Return a notice for each structure of which a part lies outside a dose grid, with that part."""
    notices = []
    for structure in structures:
        region = structure.region
        if structure.kind not in JUDGED or not _comparable(region, grid):
            continue
        assert isinstance(region, Contours)
        part = _part_beyond(structure, region, grid)
        if part > BEYOND:
            message = (
                f"{100 * part:.1f} % of {structure.name} lies outside the grid of {what}: nothing is known "
                "of the dose there, so its DVH is refused or holds for the rest only."
            )
            action = "export the dose on a larger grid."
            notices.append(Notice("DOSE_GRID_SHORT", "warn", message, action, structure=structure.name))
    return notices


def _part_beyond(structure: Structure, region: Contours, grid: Grid) -> float:
    index = grid.to_index(np.concatenate(region.rings))
    try:
        planes = planes_of(region)
    except StructureError:
        return 0.0
    half = float(np.median(np.diff(planes.at_mm))) / 2.0 if len(planes.at_mm) > 1 else 0.0
    slack = np.abs(np.linalg.inv(grid.affine[:3, :3]) @ planes.normal) * half
    low, high = index.min(axis=0) - slack, index.max(axis=0) + slack
    if (low >= -0.5).all() and (high <= np.array(grid.shape) - 0.5).all():
        return 0.0
    start, stop = np.floor(low + 0.5).astype(int) - 1, np.ceil(high + 0.5).astype(int) + 1
    size = stop - start
    if size.prod() > LARGEST_BOX:  # a structure that leads far astray: no voxel of it need be counted
        shown = np.minimum(high, np.array(grid.shape) - 0.5) - np.maximum(low, -0.5)
        return float(1.0 - np.prod(np.maximum(shown, 0.0) / np.maximum(high - low, 1e-9)))
    box = grid.crop(tuple(start.tolist()), tuple(stop.tolist()))
    share = fraction_on(structure, box)
    inside = tuple(
        slice(max(-int(a), 0), max(min(int(b), n) - int(a), 0))
        for a, b, n in zip(start, stop, grid.shape, strict=True)
    )
    total = float(share.sum(dtype=np.float64))
    return 1.0 - float(share[inside].sum(dtype=np.float64)) / total if total > 0 else 0.0
