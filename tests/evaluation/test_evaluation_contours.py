"""Contours compared: closed forms of boxes and spheres, other grids, tilts, and MONAI as a witness."""

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)

from rtplan.domain import Contours, Grid, Mask, Structure
from rtplan.errors import GeometryMismatch, StructureError
from rtplan.evaluation.contours import auc, common_grid, compare, distances, surface
from rtplan.imaging.contour import contours_of, mask_on

GRID = Grid.axial((12, 30, 34), (3.0, 1.5, 2.0), (-20.0, 15.0, 100.0), "f")


def box(z, y, x, name="A", grid=GRID):
    array = np.zeros(grid.shape, bool)
    array[slice(*z), slice(*y), slice(*x)] = True
    return Structure(name, "ORGAN", Mask(grid, array))


def blob(seed, grid=GRID):
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(grid.shape)
    at, r = rng.uniform((5, 12, 14), (7, 18, 20)), rng.uniform((3, 6, 6), (4, 10, 10))
    return Mask(grid, sum(((c - m) / s) ** 2 for c, m, s in zip((z, y, x), at, r, strict=True)) < 1)


def test_a_shifted_box_has_its_closed_forms():
    ref, new = box((2, 8), (5, 15), (5, 25)), box((2, 8), (5, 15), (9, 29))
    f = compare(ref, new).figures
    assert f["Dice"] == pytest.approx(16 / 20)
    assert f["FP fraction"] == f["FN fraction"] == pytest.approx(4 / 20)
    assert f["volume error"] == 0.0
    assert f["volume"] == f["reference volume"] == pytest.approx(6 * 10 * 20 * 0.009)
    assert f["HD95"] == pytest.approx(8.0)
    larger = compare(ref, box((2, 8), (5, 15), (5, 30))).figures
    assert larger["volume error"] == pytest.approx(25.0)
    assert larger["FP fraction"] == pytest.approx(0.25)
    assert larger["FN fraction"] == 0.0
    dice = 2 * (1 - larger["FN fraction"]) / (2 - larger["FN fraction"] + larger["FP fraction"])
    assert larger["Dice"] == pytest.approx(dice)


def test_the_same_structure_agrees_wholly_as_mask_as_contours_and_on_a_tilted_grid():
    ref = Structure("A", "ORGAN", blob(1))
    drawn = Structure("A", "ORGAN", contours_of(ref.region))
    angle = np.deg2rad(25)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = Structure("A", "ORGAN", Mask(Grid(GRID.shape, turn @ GRID.affine, "f"), ref.region.array))
    for one, other in ((ref, ref), (ref, drawn), (drawn, ref), (tilted, tilted)):
        f = compare(one, other).figures
        assert f["Dice"] == f["surface Dice"] == 1.0
        assert f["HD95"] == f["mean surface distance"] == f["volume error"] == 0.0


def test_contours_alone_are_compared_on_pixels_of_their_own():
    """Two discs of radius 20 mm, 5 mm apart: Dice by the area of the lens."""
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)

    def disc(x):
        rings = [np.stack([x + 20 * np.cos(t), 20 * np.sin(t), np.full(200, z)], 1) for z in (0.0, 4.0, 8.0)]
        return Structure("A", "ORGAN", Contours(tuple(rings), "f"))

    d, r = 5.0, 20.0
    lens = 2 * r**2 * np.arccos(d / (2 * r)) - d / 2 * np.sqrt(4 * r**2 - d**2)
    f = compare(disc(0.0), disc(d), pixel_mm=0.5).figures
    assert f["Dice"] == pytest.approx(lens / (np.pi * r**2), abs=2e-3)
    assert f["reference volume"] == pytest.approx(np.pi * 0.4 * 12.0, rel=5e-3)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_distances_are_those_of_monai(seed):
    a, b = blob(seed), blob(seed + 10)
    y, y_pred = (torch.from_numpy(m.array[None, None].astype(np.float32)) for m in (a, b))
    spacing = list(GRID.spacing_zyx_mm)
    mine = distances(a, b, 2.0)
    hd = compute_hausdorff_distance(y_pred, y, include_background=True, percentile=95, spacing=spacing)
    mean = compute_average_surface_distance(
        y_pred, y, include_background=True, symmetric=True, spacing=spacing
    )
    share = compute_surface_dice(y_pred, y, [2.0], include_background=True, spacing=spacing)
    assert mine["HD95"] == pytest.approx(hd.item(), abs=1e-4)
    assert mine["mean surface distance"] == pytest.approx(mean.item(), abs=1e-4)
    assert mine["surface Dice"] == pytest.approx(share.item(), abs=1e-6)


def test_what_reaches_beyond_the_references_grid_still_counts():
    small = Grid.axial((4, 6, 6), (3.0, 1.5, 2.0), (-20.0, 15.0, 100.0), "f")
    ref = box((0, 4), (0, 6), (0, 6), grid=small)
    new = box((0, 4), (0, 6), (0, 12))
    f = compare(ref, new).figures
    assert f["FP fraction"] == pytest.approx(1.0)
    assert f["HD95"] == pytest.approx(12.0)
    grid = common_grid(ref, new)
    assert mask_on(ref, grid).array.sum() == 144
    assert mask_on(new, grid).array.sum() == 288


def test_an_empty_new_structure_has_no_surface_and_an_empty_reference_is_refused():
    ref, nothing = box((2, 8), (5, 15), (5, 25)), box((0, 0), (0, 0), (0, 0))
    compared = compare(ref, nothing)
    assert compared.figures["Dice"] == 0.0
    assert compared.figures["FN fraction"] == 1.0
    findings = {f.metric: f for f in compared.findings()}
    assert findings["HD95"].verdict == "not_evaluable"
    assert findings["volume error"].value == -100.0
    with pytest.raises(StructureError, match="empty"):
        compare(nothing, ref)
    with pytest.raises(StructureError, match="empty"):
        compare(Structure("A", "ORGAN", Contours((), "f")), Structure("A", "ORGAN", Contours((), "f")))
    other = Grid(GRID.shape, GRID.affine, "another")
    with pytest.raises(GeometryMismatch):
        compare(ref, box((2, 8), (5, 15), (5, 25), grid=other))


def test_surface_and_auc():
    solid = np.zeros((5, 5, 5), bool)
    solid[1:4, 1:4, 1:4] = True
    assert surface(solid).sum() == 26
    assert surface(np.ones((3, 3, 3), bool)).sum() == 26  # the border of the volume is a surface too
    inside = np.array([False, False, True, True])
    assert auc(inside, np.array([0.1, 0.2, 0.3, 0.9])) == 1.0
    assert auc(inside, np.array([0.1, 0.5, 0.3, 0.9])) == 0.75
    assert auc(inside, np.full(4, 0.5)) == 0.5
    with pytest.raises(StructureError, match="inside and outside"):
        auc(np.ones(3, bool), np.zeros(3))
