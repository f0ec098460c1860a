"""A patient's findings in the order in which they are read: risks, goals, dose metrics, images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from rtplan.domain import Finding, Patient
from rtplan.domain.patient import ARMS
from rtplan.report.words import is_signed

OUTCOMES = ("NTCP", "TCP")
#: Metrics that compare two images rather than two doses (before any bracket or suffix).
IMAGE_METRICS = ("MAE", "ME", "RMSE", "PSNR", "SSIM", "MS-SSIM", "MSSSIM", "NCC", "HU", "Dice")
EQUIVALENCE = ("equivalent", "different", "cannot_tell")


@dataclass(frozen=True)
class Row:
    """The findings about one thing, by arm.

    Parameters
    ----------
    structure, metric : str
        What it is about.
    first : Finding
        Any of them, for unit, limits and source.
    values, changes : mapping of str to Finding
        Values, and differences to the reference, by arm; without what is not evaluable.
    missing : mapping of str to Finding
        What is not evaluable, by arm.
    """

    structure: str
    metric: str
    first: Finding
    values: Mapping[str, Finding]
    changes: Mapping[str, Finding]
    missing: Mapping[str, Finding]


@dataclass(frozen=True)
class Book:
    """Everything that the report says of the findings.

    Parameters
    ----------
    arms : tuple of str
        In order; the reference first.
    reference : str or None
        What differences are taken to.
    spread : bool
        No CT: differences are a spread between methods, not an error.
    outcomes, goals, doses, images, registrations : tuple of Row
        Risks; metrics with a limit or wish; other metrics of dose; comparisons of images.
    not_evaluable : tuple of Finding
        In the order in which they came.
    """

    arms: tuple[str, ...]
    reference: str | None
    spread: bool
    outcomes: tuple[Row, ...]
    goals: tuple[Row, ...]
    doses: tuple[Row, ...]
    images: tuple[Row, ...]
    registrations: tuple[Row, ...]
    not_evaluable: tuple[Finding, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """The arms without the reference."""
        return tuple(arm for arm in self.arms if arm != self.reference)


def is_outcome(finding: Finding) -> bool:
    """Whether a finding is a probability of harm or of tumour control."""
    return finding.metric.split("[")[0] in OUTCOMES


def is_image(finding: Finding) -> bool:
    """Whether a finding compares images."""
    return finding.unit in ("HU", "dB") or finding.metric.split("[")[0].split("_")[0] in IMAGE_METRICS


def is_registration(finding: Finding) -> bool:
    """Whether a finding states how well an MR lies on the reference."""
    return finding.step == "Register"


def book_of(patient: Patient) -> Book:
    """Return a patient's findings, sorted."""
    reference = patient.reference_arm or _stand_in(patient)
    named = {f.arm for f in patient.findings if f.arm} | set(patient.doses) | set(patient.arms)
    order = [arm for arm in ARMS if arm in named] + sorted(named - set(ARMS))
    arms = tuple(sorted(order, key=lambda arm: arm != reference))
    findings = patient.findings
    limits = {_about(f) for f in findings if f.limit or f.wish}

    def is_goal(finding: Finding) -> bool:
        return not is_outcome(finding) and not is_image(finding) and _about(finding) in limits

    def is_dose(finding: Finding) -> bool:
        return not (is_outcome(finding) or is_image(finding) or is_registration(finding))

    return Book(
        arms=arms,
        reference=reference,
        spread=patient.reference_arm is None,
        outcomes=_rows(findings, is_outcome),
        goals=_rows(findings, is_goal),
        doses=_rows(findings, is_dose),
        images=_rows(findings, is_image),
        registrations=_rows(findings, is_registration),
        not_evaluable=tuple(f for f in findings if f.value is None),
    )


def _stand_in(patient: Patient) -> str | None:
    """Return what differences are taken to where there is no CT."""
    for finding in patient.findings:
        if finding.quantity == "difference" and finding.reference_arm:
            return finding.reference_arm
    if patient.plan is not None and patient.plan.made_on in patient.doses:
        return patient.plan.made_on
    return patient.arms[-1] if patient.arms else None


def _about(finding: Finding) -> tuple[str, str, str, str]:
    return finding.structure or "", finding.metric, finding.dose_kind or "", finding.model or ""


def _rows(findings: Iterable[Finding], wanted: Callable[[Finding], bool]) -> tuple[Row, ...]:
    groups: dict[tuple[str, str, str, str], list[Finding]] = {}
    for finding in findings:
        if wanted(finding):
            groups.setdefault(_about(finding), []).append(finding)
    return tuple(_row(key, group) for key, group in groups.items())


def _row(key: tuple[str, str, str, str], group: list[Finding]) -> Row:
    def by_arm(quantity: str) -> dict[str, Finding]:
        there = [f for f in group if f.quantity == quantity and f.value is not None]
        return {f.arm or "": f for f in there}

    first = next((f for f in group if f.limit or f.wish), group[0])
    missing = {f.arm or "": f for f in group if f.value is None}
    return Row(key[0], key[1], first, by_arm("value"), by_arm("difference"), missing)


def prescribed(patient: Patient) -> tuple[str, float] | None:
    """Return the target and dose (Gy) that 100 % stands for: of the PTVs, else of all, the highest."""
    if patient.plan is None or not patient.plan.prescription.targets:
        return None
    targets = patient.plan.prescription.targets
    whole = {name: dose for name, dose in targets.items() if name.startswith("PTV")}
    return max((whole or targets).items(), key=lambda item: item[1])


def largest_change(rows: Iterable[Row], unit: str, arms: Iterable[str] | None = None) -> Finding | None:
    """Return the signed difference of the largest size among those of a unit, for some arms or for all."""
    wanted = None if arms is None else set(arms)
    changes = [
        f
        for row in rows
        for arm, f in row.changes.items()
        if f.unit == unit and is_signed(f) and (wanted is None or arm in wanted)
    ]
    return max(changes, key=lambda f: abs(f.value or 0.0), default=None)


def largest_dose_change(book: Book, arms: Iterable[str] | None = None) -> Finding | None:
    """Return the largest difference of dose: in Gy, else in % of a dose (volumes are no doses)."""
    rows = [r for r in book.doses if not r.metric.startswith("V")]
    names = None if arms is None else tuple(arms)
    return largest_change(rows, "Gy", names) or largest_change(rows, "%", names)
