"""Who may benefit from a spacer, before any plan: regressions on a digital cohort that was planned twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtplan import resources
from rtplan.dosimetry.budget import interval95
from rtplan.dosimetry.protocol import Protocol, Source, read_model
from rtplan.errors import ModelError
from rtplan.planning.answer import Judged, benefit_of, judge, meets
from rtplan.planning.nearness import Nearness
from rtplan.planning.spacer import SHELF, Rule, read_by

Float = NDArray[np.float64]

#: A feature may lie so far outside those of the cohort, in parts of their range.
BEYOND = 0.25
#: Draws of patients and of what the regression leaves over.
DRAWS = 1000
#: Weight of the penalty on standardised slopes, in patients.
RIDGE = 1.0


@dataclass(frozen=True)
class Evidence:
    """What a prediction is made from.

    Parameters
    ----------
    near : Nearness
        Of the rectum.
    target, lesion : str
        Names of the planning target and of the boost; the latter may be empty.

    Notes
    -----
    A dose that a network predicts can stand here beside the geometry, with features of its own in
    ``FEATURES``; there is no such network for the prostate yet.
    """

    near: Nearness
    target: str
    lesion: str = ""


def _share(distance_mm: float) -> Callable[[Evidence], float]:
    return lambda seen: 100.0 * seen.near.share(seen.target, distance_mm)


#: Every feature by name: % of the rectum within a distance of the planning target, distance of the lesion.
FEATURES: dict[str, Callable[[Evidence], float]] = {
    "rectum_in_target_percent": _share(0.0),
    "rectum_within_3mm_percent": _share(3.0),
    "rectum_within_6mm_percent": _share(6.0),
    "rectum_within_12mm_percent": _share(12.0),
    "target_overlap_depth_mm": lambda seen: -seen.near.nearest_mm[seen.target],
    "lesion_distance_mm": lambda seen: min(seen.near.nearest_mm[seen.lesion], 40.0),
    "rectum_cc": lambda seen: seen.near.volumes_cc["Rectum"],
}


class Cohort(BaseModel):
    """Where the rows come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patients: str
    planner_commit: str
    settings: str
    sha256: str


class Predictor(BaseModel):
    """``models/spacer/predictor_<protocol>.toml``: the planned patients that a prediction is fitted on.

    Parameters
    ----------
    protocol : str
        The only one that it speaks of.
    fractions : int
        Of that protocol.
    features : tuple of str
        Columns of ``rows`` that are known before a plan.
    outputs : tuple of str
        Columns of ``rows`` that two plans gave, by what a rule reads (`rtplan.planning.spacer.read_by`): its
        value without (``…|without``) and with a gel (``…|with``), %, or by how many % of what it was it
        falls (``…|fall``).
    rows : tuple of tuple of float
        One per patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Annotated[Literal[1], Field(alias="schema")]
    description: str
    protocol: str
    fractions: int
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    cohort: Cohort
    verified: bool
    source: Source
    rows: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _whole(self) -> Predictor:
        unknown = [name for name in self.features if name not in FEATURES]
        if unknown:
            raise ValueError(f"there is no feature {unknown[0]!r}; known: {', '.join(FEATURES)}")
        if any(len(row) != len(self.features) + len(self.outputs) for row in self.rows):
            raise ValueError("every row holds all features and all outputs")
        if len(self.rows) < 3 * (len(self.features) + 1):
            raise ValueError("there are too few patients for so many features")
        if digest(self.rows) != self.cohort.sha256:
            raise ValueError("the rows are not those that the hash is of")
        return self

    @property
    def table(self) -> tuple[Float, Float]:
        """Features and outputs, shape (patients, …)."""
        every = np.array(self.rows, np.float64)
        return every[:, : len(self.features)], every[:, len(self.features) :]


@dataclass(frozen=True, eq=False)
class Predicted:
    """Draws of the outputs for one patient.

    Parameters
    ----------
    fractions : int
        Of the course.
    draws : mapping of str to ndarray, shape (draws,)
        By output, %.
    best : mapping of str to float
        By output.
    outside : tuple of str
        Features that lie outside those of the cohort.
    """

    fractions: int
    draws: Mapping[str, Float]
    best: Mapping[str, float]
    outside: tuple[str, ...]


def digest(rows: tuple[tuple[float, ...], ...]) -> str:
    """Return the SHA-256 of rows as they are written."""
    text = "\n".join(" ".join(f"{value:.6g}" for value in row) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def load_predictor(protocol: Protocol) -> Predictor:
    """Read the predictor of a protocol.

    Raises
    ------
    ModelError
        If there is none, or it is of other fractions: a prediction speaks of the plans that it was fitted on
        only.
    FormatError
        If the file is not of this form.
    """
    name = f"predictor_{protocol.name}"
    if name not in resources.names(SHELF):
        there = [n.removeprefix("predictor_") for n in resources.names(SHELF) if n.startswith("predictor_")]
        raise ModelError(
            f"There is no predictor of a spacer's benefit for {protocol.name}; there is one for "
            f"{', '.join(there) or 'none'}.",
            action="plan with and without the spacer: leave --predict out.",
        )
    found = read_model(Predictor, resources.find(SHELF, name))
    if found.fractions != protocol.fractions:
        raise ModelError(
            f"The predictor for {protocol.name} is of {found.fractions} fractions, the protocol has "
            f"{protocol.fractions}.",
            action="plan with and without the spacer: leave --predict out.",
        )
    return found


def features_of(predictor: Predictor, seen: Evidence) -> Float:
    """Return a patient's features; raise ModelError where the lesion is needed and absent."""
    if "lesion_distance_mm" in predictor.features and not seen.lesion:
        raise ModelError(
            "The predictor needs the boost's target, which is not among the structures.",
            action="supply it by --structures FILE.dcm, or leave --predict out.",
        )
    return np.array([FEATURES[name](seen) for name in predictor.features], np.float64)


