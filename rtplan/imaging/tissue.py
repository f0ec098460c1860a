"""Tissue classes (gas, fat, bone) read from HU by rules that are data."""

from __future__ import annotations

import tomllib
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy import ndimage

from rtplan.domain import Image, Mask
from rtplan.errors import FormatError
from rtplan.imaging.body import close_in_slices, fill_slices
from rtplan.resources import find

Bool = NDArray[np.bool_]
Model = TypeVar("Model", bound=BaseModel)

#: Where the files lie.
SHELF = "models/bulk"


class Frozen(BaseModel):
    """A part of a file that must hold exactly the fields it names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GasClass(Frozen):
    """Gas inside the body."""

    below_hu: float
    rim_below_hu: float
    source: str
    verified: bool


class FatClass(Frozen):
    """Fat, after smoothing."""

    below_hu: float
    smooth_mm: float
    source: str
    verified: bool


class BoneClass(Frozen):
    """Bone with its marrow."""

    above_hu: float
    grow_above_hu: float
    close_mm: float
    smallest_cc: float
    source: str
    verified: bool


class ClassRules(Frozen):
    """The file of ``models/bulk`` with ``kind = "classes"``."""

    schema_: Literal[1]
    kind: Literal["classes"]
    name: str
    description: str
    gas: GasClass
    fat: FatClass
    bone: BoneClass


def load_rules(name: str = "classes_ct") -> ClassRules:
    """Return the rules by which tissue classes are read from HU; raises as `load_toml`."""
    return load_toml(name, ClassRules)


def classes_of(density: Image, body: Mask, rules: ClassRules | None = None) -> dict[str, Mask]:
    """Return the masks of ``gas``, ``fat`` and ``bone`` inside the body, read from HU.

    Parameters
    ----------
    density : Image
        A CT or a synthetic CT, HU.
    body : Mask
        On the same grid.
    rules : ClassRules, optional
        Thresholds; ``models/bulk/classes_ct.toml`` without.
    """
    density.demand_same_grid(body)
    rules = rules or load_rules()
    hu, inside = density.array, body.array
    bone = _bone(hu, inside, density, rules.bone)
    gas = gas_of(density, body, rules).array
    sigma = (0.0, *(rules.fat.smooth_mm / step for step in density.grid.spacing_zyx_mm[1:]))
    fat = inside & (ndimage.gaussian_filter(np.clip(hu, -200.0, 200.0), sigma) < rules.fat.below_hu)
    grid = density.grid
    return {"gas": Mask(grid, gas), "fat": Mask(grid, fat & ~bone & ~gas), "bone": Mask(grid, bone & ~gas)}


def gas_of(density: Image, body: Mask, rules: ClassRules | None = None) -> Mask:
    """Return the gas inside the body, with the rim that shares voxels with tissue."""
    rules = rules or load_rules()
    core = body.array & (density.array < rules.gas.below_hu)
    if core.any():
        rim = ndimage.binary_dilation(core) & body.array
        core = core | (rim & (density.array < rules.gas.rim_below_hu))
    return Mask(body.grid, core)


def under_skin(body: Mask, voxels: int) -> Mask:
    """Return the body without its outermost voxels; where the image ends, the body is thought to go on."""
    inner = ndimage.binary_erosion(body.array, iterations=voxels, border_value=1)
    return Mask(body.grid, inner)


def load_toml(name: str, kind: type[Model]) -> Model:
    """Return a file of the shelf as a checked model.

    Raises
    ------
    UnknownName
        If there is no such file.
    FormatError
        If it is not valid.
    """
    path = find(SHELF, name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return kind.model_validate({"schema_" if key == "schema" else key: item for key, item in raw.items()})
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise FormatError(f"The file is not a valid bulk-density model: {error}", where=path.name) from None


def _bone(hu: NDArray[np.float32], inside: Bool, density: Image, rule: BoneClass) -> Bool:
    """Return bone with marrow: cortex by threshold, closed and filled in the slices, islands left out."""
    seeds = inside & (hu > rule.above_hu)
    if not seeds.any():
        return seeds
    joined, count = ndimage.label(inside & (hu > rule.grow_above_hu))
    seeded = np.zeros(count + 1, np.bool_)
    seeded[joined[seeds]] = True
    seeded[0] = False
    cortex: Bool = seeded[joined]
    filled = fill_slices(close_in_slices(cortex, density.grid.spacing_zyx_mm[1:], rule.close_mm)) & inside
    labels, _ = ndimage.label(filled, np.ones((3, 3, 3)))
    large = np.bincount(labels.ravel()) * density.grid.voxel_cc >= rule.smallest_cc
    large[0] = False
    bone: Bool = large[labels]
    return bone
