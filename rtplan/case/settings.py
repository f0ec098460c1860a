"""What the user asked for on one patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rtplan.domain.patient import ARMS
from rtplan.errors import FormatError, UnknownName
from rtplan.evaluation.arms import GAMMA, Criterion
from rtplan.imaging.vary import ContourVariation
from rtplan.planning.algorithm import demand_known
from rtplan.steps.sample_doses import demand_count

GAS = ("water", "as_reference")

_GAMMA = re.compile(r"(\d+(?:\.\d+)?)\s*%?\s*/\s*(\d+(?:\.\d+)?)\s*(?:mm)?")
_SIDES = ("L", "R", "A", "P", "S", "I")


@dataclass(frozen=True)
class CaseSettings:
    """Settings of `rtplan run`, beside the folder that is read and the folder that is written.

    Parameters
    ----------
    protocol : str
        Name on the shelf, or path of a TOML file.
    arms : tuple of str
        Density images to compare; the reference is always one of them where there is a CT.
    model : str
        Synthetic CT network.
    gas : str
        One rule for gas inside the body in every arm.
    margins : mapping of str to mapping
        Margins in mm (L, R, A, P, S, I) that the user gives for targets whose protocol has none.
    plan_on : str or None
        Arm that the plan is made on; None: the reference, else the synthetic CT.
    beams : int
        Number of equidistant fields.
    grid_mm : float
        Spacing of the dose grid.
    algorithm : str
        Of the arms' doses: ``pencil`` or ``cone``; the plan is optimised by the pencil beam.
    allow_unverified : bool
        Let unverified numbers decide verdicts and drive the optimisation.
    tps : str
        Profile of the planning system for which the DICOM is written: a name or the path of a TOML file.
    gamma : tuple of (float, float)
        Criteria of gamma: dose % (global) and distance mm.
    outcome : tuple of str
        Outcome models beside those of the protocol.
    dose_samples : int
        Samples of the synthetic CT on which the plan is calculated for the dose's part of the uncertainty
        budget: 0 for none (the fast way; findings say so), else 40 or more.
    residuals : str
        Measured residuals of the network that the samples are made with: ``real`` or ``digital``.
    contours : ContourVariation or None
        How far contours vary between readers (SD, correlation length), for the contours' part of the budget.
    seed : int
        Of every draw.
    device : str
        Computing device.
    """

    protocol: str
    arms: tuple[str, ...] = ARMS
    model: str = "synct_mr_pelvis"
    gas: str = "water"
    margins: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    plan_on: str | None = None
    beams: int = 7
    grid_mm: float = 3.0
    algorithm: str = "pencil"
    allow_unverified: bool = False
    tps: str = "common"
    gamma: tuple[Criterion, ...] = GAMMA
    outcome: tuple[str, ...] = ()
    dose_samples: int = 0
    residuals: str = "real"
    contours: ContourVariation | None = None
    seed: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.gas not in GAS:
            raise UnknownName(f"There is no rule {self.gas!r} for gas. Known: {', '.join(GAS)}.")
        asked = self.arms if self.plan_on is None else (*self.arms, self.plan_on)
        unknown = [name for name in asked if name not in ARMS]
        if unknown:
            raise UnknownName(f"There is no arm {unknown[0]!r}. Known: {', '.join(ARMS)}.")
        demand_count(self.dose_samples)
        demand_known(self.algorithm)

    def plain(self) -> dict[str, Any]:
        """Return the settings as plain data for the manifest."""
        return {
            "protocol": self.protocol,
            "arms": list(self.arms),
            "model": self.model,
            "gas": self.gas,
            "margins": {name: dict(sides) for name, sides in self.margins.items()},
            "plan_on": self.plan_on,
            "beams": self.beams,
            "grid_mm": self.grid_mm,
            "algorithm": self.algorithm,
            "allow_unverified": self.allow_unverified,
            "tps": self.tps,
            "gamma": [list(criterion) for criterion in self.gamma],
            "outcome": list(self.outcome),
            "dose_samples": self.dose_samples,
            "residuals": self.residuals,
            "contours": None if self.contours is None else asdict(self.contours),
        }


def parse_margin(text: str) -> tuple[str, dict[str, float]]:
    """Read ``NAME=MM`` or ``NAME=L,R,A,P,S,I`` (mm).

    Raises
    ------
    FormatError
        If the text is not of this form.

    Examples
    --------
    >>> parse_margin("PTVp_6000=5")[1]["P"]
    5.0
    >>> parse_margin("PTVp_6000=6,6,6,4,6,6")[1]["P"]
    4.0
    """
    name, _, numbers = text.partition("=")
    try:
        values = [float(part) for part in numbers.split(",")]
    except ValueError:
        values = []
    if not name or len(values) not in (1, 6) or any(not 0 <= value <= 50 for value in values):
        raise FormatError(
            f"A margin is written NAME=MM or NAME=L,R,A,P,S,I with 0 to 50 mm, got {text!r}.",
            action="for example --margin PTVp_6000=5 or --margin PTVp_6000=6,6,6,4,6,6",
        )
    return name, dict(zip(_SIDES, values * (6 // len(values)), strict=True))


def parse_gamma(text: str) -> Criterion:
    """Read ``PERCENT/MM``, the criterion of a gamma analysis.

    Raises
    ------
    FormatError
        If the text is not of this form.

    Examples
    --------
    >>> parse_gamma("2/2"), parse_gamma("3%/2mm")
    ((2.0, 2.0), (3.0, 2.0))
    """
    found = _GAMMA.fullmatch(text.strip())
    if found is None or not (0.0 < float(found[1]) <= 20.0 and 0.0 < float(found[2]) <= 20.0):
        raise FormatError(
            f"A gamma criterion is written PERCENT/MM, each above 0 and at most 20, got {text!r}.",
            action="for example --gamma 2/2 or --gamma 3%/2mm.",
        )
    return float(found[1]), float(found[2])


def parse_variation(text: str) -> ContourVariation:
    """Read ``SD,LENGTH`` (mm): how far contours vary between readers.

    Raises
    ------
    FormatError
        If the text is not of this form.
    StructureError
        If the numbers are out of range.

    Examples
    --------
    >>> parse_variation("2,15").length_mm
    15.0
    """
    try:
        sd_mm, length_mm = (float(part) for part in text.split(","))
    except ValueError:
        raise FormatError(
            f"A variation of contours is written SD,LENGTH in mm, got {text!r}.",
            action="for example --contours 2,15",
        ) from None
    return ContourVariation(sd_mm, length_mm)
