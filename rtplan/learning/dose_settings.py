"""Settings of the training of a dose network (``train.toml`` with ``task = "dose"``)."""

from __future__ import annotations

from pydantic import Field

from rtplan.learning.card import InputSpec, OutputSpec, Shape
from rtplan.learning.doses import CHANNELS
from rtplan.learning.settings import Source
from rtplan.learning.volume_settings import Mirrors, SortedLoss, VolumeSettings, anatomy


class DoseData(Source):
    """A folder of OpenKBP patients; every ``hold_out_every``-th by number only chooses the weights."""

    folder: str
    hold_out_every: int = Field(5, ge=2)

    @property
    def words(self) -> str:
        """What the card says of this source."""
        name = self.folder.rstrip("/").split("/")[-1]
        return f"openkbp:{name}, without every {self.hold_out_every}th patient"


class DoseAugment(Mirrors):
    """Random changes of a training sample: mirrors (the parotids swap), and the CT left out."""

    ct_dropout: float = Field(0.2, ge=0.0, le=1.0)


class DoseSettings(VolumeSettings):
    """One training of a dose network of the head and neck; beside the L1 over the possible dose."""

    inputs: tuple[InputSpec, ...] = anatomy(CHANNELS)
    outputs: tuple[OutputSpec, ...] = (OutputSpec(name="dose", unit="Gy", clip=(0.0, 80.0)),)
    patch_zyx: Shape = (16, 16, 16)
    data: tuple[DoseData, ...]
    augment: DoseAugment = DoseAugment()
    loss: SortedLoss = SortedLoss()
