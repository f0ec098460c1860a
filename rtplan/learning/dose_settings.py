"""Settings of the training of a dose network (``train.toml`` with ``task = "dose"``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rtplan.learning.card import (
    Frozen,
    InputSpec,
    LicenceSpec,
    Limits,
    NetworkSpec,
    OutputSpec,
    Shape,
    Triple,
)
from rtplan.learning.doses import CHANNELS
from rtplan.learning.settings import OptimiseSettings


class DoseData(Frozen):
    """A folder of OpenKBP patients; every ``hold_out_every``-th by number only chooses the weights."""

    folder: str
    hold_out_every: int = Field(5, ge=2)

    @property
    def words(self) -> str:
        """What the card says of this source."""
        name = self.folder.rstrip("/").split("/")[-1]
        return f"openkbp:{name}, without every {self.hold_out_every}th patient"


class DoseAugment(Frozen):
    """Random changes of a training sample.

    Parameters
    ----------
    mirror_chance : float
        Left–right mirror; the parotids swap.
    upside_chance : float
        Mirror along the body's axis: all beams are coplanar, so their physics stays.
    ct_dropout : float
        The CT channel is left out.
    """

    mirror_chance: float = Field(0.5, ge=0.0, le=1.0)
    upside_chance: float = Field(0.5, ge=0.0, le=1.0)
    ct_dropout: float = Field(0.2, ge=0.0, le=1.0)


class DoseLoss(Frozen):
    """Terms beside the L1 over the possible dose: ``dvh`` weighs the L1 of the sorted doses per structure."""

    dvh: float = Field(0.0, ge=0.0)
    dvh_from: int = Field(0, ge=0)


class DoseSettings(Frozen):
    """One training of a dose network."""

    schema_version: Literal[1] = Field(1, alias="schema")
    name: str
    task: Literal["dose"]
    site: str
    seed: int = 1
    network: NetworkSpec = NetworkSpec()
    inputs: tuple[InputSpec, ...] = tuple(InputSpec(name=name, kind="anatomy") for name in CHANNELS)
    outputs: tuple[OutputSpec, ...] = (OutputSpec(name="dose", unit="Gy", clip=(0.0, 80.0)),)
    spacing_zyx_mm: Triple
    patch_zyx: Shape = (16, 16, 16)
    data: tuple[DoseData, ...]
    augment: DoseAugment = DoseAugment()
    loss: DoseLoss = DoseLoss()
    optimise: OptimiseSettings
    limits: Limits = Limits()
    licence: LicenceSpec = LicenceSpec()
