"""Dose surface maps and histograms of tubular organs (rectum), unwrapped on a regular (s, theta) grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Dose, Finding, Structure
from rtplan.dosimetry.metric import plain
from rtplan.dosimetry.tube import demand_frame, unwrap
from rtplan.errors import DoseError

Float = NDArray[np.float64]
Cluster = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SurfaceMap:
    """The dose on the wall of a tubular organ, unwrapped.

    Parameters
    ----------
    structure : str
        Name of the organ.
    dose_gy : ndarray, shape (n_s, n_theta)
        Dose at the cell centres; first row at the inferior (anal) end, columns from the posterior cut over
        the patient's right, anterior and left back to the cut.
    area_mm2, width_mm : ndarray, shape (n_s, n_theta)
        Area of each cell of wall, and its length round the organ.
    s_mm : ndarray, shape (n_s,)
        Cell centres along the centroid line, from the inferior end, mm.
    length_mm : float
        Length of the centroid line.
    theta_deg : ndarray, shape (n_theta,)
        Cell centres from -180 to 180; 0 is anterior, positive to the patient's left.
    """

    structure: str
    dose_gy: Float
    area_mm2: Float
    width_mm: Float
    s_mm: Float
    length_mm: float
    theta_deg: Float

    @property
    def s_share(self) -> Float:
        """Cell centres along the centroid line as a share of its length, 0 (inferior) to 1."""
        return self.s_mm / self.length_mm

    @property
    def total_cm2(self) -> float:
        """Area of the wall, cm^2."""
        return float(self.area_mm2.sum()) / 100.0

    @property
    def mean_gy(self) -> float:
        """Area-weighted mean dose of the wall, Gy."""
        return float(np.average(self.dose_gy, weights=self.area_mm2))


@dataclass(frozen=True)
class LevelExtent:
    """What one dose level covers on the wall.

    Parameters
    ----------
    level_gy : float
        The dose level.
    area_percent : float
        Share of the wall's area at or above the level, %.
    cluster_percent : float
        Share of the wall's area in the largest connected cluster, %.
    lateral_deg, lateral_mm : float
        Greatest extent of that cluster round the organ in one row.
    longitudinal_mm, longitudinal_percent : float
        Greatest extent of that cluster along the centroid line in one column; and as % of the line.
    centroid_s_mm, centroid_theta_deg : float or None
        Area-weighted centre of that cluster (circular mean of theta); None where the level is not reached.
    """

    level_gy: float
    area_percent: float
    cluster_percent: float
    lateral_deg: float
    lateral_mm: float
    longitudinal_mm: float
    longitudinal_percent: float
    centroid_s_mm: float | None
    centroid_theta_deg: float | None


def surface_map(dose: Dose, structure: Structure, *, step_mm: float = 1.0, n_theta: int = 180) -> SurfaceMap:
    """Unwrap the dose on the wall of a tubular organ.

    Parameters
    ----------
    dose : Dose
        Gy; trilinear between voxel centres.
    structure : Structure
        Axial contours or a mask of the outer wall.
    step_mm : float
        Cell length along the centroid line, mm (at most; the line is divided evenly).
    n_theta : int
        Cells round the organ; even.

    Raises
    ------
    StructureError
        If the structure is no tube in axial planes (see `tube.unwrap`).
    DoseError
        If the wall leaves the dose grid: a map with invented doses would be no map.
    GeometryMismatch
        If structure and dose lie in different frames of reference.

    References
    ----------
    F. Buettner et al., "Assessing correlations between the spatial distribution of the dose to the rectal
    wall and late rectal toxicity after prostate radiotherapy", Phys. Med. Biol. 54:6535-6548 (2009).
    """
    demand_frame(structure, dose.grid)
    net = unwrap(structure, step_mm, n_theta)
    centres = net.centres()
    index = dose.grid.to_index(centres)
    last = np.array(dose.grid.shape) - 1.0
    outside = ((index < -0.5 - 1e-6) | (index > last + 0.5 + 1e-6)).any(axis=-1)
    if outside.any():
        raise DoseError(
            f"{100 * outside.mean():.1f} % of the wall lies outside the dose grid.",
            where=structure.name,
            action="calculate the dose on a larger grid, or cut the structure.",
        )
    if not np.isfinite(dose.array).all():
        raise DoseError("The dose holds values that are not finite.")
    at = np.moveaxis(np.clip(index, 0.0, last), -1, 0)
    values = ndimage.map_coordinates(dose.array.astype(np.float64), at, order=1, mode="nearest")
    return SurfaceMap(
        structure=structure.name,
        dose_gy=values,
        area_mm2=net.areas_mm2(),
        width_mm=net.widths_mm(),
        s_mm=(net.s_mm[:-1] + net.s_mm[1:]) / 2,
        length_mm=float(net.s_mm[-1]),
        theta_deg=(net.theta_deg[:-1] + net.theta_deg[1:]) / 2,
    )


def surface_histogram(surface: SurfaceMap, levels_gy: NDArray[np.float64]) -> Float:
    """Return the share of the wall's area at or above each dose level, %, shape as ``levels_gy``."""
    order = np.argsort(surface.dose_gy, axis=None)
    doses = surface.dose_gy.ravel()[order]
    area = surface.area_mm2.ravel()[order]
    above = np.concatenate([np.cumsum(area[::-1])[::-1], [0.0]])
    share: Float = 100.0 * above[np.searchsorted(doses, levels_gy, side="left")] / area.sum()
    return share


