"""What the rectum receives under gels that lie a little differently: drawn volumes and thicknesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import qmc

from rtplan.domain import Dose, Mask
from rtplan.errors import DoseError
from rtplan.imaging.displace import Gel, Inserted, room_of, thickness_of
from rtplan.imaging.flow import Flow, flow_of
from rtplan.planning.spacer import GelFacts

Float = NDArray[np.float64]

#: Percentiles by which a DVH is kept: the middles of equal parts of the volume, hottest first.
PARTS: Float = (np.arange(1000, dtype=np.float64) + 0.5) / 1000.0
#: Cells and steps of the samples' flows.
CELL_MM, STEPS = 5.0, 6
#: The footprint's scale follows the volume over the thickness to this power (found on digital pelves).
POWER = 1.1
#: Fewer samples tell no 95 % interval.
LEAST = 40


@dataclass(frozen=True, eq=False)
class GelSamples:
    """Doses of structures under other gels, as differences from the gel that the plan was made with.

    Parameters
    ----------
    shift_gy : mapping of str to ndarray, shape (samples, parts)
        By structure: what the dose of each part of the volume (``PARTS``, hottest first) changes by.
    method : str
        How they were drawn, for the finding.
    """

    shift_gy: Mapping[str, Float]
    method: str


def draw_gels(gel: Gel, facts: GelFacts, count: int, seed: int) -> list[Gel]:
    """Return gels of volumes and thicknesses spread over the stated ranges, relative to the gel asked for."""
    sobol = qmc.Sobol(2, seed=seed)
    uniform = sobol.random_base2(int(np.ceil(np.log2(max(count, 2)))))[:count]
    drawn = []
    for u in uniform:
        values = []
        for place, wanted, entry in zip(
            u, (gel.volume_cc, gel.thickness_mm), (facts.volume_cc, facts.thickness_mm), strict=True
        ):
            low, high = entry.range_
            values.append(wanted * (low + (high - low) * float(place)) / entry.value)
        drawn.append(Gel(values[0], values[1], gel.shift_mm, CELL_MM, STEPS))
    return drawn


def sample_gels(
    inserted: Inserted,
    gel: Gel,
    masks: Mapping[str, Mask],
    dose: Dose,
    *,
    facts: GelFacts,
    count: int,
    seed: int = 1,
) -> GelSamples:
    """Return how the doses of structures change when the gel lies differently under the same dose.

    Parameters
    ----------
    inserted : Inserted
        The gel that the plan was made with.
    gel : Gel
        As it was asked for.
    masks : mapping of str to Mask
        Structures as they lie without a gel.
    dose : Dose
        Of the plan with the gel.
    facts : GelFacts
        Ranges of volume and thickness.
    count : int
        Number of samples, at least 40.
    seed : int
        Of the draws.

    Raises
    ------
    DoseError
        If there are too few samples.

    Notes
    -----
    The dose is not calculated again: gel, fat and rectum differ little in density. Samples and the gel itself
    go through the same coarse flow, and only their difference is used.
    """
    if count < LEAST:
        raise DoseError(f"An interval of 95 % needs {LEAST} samples of the gel or more, got {count}.")
    points = {name: mask.grid.to_patient(np.argwhere(mask.array)) for name, mask in masks.items()}
    coarse = Gel(gel.volume_cc, gel.thickness_mm, gel.shift_mm, CELL_MM, STEPS)
    base = _parts(_flow(inserted, coarse, gel), points, dose)
    shift: dict[str, list[Float]] = {name: [] for name in points}
    thick = []
    for drawn in draw_gels(gel, facts, count, seed):
        flow = _flow(inserted, drawn, gel)
        thick.append(thickness_of(inserted.scene, flow))
        for name, doses in _parts(flow, points, dose).items():
            shift[name].append(doses - base[name])
    said = (
        f"gel's volume and thickness uniform over their ranges, {count} Sobol, seed {seed} "
        f"(thickness {min(thick):.1f} to {max(thick):.1f} mm as measured; the dose kept)"
    )
    return GelSamples({name: np.stack(found) for name, found in shift.items()}, said)


def _flow(inserted: Inserted, drawn: Gel, gel: Gel) -> Flow:
    ratio = drawn.volume_cc / gel.volume_cc * gel.thickness_mm / drawn.thickness_mm
    return flow_of(room_of(inserted.scene, drawn, inserted.scale * ratio**POWER), drawn.steps)


def _parts(flow: Flow, points: Mapping[str, Float], dose: Dose) -> dict[str, Float]:
    """Return the dose of each part of each structure's volume, Gy, hottest first."""
    found = {}
    for name, before in points.items():
        index = dose.grid.to_index(flow.forth(before))
        values = ndimage.map_coordinates(dose.array, index.T, order=1, mode="nearest")
        found[name] = np.quantile(values.astype(np.float64), 1.0 - PARTS)
    return found
