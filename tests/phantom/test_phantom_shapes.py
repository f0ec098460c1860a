"""Real prostates in the digital pelvis: volume, place, orientation, and what lies round them."""

import copy

import numpy as np
import pytest
from scipy import ndimage

from rtplan.domain import Grid, Mask, Patient, Structure
from rtplan.errors import GeometryMismatch, StructureError
from rtplan.io.datasets.picai import read_prostate
from rtplan.phantom.anatomy import lay_body
from rtplan.phantom.cohort import make_patient
from rtplan.phantom.draws import Draws
from rtplan.phantom.field import Axes
from rtplan.phantom.paint_organs import paint_organs
from rtplan.phantom.shapes import PERIPHERAL, TRANSITION, Shape

COARSE = (5.0, 4.0, 4.0)
STEP = (3.0, 0.8, 0.6)
RADII = np.array([24.0, 17.0, 21.0])  # x, y, z
LESION = np.array([-10.0, 6.0, -4.0])  # to the patient's right, posterior, inferior
REAL = ("10005_1000005", "10012_1000012", "10032_1000032", "10048_1000048")
ORGANS = ("Prostate", "Bladder", "Rectum", "PenileBulb", "Bowel_Small", "Colon_Sigmoid")


def ellipsoid(lesion_at=LESION, **options):
    """A synthetic shape whose lesion, zones and surface are closed forms, off the array's middle."""
    z, y, x = (mm * (np.arange(n) - m) for mm, n, m in zip(STEP, (19, 60, 96), (10, 27, 44), strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    size = np.sqrt((x / RADII[0]) ** 2 + (y / RADII[1]) ** 2 + (z / RADII[2]) ** 2)
    lesion = (x - lesion_at[0]) ** 2 + (y - lesion_at[1]) ** 2 + (z - lesion_at[2]) ** 2 < 6.0**2
    inner = ((x / 17) ** 2 + ((y + 5) / 10) ** 2 + ((z - 4) / 13) ** 2 < 1) & (size < 1)
    zones = np.where(size < 1, np.where(inner, TRANSITION, PERIPHERAL), 0)
    return Shape(size < 1, STEP, lesion, zones, **options)


@pytest.fixture(scope="module")
def body():
    """Body and bones of one patient, on which any prostate can be laid."""
    return lay_body(Draws("train", 1), (3.0, 2.5, 2.5), "frame")


def lay(body, shape):
    canvas = copy.copy(body)
    canvas.layers, canvas.masks = list(body.layers), dict(body.masks)
    gland, _ = paint_organs(canvas, spacer=False, shape=shape)
    return canvas.masks, gland


def centre(mask, axes):
    k, j, i = np.nonzero(mask)
    return np.array([axes.x[i].mean(), axes.y[j].mean(), axes.z[k].mean()])


def holds(masks, shape, voxel_cc):
    """What is true of any shape: volumes, parts in their wholes, no overlap."""
    assert masks["Prostate"].sum() * voxel_cc == pytest.approx(shape.volume_cc, rel=0.02)
    assert masks["GTVp"].sum() * voxel_cc == pytest.approx(shape.lesion_cc, rel=0.05, abs=1.5 * voxel_cc)
    for part in ("GTVp", "Prostate_TZ", "Prostate_PZ", "Urethra"):
        assert masks[part].any(), part
        assert not (masks[part] & ~masks["Prostate"]).any(), part
    assert sum(masks[name].astype(int) for name in ORGANS).max() == 1
    bone = masks["Bone_Pelvic"] | masks["Sacrum"]
    assert not ((masks["Prostate"] | masks["SeminalVes"] | masks["Rectum"]) & bone).any()
    assert not (masks["SeminalVes"] & (masks["Prostate"] | masks["Rectum"])).any()
    assert (ndimage.binary_dilation(masks["Rectum"], iterations=3) & masks["Prostate"]).any()


def test_an_ellipsoid_lies_where_the_gland_was_with_its_lesion_on_the_right_side(body):
    shape = ellipsoid()
    masks, gland = lay(body, shape)
    axes = body.axes
    holds(masks, shape, axes.voxel_cc)
    z, y, x = axes.open()
    at = centre(masks["Prostate"], axes)
    assert np.linalg.norm(at - gland.anchor) < 0.5
    closed = sum(((line - c) / r) ** 2 for line, c, r in zip((x, y, z), gland.anchor, RADII, strict=True)) < 1
    both = 2 * (closed & masks["Prostate"]).sum() / (closed.sum() + masks["Prostate"].sum())
    assert both > 0.97
    assert centre(masks["GTVp"], axes) - at == pytest.approx(LESION, abs=1.0)
    assert np.allclose(gland.radii, RADII, atol=2.0)
    volume = (shape.zones == TRANSITION).sum() * np.prod(STEP) / 1000
    assert masks["Prostate_TZ"].sum() * axes.voxel_cc == pytest.approx(volume, rel=0.05)
    assert lay(body, None)[1].centre == pytest.approx(gland.anchor, abs=6.0)  # only moved off the pubis


def test_scale_is_the_stated_one(body):
    shape = ellipsoid(scale=1.15)
    assert shape.volume_cc == pytest.approx(1.15**3 * ellipsoid().volume_cc)
    holds(lay(body, shape)[0], shape, body.axes.voxel_cc)


def test_the_same_patient_apart_from_the_shape(made):
    plain, shape = made["train", 1][0], ellipsoid()
    patient = make_patient("train", 1, spacing_zyx_mm=COARSE, contrasts=("T1w",), shape=shape)
    for name in ("External", "Bone_Pelvic", "Sacrum", "Femur_Head_L", "Femur_Head_R"):
        one, other = (p.structures[name].region.array for p in (plain, patient))
        assert np.array_equal(one, other), name
    ct = patient.images["CT"].array != plain.images["CT"].array
    grid = plain.images["CT"].grid
    axes, gland = Axes.of(grid), centre(plain.structures["Prostate"].region.array, Axes.of(grid))
    assert ct.any()
    assert not ct[axes.z < gland[2] - 70].any()  # thighs
    assert not ct[:, :, np.abs(axes.x) > 115].any()  # hips and flanks
    assert patient.key != plain.key
    assert patient.identity.study_uid != plain.identity.study_uid
    assert patient.history[0].settings["shape"] == "mask"
    masks = {n: s.region.array for n, s in patient.structures.items()}
    assert masks["Prostate"].sum() * grid.voxel_cc == pytest.approx(shape.volume_cc, rel=0.02)
    assert not (masks["Prostate"] & ~masks["PTVp"]).any()


@pytest.mark.parametrize("case", REAL)
def test_real_shapes(body, data, case):
    prostate = read_prostate(data / "picai_masks" / f"{case}.npz")
    shape = Shape.of(prostate)
    assert shape.volume_cc == pytest.approx(
        prostate.structures["Prostate"].region.array.sum()
        * prostate.structures["Prostate"].region.grid.voxel_cc
    )
    masks, _ = lay(body, shape)
    holds(masks, shape, body.axes.voxel_cc)
    at = {n: centre(masks[n], body.axes) for n in ("Prostate_PZ", "Prostate_TZ", "GTVp", "Prostate")}
    assert at["Prostate_PZ"][1] > at["Prostate_TZ"][1] + 2  # the peripheral zone lies behind
    low, high = np.flatnonzero(masks["Prostate"].any((1, 2)))[[0, -1]]
    zone = [masks["Prostate_PZ"][k].sum() / masks["Prostate"][k].sum() for k in (low + 2, high - 1)]
    assert zone[0] > zone[1]  # and below: the apex is inferior
    lesion, gland = (prostate.structures[n].region for n in ("GTVp", "Prostate"))
    inside = lesion.array & gland.array
    wanted = centre(inside, Axes.of(gland.grid)) - centre(gland.array, Axes.of(gland.grid))
    assert at["GTVp"] - at["Prostate"] == pytest.approx(wanted, abs=1.5)


def test_what_is_cut_from_a_lesion_is_said_and_most_of_it_outside_is_refused():
    assert ellipsoid().notices == ()
    cut = ellipsoid((0.0, 15.5, 0.0))
    assert 0.1 < cut.lesion_outside < 0.5
    assert not (cut.lesion & ~cut.gland).any()
    (notice,) = cut.notices
    assert notice.code == "LESION_CUT"
    assert f"{100 * cut.lesion_outside:.1f} %" in notice.message
    with pytest.raises(StructureError, match="outside the gland"):
        ellipsoid((0.0, 22.0, 0.0))


def test_without_lesion_and_zones_the_drawn_ones_are_laid_in_the_shape(body):
    whole = ellipsoid()
    masks, _ = lay(body, Shape(whole.gland, STEP))
    assert 0.1 < masks["GTVp"].sum() * body.axes.voxel_cc < 5.0
    for part in ("GTVp", "Prostate_TZ", "Prostate_PZ"):
        assert masks[part].any()
        assert not (masks[part] & ~masks["Prostate"]).any()


def test_what_is_no_prostate_is_refused():
    gland = ellipsoid().gland
    with pytest.raises(GeometryMismatch):
        Shape(gland, STEP, gland[:-1])
    with pytest.raises(StructureError, match="empty"):
        Shape(np.zeros_like(gland), STEP)
    with pytest.raises(StructureError, match="spacing and the scale"):
        Shape(gland, (0.3, 0.08, 0.06))
    with pytest.raises(StructureError, match="spacing and the scale"):
        ellipsoid(scale=3.0)


def test_a_shape_is_taken_from_masks_on_an_axial_grid_only():
    whole = ellipsoid()
    affine = Grid.axial(whole.gland.shape, STEP, (5.0, 6.0, 7.0)).affine
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    straight, tilted = (
        Patient(
            structures={
                "Prostate": Structure("Prostate", "CTV", Mask(Grid(whole.gland.shape, a), whole.gland))
            }
        )
        for a in (affine, turn @ affine)
    )
    assert Shape.of(straight).volume_cc == pytest.approx(whole.volume_cc)
    with pytest.raises(GeometryMismatch, match="tilted"):
        Shape.of(tilted)
    with pytest.raises(StructureError, match="Prostate"):
        Shape.of(Patient())
