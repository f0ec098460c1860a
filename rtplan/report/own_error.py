"""What a predicting network errs by on patients that it has not seen, beside what it predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rtplan.domain import Finding
from rtplan.report.words import number


@dataclass(frozen=True)
class OwnError:
    """Mean absolute errors, measured; of sets of patients the largest.

    Parameters
    ----------
    ntcp_pp : mapping of str to float
        By set of NTCP parameters, percentage points.
    boost_d98_gy : float or None
        Of the boost's D98 %, Gy.
    measured_on : tuple of str
        Sets of patients.
    """

    ntcp_pp: Mapping[str, float] = field(default_factory=dict)
    boost_d98_gy: float | None = None
    measured_on: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Return the errors in one sentence for the page."""
        parts = [f"{number(pp, 1)} percentage points of NTCP ({model})" for model, pp in self.ntcp_pp.items()]
        if self.boost_d98_gy is not None:
            parts.append(f"{number(self.boost_d98_gy, 1)} Gy of the boost's D98 %")
        if not parts:
            return "How far the network errs is not stated on its card: take no small change for real."
        return (
            f"The network itself errs by {' and '.join(parts)} on average (mean absolute error, the "
            f"larger of: {'; '.join(self.measured_on)}). A smaller change with the boost need not be real."
        )


def ntcp_of(findings: Sequence[Finding]) -> Finding | None:
    """Return the first risk that has a value."""
    return next((f for f in findings if f.metric == "NTCP" and f.value is not None), None)


def change_told(here: Finding, there: Finding | None, error: OwnError) -> str:
    """Return how a risk differs from that for the protocol's boost, and whether by more than the error.

    Empty where there is nothing to compare with, or the two are of different models.

    Examples
    --------
    >>> own = Finding("NTCP", 0.10, "", "PredictDose", model="rectum")
    >>> less = Finding("NTCP", 0.094, "", "PredictDose", model="rectum")
    >>> change_told(less, own, OwnError({"rectum": 0.9}, None, ("30 pelves",)))
    "−0.6 points: within the network's error"
    """
    if there is None or here.value is None or there.value is None or here.model != there.model:
        return ""
    points = 100.0 * (here.value - there.value)
    allowed = error.ntcp_pp.get(here.model or "")
    if allowed is None:
        judged = "error unknown"
    elif abs(points) <= allowed:
        judged = "within the network's error"
    else:
        judged = "more than the network's error"
    return f"{number(points, 1, sign=True)} points: {judged}"
