"""What the user asked for of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rtplan import resources
from rtplan.case.settings import CaseSettings
from rtplan.errors import UnknownName
from rtplan.planning.aims import FAR_EVERY
from rtplan.planning.boost import RUNG_GY
from rtplan.planning.deliverable import ARC_RAY_MM
from rtplan.planning.optimise import OptimiseSettings
from rtplan.planning.prepare import Means
from rtplan.planning.robust import Robust

#: Beams by the word of the command line: number of equally spaced fields; ``arc``: one arc.
BEAMS = {"5": 5, "7": 7, "9": 9, "11": 11, "arc": 0}
#: Beams of the ideal fluences that an arc is made from.
ARC_FIELDS = 24
#: An arc's many directions leave the dose far away smoother than fields do: one voxel in so many there.
ARC_FAR = 4


@dataclass(frozen=True)
class PlanSettings:
    """Settings of `rtplan plan`, beside the folder that is read and the folder that is written.

    Parameters
    ----------
    protocol : str
        Name on the shelf, or path of a TOML file.
    beams : str
        Key of ``BEAMS``.
    grid_mm : float
        Spacing of the dose grid.
    deliver : bool
        Whether fluences become leaf positions.
    climb_gy : float
        How far above its prescription the boost is tried; 0: not at all.
    plan_on : str or None
        Arm that the plan is made on; None: the CT, else the synthetic CT.
    margins : mapping of str to mapping
        As in `CaseSettings`.
    allow_unverified, risk : bool
        Whether unverified goals, and the protocol's outcome models, drive the plan.
    algorithm : str
        Of the reported dose; leaves and fluences are optimised by the pencil beam.
    second : bool
        Whether the other algorithm calculates the plan too.
    robust : Robust or None
        Setup shifts and contour samples that the plan is evaluated in; None: not.
    serve : bool
        Whether the plan is optimised for these scenarios too.
    mimic : Path or None
        RTDOSE that the plan shall come near to.
    machine, mlc, curve : str
        Names of beam file, machine limits and density curve.
    model : str
        Synthetic CT network.
    seed : int
        Stands in the manifest.
    device : str
        Computing device.
    """

    protocol: str
    beams: str = "7"
    grid_mm: float = 2.5
    deliver: bool = True
    climb_gy: float = RUNG_GY
    plan_on: str | None = None
    margins: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    allow_unverified: bool = False
    risk: bool = False
    algorithm: str = "pencil"
    second: bool = True
    robust: Robust | None = field(default_factory=Robust)
    serve: bool = False
    mimic: Path | None = None
    machine: str = "generic_6mv"
    mlc: str = "generic_mlc120"
    curve: str = "matrad_default"
    model: str = "synct_mr_pelvis"
    seed: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.beams not in BEAMS:
            raise UnknownName(f"There are no beams {self.beams!r}. Known: {', '.join(BEAMS)}.")
        if not 1.0 <= self.grid_mm <= 10.0:
            raise UnknownName(
                f"A dose grid of {self.grid_mm:g} mm is out of range.", action="give 1 to 10 mm."
            )

    @property
    def arc(self) -> bool:
        """Whether the gantry turns while the beam is on."""
        return BEAMS[self.beams] == 0

    @property
    def optimise(self) -> OptimiseSettings:
        """How the fluences are optimised."""
        if self.arc:
            return OptimiseSettings(
                beams=ARC_FIELDS, grid_mm=self.grid_mm, first=30, further=10, rounds=3, ray_mm=ARC_RAY_MM
            )
        return OptimiseSettings(beams=BEAMS[self.beams], grid_mm=self.grid_mm)

    @property
    def means(self) -> Means:
        """What the plan is made with."""
        return Means(
            self.grid_mm,
            self.plan_on,
            self.allow_unverified,
            self.risk,
            self.machine,
            self.curve,
            self.device,
            ARC_FAR if self.arc else FAR_EVERY,
        )

    @property
    def case(self) -> CaseSettings:
        """The settings of the steps before the plan."""
        return CaseSettings(
            self.protocol, model=self.model, plan_on=self.plan_on, margins=self.margins, device=self.device
        )

    def plain(self) -> dict[str, Any]:
        """Return the settings as plain data for the manifest."""
        found = {name: value for name, value in vars(self).items() if not isinstance(value, Mapping)}
        return found | {
            "margins": {name: dict(sides) for name, sides in self.margins.items()},
            "mimic": None if self.mimic is None else resources.sha256(self.mimic),
            "robust": None if self.robust is None else asdict(self.robust),
        }