def predict(predictor: Predictor, features: Float, *, seed: int = 1, draws: int = DRAWS) -> Predicted:
    """Return the outputs of a patient, with draws.

    Parameters
    ----------
    predictor : Predictor
    features : ndarray, shape (features,)
        From `features_of`.
    seed : int
        Of the draws.
    draws : int
        Each takes the cohort's patients with replacement, fits again, and adds what the fit leaves over of a
        patient whom it has not seen, all outputs of him together.

    Notes
    -----
    Ridge regression on standardised features, one output each; nothing lies below 0, nothing falls by more
    than all.
    """
    x, y = predictor.table
    rng = np.random.default_rng(seed)
    found = np.empty((draws, y.shape[1]))
    for n in range(draws):
        chosen = rng.integers(0, len(x), len(x))
        unseen = np.setdiff1d(np.arange(len(x)), chosen)
        fit = _fitted(x[chosen], y[chosen])
        left = y[unseen] - fit(x[unseen])
        found[n] = fit(features[None])[0] + left[rng.integers(0, len(unseen))]
    most = [100.0 if name.endswith("|fall") else np.inf for name in predictor.outputs]
    best = np.clip(_fitted(x, y)(features[None])[0], 0.0, most)
    found = np.clip(found, 0.0, most)
    low, high = x.min(axis=0), x.max(axis=0)
    far = (features < low - BEYOND * (high - low)) | (features > high + BEYOND * (high - low))
    return Predicted(
        predictor.fractions,
        {name: found[:, k] for k, name in enumerate(predictor.outputs)},
        {name: float(best[k]) for k, name in enumerate(predictor.outputs)},
        tuple(name for name, out in zip(predictor.features, far, strict=True) if out),
    )


def _fitted(x: Float, y: Float) -> Callable[[Float], Float]:
    """Return the regression of outputs on features."""
    middle, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    z = (x - middle) / spread
    slope = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean(axis=0)))

    def values(features: Float) -> Float:
        found: Float = (features - middle) / spread @ slope + y.mean(axis=0)
        return found

    return values


def judge_predicted(rule: Rule, predicted: Predicted, *, decides: bool) -> tuple[Judged, float | None]:
    """Return what a rule says of a prediction, and the probability that it is met.

    A patient unlike the cohort gets no answer; nor does a rule that reads what the cohort does not tell.
    """
    drawn, best = _read(rule, predicted, predicted.draws), _read(rule, predicted, predicted.best)
    if drawn is None or best is None:
        return judge(rule, None, None, None, decides=decides), None
    first, gains = drawn
    judged = judge(
        rule,
        float(best[0][0]),
        float(best[1][0]),
        interval95(gains),
        decides=decides,
        baseline95=interval95(first),
    )
    judged = replace(judged, reason=f"predicted {judged.reason}")
    if predicted.outside:
        said = f"the patient is unlike the cohort ({', '.join(predicted.outside)})"
        judged = replace(judged, answer="cannot_tell", reason=said)
    met = [meets(rule, float(b), float(g)) for b, g in zip(first, gains, strict=True)]
    return judged, float(np.mean(met))


def _read(
    rule: Rule, predicted: Predicted, of: Mapping[str, Float] | Mapping[str, float]
) -> tuple[Float, Float] | None:
    """Return a rule's baseline and benefit, %; None where the cohort does not tell them."""
    words = read_by(rule, predicted.fractions)
    without, after, fall = (of.get(f"{words}|{side}") for side in ("without", "with", "fall"))
    if without is None:
        return None
    first = np.atleast_1d(without)
    if rule.form == "relative" and fall is not None:
        return first, np.atleast_1d(fall)
    if rule.form == "baseline":
        return first, first
    if after is None:
        return None
    pairs = zip(first, np.atleast_1d(after), strict=True)
    return first, np.array([benefit_of(rule, float(a), float(b)) or 0.0 for a, b in pairs])
