"""What the settings of all dose networks share: a ``train.toml`` with task dose, of whatever site."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rtplan.learning.card import Frozen, InputSpec
from rtplan.learning.settings import NetworkTraining


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


class VolumeSettings(NetworkTraining):
    """One training of a dose network; a site adds channels, patients, augmentation and loss."""

    task: Literal["dose"]
    augment: Mirrors = Mirrors()
    loss: SortedLoss = SortedLoss()


def anatomy(channels: tuple[str, ...]) -> tuple[InputSpec, ...]:
    """Return the inputs of a network that reads these channels of an anatomy."""
    return tuple(InputSpec(name=name, kind="anatomy") for name in channels)
