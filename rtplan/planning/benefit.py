"""What a spacer changes: metrics and risks of the plans with and without it, with intervals, and rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Finding, Patient
from rtplan.dosimetry.budget import interval95, lots
from rtplan.dosimetry.dvh import Dvh, value
from rtplan.dosimetry.extent import is_cut
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.metric import Metric, parse
from rtplan.dosimetry.outcome import effective_dose, evaluate
from rtplan.dosimetry.parameters import ParameterSet, load_set
from rtplan.dosimetry.parts import Answers, Budget, Exposure, Told, budget_of
from rtplan.dosimetry.population import Use, refusal
from rtplan.dosimetry.protocol import Protocol
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.dosimetry.risk import source_of
from rtplan.errors import RtplanError
from rtplan.planning.answer import Interval, Judged, benefit_of, judge
from rtplan.planning.gel_samples import PARTS, GelSamples
from rtplan.planning.spacer import Rule, translated

Float = NDArray[np.float64]
STEP = "CompareSpacer"
#: The arm with the gel.
ARM = "Spacer"
#: What is compared in the rectum, and in what is to be treated.
RECTUM = (
    "V70Gy[%]@EQD2(3)",
    "V75Gy[%]@EQD2(3)",
    "V70Gy[%]",
    "V75Gy[%]",
    "D2cc[Gy]",
    "Mean[Gy]",
)
TARGET = ("D98%[Gy]", "D50%[Gy]", "D2%[Gy]")
_UNIT = {"relative": "%", "absolute": "pp", "baseline": "%"}
_VERDICT = {"benefits": "met", "does_not": "missed", "cannot_tell": "cannot_tell"}


@dataclass(frozen=True)
class Asked:
    """How two plans are compared.

    Parameters
    ----------
    rules : tuple of Rule
        The first one decides, if it may.
    allow_unverified : bool
        Whether a rule whose source was not seen may decide.
    samples, seed : int
        Of the outcome's parameters.
    """

    rules: tuple[Rule, ...]
    allow_unverified: bool = False
    samples: int = 2000
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Pair:
    """The patient without and with a gel, each with the dose of its own plan.

    Parameters
    ----------
    without, with_gel : Patient
        With structures; ``dose`` is read in these.
    doses : tuple of Dose
        In the same order.
    arm : str
        The density image that both were planned on.
    gels : GelSamples or None
        None: no intervals.
    ledger : Ledger
        With the DVHs that were made before.
    """

    without: Patient
    with_gel: Patient
    doses: tuple[Dose, Dose]
    arm: str
    gels: GelSamples | None = None
    ledger: Ledger = field(default_factory=Ledger, repr=False)

    def cut(self, name: str) -> str | None:
        """Return why nothing is told that is relative to the whole of a structure; None: it is whole."""
        image = self.without.images.get(self.arm)
        structure = self.without.structures.get(name)
        if image is None or structure is None or not is_cut(structure, image.grid):
            return None
        return f"{name} is cut by the field of view, and the whole organ is needed."

    def dvhs(self, name: str) -> tuple[Dvh, Dvh]:
        """Return the DVHs of a structure without and with a gel; raise what keeps them from being made."""
        found = []
        for patient, dose in zip((self.without, self.with_gel), self.doses, strict=True):
            (made,) = self.ledger.histograms([patient.structure(name)], {"dose": dose})
            if isinstance(made, RtplanError):
                raise made
            found.append(made["dose"])
        return found[0], found[1]


def compare(pair: Pair, protocol: Protocol, asked: Asked) -> tuple[tuple[Finding, ...], dict[str, Judged]]:
    """Return the findings of both plans and of their difference, and what each rule says.

    Parameters
    ----------
    pair : Pair
        Both planned by the same rules.
    protocol : Protocol
        Its outcome models are compared with the same draws on both.
    asked : Asked
        Rules and draws.
    """
    findings = list(_metrics(pair, protocol))
    names = [entry.model for entry in protocol.outcome]
    names += [rule.model for rule in asked.rules if rule.model and rule.model not in names]
    budgets: dict[str, tuple[tuple[float, float], Budget]] = {}
    for name in dict.fromkeys(names):
        found, budget = _risk(pair, protocol, load_set(name), asked)
        findings += found
        if budget is not None:
            budgets[name] = budget
    judged = {}
    for rank, rule in enumerate(asked.rules):
        decides = rank == 0 and (rule.verified or asked.allow_unverified)
        judged[rule.name], said = _ruled(pair, protocol, rule, budgets, decides=decides)
        findings.append(_of_rule(pair, judged[rule.name], said))
    return tuple(findings), judged


def _metrics(pair: Pair, protocol: Protocol) -> Iterator[Finding]:
    targets = [e.target for e in protocol.prescription if e.target in pair.without.structures]
    rows = [("Rectum", text) for text in RECTUM] + [(name, text) for name in targets for text in TARGET]
    for name, text in rows:
        metric = parse(text)
        try:
            made = pair.dvhs(name)
            values = [value(dvh, metric) for dvh in made]
        except RtplanError as wrong:
            yield _missing(pair, name, text, metric.unit, str(wrong))
            continue
        kind = {"structure": name, "metric": text, "unit": metric.unit, "dose_kind": metric.dose_kind}
        for arm, found in zip((pair.arm, ARM), values, strict=True):
            yield _finding(pair, arm=arm, value=found.value, error_bound=found.error_bound, **kind)
        change = values[1].value - values[0].value
        spread = _spread(pair, name, metric)
        interval = None if spread is None else interval95(spread - values[0].value)
        yield _difference(pair, change, interval, **kind)


def _spread(pair: Pair, name: str, metric: Metric) -> Float | None:
    """Return a metric of the plan with a gel under the samples of the gel; no volume or dose is below 0."""
    if pair.gels is None or name not in pair.gels.shift_gy:
        return None
    dvh = pair.dvhs(name)[1]
    exact = value(dvh, metric).value
    own = dvh.curve.doses_at(PARTS)
    base = _of_parts(metric, own, dvh)
    found = [exact + _of_parts(metric, own + s, dvh) - base for s in pair.gels.shift_gy[name]]
    return np.asarray(np.maximum(found, 0.0), np.float64)


def _of_parts(metric: Metric, doses_gy: Float, dvh: Dvh) -> float:
    """Return a metric of equal parts of a volume, hottest first."""
    if metric.alpha_beta_gy is not None:
        assert dvh.fractions is not None
        doses_gy = np.asarray(eqd2(np.maximum(doses_gy, 0.0), dvh.fractions, metric.alpha_beta_gy))
    if metric.kind == "Mean":
        return float(doses_gy.mean())
    assert metric.amount is not None
    falling = np.sort(doses_gy)[::-1]
    if metric.kind == "V":
        share = float(np.interp(-metric.amount, -falling, PARTS, left=0.0, right=1.0))
        return 100.0 * share if metric.unit == "%" else share * dvh.curve.total_cc
    share = metric.amount / (dvh.curve.total_cc if metric.amount_unit == "cc" else 100.0)
    return float(np.interp(share, PARTS, falling))


def _risk(
    pair: Pair, protocol: Protocol, parameters: ParameterSet, asked: Asked
) -> tuple[list[Finding], tuple[tuple[float, float], Budget] | None]:
    """Return the findings of one outcome model, and its two values with the budget of their difference."""
    name = parameters.structure
    reason = refusal(parameters, Use(protocol.site))
    if name not in pair.without.structures:
        reason = f"There is no structure {name} ({parameters.organ_definition})."
    reason = reason or pair.cut(name)
    kind: dict[str, Any] = {
        "structure": name, "metric": parameters.kind.upper(), "unit": "1", "model": parameters.name,
        "verified": parameters.verified, "source": source_of(parameters),
    }  # fmt: skip
    try:
        made = pair.dvhs(name) if reason is None else None
    except RtplanError as wrong:
        made, reason = None, str(wrong)
    if made is None:
        text = reason or ""
        return [_missing(pair, name, kind["metric"], "1", text, model=parameters.name)], None
    fractions = protocol.fractions
    outcomes = [evaluate(parameters, dvh, fractions, use=Use(protocol.site)) for dvh in made]
    drawn = lots(parameters, asked.samples, asked.seed)
    shifts = pair.gels.shift_gy.get(name, np.zeros((0, 1))) if pair.gels is not None else np.zeros((0, 1))
    seen = [
        _exposure(parameters, dvh, fractions, s) for dvh, s in zip(made, (shifts[:0], shifts), strict=True)
    ]
    answers = [Answers(parameters, drawn, exposure) for exposure in seen]
    method = pair.gels.method if pair.gels is not None else ""
    methods = {"dose": method} | ({"parameters": drawn.first.method} if drawn.first else {})
    told = Told(methods, {"dose": "gel not varied", "contours": "not varied", "parameters": "not published"})
    alone = Told(methods, {**told.reasons, "dose": "taken as it is"})
    singles = [budget_of(a, t) for a, t in zip(answers, (alone, told), strict=True)]
    budget = budget_of(answers[1], told, answers[0])
    found = [
        _finding(
            pair, arm=arm, value=o.value, interval95=b.interval95, interval_method=b.method,
            dose_kind=o.dose_kind, detail={"endpoint": parameters.endpoint, "budget": b.detail}, **kind,
        )
        for arm, o, b in zip((pair.arm, ARM), outcomes, singles, strict=True)
    ]  # fmt: skip
    change = outcomes[1].value - outcomes[0].value
    detail = {"endpoint": parameters.endpoint, "budget": budget.detail}
    found.append(
        _finding(
            pair, arm=ARM, reference_arm=pair.arm, quantity="difference", value=change, detail=detail,
            interval95=budget.interval95, interval_method=budget.method,
            dose_kind=outcomes[0].dose_kind, **kind,
        )
    )  # fmt: skip
    return found, ((outcomes[0].value, outcomes[1].value), budget)


def _exposure(parameters: ParameterSet, dvh: Dvh, fractions: int, shifts: Float) -> Exposure:
    """Return what the model sees: the DVH in equal parts, and the same under every sample of the gel."""
    own = dvh.curve.doses_at(PARTS)
    volumes = np.full(len(PARTS), dvh.curve.total_cc / len(PARTS))
    doses = [own, *(np.maximum(own + shift, 0.0) for shift in shifts)]
    return Exposure([[(np.asarray(effective_dose(parameters, d, fractions)), volumes)] for d in doses])


def _ruled(
    pair: Pair,
    protocol: Protocol,
    rule: Rule,
    budgets: Mapping[str, tuple[tuple[float, float], Budget]],
    *,
    decides: bool,
) -> tuple[Judged, str]:
    """Return what a rule says, and how its dose was converted."""
    if rule.metric == "NTCP":
        if rule.model not in budgets:
            return judge(rule, None, None, None, decides=decides), ""
        (before, after), budget = budgets[rule.model or ""]
        interval = None
        if budget.interval95 is not None:
            interval = (-100.0 * budget.interval95[1], -100.0 * budget.interval95[0])
        if rule.form != "absolute":
            interval = None  # the budget is of the difference
        benefit = benefit_of(rule, 100.0 * before, 100.0 * after)
        return judge(rule, 100.0 * before, benefit, interval, decides=decides), ""
    found = translated(rule, protocol.fractions)
    said, cut = found.said if found.converted else "", pair.cut(rule.structure)
    if cut and rule.form != "relative":
        return judge(rule, None, None, None, decides=decides), said
    try:
        before, after = (value(dvh, found.metric).value for dvh in pair.dvhs(rule.structure))
    except RtplanError:
        return judge(rule, None, None, None, decides=decides), said
    benefit = benefit_of(rule, before, after)
    interval = _gains(rule, before, _spread(pair, rule.structure, found.metric))
    whole = (0.0, before) if cut else None  # of the whole organ it is less
    return judge(rule, before, benefit, interval, decides=decides, baseline95=whole), said


def _gains(rule: Rule, before: float, spread: Float | None) -> Interval | None:
    """Return the interval of a rule's benefit under the samples of the gel."""
    if spread is None or before <= 0.0 or rule.form == "baseline":
        return None
    return interval95(np.array([benefit_of(rule, before, float(after)) for after in spread], np.float64))


