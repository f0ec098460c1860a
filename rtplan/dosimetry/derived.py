"""Derived structures as DVH inputs: recipes followed on fine voxels round their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.dosimetry.between import voxels_between
from rtplan.dosimetry.extent import points_of
from rtplan.dosimetry.isodose import demand_closed
from rtplan.dosimetry.recipe import SIDES, Grown, Isodose, Joined, Name, Recipe, Tree, Wall
from rtplan.dosimetry.tube import wall
from rtplan.errors import StructureError, UnknownName
from rtplan.imaging.contour import mask_on
from rtplan.imaging.margin import expand
from rtplan.imaging.resample import resample

Bool = NDArray[np.bool_]
Float = NDArray[np.float64]

#: Spacing of the grid, mm; coarser where it would need more voxels than this.
FINE_MM = 0.5
MOST_VOXELS = 16_000_000
#: Part of a voxel by which the grid is moved off the middle, so that no voxel is cut just in half.
OFF_MIDDLE = 0.137
#: Voxels of the grid beyond what the structure can reach.
RIM = 2


def follow(recipe: Recipe, structures: Mapping[str, Structure], dose: Dose | None = None) -> Structure:
    """Return the structure that a recipe makes, as a mask.

    Parameters
    ----------
    recipe : Recipe
        From `rtplan.dosimetry.recipe.parse_recipe`.
    structures : mapping of str to Structure
        By name, all in one frame of reference.
    dose : Dose, optional
        For ``isodose(…)``; trilinear.

    Returns
    -------
    Structure
        Its region is a mask on axial voxels of `FINE_MM`; its kind follows its name. The mask is empty where
        nothing is left: the DVH of it is not evaluable.

    Raises
    ------
    UnknownName
        If a source is missing, or an isodose is asked for without a dose; the message lists the known names.
    StructureError
        If the name is taken already, a source is empty, or a wall is thinner than the voxels.
    DoseError
        If an isodose leaves the dose grid.
    """
    if recipe.make in structures:
        raise StructureError(
            f"There is a structure {recipe.make} already.", where=recipe.text, action="choose another name."
        )
    lacking = [name for name in recipe.names if name not in structures]
    if lacking:
        raise UnknownName(
            f"{recipe.make} needs {', '.join(lacking)}. Known: {', '.join(sorted(structures))}.",
            where=recipe.text,
        )
    if recipe.levels_gy and dose is None:
        raise UnknownName(f"{recipe.make} needs a dose for its isodose.", where=recipe.text)
    grid = grid_for(recipe, structures, dose)
    made = _Kitchen(structures, dose, grid).cook(recipe.tree)
    return Structure(recipe.make, kind_of(recipe.make), Mask(grid, made))


def grid_for(recipe: Recipe, structures: Mapping[str, Structure], dose: Dose | None) -> Grid:
    """Return axial voxels of `FINE_MM` (or as fine as `MOST_VOXELS` allow) that hold the structure."""
    frame, points = "", []
    for name in recipe.names:
        structure = structures[name]
        region = structure.region
        own = region.grid.frame_of_reference if isinstance(region, Mask) else region.frame_of_reference
        frame = frame or own
        found = points_of(structure)
        if not len(found):
            raise StructureError("The structure is empty.", where=name)
        reach = np.abs(region.grid.affine[:3, :3]).sum(axis=1) / 2 if isinstance(region, Mask) else 3.0
        points += [found.min(axis=0) - reach, found.max(axis=0) + reach]
    if dose is not None and recipe.levels_gy:
        hot = np.argwhere(dose.array >= min(recipe.levels_gy))
        frame = frame or dose.grid.frame_of_reference
        if len(hot):
            ends = [(low - 1.0, high + 1.0) for low, high in zip(hot.min(0), hot.max(0), strict=True)]
            corners = [(k, j, i) for k in ends[0] for j in ends[1] for i in ends[2]]
            points += list(dose.grid.to_patient(corners))
    if not points:
        raise StructureError("No voxel reaches the isodose.", where=recipe.text)
    low = np.min(points, axis=0) - recipe.reach_mm
    high = np.max(points, axis=0) + recipe.reach_mm
    step = max(FINE_MM, float((np.prod(high - low) / MOST_VOXELS) ** (1 / 3)))
    count = np.ceil((high - low) / step).astype(int) + 1 + 2 * RIM
    first = (low + high) / 2 - ((count - 1) / 2 + OFF_MIDDLE) * step
    shape = (int(count[2]), int(count[1]), int(count[0]))
    return Grid.axial(shape, (step,) * 3, (float(first[0]), float(first[1]), float(first[2])), frame)


class _Kitchen:
    """What recipes are followed with: structures, a dose, the grid."""

    def __init__(self, structures: Mapping[str, Structure], dose: Dose | None, grid: Grid) -> None:
        self.structures, self.dose, self.grid = structures, dose, grid

    def cook(self, tree: Tree) -> Bool:
        """Return which voxels belong to a tree."""
        if isinstance(tree, Name):
            return voxels_between(self.structures[tree.name], self.grid)
        if isinstance(tree, Isodose):
            return self._hot(tree.level_gy)
        if isinstance(tree, Joined):
            left, right = self.cook(tree.left), self.cook(tree.right)
            made: Bool = {"|": left | right, "&": left & right, "-": left & ~right}[tree.sign]
            return made
        inner = self.cook(tree.of)
        if not inner.any():
            return inner
        whole = Structure("whole", "ORGAN", Mask(self.grid, inner))
        if isinstance(tree, Wall):
            return mask_on(wall(whole, self.grid, tree.thickness_mm), self.grid).array
        assert isinstance(tree, Grown)
        return grown(whole, self.grid, tree.margin_mm)

    def _hot(self, level_gy: float) -> Bool:
        assert self.dose is not None
        demand_closed(self.dose, level_gy)
        own = self.dose.grid
        dose = Dose(Grid(own.shape, own.affine, self.grid.frame_of_reference), self.dose.array)
        hot: Bool = resample(dose, self.grid, order="linear", outside=0.0).array >= level_gy
        return hot


def grown(structure: Structure, grid: Grid, margin_mm: Sequence[float]) -> Bool:
    """Return the voxels of a structure grown by a margin (order of `SIDES`, mm; below 0 it shrinks).

    Notes
    -----
    A margin that is the same all round is a distance between voxel centres, exact to a small part of a
    voxel. Others are ellipsoids by octant (`rtplan.imaging.margin.expand`), which adds half a voxel to cover
    oblique surfaces: here it is taken off again.
    """
    inside = mask_on(structure, grid).array
    if len(set(margin_mm)) == 1:
        mm = margin_mm[0]
        if mm >= 0:
            far: Float = ndimage.distance_transform_edt(~inside, sampling=grid.spacing_zyx_mm)
            return np.asarray(far <= mm + 1e-9)
        far = ndimage.distance_transform_edt(inside, sampling=grid.spacing_zyx_mm)
        return np.asarray(far > -mm + 1e-9)
    half = grid.spacing_zyx_mm[0] / 2
    less = [np.sign(mm) * max(abs(mm) - half, 0.0) for mm in margin_mm]
    sides = dict(zip(SIDES, less, strict=True))
    return mask_on(expand(structure, grid, sides), grid).array
