"""What is said of one metric over a cohort: agreement, its verdict against a margin, and an arm's risks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from rtplan.errors import FormatError
from rtplan.evaluation.limits import Bootstrap

Scale = Literal["as_is", "logit"]
Verdict = Literal["equivalent", "different", "cannot_tell", "none"]

#: Metrics that are no signed differences: a figure of each patient, without limits and tests.
FIGURES = ("MAE[", "PSNR[", "Dice", "Gamma", "DoseMAE90[")
#: Metrics that are probabilities; margins in percentage points hold for these alone.
RISKS = ("NTCP", "TCP")


@dataclass(frozen=True)
class Agreement:
    """One metric of one structure and arm over the cohort; all numbers in ``unit`` (risks are fractions).

    Parameters
    ----------
    arm, reference_arm, structure, metric, unit, model, verified
        As in the findings that it is made of.
    scale : {"as_is", "logit"}
        On the logit scale the differences are log odds ratios (``unit`` 1).
    figure : bool
        Whether the values are a figure of each patient (MAE, gamma pass rate) and no signed difference.
    n, left_out : int
        Patients that are evaluable, and finished patients that are not.
    mean, mean_ci95, sd, lower, upper, lower_ci95, upper_ci95
        Mean with its 95 % interval (t), standard deviation, limits of agreement with theirs (BCa).
    minimum, maximum, max_abs, p95_abs : float or None
        Of the values, and of their absolute values (largest, 95th percentile).
    p_t, p_wilcoxon, p_tost and p_…_holm
        Against no difference; that the mean lies inside the margin; corrected over the arms.
    margin : float or None
        In ``unit``; on the logit scale as it reads at the reference's mean risk.
    sample_size, sample_size_equivalent : int or None
        Patients that the asked precision of the limits needs; with whom these limits would lie inside.
    verdict, reason
        Against the margin, and why there is none or why numbers are missing.
    """

    arm: str
    reference_arm: str
    structure: str | None
    metric: str
    unit: str
    model: str | None = None
    verified: bool | None = None
    scale: Scale = "as_is"
    figure: bool = False
    n: int = 0
    left_out: int = 0
    mean: float | None = None
    mean_ci95: tuple[float, float] | None = None
    sd: float | None = None
    lower: float | None = None
    upper: float | None = None
    lower_ci95: tuple[float, float] | None = None
    upper_ci95: tuple[float, float] | None = None
    interval_method: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    max_abs: float | None = None
    p95_abs: float | None = None
    p_t: float | None = None
    p_wilcoxon: float | None = None
    p_tost: float | None = None
    p_t_holm: float | None = None
    p_wilcoxon_holm: float | None = None
    p_tost_holm: float | None = None
    margin: float | None = None
    sample_size: int | None = None
    sample_size_equivalent: int | None = None
    verdict: Verdict = "none"
    reason: str | None = None

    @property
    def question(self) -> tuple[str | None, str, str | None, Scale]:
        """What is asked of every arm alike: structure, metric, model, scale (Holm runs over its arms)."""
        return self.structure, self.metric, self.model, self.scale

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain data, ready for JSON."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Agreement:
        """Return the row that `as_dict` made plain; raise FormatError on fields that are not known."""
        known = {item.name for item in fields(cls)}
        if not set(plain) <= known:
            raise FormatError(f"A row of agreement has no field {sorted(set(plain) - known)[0]!r}.")
        held: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**held)


@dataclass(frozen=True)
class Judging:
    """How agreement is judged.

    Parameters
    ----------
    margin : float or None
        Of risks, as a fraction (1 pp = 0.01), set by the user; None: no verdict.
    precision : float or None
        Wanted half width of the limits' intervals of risks, as a fraction.
    bootstrap : Bootstrap
        Resamples and seed.
    allow_unverified : bool
        Whether models whose numbers were not seen in a source get a verdict.
    """

    margin: float | None = None
    precision: float | None = None
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    allow_unverified: bool = False

    def __post_init__(self) -> None:
        for name, value in (("margin", self.margin), ("precision", self.precision)):
            if value is not None and not 0.0 < value < 1.0:
                raise FormatError(f"The {name} of risks lies between 0 and 100 pp, got {100.0 * value:g} pp.")


@dataclass(frozen=True)
class ArmRisk:
    """The risks of one model on one arm over the cohort, as fractions."""

    arm: str
    structure: str | None
    metric: str
    model: str | None
    verified: bool | None
    n: int
    mean: float
    median: float
    minimum: float
    maximum: float

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain data, ready for JSON."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ArmRisk:
        """Return the row that `as_dict` made plain; raise FormatError on fields that do not fit."""
        if set(plain) != {item.name for item in fields(cls)}:
            raise FormatError("A row of risks has other fields than it should.")
        return cls(**plain)


def verdict_of(
    lower_ci95: tuple[float, float] | None, upper_ci95: tuple[float, float] | None, margin: float
) -> Verdict:
    """Judge limits of agreement by their 95 % intervals against ± a margin.

    *equivalent* if even the outer ends lie inside; *different* if the inner end of a limit lies outside;
    else *cannot_tell*, also where there are no intervals.

    Examples
    --------
    >>> verdict_of((-0.4, -0.2), (0.2, 0.4), 0.5), verdict_of((-0.4, -0.2), (0.6, 0.9), 0.5)
    ('equivalent', 'different')
    >>> verdict_of((-0.4, -0.2), (0.4, 0.6), 0.5)
    'cannot_tell'
    """
    if lower_ci95 is None or upper_ci95 is None:
        return "cannot_tell"
    if lower_ci95[0] > -margin and upper_ci95[1] < margin:
        return "equivalent"
    if lower_ci95[1] < -margin or upper_ci95[0] > margin:
        return "different"
    return "cannot_tell"
