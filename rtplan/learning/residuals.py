"""How far a synthetic CT may be off: measured residuals as a random field, and samples of the density.

A network without a head of uncertainty still has errors that were measured: the residuals, true HU minus
the network's, of patients that it was not trained on. ``models/<name>/residuals.toml`` keeps their
distribution by class of tissue (as the network sees it) and how they hang together in space.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import special

from rtplan import resources
from rtplan.domain import Image, Mask
from rtplan.errors import ModelError, UnknownName
from rtplan.imaging.random_field import gaussian_fields
from rtplan.learning.card import Frozen
from rtplan.learning.measured import Measured, read_measured
from rtplan.learning.zoo import load_card

Array = NDArray[np.float32]

FILE = "residuals.toml"
#: Range of a density image, HU.
HU_RANGE = (-1024.0, 3071.0)
Group = Literal["soft", "bone"]


class TissueResidual(Frozen):
    """The residuals of the voxels whose predicted HU are at least ``from_hu`` (and below the next class).

    ``quantiles_hu`` stand at the set's ``levels``; ``bias_hu`` and ``sd_hu`` are for the reader.
    """

    from_hu: float
    group: Group
    bias_hu: float
    sd_hu: float
    quantiles_hu: tuple[float, ...]
    voxels: int


class Correlation(Frozen):
    """How the residuals (as normal scores) hang together.

    ``offset``: by group the share of the variance that is common to a whole patient. Of the rest ``nugget``
    is each voxel's own, and what remains falls as ``exp(-h / length_mm)``.
    """

    offset: dict[Group, Annotated[float, Field(ge=0.0, le=1.0)]]
    nugget: Annotated[float, Field(ge=0.0, le=1.0)]
    length_mm: Annotated[float, Field(gt=0.0)]


class Coverage(Frozen):
    """Part of the voxels whose true HU lay in the 90 % interval: mean and range over patients."""

    patients: tuple[str, ...]
    mean: float
    lowest: float
    highest: float


class ResidualSet(Frozen):
    """Residuals of one kind of patients.

    Parameters
    ----------
    factor : float
        Scales the residuals about their median; fitted by leaving out one patient at a time.
    levels : tuple of float
        Probabilities of the quantiles.
    left_out : Coverage
        Of the patients that were fitted on, each by the others.
    held_out : Coverage
        Of patients that nothing was fitted on.
    """

    name: str
    data: str
    date: str
    script: str
    factor: float
    levels: tuple[float, ...]
    tissue: tuple[TissueResidual, ...]
    correlation: Correlation
    left_out: Coverage
    held_out: Coverage

    @model_validator(mode="after")
    def _whole(self) -> ResidualSet:
        edges = [tissue.from_hu for tissue in self.tissue]
        if not edges or edges != sorted(set(edges)):
            raise ValueError("the classes of tissue must rise")
        for tissue in self.tissue:
            rises = list(tissue.quantiles_hu) == sorted(tissue.quantiles_hu)
            if len(tissue.quantiles_hu) != len(self.levels) or not rises:
                raise ValueError("a class needs one quantile per level, rising")
        return self

    def residual(self, hu: Array, score: Array) -> Array:
        """Return the residuals, HU, of voxels with these predicted HU and normal scores, any shape."""
        nodes = special.ndtri(np.array(self.levels))
        which = self.classes(hu)
        found = np.zeros(hu.shape, np.float32)
        for number, tissue in enumerate(self.tissue):
            here = which == number
            values = np.array(tissue.quantiles_hu)
            middle = float(np.interp(0.0, nodes, values))
            found[here] = np.interp(score[here], nodes, middle + self.factor * (values - middle))
        return found

    def classes(self, hu: Array) -> NDArray[np.int64]:
        """Return the class of tissue of predicted HU, any shape."""
        edges = [tissue.from_hu for tissue in self.tissue[1:]]
        return np.digitize(hu, edges).astype(np.int64)

    @property
    def described(self) -> str:
        """What a finding says of the set."""
        fitted, others = len(self.left_out.patients), len(self.held_out.patients)
        return (
            f"residuals {self.name!r} of {fitted} patients, {self.data}; their 90 % interval holds "
            f"{100 * self.held_out.mean:.0f} % of the voxels of {others} others"
        )


class Residuals(Measured):
    """``residuals.toml``: sets of residuals of one network with these weights."""

    set_: tuple[ResidualSet, ...] = Field(alias="set")


def load_residuals(model: str, name: str) -> ResidualSet:
    """Return a set of residuals of a network of the shelf.

    Raises
    ------
    ModelError
        If the network has none, or they were measured with other weights.
    UnknownName
        If it has no set of that name.
    FormatError
        If the file does not fit.
    """
    card_path = resources.find("models", model)
    path = card_path.parent / FILE
    if not path.is_file():
        raise ModelError(
            f"The network {model} has no measured residuals: samples of its synthetic CT cannot be drawn.",
            action="measure them: python benchmarks/residuals.py --model NAME.",
        )
    found = read_measured(path, Residuals, load_card(card_path).weights.sha256, "residuals")
    for item in found.set_:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in found.set_)
    raise UnknownName(f"The network {model} has no residuals {name!r}. Known: {known}.")


def samples(image: Image, within: Mask, residuals: ResidualSet, seed: int) -> Iterator[Image]:
    """Yield, without end, density images that are as plausible as the synthetic CT itself.

    Parameters
    ----------
    image : Image
        The synthetic CT, HU.
    within : Mask
        On the same grid: voxels whose density is the network's guess; the others stay.
    residuals : ResidualSet
        What is added.
    seed : int
        The same seed gives the same samples on the same grid.

    Raises
    ------
    GeometryMismatch
        If the mask lies on another grid.

    Notes
    -----
    A sample is the image plus, in each voxel, the quantile of its class's residuals at the probability of
    a standard normal field: a value common to the patient (one for soft tissue, one for bone), a field of
    exponential correlation, and noise. HU are cut to −1024…3071.
    """
    image.demand_same_grid(within)
    held = np.nonzero(within.array)
    if not held[0].size:
        while True:
            yield image
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in held)
    inside, hu = within.array[box], image.array[box]
    part = hu[inside]
    bone = np.array([tissue.group == "bone" for tissue in residuals.tissue])[residuals.classes(part)]
    rng = np.random.default_rng(seed)
    how = residuals.correlation
    fields = gaussian_fields(hu.shape, image.grid.spacing_zyx_mm, how.length_mm, rng)
    for field in fields:
        own = rng.standard_normal(part.size, dtype=np.float32)
        near = np.sqrt(1.0 - how.nugget) * field[inside] + np.sqrt(how.nugget) * own
        common = rng.standard_normal(2)
        score = np.empty_like(near)
        for place, share, shift in (
            (~bone, how.offset["soft"], common[0]),
            (bone, how.offset["bone"], common[1]),
        ):
            score[place] = np.sqrt(share) * shift + np.sqrt(1.0 - share) * near[place]
        made = image.array.copy()
        made[box][inside] = np.clip(part + residuals.residual(part, score), *HU_RANGE)
        yield image.with_array(made)
