"""Settings of the training of a boost network: a ``train.toml`` with task dose and site prostate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rtplan.learning.boost import CHANNELS
from rtplan.learning.card import InputSpec, OutputSpec, Shape
from rtplan.learning.dose_terms import MeanTerm
from rtplan.learning.settings import Source
from rtplan.learning.volume_settings import Mirrors, SortedLoss, VolumeSettings, anatomy


class BoostData(Source):
    """Digital pelves of a population, by their seeds; each is planned once and kept."""

    cohort: Literal["train", "valid", "study"]
    seed: int
    patients: int = Field(ge=1)

    @property
    def words(self) -> str:
        """What the card says of this source."""
        last = self.seed + self.patients - 1
        return f"digital pelves with drawn boosts: cohort {self.cohort}, seeds {self.seed} to {last}"


class BoostAugment(Mirrors):
    """Random changes of a training sample: mirrors, and the window moved by so many voxels at most."""

    shift_voxels: int = Field(3, ge=0)


class BoostLoss(SortedLoss):
    """Weights of the loss.

    Parameters
    ----------
    high : float
        Of a voxel with at least half of the gland's dose, against 1 elsewhere in the body.
    boost : float
        Of a voxel that the boost touches, or of the rectum with high dose, beside that.
    means : tuple of MeanTerm
        Generalised means that are to be met, of ``ptv``, ``gtv`` or an organ; none by default.
    """

    high: float = Field(4.0, ge=1.0)
    boost: float = Field(4.0, ge=0.0)
    means: tuple[MeanTerm, ...] = ()


class BoostSettings(VolumeSettings):
    """One training of a boost network; ``patch_zyx`` is the window about the gland that it sees."""

    site: Literal["prostate"]
    inputs: tuple[InputSpec, ...] = anatomy(CHANNELS)
    outputs: tuple[OutputSpec, ...] = (OutputSpec(name="dose", unit="of the gland's dose", clip=(0.0, 2.0)),)
    patch_zyx: Shape = (32, 48, 64)
    data: tuple[BoostData, ...]
    validation: tuple[BoostData, ...] = ()
    augment: BoostAugment = BoostAugment()
    loss: BoostLoss = BoostLoss()
