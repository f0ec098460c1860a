"""Findings of a tubular organ's surface map: per arm, and as paired differences to the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rtplan import resources
from rtplan.domain import Dose, Finding, Patient
from rtplan.dosimetry.curves import arms_with_dose
from rtplan.dosimetry.extent import completed_fraction, is_cut
from rtplan.dosimetry.judging import reference_arm
from rtplan.dosimetry.metric import plain
from rtplan.dosimetry.protocol import Protocol, read_model
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.dosimetry.surface import LevelExtent, SurfaceMap, extent_at, surface_map
from rtplan.errors import DoseError, RtplanError

STEP = "MapSurface"
#: What is told of each level: metric before and behind the level, unit, field of `LevelExtent`. Extents are
#: counted in cells of the net; each end may be off by half a cell.
TOLD = (
    ("Surface V", "Gy[%]", "%", "area_percent"),
    ("Surface Lateral", "Gy[mm]", "mm", "lateral_mm"),
    ("Surface Longitudinal", "Gy[mm]", "mm", "longitudinal_mm"),
)


class Levels(BaseModel):
    """Where a wall is read (``models/surface/<name>.toml``): levels in EQD2, Gy, and the net."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Annotated[Literal[1], Field(alias="schema")]
    structure: str
    sites: tuple[str, ...]
    levels_gy: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    alpha_beta_gy: Annotated[float, Field(gt=0)]
    step_mm: Annotated[float, Field(gt=0)]
    n_theta: Annotated[int, Field(ge=4)]
    verified: bool
    source: str

    @property
    def dose_kind(self) -> str:
        """``EQD2(<alpha/beta>)``."""
        return f"EQD2({self.alpha_beta_gy:g})"


def load_levels(name: str = "rectum") -> Levels:
    """Read where a wall is read, by name or path.

    Examples
    --------
    >>> load_levels().levels_gy[0]
    50.0
    """
    return read_model(Levels, resources.find("models/surface", name))


def wall_findings(patient: Patient, protocol: Protocol, levels: Levels) -> list[Finding]:
    """Return what each dose level covers on the wall: share of its area, greatest extents of its cluster.

    Parameters
    ----------
    patient : Patient
        With doses by arm.
    protocol : Protocol
        Its site must be one of the levels'; its fractions stand where a dose knows none.
    levels : Levels

    Returns
    -------
    list of Finding
        Empty where the site is another one. Not evaluable, with the reason, where the organ is absent, is
        cut by the field of view, cannot be unwrapped or leaves the dose grid.
    """
    if protocol.site not in levels.sites:
        return []
    common = _Common(patient, levels)
    reason = _reason_against(patient, levels)
    if reason is not None:
        return [common.missing(reason)]
    reference = reference_arm(patient)
    assert reference is not None
    try:
        maps = {
            arm: in_eqd2(patient.doses[arm], patient, protocol, levels) for arm in arms_with_dose(patient)
        }
    except RtplanError as wrong:
        return [common.missing(str(wrong))]
    extents = {arm: [extent_at(wall, gy) for gy in levels.levels_gy] for arm, wall in maps.items()}
    found: list[Finding] = []
    for arm, own in extents.items():
        found += common.values(arm, own, maps[arm])
    for arm, own in extents.items():
        if arm != reference:
            found += common.differences((arm, reference), own, extents[reference], maps[arm])
    return found


def _reason_against(patient: Patient, levels: Levels) -> str | None:
    name, reference = levels.structure, reference_arm(patient)
    if name not in patient.structures:
        return f"There is no structure {name}."
    if reference is None:
        return "There is no dose."
    if reference in patient.images and is_cut(patient.structures[name], patient.images[reference].grid):
        return f"{name} is cut by the field of view, and a share of its wall needs the whole organ."
    if patient.absolute_withheld is not None:
        return f"{patient.absolute_withheld} An area at a dose level is not linear in dose."
    return None


def in_eqd2(dose: Dose, patient: Patient, protocol: Protocol, levels: Levels) -> SurfaceMap:
    """Return the wall's map in EQD2 of each cell.

    Raises
    ------
    DoseError
        If the dose is a sum of courses or EQD2 of another α/β.
    """
    wall = surface_map(
        dose, patient.structures[levels.structure], step_mm=levels.step_mm, n_theta=levels.n_theta
    )
    if dose.kind == levels.dose_kind:
        return wall
    if dose.kind != "physical":
        raise DoseError(f"The dose is {dose.kind}, and the levels are {levels.dose_kind}.")
    fractions = dose.fractions or protocol.fractions
    return replace(wall, dose_gy=eqd2(wall.dose_gy, fractions, levels.alpha_beta_gy))


@dataclass(frozen=True)
class _Common:
    """What all findings of one wall share."""

    patient: Patient
    levels: Levels

    def _fields(self) -> dict[str, Any]:
        return {
            "step": STEP,
            "patient": self.patient.key,
            "structure": self.levels.structure,
            "dose_kind": self.levels.dose_kind,
            "verified": self.levels.verified,
            "source": self.levels.source,
        }

    def _told(self, own: list[LevelExtent]) -> Iterator[tuple[str, str, float, LevelExtent]]:
        for before, behind, unit, name in TOLD:
            for extent in own:
                yield f"{before}{plain(extent.level_gy)}{behind}", unit, getattr(extent, name), extent

    def values(self, arm: str, own: list[LevelExtent], wall: SurfaceMap) -> list[Finding]:
        completed = completed_fraction(self.patient, self.levels.structure)
        size = {"wall_cm2": wall.total_cm2, "length_mm": wall.length_mm}
        return [
            Finding(metric, value, unit, arm=arm, completed_fraction=completed,
                    error_bound=_cell_mm(wall, metric), detail=size | _place(extent), **self._fields())
            for metric, unit, value, extent in self._told(own)
        ]  # fmt: skip

    def differences(
        self, arms: tuple[str, str], own: list[LevelExtent], base: list[LevelExtent], wall: SurfaceMap
    ) -> list[Finding]:
        spread: Mapping[str, Any] = {"spread": True} if self.patient.reference_arm is None else {}
        pairs = zip(self._told(own), self._told(base), strict=True)
        return [
            Finding(metric, value - before[2], unit, arm=arms[0], reference_arm=arms[1],
                    quantity="difference", error_bound=_twice(_cell_mm(wall, metric)), detail=spread,
                    **self._fields())
            for (metric, unit, value, _), before in pairs
        ]  # fmt: skip

    def missing(self, reason: str) -> Finding:
        before, behind, unit, _ = TOLD[0]
        metric = f"{before}{plain(self.levels.levels_gy[0])}{behind}"
        return Finding(
            metric,
            None,
            unit,
            arm=reference_arm(self.patient),
            verdict="not_evaluable",
            reason=reason,
            **self._fields(),
        )


def _cell_mm(wall: SurfaceMap, metric: str) -> float | None:
    """Return the cell's size in an extent's direction, mm; None for a share of the area."""
    if "Lateral" in metric:
        return float(wall.width_mm.max())
    return wall.length_mm / len(wall.s_mm) if "Longitudinal" in metric else None


def _twice(bound: float | None) -> float | None:
    return None if bound is None else 2.0 * bound


def _place(extent: LevelExtent) -> dict[str, Any]:
    return {
        "cluster_percent": extent.cluster_percent,
        "lateral_deg": extent.lateral_deg,
        "centroid_s_mm": extent.centroid_s_mm,
        "centroid_theta_deg": extent.centroid_theta_deg,
    }
