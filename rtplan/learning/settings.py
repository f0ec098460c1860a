"""Settings of a training (``train.toml``) as frozen pydantic models."""

from __future__ import annotations

import tomllib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from rtplan.errors import FormatError
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
from rtplan.learning.folds import load_folds

Range = tuple[float, float]


class Source(Frozen, ABC):
    """Where patients come from."""

    @property
    @abstractmethod
    def words(self) -> str:
        """Return the source in one line, for the card."""


class DataSpec(Source):
    """Where patients come from: the digital population, or a folder of pairs.

    Parameters
    ----------
    kind : str
        ``phantom`` (``cohort``, ``patients``, ``seed`` of the first one, ``contrasts`` that are scanned at
        the spacing ``native_zyx_mm``), ``npz`` or ``synthrad`` (``folder``).
    roles : tuple of str
        MR images that are learned from, where a patient has them; the first one shows the body.
    share : float
        Part of the training samples that come from here, relative to the other sources.
    only, exclude : tuple of str
        Names of cases to take, or to leave out.
    align : bool
        Whether the CT is laid on the MR first where the two do not lie on each other (`imaging.laid`).
    """

    kind: Literal["phantom", "npz", "synthrad"]
    share: float = Field(1.0, gt=0.0)
    cohort: Literal["train", "valid", "study"] = "train"
    patients: int = 0
    seed: int = 1
    contrasts: tuple[str, ...] = ("T2w", "T1w", "Dixon")
    roles: tuple[str, ...] = ("T2w", "T1w", "Dixon_IP")
    native_zyx_mm: Triple = (2.5, 1.5, 1.5)
    folder: str = ""
    align: bool = False
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> DataSpec:
        if self.kind == "phantom" and self.patients < 1:
            raise ValueError("a phantom source needs patients >= 1")
        if self.kind != "phantom" and not self.folder:
            raise ValueError(f"a source of kind {self.kind} needs a folder")
        return self

    @property
    def words(self) -> str:
        """Return the source in one line, for the card."""
        if self.kind == "phantom":
            return f"cohort:{self.cohort}, {self.patients} patients from seed {self.seed}"
        return f"{self.kind}:{Path(self.folder).name}{', CT laid on the MR' if self.align else ''}" + (
            f", without {', '.join(self.exclude)}" if self.exclude else ""
        )


class AugmentSettings(Frozen):
    """How far training images are pushed beyond what came; ``chance`` of each change, and its range."""

    mix_chance: float = 0.3
    gamma: Range = (0.5, 2.0)
    invert_chance: float = 0.15
    curve_chance: float = 0.3
    curve_knots: int = 6
    gain: Range = (1.0, 1.0)
    bias: float = 0.3
    blur_chance: float = 0.2
    blur_sigma_voxels: Range = (0.3, 1.0)
    thick_chance: float = 0.2
    noise: Range = (0.0, 0.1)
    mirror_chance: float = 0.5
    upside_chance: float = 0.0
    warp_chance: float = 0.3
    rotate_deg: float = 10.0
    scale: Range = (0.9, 1.1)


class LossSettings(Frozen):
    """Weights of the terms beside the L1; ``adversarial = 0`` makes no critic at all.

    ``square`` fades out linearly over ``square_steps`` (0: the whole training): at first a squared error,
    by which a network finds rare tissue sooner (the L1 alone is content with the median), at the end the L1.
    ``entropy`` weighs the cross-entropy of "this is bone" (`loss.bone_entropy`).
    """

    square: float = Field(0.0, ge=0.0)
    square_steps: int = Field(0, ge=0)
    gradient: float = Field(0.1, ge=0.0)
    bone: float = Field(1.0, ge=1.0)
    entropy: float = Field(0.0, ge=0.0)
    entropy_width_hu: float = Field(100.0, gt=0.0)
    air: float = Field(0.05, ge=0.0)
    feature: float = Field(0.0, ge=0.0)
    adversarial: float = Field(0.0, ge=0.0)
    kind: Literal["hinge", "lsgan"] = "hinge"
    adversarial_from: float = Field(0.75, ge=0.0, le=1.0)
    critic_channels: int = 16


