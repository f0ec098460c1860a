"""How far a predicted dose may be off: a scale per voxel, measured factors, bands of DVH metrics, limits.

``models/<name>/spread.toml`` holds what was measured on patients that chose the network's weights, and names
the second head (`networks.scale_head`) in a file beside it. The network's own weights and answer stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file
from torch import nn

from rtplan import resources
from rtplan.errors import ModelError
from rtplan.learning.card import Frozen, Shape
from rtplan.learning.doses import SCALE_GY, TARGETS, DoseCase, dose_channels
from rtplan.learning.familiar import Familiar
from rtplan.learning.measured import Told, read_measured
from rtplan.learning.padding import padded
from rtplan.learning.zoo import Model
from rtplan.networks.folded import FoldedUNet
from rtplan.networks.scale_head import ScaleHead

FILE = "spread.toml"
Region = Literal["target", "other"]
Array = NDArray[np.float32]


class HeadSpec(Frozen):
    """The file of the second head, its SHA-256, and its width."""

    file: str
    sha256: str
    width: int = Field(ge=1)


class Factor(Frozen):
    """An interval of ± ``factor`` × scale holds ``level`` of a region's voxels."""

    region: Region
    level: float = Field(gt=0.0, lt=1.0)
    factor: float = Field(gt=0.0)


class Band(Frozen):
    """What is added to a predicted DVH metric for the ends of its band, Gy; from so many patients."""

    structure: str
    metric: str
    low_gy: float
    high_gy: float
    patients: int


class Spread(Told):
    """``spread.toml``: what is known of one network's errors with these weights."""

    head: HeadSpec
    factor: tuple[Factor, ...]
    band_coverage: float = Field(gt=0.0, lt=1.0)
    band: tuple[Band, ...] = ()
    familiar: Familiar

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the voxels' intervals, rising."""
        return tuple(sorted({one.level for one in self.factor}))

    def bands(self, predicted: dict[tuple[str, str], float]) -> dict[tuple[str, str], tuple[float, float]]:
        """Return the bands of predicted DVH metrics, Gy, by (metric, structure) where one was measured."""
        known = {(one.metric, one.structure): one for one in self.band}
        return {
            key: (max(0.0, value + known[key].low_gy), max(0.0, value + known[key].high_gy))
            for key, value in predicted.items()
            if key in known
        }


@dataclass(frozen=True, eq=False)
class DoseSpread:
    """What was measured, and the second head."""

    spec: Spread
    head: ScaleHead

    def scale_gy(self, network: nn.Module, case: DoseCase, unit_zyx: Shape, *, device: str = "cpu") -> Array:
        """Return the scale b of each voxel's error, Gy, shape (z, y, x)."""
        assert isinstance(network, FoldedUNet)
        x = dose_channels(case)
        x = nn.functional.pad(x, padded(x.shape[1:], unit_zyx)).to(device)
        network, head = network.to(device).eval(), self.head.to(device).eval()
        with torch.inference_mode():
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                features = network.features(x[None])
            found = head(features)[0, 0]
        nz, ny, nx = case.labels.shape
        scale: Array = np.exp(found[:nz, :ny, :nx].cpu().numpy()) * np.float32(SCALE_GY)
        return scale

    def half_width_gy(self, scale_gy: Array, case: DoseCase, level: float) -> Array:
        """Return half of each voxel's interval at one of the measured levels, Gy.

        Raises
        ------
        ModelError
            If the level was not measured.
        """
        factors = {one.region: one.factor for one in self.spec.factor if one.level == level}
        if not factors:
            known = ", ".join(f"{100 * one:.0f} %" for one in self.spec.levels)
            raise ModelError(f"No interval of {100 * level:.0f} % was measured. Known: {known}.")
        inside = targets_of(case)
        return np.where(inside, factors["target"], factors["other"]).astype(np.float32) * scale_gy


def targets_of(case: DoseCase) -> NDArray[np.bool_]:
    """Return where there is any target."""
    inside: NDArray[np.bool_] = np.logical_or.reduce([case.mask(name) for name in TARGETS])
    return inside


@lru_cache(maxsize=8)
def load_spread(model: Model) -> DoseSpread | None:
    """Return what is known of a network's errors; None where nothing was measured.

    Raises
    ------
    ModelError
        If it was measured with other weights, or the head is missing or another.
    FormatError
        If the file does not fit.
    """
    path = None if model.folder is None else model.folder / FILE
    if path is None or not path.is_file():
        return None
    spec = read_measured(path, Spread, model.sha256, "scales of errors")
    if not isinstance(model.network, FoldedUNet):
        raise ModelError("Only a folded network has features for a second head.", where=model.card.name)
    network = model.network
    if "/" in spec.head.file or not spec.head.file.endswith(".safetensors"):
        raise ModelError("The second head is no safetensors file beside the model.", where=model.card.name)
    file = resources.checked(path.parent / spec.head.file, spec.head.sha256)
    first = network.head[0]
    assert isinstance(first, nn.Conv3d)
    head = ScaleHead(first.in_channels, spec.head.width, network.stem)
    try:
        head.load_state_dict({key: value.float() for key, value in load_file(file).items()})
    except RuntimeError as other:
        raise ModelError("The second head does not fit the network.", where=model.card.name) from other
    return DoseSpread(spec, head)
