"""A finding: the one currency of results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from rtplan.errors import FormatError

Verdict = Literal[
    "met", "wish_met", "missed", "equivalent", "different", "cannot_tell", "not_evaluable", "none"
]


@dataclass(frozen=True)
class Finding:
    """One result with unit, interval, verdict and source (one line of ``findings.json``).

    ``value`` is None exactly when the verdict is ``not_evaluable``; then ``reason`` says why.

    Raises
    ------
    FormatError
        If value, verdict and reason contradict each other, or the value is not finite.
    """

    metric: str
    value: float | None
    unit: str
    step: str
    patient: str = ""
    arm: str | None = None
    reference_arm: str | None = None
    structure: str | None = None
    quantity: Literal["value", "difference"] = "value"
    interval95: tuple[float, float] | None = None
    interval_method: str | None = None
    error_bound: float | None = None
    cap_bound: float | None = None
    covered_fraction: float | None = None
    completed_fraction: float = 0.0
    dose_kind: str | None = None
    limit: str | None = None
    wish: str | None = None
    verdict: Verdict = "none"
    reason: str | None = None
    model: str | None = None
    verified: bool | None = None
    source: str | None = None
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if (self.value is None) != (self.verdict == "not_evaluable"):
            raise FormatError(f"Finding {self.metric}: a value is missing exactly when it is not evaluable.")
        if self.value is None and not self.reason:
            raise FormatError(f"Finding {self.metric}: not evaluable without a reason.")
        if self.value is not None and not math.isfinite(self.value):
            raise FormatError(f"Finding {self.metric}: the value is not finite.")

    @property
    def key(self) -> tuple[str | None, str | None, str, str, str | None]:
        """What the finding is about: arm, structure, metric, quantity, model."""
        return self.arm, self.structure, self.metric, self.quantity, self.model

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data, ready for JSON."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        plain["detail"] = dict(self.detail)
        if self.interval95 is not None:
            plain["interval95"] = list(self.interval95)
        return plain
