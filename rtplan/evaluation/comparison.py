"""Two results of one question: what changed in settings, versions, findings and notices, and how much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from rtplan.domain import Finding, Notice
from rtplan.errors import FormatError

Kind = Literal["value", "verdict", "other", "new", "lost"]
#: What a finding is about, in a result: patient, arm, reference, structure, metric, quantity, model, dose.
Key = tuple[str, ...]

#: Largest change by unit that is none: a tenth of what the report prints (risks: 0.005 pp); a value that
#: passes through a file as text, or was summed in another order, changes by less.
TOLERANCES: Mapping[str, float] = MappingProxyType(
    {"Gy": 1e-3, "%": 1e-2, "cc": 1e-2, "HU": 1e-2, "mm": 1e-2, "dB": 1e-2, "1": 5e-5}
)
#: Of any other unit: a share of the larger value.
RELATIVE = 1e-4
#: Fields of a finding that must be equal, as they are read by a person or by a rule.
FIELDS = ("unit", "limit", "wish", "verified", "reason")


@dataclass(frozen=True)
class Results:
    """What of a finished run or cohort is compared.

    Parameters
    ----------
    kind : {"run", "cohort"}
        One patient, or many.
    facts : mapping of str to mapping
        Section (``settings``, ``versions`` …) to name to value, plain data.
    findings : tuple of Finding
        All; of a cohort with ``patient``.
    notices : tuple of Notice
        All.
    """

    kind: Literal["run", "cohort"]
    facts: Mapping[str, Mapping[str, Any]]
    findings: tuple[Finding, ...]
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class FactChange:
    """A setting, version or file that is not the same; None where one of both lacks it."""

    section: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class FindingChange:
    """A finding that is not the same.

    Parameters
    ----------
    kind : {"value", "verdict", "other", "new", "lost"}
        The first that holds of: there in one alone, verdict, value or interval, any other field.
    before, after : Finding or None
        None where one of both lacks it.
    size : float
        Change as a multiple of the tolerance; infinite where a value came or went.
    """

    kind: Kind
    before: Finding | None
    after: Finding | None
    size: float = 0.0

    @property
    def about(self) -> Finding:
        """Either of both: for arm, structure and metric."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def change(self) -> float | None:
        """After − before; None where a value lacks."""
        values = [None if f is None else f.value for f in (self.before, self.after)]
        return None if values[0] is None or values[1] is None else values[1] - values[0]

    def as_finding(self) -> Finding:
        """Return the change as a finding: a difference, with what stood before and after in its detail."""
        told = {"change": self.kind, "before": _told(self.before), "after": _told(self.after)}
        held = replace(
            self.about,
            quantity="difference",
            step="Compare",
            detail=told,
            interval95=None,
            interval_method=None,
        )
        if self.change is None:
            why = {"new": "only in the second", "lost": "only in the first"}.get(self.kind, "no value in one")
            return replace(held, value=None, verdict="not_evaluable", reason=why)
        return replace(held, value=self.change, verdict="none", reason=None)


@dataclass(frozen=True)
class NoticeChange:
    """A notice that stands in one of both alone."""

    notice: Notice
    kind: Literal["new", "lost"]


@dataclass(frozen=True)
class Comparison:
    """What is not the same in two results.

    Parameters
    ----------
    facts : tuple of FactChange
        Causes: settings, versions, inputs, weights, data files, steps.
    findings : tuple of FindingChange
        The gravest first.
    notices : tuple of NoticeChange
        New and lost.
    compared : int
        Findings that both have.
    many : bool
        Whether they are of cohorts.
    tolerances : mapping of str to float
        By unit.
    """

    facts: tuple[FactChange, ...]
    findings: tuple[FindingChange, ...]
    notices: tuple[NoticeChange, ...]
    compared: int
    many: bool = False
    tolerances: Mapping[str, float] = field(default_factory=lambda: TOLERANCES)

    @property
    def same_results(self) -> bool:
        """Whether findings and notices are the same; what led to them need not be."""
        return not self.findings and not self.notices

    def counts(self) -> dict[str, int]:
        """Return how many findings changed, by kind."""
        found = Counter(change.kind for change in self.findings)
        return {kind: found[kind] for kind in _RANKS}


_RANKS: Mapping[Kind, int] = {"verdict": 0, "lost": 1, "new": 2, "value": 3, "other": 4}


