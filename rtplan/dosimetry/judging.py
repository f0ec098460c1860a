"""Findings of DVH metrics: per arm, against a protocol's goals, and as paired differences between arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rtplan.domain import Dose, Finding, Patient
from rtplan.dosimetry.curves import arms_with_dose, shown
from rtplan.dosimetry.dvh import Dvh, MetricValue, Settings, value
from rtplan.dosimetry.extent import completed_fraction
from rtplan.dosimetry.indices import quality_findings
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.metric import Metric, parse
from rtplan.dosimetry.protocol import Goal, Protocol
from rtplan.errors import DoseError, RtplanError

STEP = "EvaluateProtocol"
#: ICRU Report 83 (2010): near-minimum, median, near-maximum, mean.
STANDARD = ("D98%[Gy]", "D50%[Gy]", "D2%[Gy]", "Mean[Gy]")


@dataclass(frozen=True)
class Row:
    """One metric of one structure, with the goal it comes from, if any."""

    structure: str
    metric: Metric
    goal: Goal | None = None


def reference_arm(patient: Patient) -> str | None:
    """Return the arm that others are compared with: the CT, else the arm of the plan, else the last."""
    arms = arms_with_dose(patient)
    if patient.reference_arm in arms:
        return patient.reference_arm
    made_on = patient.plan.made_on if patient.plan is not None else None
    return made_on if made_on in arms else (arms[-1] if arms else None)


def rows_of(patient: Patient, protocol: Protocol) -> tuple[Row, ...]:
    """Return the goals' metrics, then the standard ones of all targets and organs."""
    rows = [Row(goal.structure, goal.parsed, goal) for goal in protocol.goal]
    seen = {(row.structure, str(row.metric)) for row in rows}
    names = dict.fromkeys((*protocol.doses_gy, *shown(patient)))
    rows += [
        Row(name, parse(text))
        for name in names
        if name in patient.structures
        for text in STANDARD
        if (name, text) not in seen
    ]
    return tuple(rows)


def judge(
    patient: Patient,
    protocol: Protocol,
    settings: Settings | None = None,
    *,
    threads: int = 0,
    ledger: Ledger | None = None,
) -> tuple[Finding, ...]:
    """Return all findings of a protocol on a patient's doses.

    Parameters
    ----------
    patient : Patient
        With doses by arm.
    protocol : Protocol
        Its verified goals decide a verdict on the reference arm's dose; the others are evaluated, marked
        and decide nothing.
    settings : Settings, optional
        Of the DVH.
    threads : int
        How many structures are worked on at once; 0: by the number of cores.
    ledger : Ledger, optional
        With the DVHs that were made before; gets those that are made here.

    Notes
    -----
    Where absolute dose is withheld (``patient.absolute_withheld``) only differences carry values. Without
    a CT the differences are the spread around the plan's own arm and say so in ``detail``.
    """
    doses = {arm: patient.doses[arm] for arm in arms_with_dose(patient)}
    reference = reference_arm(patient)
    if reference is None:
        return ()
    rows = rows_of(patient, protocol)
    names = list(dict.fromkeys(row.structure for row in rows))
    there = [name for name in names if name in patient.structures]
    doses = _with_fractions(doses, protocol)
    asked = [patient.structures[name] for name in there]
    made = (ledger or Ledger()).histograms(asked, doses, settings, threads)
    table = dict(zip(there, made, strict=True))
    findings: list[Finding] = []
    for name in names:
        own = [row for row in rows if row.structure == name]
        if name in table:
            findings += _of_structure(patient, protocol, own, table[name], doses[reference])
        else:
            reason = f"There is no structure {name}."
            findings += [_missing(patient, row, reference, reason) for row in own]
    return tuple(findings)


def _of_structure(
    patient: Patient,
    protocol: Protocol,
    rows: list[Row],
    made: dict[str, Dvh] | RtplanError,
    dose: Dose,
) -> list[Finding]:
    """Return the findings of one structure from its DVHs by arm; the dose is the reference arm's."""
    name, reference = rows[0].structure, reference_arm(patient)
    assert reference is not None
    if isinstance(made, RtplanError):
        return [_missing(patient, row, reference, str(made)) for row in rows]
    completed = completed_fraction(patient, name)
    findings: list[Finding] = []
    for row in rows:
        findings += _of_row(patient, protocol, row, made, reference, completed)
    if patient.absolute_withheld is None:
        findings += _indices(patient, protocol, name, dose, made[reference])
    return findings


