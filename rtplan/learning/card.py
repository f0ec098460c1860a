"""The card of a network (``models/<name>/model.toml``) as frozen pydantic models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


class Frozen(BaseModel):
    """A value without room for unknown keys: a misspelt setting is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class NetworkSpec(Frozen):
    """Which network of the table, and its widths."""

    name: str = "unet"
    channels: tuple[int, ...] = (16, 32, 64, 128)
    heads: tuple[Literal["mean"], ...] = ("mean",)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    norm: Literal["group", "instance"] = "group"
    residual: bool = False
    stem: Shape = (1, 1, 1)

    def settings(self) -> dict[str, Any]:
        """Return what the network's constructor takes besides its input and output channels."""
        return {
            "channels": self.channels,
            "norm": self.norm,
            "residual": self.residual,
            "dropout": self.dropout,
            "stem": self.stem,
        }


class InputSpec(Frozen):
    """One input channel.

    ``kind``: an MR normalised by a rule of ``channels.NORMALISE``, the body's mask, or (``anatomy``) the
    one of ``doses.CHANNELS`` that the name says.
    ``roles`` are the image roles from which the channel may be taken, best first; the network has seen
    all of them.
    """

    name: str
    kind: Literal["mr", "body", "anatomy"]
    normalise: str = ""
    roles: tuple[str, ...] = ()
    required: bool = True


class OutputSpec(Frozen):
    """One output channel with its unit and range."""

    name: str
    unit: str
    clip: tuple[float, float]


class Limits(Frozen):
    """What an image must be for the network to be asked at all; beyond it a ModelError, not a guess.

    Parameters
    ----------
    extent_zyx_mm_min : tuple of float
        Smallest field of view along the array axes.
    spacing_zyx_mm_max, spacing_zyx_mm_min : tuple of float
        Coarsest voxels; finest ones, where the network works on the patient's own voxels (a dose).
    slices_min : int
        Fewest slices.
    body_fraction_min : float
        Smallest share of the voxels that the body may fill.
    contrast_min : float
        Smallest ratio of the interquartile range to the median of the body's signal.
    """

    extent_zyx_mm_min: Triple = (20.0, 40.0, 40.0)
    spacing_zyx_mm_max: Triple = (10.0, 5.0, 5.0)
    spacing_zyx_mm_min: Triple = (0.0, 0.0, 0.0)
    slices_min: int = 5
    body_fraction_min: float = 0.02
    contrast_min: float = 0.05


class WeightsSpec(Frozen):
    """The file of weights beside the card, and its SHA-256."""

    file: str = "weights.safetensors"
    sha256: str = ""
    dtype: Literal["bf16", "f32"] = "bf16"
    bytes: int = 0


class TrainingSpec(Frozen):
    """On what, how long and where the weights were trained."""

    data: tuple[str, ...]
    seed: int
    hours: float
    steps: int
    hardware: str
    commit: str = ""


class LicenceSpec(Frozen):
    """Licence of the weights and of the data behind them."""

    weights: str = "Apache-2.0"
    data: str = "digital population"


class Figure(Frozen):
    """One measured figure with its interval over patients (bootstrap) and the number of patients."""

    metric: str
    data: str
    value: float
    interval95: tuple[float, float]
    n: int


class Card(Frozen):
    """Everything that must be known of a network to run it and to judge it."""

    schema_version: Literal[1] = Field(1, alias="schema")
    name: str
    task: Literal["synct", "segment", "dose"]
    site: str
    network: NetworkSpec
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    spacing_zyx_mm: Triple
    patch_zyx: Shape
    overlap: float = Field(0.25, ge=0.0, lt=1.0)
    mirror: bool = False
    limits: Limits = Limits()
    weights: WeightsSpec = WeightsSpec()
    training: TrainingSpec
    licence: LicenceSpec = LicenceSpec()
    figure: tuple[Figure, ...] = ()

    @model_validator(mode="after")
    def _one_mr(self) -> Card:
        if self.task == "synct" and sum(spec.kind == "mr" for spec in self.inputs) != 1:
            raise ValueError("a card needs exactly one input of kind 'mr'")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """Image roles that may feed the MR channel, best first."""
        return next(spec.roles for spec in self.inputs if spec.kind == "mr")
