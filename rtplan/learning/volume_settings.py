"""What the settings of all dose networks share: a ``train.toml`` with task dose, of whatever site."""

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
from rtplan.learning.settings import OptimiseSettings


class VolumeData(Frozen):
    """Where patients come from."""

    @property
    def words(self) -> str:
        """What the card says of this source."""
        raise NotImplementedError


class Mirrors(Frozen):
    """Random mirrors of a training sample.

    Left–right, and along the body: all beams are coplanar, so their physics stays.
    """

    mirror_chance: float = Field(0.5, ge=0.0, le=1.0)
    upside_chance: float = Field(0.5, ge=0.0, le=1.0)


class SortedLoss(Frozen):
    """``dvh`` weighs the L1 of the sorted doses per structure, from step ``dvh_from`` on."""

    dvh: float = Field(0.0, ge=0.0)
    dvh_from: int = Field(0, ge=0)


class VolumeSettings(Frozen):
    """One training of a dose network; a site adds channels, patients, augmentation and loss."""

    schema_version: Literal[1] = Field(1, alias="schema")
    name: str
    task: Literal["dose"]
    site: str
    seed: int = 1
    network: NetworkSpec = NetworkSpec()
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    spacing_zyx_mm: Triple
    patch_zyx: Shape
    data: tuple[VolumeData, ...]
    augment: Mirrors = Mirrors()
    loss: SortedLoss = SortedLoss()
    optimise: OptimiseSettings
    limits: Limits = Limits()
    licence: LicenceSpec = LicenceSpec()


def anatomy(channels: tuple[str, ...]) -> tuple[InputSpec, ...]:
    """Return the inputs of a network that reads these channels of an anatomy."""
    return tuple(InputSpec(name=name, kind="anatomy") for name in channels)