def _indices(patient: Patient, protocol: Protocol, name: str, dose: Dose, dvh: Dvh) -> list[Finding]:
    """Return homogeneity, conformity and gradient of a prescribed target (none of a boost "up to" a dose)."""
    found: list[Finding] = []
    for entry in protocol.prescription:
        if entry.target == name and entry.to != "up_to" and not dose.kind.startswith("EQD2"):
            found += quality_findings(patient.structures[name], dose, dvh, entry.dose_gy, STEP)
    return [replace(finding, patient=patient.key, arm=reference_arm(patient)) for finding in found]


def demand_prescription(metric: Metric, dvh: Dvh) -> None:
    """Raise DoseError where a % of EQD2 would refer to a physical prescription of unknown fractions."""
    if metric.needs_prescription and metric.alpha_beta_gy is not None and dvh.kind != "physical":
        raise DoseError(
            f"{metric} is a percentage of a prescription in EQD2, and a physical prescription does not say "
            "what that is: the dose is EQD2 already.",
            where=dvh.name,
            action="ask for the dose in Gy.",
        )


def _with_fractions(doses: Mapping[str, Dose], protocol: Protocol) -> dict[str, Dose]:
    """Return the doses with the protocol's number of fractions where they know none."""
    return {
        arm: dose
        if dose.fractions
        else Dose(dose.grid, dose.array, dose.kind, protocol.fractions, dose.source)
        for arm, dose in doses.items()
    }


def _of_row(
    patient: Patient, protocol: Protocol, row: Row, made: Mapping[str, Dvh], reference: str, completed: float
) -> list[Finding]:
    rx_gy = protocol.reference_of(row.goal) if row.goal is not None else None
    try:
        for dvh in made.values():
            demand_prescription(row.metric, dvh)
        values = {arm: value(dvh, row.metric, rx_gy) for arm, dvh in made.items()}
    except RtplanError as wrong:
        return [_missing(patient, row, reference, str(wrong))]
    withheld = patient.absolute_withheld
    if withheld is not None:
        findings = [_missing(patient, row, reference, withheld)]
    else:
        findings = [_finding(patient, row, arm, v, completed, arm == reference) for arm, v in values.items()]
    spread = patient.reference_arm is None
    for arm, v in values.items():
        if arm != reference:
            findings.append(
                _difference(patient, row, (arm, reference), (v, values[reference]), completed, spread)
            )
    return findings


def _finding(
    patient: Patient, row: Row, arm: str, v: MetricValue, completed: float, decides: bool
) -> Finding:
    goal = row.goal
    judged = goal.verdict(v.value) if goal is not None else "none"
    verdict = judged if decides and goal is not None and goal.verified else "none"
    detail = {} if goal is None else {"priority": goal.priority, "would_be": judged}
    return Finding(
        metric=str(row.metric),
        value=v.value,
        unit=v.unit,
        step=STEP,
        patient=patient.key,
        arm=arm,
        structure=row.structure,
        error_bound=v.error_bound,
        cap_bound=v.cap_bound,
        covered_fraction=v.covered_fraction,
        completed_fraction=completed,
        dose_kind=row.metric.dose_kind,
        limit=goal.limit if goal else None,
        wish=goal.wish if goal else None,
        verdict=verdict,
        verified=goal.verified if goal else None,
        source=goal.source or None if goal else None,
        detail=detail,
    )


def _difference(
    patient: Patient,
    row: Row,
    arms: tuple[str, str],
    values: tuple[MetricValue, MetricValue],
    completed: float,
    spread: bool,
) -> Finding:
    v, base = values
    change = v.value - base.value
    return Finding(
        metric=str(row.metric),
        value=change,
        unit=v.unit,
        step=STEP,
        patient=patient.key,
        arm=arms[0],
        reference_arm=arms[1],
        structure=row.structure,
        quantity="difference",
        error_bound=1.5 * abs(change - (v.coarse - base.coarse)),
        covered_fraction=v.covered_fraction,
        completed_fraction=completed,
        dose_kind=row.metric.dose_kind,
        detail={"spread": True} if spread else {},
    )


def _missing(patient: Patient, row: Row, arm: str, reason: str) -> Finding:
    goal = row.goal
    return Finding(
        metric=str(row.metric),
        value=None,
        unit=row.metric.unit,
        step=STEP,
        patient=patient.key,
        arm=arm,
        structure=row.structure,
        dose_kind=row.metric.dose_kind,
        limit=goal.limit if goal else None,
        wish=goal.wish if goal else None,
        verdict="not_evaluable",
        reason=reason,
        verified=goal.verified if goal else None,
        source=goal.source or None if goal else None,
    )
