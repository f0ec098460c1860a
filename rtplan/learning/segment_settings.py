"""Settings of the training of a segmentation network: a ``train.toml`` with task segment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rtplan.learning.card import Frozen, OutputSpec, Shape
from rtplan.learning.segments import LABELS
from rtplan.learning.settings import NetworkTraining, Range, Source


class SegmentData(Source):
    """Digital pelves of a population, by their seeds, in a box of so many voxels about the gland."""

    cohort: Literal["train", "valid", "study"]
    seed: int
    patients: int = Field(ge=1)
    shape_zyx: Shape = (44, 136, 136)

    @property
    def words(self) -> str:
        """What the card says of this source."""
        return f"digital pelves: cohort {self.cohort}, seeds {self.seed} to {self.seed + self.patients - 1}"


class PaintSettings(Frozen):
    """How far a painted image is from the tissue signals of a T2w, and what a scanner does to it.

    Parameters
    ----------
    random_chance : float
        Of a contrast that has nothing to do with T2w: one random signal per tissue.
    spread : tuple of float
        Range of the standard deviation of the logarithm of a tissue's signal about T2w's.
    texture, nodules : tuple of float
        Range of the relative roughness within a tissue, fine and in knots.
    knot_mm : tuple of float
        Range of the size of the knots, mm.
    blur_voxels, noise, bias, gamma : tuple of float
        Ranges; noise in units of the image's range.
    rotate_deg, tilt_deg, scale, bend_mm : float, float, tuple of float, float
        Turn about the long and the left–right axis, size, and the spread of the bending.
    field_mm : tuple of float
        Range of the field of view in the plane, mm; what is outside is black.
    shift_mm : float
        The window's middle lies so far from the gland's at most, in the plane.
    """

    random_chance: float = 0.15
    spread: Range = (0.05, 0.5)
    texture: Range = (0.0, 0.15)
    nodules: Range = (0.0, 0.35)
    knot_mm: Range = (4.0, 12.0)
    blur_voxels: Range = (0.3, 0.9)
    noise: Range = (0.01, 0.08)
    bias: Range = (0.0, 0.35)
    gamma: Range = (0.7, 1.4)
    rotate_deg: float = 12.0
    tilt_deg: float = 20.0
    scale: Range = (0.8, 1.25)
    bend_mm: float = 3.0
    field_mm: Range = (90.0, 200.0)
    shift_mm: float = 30.0


class SegmentSettings(NetworkTraining):
    """One training of a segmentation network."""

    task: Literal["segment"]
    outputs: tuple[OutputSpec, ...] = tuple(
        OutputSpec(name=name, unit="1", clip=(0.0, 1.0)) for name in LABELS
    )
    data: tuple[SegmentData, ...]
    validation: tuple[SegmentData, ...] = ()
    paint: PaintSettings = PaintSettings()