def _of_rule(pair: Pair, judged: Judged, said: str) -> Finding:
    rule = judged.rule
    detail = {
        "rule": rule.description, "answer": judged.answer, "decides": judged.decides, "reason": judged.reason,
        "baseline": judged.baseline, "converted": said, "note": rule.note,
    }  # fmt: skip
    kind: dict[str, Any] = {
        "structure": rule.structure, "metric": "SpacerBenefit", "unit": _UNIT[rule.form], "model": rule.name,
        "verified": rule.verified, "source": rule.source.citation, "limit": f">= {rule.at_least:g}",
    }  # fmt: skip
    if judged.value is None:
        return _finding(
            pair, arm=ARM, reference_arm=pair.arm, value=None, verdict="not_evaluable", reason=judged.reason,
            detail=detail, **kind,
        )  # fmt: skip
    return _finding(
        pair, arm=ARM, reference_arm=pair.arm, quantity="difference", value=judged.value,
        interval95=judged.interval95,
        interval_method=None if pair.gels is None or judged.interval95 is None else pair.gels.method,
        verdict=_VERDICT[judged.answer] if judged.decides else "none", detail=detail, **kind,
    )  # fmt: skip


def _finding(pair: Pair, **fields: Any) -> Finding:
    return Finding(step=STEP, patient=pair.without.key, **fields)


def _difference(pair: Pair, change: float, interval: tuple[float, float] | None, **kind: Any) -> Finding:
    method = pair.gels.method if pair.gels is not None and interval is not None else None
    return _finding(
        pair, arm=ARM, reference_arm=pair.arm, quantity="difference", value=change, interval95=interval,
        interval_method=method, **kind,
    )  # fmt: skip


def _missing(
    pair: Pair, name: str, metric: str, unit: str, reason: str, *, model: str | None = None
) -> Finding:
    return _finding(
        pair, arm=ARM, structure=name, metric=metric, unit=unit, value=None, verdict="not_evaluable",
        reason=reason, model=model,
    )  # fmt: skip
