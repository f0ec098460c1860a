"""Margins in mm per direction: closed forms of boxes and spheres, and the laws of booleans."""

from collections.abc import Callable

import numpy as np
import pytest

from rtplan.domain import Grid, Mask, Structure
from rtplan.errors import StructureError
from rtplan.imaging.margin import DIRECTIONS, expand, intersect, subtract, union

Points = Callable[[Grid], np.ndarray]


def even(margin_mm: float) -> dict[str, float]:
    return dict.fromkeys(DIRECTIONS, margin_mm)


def ball(grid: Grid, radius_mm: float, points: Points, centre=(20, 40, 45)) -> tuple[Structure, np.ndarray]:
    offset = points(grid) - grid.to_patient(centre)
    return Structure("CTVp", "CTV", Mask(grid, np.linalg.norm(offset, axis=-1) < radius_mm)), offset


def array_of(structure: Structure) -> np.ndarray:
    assert isinstance(structure.region, Mask)
    return structure.region.array


@pytest.mark.parametrize("margin_mm", [1.0, 4.0, 8.0, -3.0, -8.0])
def test_a_sphere_grows_to_a_sphere(grid: Grid, points: Points, margin_mm: float) -> None:
    structure, offset = ball(grid, 20.0, points)
    grown = array_of(expand(structure, grid, even(margin_mm)))
    radius = (grown.sum() * grid.voxel_cc * 3000.0 / (4.0 * np.pi)) ** (1 / 3)
    assert radius == pytest.approx(20.0 + margin_mm, abs=0.5 * np.mean(grid.spacing_zyx_mm))
    distance = np.linalg.norm(offset, axis=-1)
    assert distance[grown].max() <= 20.0 + margin_mm + 0.5 * max(grid.spacing_zyx_mm)
    assert distance[~grown].min() >= 20.0 + margin_mm - max(grid.spacing_zyx_mm)


def test_each_face_of_a_box_moves_by_its_own_margin() -> None:
    grid = Grid.axial((40, 60, 70), (2.5, 1.2, 1.0), (3.0, 4.0, 5.0))
    box = np.zeros(grid.shape, bool)
    box[15:20, 25:35, 30:40] = True
    margin = {"L": 7.0, "R": 3.0, "A": 4.8, "P": 6.0, "S": 7.5, "I": 2.5}
    grown = array_of(expand(Structure("CTVp", "CTV", Mask(grid, box)), grid, margin, name="PTVp"))
    k, j, i = np.nonzero(grown)
    assert (k.min(), k.max(), j.min(), j.max(), i.min(), i.max()) == (14, 22, 21, 39, 27, 46)
    assert grown[17, 30, 27:47].all()


def test_directions_are_the_patients_on_a_tilted_grid(tilted, points: Points) -> None:
    grid = tilted((50, 90, 100))
    structure, offset = ball(grid, 15.0, points, (25, 45, 50))
    margin = {"L": 12.0, "R": 2.0, "A": 9.0, "P": 0.0, "S": 6.0, "I": 3.0}
    grown = array_of(expand(structure, grid, margin))
    half = 0.5 * max(grid.spacing_zyx_mm) + 0.3
    for direction, (axis, sign) in DIRECTIONS.items():
        reach = (sign * offset[..., axis])[grown].max()
        assert reach == pytest.approx(15.0 + margin[direction], abs=half), direction


@pytest.mark.parametrize("margin_mm", [1.0, 1.4, 1.6, 2.0, 3.4, 5.1])
def test_a_plane_moves_to_within_half_a_voxel(margin_mm: float) -> None:
    grid = Grid.axial((5, 5, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    half = np.zeros(grid.shape, bool)
    half[..., :10] = True
    grown = array_of(expand(Structure("CTVp", "CTV", Mask(grid, half)), grid, even(margin_mm)))
    moved_mm = (grown[2, 2].sum() - 10) * 2.0
    assert abs(moved_mm - margin_mm) <= 1.0


def test_growth_contains_and_shrinkage_is_contained(grid: Grid, points: Points) -> None:
    structure, _ = ball(grid, 18.0, points)
    before = array_of(structure)
    grown = expand(structure, grid, even(5.0))
    shrunk = expand(structure, grid, even(-5.0))
    assert (array_of(grown) >= before).all()
    assert (array_of(shrunk) <= before).all()
    closed = array_of(expand(grown, grid, even(-5.0)))
    assert (closed >= before).all()  # closing is extensive
    np.testing.assert_array_equal(array_of(expand(structure, grid, even(0.0))), before)


def test_a_structure_at_the_border_is_cut_there() -> None:
    grid = Grid.axial((6, 8, 8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    corner = np.zeros(grid.shape, bool)
    corner[0, 0, 0] = True
    grown = array_of(expand(Structure("CTVp", "CTV", Mask(grid, corner)), grid, even(2.0)))
    assert grown[:3, 0, 0].tolist() == [True, True, True]
    assert not grown[3:].any()


def test_the_name_gives_the_kind(grid: Grid, points: Points) -> None:
    structure, _ = ball(grid, 18.0, points)
    made = expand(structure, grid, even(5.0), name="PTVp_6000")
    assert (made.name, made.kind) == ("PTVp_6000", "PTV")


def test_booleans_obey_the_laws_of_sets(grid: Grid, points: Points) -> None:
    a, _ = ball(grid, 18.0, points)
    b, _ = ball(grid, 15.0, points, (24, 50, 55))
    both, either = array_of(intersect("zB", a, b, grid)), array_of(union("zU", a, b, grid))
    only = array_of(subtract("zS", a, b, grid))
    assert both.sum() + either.sum() == array_of(a).sum() + array_of(b).sum()
    np.testing.assert_array_equal(only | both, array_of(a))
    assert not (only & array_of(b)).any()


def test_bad_margins_are_refused(grid: Grid, points: Points) -> None:
    structure, _ = ball(grid, 18.0, points)
    with pytest.raises(StructureError, match="directions"):
        expand(structure, grid, {"L": 5.0})
    far = Grid.axial((4, 4, 4), (1.0, 1.0, 1.0), (900.0, 0.0, 0.0), "frame")
    with pytest.raises(StructureError, match="lies on the grid"):
        expand(structure, far, even(5.0))