def extent_at(surface: SurfaceMap, level_gy: float) -> LevelExtent:
    """Return what a dose level covers: share of the area, and size and place of its largest cluster.

    Cells that share an edge are connected, also across the posterior cut.
    """
    hot = surface.dose_gy >= level_gy
    cluster = _largest_cluster(hot, surface.area_mm2)
    total = surface.area_mm2.sum()
    rows, columns = hot.shape
    step_mm = surface.length_mm / rows
    widths = np.where(cluster, surface.width_mm, 0.0).sum(axis=1)
    longest = float(cluster.sum(axis=0).max()) * step_mm
    area = np.where(cluster, surface.area_mm2, 0.0)
    s_mm = theta = None
    if cluster.any():
        s_mm = float((area.sum(axis=1) * surface.s_mm).sum() / area.sum())
        turn = np.deg2rad(surface.theta_deg)
        by_column = area.sum(axis=0)
        theta = float(np.rad2deg(np.arctan2(by_column @ np.sin(turn), by_column @ np.cos(turn))))
    return LevelExtent(
        level_gy=level_gy,
        area_percent=float(100 * surface.area_mm2[hot].sum() / total),
        cluster_percent=float(100 * area.sum() / total),
        lateral_deg=float(cluster.sum(axis=1).max()) * 360.0 / columns,
        lateral_mm=float(widths.max()),
        longitudinal_mm=longest,
        longitudinal_percent=100.0 * longest / surface.length_mm,
        centroid_s_mm=s_mm,
        centroid_theta_deg=theta,
    )


def level_findings(surface: SurfaceMap, levels_gy: Sequence[float], dose_kind: str) -> list[Finding]:
    """Return one finding per level: the share of the wall at or above it; extent and place in ``detail``."""
    found = []
    for level in levels_gy:
        extent = extent_at(surface, level)
        detail = {key: number for key, number in asdict(extent).items() if key != "area_percent"}
        share = None if extent.centroid_s_mm is None else extent.centroid_s_mm / surface.length_mm
        detail |= {"centroid_s_share": share, "wall_cm2": surface.total_cm2, "length_mm": surface.length_mm}
        found.append(
            Finding(
                f"Surface V{plain(level)}Gy[%]",
                extent.area_percent,
                "%",
                "dvh surface",
                structure=surface.structure,
                dose_kind=dose_kind,
                detail=detail,
            )
        )
    return found


def _largest_cluster(hot: Cluster, area: Float) -> Cluster:
    """Return the connected cluster of the greatest area; columns 0 and -1 are neighbours."""
    labels, count = ndimage.label(hot)
    if not count:
        return hot
    for left, right in zip(labels[:, 0], labels[:, -1], strict=True):
        if left and right and left != right:
            labels[labels == max(left, right)] = min(left, right)
            # later rows see the new labels: `labels[:, 0]` and `labels[:, -1]` are views
    sizes = np.bincount(labels.ravel(), weights=area.ravel())
    sizes[0] = 0.0
    chosen: Cluster = labels == int(np.argmax(sizes))
    return chosen
