"""What was asked of structures under one course or several: metrics, goals, indices and curves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rtplan.domain import Dose, Finding, Patient, Structure
from rtplan.dosimetry.courses import eqd2_sum, physical_sum
from rtplan.dosimetry.dvh import Dvh, MetricValue, Settings, value
from rtplan.dosimetry.indices import quality_findings
from rtplan.dosimetry.judging import demand_prescription, judge
from rtplan.dosimetry.metric import Metric, parse
from rtplan.dosimetry.protocol import Protocol
from rtplan.dosimetry.several import dvhs_of_all
from rtplan.errors import DoseError, RtplanError, StructureError

STEP = "dvh"
#: Metrics when none are asked for; of a dose in EQD2 they are of that kind.
STANDARD = ("D98%[Gy]", "D50%[Gy]", "D2%[Gy]", "Mean[Gy]", "Min[Gy]", "Max[Gy]")
_EQD2 = re.compile(r"EQD2\(([0-9.]+)\)")


@dataclass(frozen=True, eq=False)
class Courses:
    """The doses of one patient's courses, one after the other, and how their DVHs are made.

    Parameters
    ----------
    doses : tuple of Dose
        Each of one whole course, with its own fractions where EQD2 is asked for.
    settings : Settings
        Of the DVH.
    threads : int
        How many structures are worked on at once; 0: by the number of cores.
    """

    doses: tuple[Dose, ...]
    settings: Settings = field(default_factory=Settings)
    threads: int = 0
    _made: dict[tuple[int, float | None], Dvh | RtplanError] = field(default_factory=dict)
    _sums: dict[float | None, Dose] = field(default_factory=dict)

    def dose(self, alpha_beta_gy: float | None = None) -> Dose:
        """Return the dose of all courses: physical, or summed per voxel in EQD2.

        A single course is returned as it is: its metrics convert it.
        """
        if len(self.doses) == 1:
            return self.doses[0]
        if alpha_beta_gy not in self._sums:
            self._sums[alpha_beta_gy] = (
                physical_sum(self.doses) if alpha_beta_gy is None else eqd2_sum(self.doses, alpha_beta_gy)
            )
        return self._sums[alpha_beta_gy]

    def dvh(self, structure: Structure, alpha_beta_gy: float | None = None) -> Dvh:
        """Return the DVH of a structure under `dose`; each is made once.

        Raises
        ------
        RtplanError
            As `rtplan.dosimetry.dvh.dvh`.
        """
        self.make([structure], [alpha_beta_gy])
        made = self._made[self._key(structure, alpha_beta_gy)]
        if isinstance(made, RtplanError):
            raise made
        return made

    def make(self, structures: Sequence[Structure], kinds: Iterable[float | None] = (None,)) -> None:
        """Make the DVHs of several structures, some at once, under the doses of these α/β (`dose`)."""
        for kind in dict.fromkeys(None if len(self.doses) == 1 else kind for kind in kinds):
            wanted = [s for s in structures if self._key(s, kind) not in self._made]
            made: Sequence[tuple[Dvh, ...] | RtplanError]
            try:
                made = dvhs_of_all(wanted, [self.dose(kind)], self.settings, threads=self.threads)
            except RtplanError as wrong:
                made = [wrong] * len(wanted)
            for structure, found in zip(wanted, made, strict=True):
                self._made[self._key(structure, kind)] = found if isinstance(found, RtplanError) else found[0]

    def _key(self, structure: Structure, alpha_beta_gy: float | None) -> tuple[int, float | None]:
        return id(structure), None if len(self.doses) == 1 else alpha_beta_gy

    def value(self, structure: Structure, metric: Metric, rx_gy: float | None) -> MetricValue:
        """Read a metric of a structure (see `rtplan.dosimetry.dvh.value`).

        Raises
        ------
        DoseError
            As `value`; and where a % of EQD2 refers to a physical prescription whose fractions are unknown.
        """
        made = self.dvh(structure, metric.alpha_beta_gy)
        demand_prescription(metric, made)
        return value(made, metric, rx_gy)


def standard_metrics(courses: Courses) -> tuple[Metric, ...]:
    """Return the volume and the `STANDARD` metrics, in the kind of the dose."""
    kind = courses.doses[0].kind if len(courses.doses) == 1 else "physical"
    found = _EQD2.fullmatch(kind)
    suffix = f"@{kind}" if found else ""
    return (parse("Volume[cc]"), *(parse(text + suffix) for text in STANDARD))


def metric_findings(
    structures: Sequence[Structure], courses: Courses, metrics: Sequence[Metric], rx_gy: float | None = None
) -> list[Finding]:
    """Return one finding per structure and metric; not evaluable with its reason where there is none.

    Raises
    ------
    GeometryMismatch
        If a structure lies in another frame of reference than the dose.
    """
    courses.make(structures, [metric.alpha_beta_gy for metric in metrics])
    found = []
    for structure in structures:
        for metric in metrics:
            try:
                found.append(_valued(structure, metric, courses.value(structure, metric, rx_gy)))
            except (DoseError, StructureError) as wrong:
                found.append(_without(structure, metric, wrong))
    return found


def _valued(structure: Structure, metric: Metric, got: MetricValue) -> Finding:
    return Finding(
        str(metric),
        got.value,
        got.unit,
        STEP,
        structure=structure.name,
        error_bound=got.error_bound,
        cap_bound=got.cap_bound,
        covered_fraction=got.covered_fraction,
        dose_kind=metric.dose_kind,
    )


def _without(structure: Structure, metric: Metric, wrong: RtplanError) -> Finding:
    return Finding(
        str(metric),
        None,
        metric.unit,
        STEP,
        structure=structure.name,
        dose_kind=metric.dose_kind,
        verdict="not_evaluable",
        reason=str(wrong),
    )


def goal_findings(
    structures: Sequence[Structure], courses: Courses, protocol: Protocol, asked: Sequence[str] = ()
) -> list[Finding]:
    """Return the goals of a protocol judged, and the standard metrics beside them.

    Goals of physical dose are read on the physical sum of the courses, those of EQD2 on their sum in EQD2.
    With ``asked`` only the goals and metrics of these structures are given.
    """
    kinds = dict.fromkeys([None, *(goal.parsed.alpha_beta_gy for goal in protocol.goal)])
    table = {structure.name: structure for structure in structures}
    found: list[Finding] = []
    for alpha_beta in kinds if len(courses.doses) > 1 else [None]:
        part = protocol
        if len(courses.doses) > 1:
            goals = tuple(goal for goal in protocol.goal if goal.parsed.alpha_beta_gy == alpha_beta)
            part = protocol.model_copy(update={"goal": goals})
        try:
            dose = courses.dose(alpha_beta)
        except DoseError as wrong:
            found += [_no_goal(goal.structure, goal.parsed, str(wrong)) for goal in part.goal]
            continue
        judged = judge(
            Patient("", structures=table, doses={"CT": dose}), part, courses.settings, threads=courses.threads
        )
        found += [f for f in judged if f.limit is not None or alpha_beta is None]
    kept = [f for f in found if not asked or f.structure in asked]
    return [replace(f, arm=None, step=STEP) for f in kept]


def _no_goal(name: str, metric: Metric, reason: str) -> Finding:
    return Finding(
        str(metric),
        None,
        metric.unit,
        STEP,
        structure=name,
        dose_kind=metric.dose_kind,
        verdict="not_evaluable",
        reason=reason,
    )


def target_findings(structures: Sequence[Structure], courses: Courses, rx_gy: float) -> list[Finding]:
    """Return homogeneity, conformity and gradient index of each target among the structures."""
    targets = [structure for structure in structures if structure.is_target]
    courses.make(targets)
    found: list[Finding] = []
    for structure in targets:
        try:
            made = courses.dvh(structure)
        except (DoseError, StructureError):
            continue  # its metrics say why
        found += quality_findings(structure, courses.dose(), made, rx_gy, STEP)
    return found