def compare(before: Results, after: Results, tolerances: Mapping[str, float] | None = None) -> Comparison:
    """Return what is not the same in two results.

    Parameters
    ----------
    before, after : Results
        Of one patient each, or of a cohort each. Two runs of one patient are compared whatever their
        pseudonyms; in cohorts the pseudonym tells the patients apart.
    tolerances : mapping of str to float, optional
        By unit, in the place of `TOLERANCES`; units that are not named keep theirs.

    Raises
    ------
    FormatError
        If one is a run and the other a cohort, or a tolerance is negative or not finite.

    Examples
    --------
    >>> from rtplan.domain import Finding
    >>> def run(mean_gy):
    ...     return Results("run", {}, (Finding("Mean[Gy]", mean_gy, "Gy", "EvaluateProtocol"),))
    >>> [change.change for change in compare(run(30.0), run(30.5)).findings]
    [0.5]
    >>> compare(run(30.0), run(30.5), {"Gy": 0.6}).same_results
    True
    """
    if before.kind != after.kind:
        raise FormatError(
            f"A {before.kind} is compared with a {after.kind}.",
            action="give two runs, or two studies or batches.",
        )
    limits = {**TOLERANCES, **(tolerances or {})}
    for unit, limit in limits.items():
        if not (math.isfinite(limit) and limit >= 0.0):
            raise FormatError(f"The tolerance of {unit} is no finite number from 0: {limit}.")
    many = before.kind == "cohort"
    first, second = _by_key(before.findings, many), _by_key(after.findings, many)
    changes = [_lone("lost", first[key]) for key in first if key not in second]
    changes += [_lone("new", second[key]) for key in second if key not in first]
    both = [key for key in first if key in second]
    changes += [c for key in both if (c := _changed(first[key], second[key], limits)) is not None]
    ranked = sorted(changes, key=lambda change: (_RANKS[change.kind], -change.size))
    return Comparison(
        _facts(before.facts, after.facts),
        tuple(ranked),
        _notices(before.notices, after.notices),
        len(both),
        many,
        MappingProxyType(limits),
    )


def _by_key(findings: Iterable[Finding], many: bool) -> dict[Key, Finding]:
    """Return findings by what they are about; those about the same are told apart by their order."""
    found: dict[Key, Finding] = {}
    seen: Counter[Key] = Counter()
    for f in findings:
        about = (
            f.patient if many else "",
            f.arm,
            f.reference_arm,
            f.structure,
            f.metric,
            f.quantity,
            f.model,
        )
        key = tuple(part or "" for part in (*about, f.dose_kind))
        seen[key] += 1
        found[*key, str(seen[key])] = f
    return found


def _lone(kind: Literal["new", "lost"], finding: Finding) -> FindingChange:
    before, after = (None, finding) if kind == "new" else (finding, None)
    return FindingChange(kind, before, after, math.inf)


def _changed(a: Finding, b: Finding, tolerances: Mapping[str, float]) -> FindingChange | None:
    size = max(
        _size(x, y, a.unit, tolerances)
        for x, y in ((a.value, b.value), *zip(_ends(a.interval95), _ends(b.interval95), strict=True))
    )
    if a.verdict != b.verdict:
        return FindingChange("verdict", a, b, size)
    if size > 1.0:
        return FindingChange("value", a, b, size)
    if any(getattr(a, name) != getattr(b, name) for name in FIELDS):
        return FindingChange("other", a, b, size)
    return None


def _ends(interval: tuple[float, float] | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else interval


def _size(a: float | None, b: float | None, unit: str, tolerances: Mapping[str, float]) -> float:
    """Return a change as a multiple of its tolerance."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    limit = tolerances.get(unit, RELATIVE * max(abs(a), abs(b)))
    if a == b:
        return 0.0
    return abs(b - a) / limit if limit else math.inf


def _facts(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> tuple[FactChange, ...]:
    changes = []
    for section in dict.fromkeys((*before, *after)):
        a, b = before.get(section, {}), after.get(section, {})
        differ = [name for name in dict.fromkeys((*a, *b)) if a.get(name) != b.get(name)]
        whole = {name for name in differ if name not in a or name not in b}
        changes += [
            FactChange(section, name, a.get(name), b.get(name))
            for name in differ
            if name.rpartition(".")[0] not in whole  # of a step that came or went, its settings say no more
        ]
    return tuple(changes)


def _notices(before: Iterable[Notice], after: Iterable[Notice]) -> tuple[NoticeChange, ...]:
    a, b = Counter(map(_said, before)), Counter(map(_said, after))
    new = [NoticeChange(notice, "new") for notice in (b - a).elements()]
    return (*new, *(NoticeChange(notice, "lost") for notice in (a - b).elements()))


def _said(notice: Notice) -> Notice:
    """Return a notice without the place of its file, which is another one in another folder."""
    return replace(notice, file=None, uid=None)


def _told(finding: Finding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    held = ("value", "interval95", "verdict", "limit", "wish", "verified", "reason")
    plain = finding.as_dict()
    return {name: plain[name] for name in held}