class OptimiseSettings(Frozen):
    """How long and how fast; either ``steps`` or ``hours`` (wall clock, over all resumed parts).

    ``schedule``: ``cosine`` falls from the first step to the last; ``constant`` stays at ``rate`` until a
    ``finish.json`` (``{"steps": N}``) appears in the folder of the training, and then falls to 0 over N
    steps. It suits a machine whose speed is not known beforehand, and a run that others will go on with.
    """

    steps: int | None = None
    hours: float | None = None
    batch: int = Field(1, ge=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    rate: float = 1e-3
    critic_rate: float = 2e-4
    decay: float = 1e-4
    warm_up: float = 0.03
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["bf16", "f32"] = "bf16"
    validate_every: int = 250
    bone_centred: float = 0.5

    @model_validator(mode="after")
    def _length(self) -> OptimiseSettings:
        if (self.steps is None) == (self.hours is None):
            raise ValueError("give either steps or hours")
        if self.schedule == "constant" and self.steps is None:
            raise ValueError("the constant schedule needs steps, the most that there will be")
        return self


class NetworkTraining(Frozen):
    """One training of any task: what is learned, from whom, how; a task adds patients, changes and loss."""

    schema_version: Literal[1] = Field(1, alias="schema")
    name: str
    task: str
    site: str
    seed: int = 1
    network: NetworkSpec = NetworkSpec()
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    spacing_zyx_mm: Triple
    patch_zyx: Shape
    data: tuple[Source, ...]
    optimise: OptimiseSettings
    limits: Limits = Limits()
    licence: LicenceSpec = LicenceSpec()


class TrainSettings(NetworkTraining):
    """One training of a synthetic CT.

    ``folds`` names a file beside the settings (`learning.folds`), ``fold`` the part of it that the folders of
    pairs leave out: its test patients.
    """

    task: Literal["synct"] = "synct"
    folds: str = ""
    fold: int = 0
    data: tuple[DataSpec, ...]
    validation: tuple[DataSpec, ...] = ()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()


Kind = TypeVar("Kind", bound=Frozen)


def load_settings(path: Path, fold: int | None = None) -> TrainSettings:
    """Read the ``train.toml`` of a synthetic CT, the test patients of its fold left out; see `parse`.

    Parameters
    ----------
    fold : int, optional
        Instead of the file's own.

    Raises
    ------
    FormatError
        If a fold is asked for, but the settings name no folds.
    UnknownName
        If there is no such fold.
    """
    plan = parse(path, TrainSettings)
    wanted = plan.fold if fold is None else fold
    if not plan.folds:
        if wanted:
            raise FormatError("The settings name no folds.", where=path.name)
        return plan
    test = load_folds(path.parent / plan.folds).test(wanted)
    data = [
        spec.model_copy(update={"exclude": spec.exclude + test}) if spec.kind != "phantom" else spec
        for spec in plan.data
    ]
    return plan.model_copy(update={"data": tuple(data), "fold": wanted})


def task_of(path: Path) -> str:
    """Return the ``task`` of a ``train.toml``: ``synct`` where it names none, or is no TOML."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("task", "synct"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return "synct"


def site_of(path: Path) -> str:
    """Return the ``site`` of a ``train.toml``; empty where it names none, or is no TOML."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("site", ""))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return ""


def parse(path: Path, kind: type[Kind]) -> Kind:
    """Read settings of a kind.

    Raises
    ------
    FormatError
        If the file is no TOML, or a setting is unknown, missing or out of range.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise FormatError(f"The settings are no TOML: {broken}.", where=path.name) from None
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FormatError(
            f"The settings of the training are wrong at {place}: {first['msg']}.", where=path.name
        ) from None
