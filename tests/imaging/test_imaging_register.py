"""Registration: a known motion is found again, results repeat, bad ones are refused with their figures."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from rtplan.domain import Grid, Image, Mask, Registration
from rtplan.errors import GeometryMismatch, RegistrationError
from rtplan.imaging.alignment import body_overlap, mutual_information
from rtplan.imaging.body import body_mask
from rtplan.imaging.laid import laid_on
from rtplan.imaging.register import RegisterSettings, identity, register
from rtplan.imaging.resample import carry_back, resample

QUICK = RegisterSettings(working_mm=4.0, samples=8000)


def anatomy(points: np.ndarray, modality: str) -> np.ndarray:
    """An asymmetric limb with bone and fat, in closed form, as CT or MR."""
    x, y, z = np.moveaxis(points, -1, 0)
    taper = 1.0 - 0.004 * z
    body = (x / (62 * taper)) ** 2 + ((y + 0.1 * z) / (48 * taper)) ** 2 < 1
    muscle = ((x - 4) / (50 * taper)) ** 2 + ((y + 0.1 * z + 3) / (36 * taper)) ** 2 < 1
    bone = (np.hypot(x - 18 - 0.15 * z, y - 6) < 11) & (z < 12)
    small = (np.hypot(x + 22, y + 9 - 0.1 * z) < 8) & (z > -14)
    lump = (x - 10) ** 2 + (y + 22) ** 2 + (z - 8) ** 2 < 13**2
    values = (
        (-1000.0, -100.0, 45.0, 700.0, 300.0, 20.0)
        if modality == "CT"
        else (5.0, 900.0, 300.0, 60.0, 80.0, 600.0)
    )
    image = np.full(x.shape, values[0])
    for part, value in zip((body, muscle, bone, small, lump), values[1:], strict=True):
        image[part] = value
    return image


def scan(modality: str, frame: str, move: np.ndarray | None = None) -> Image:
    """A scan of the anatomy; ``move`` takes points of the scan to points of the anatomy."""
    shape, spacing = ((22, 52, 64), (5.0, 3.0, 3.0)) if modality == "CT" else ((36, 60, 66), (4.0, 2.8, 2.8))
    origin = -0.5 * (np.array(shape) - 1) * spacing
    grid = Grid.axial(shape, spacing, (float(origin[2]), float(origin[1]), float(origin[0])), frame)
    points = grid.to_patient(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
    if move is not None:
        points = points @ move[:3, :3].T + move[:3, 3]
    noise = np.random.default_rng(4).normal(0.0, 12.0, shape)
    smooth = ndimage.gaussian_filter(anatomy(points, modality), 0.5)
    return Image(grid, smooth + (noise if modality == "CT" else np.abs(noise)), modality)


def motion(degrees: float, shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:3, 3] = shift
    return matrix


@pytest.mark.parametrize("frames", [("f", "f"), ("mr", "ct")])
def test_a_known_motion_is_found_again(frames) -> None:
    truth = motion(6.0, (7.0, -5.0, 6.0))  # moving point to fixed point
    fixed, moving = scan("CT", frames[1]), scan("MR", frames[0], truth)
    found = register(moving, fixed, settings=QUICK)
    assert (found.from_frame, found.to_frame, found.kind) == (*frames, "rigid")
    points = np.array([[x, y, z] for x in (-40.0, 40.0) for y in (-30.0, 30.0) for z in (-30.0, 30.0)])
    error = np.linalg.norm(found.apply(points) - (points @ truth[:3, :3].T + truth[:3, 3]), axis=1)
    assert error.max() < 2.5
    assert found.quality["body_overlap"] > 0.93
    again = register(moving, fixed, settings=QUICK)
    np.testing.assert_array_equal(again.matrix, found.matrix)


def test_a_deformable_registration_follows_a_bend() -> None:
    fixed, moving = scan("CT", "f"), scan("MR", "f")
    centre = moving.grid.to_patient(np.array(moving.grid.shape) / 2.0)
    points = moving.grid.to_patient(
        np.stack(np.meshgrid(*map(np.arange, moving.grid.shape), indexing="ij"), -1)
    )
    bent = points.copy()
    bent[..., 1] += 8.0 * ((points[..., 2] - centre[2]) / 50.0) ** 2
    moving = moving.with_array(ndimage.gaussian_filter(anatomy(bent, "MR"), 0.5))
    rigid = register(moving, fixed, settings=QUICK)
    soft = register(moving, fixed, deformable=True, settings=QUICK)
    assert soft.displacement is not None
    assert soft.quality["least_jacobian"] > 0.2
    assert soft.quality["mutual_information"] > rigid.quality["mutual_information"]
    assert soft.quality["body_overlap"] > 0.95
    end = np.array([[0.0, 0.0, 45.0]])
    assert carry_back(end, soft)[0, 1] == pytest.approx(-6.5, abs=3.0)


def test_identity_states_the_same_figures() -> None:
    fixed, moving = scan("CT", "f"), scan("MR", "f")
    figures = identity(moving, fixed).quality
    assert figures["body_overlap"] > 0.93
    assert figures["shift_mm"] == pytest.approx(0.0, abs=1e-9)
    assert figures["turn_deg"] == pytest.approx(0.0, abs=1e-6)
    assert figures["common_fraction"] > 0.9
    with pytest.raises(GeometryMismatch):
        identity(scan("MR", "other"), fixed)


def test_another_body_is_refused_with_figures() -> None:
    fixed = scan("CT", "ct")
    rng = np.random.default_rng(0)
    blob = ndimage.gaussian_filter(rng.normal(size=fixed.grid.shape), 5.0)
    grid = Grid(fixed.grid.shape, fixed.grid.affine, "mr")
    other = Image(grid, np.where(blob > np.percentile(blob, 75), 600.0, 2.0), "MR")
    with pytest.raises(RegistrationError, match=r"overlap.*body_overlap"):
        register(other, fixed, settings=QUICK)


def test_no_common_field_is_an_error() -> None:
    fixed, moving = scan("CT", "f"), scan("MR", "f")
    affine = moving.grid.affine.copy()
    affine[:3, 3] += 5000.0
    far = Image(Grid(moving.grid.shape, affine, "f"), moving.array, "MR")
    with pytest.raises(RegistrationError, match="in common"):
        identity(far, fixed)


def test_overlap_is_dice_inside_a_mask() -> None:
    grid = Grid.axial((2, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    a, b, within = (np.zeros(grid.shape, bool) for _ in range(3))
    a[:, :2], b[:, 1:3], within[:, :2] = True, True, True
    assert body_overlap(Mask(grid, a), Mask(grid, b)) == pytest.approx(0.5)
    assert body_overlap(Mask(grid, a), Mask(grid, b), Mask(grid, within)) == pytest.approx(2 / 3)
    assert body_overlap(Mask(grid, a & ~a), Mask(grid, a & ~a)) == 0.0


def test_mutual_information_has_its_closed_forms() -> None:
    rng = np.random.default_rng(2)
    a = rng.uniform(0.0, 1.0, 200_000)
    assert mutual_information(a, a) == pytest.approx(np.log(32), rel=0.02)
    assert mutual_information(a, rng.permutation(a)) == pytest.approx(0.0, abs=0.01)
    assert mutual_information(a, -3.0 * a + 2.0) == pytest.approx(mutual_information(a, a), rel=0.01)


@pytest.mark.parametrize(
    ("case", "fate"), [("STS_019", "refused"), ("STS_047", "refused"), ("STS_005", "kept")]
)
def test_misregistered_patients_are_repaired_or_refused(data: Path, case: str, fate: str) -> None:
    raw = np.load(data / "sts" / "npz_2mm_misregistered" / f"{case}.npz")
    dz, dy, dx = (float(s) for s in raw["spacing_zyx"])
    grid = Grid.axial(raw["ct"].shape, (dz, dy, dx), (0.0, 0.0, 0.0), "f")
    ct, mr = Image(grid, raw["ct"], "CT"), Image(grid, raw["mr"], "MR")
    before = identity(mr, ct).quality
    if fate == "refused":
        assert before["body_overlap"] < 0.9
        with pytest.raises(RegistrationError, match="overlap"):
            register(mr, ct)
    else:
        found = register(mr, ct)
        assert found.quality["body_overlap"] > 0.9
        assert found.quality["mutual_information"] > 1.1 * before["mutual_information"]
        assert isinstance(resample(mr, grid, registration=found), Image)
        assert isinstance(found, Registration)


def test_a_ct_that_lies_beside_its_mr_is_laid_on_it_and_one_that_lies_right_is_left() -> None:
    truth = motion(3.0, (4.0, -3.0, 5.0))
    mr = scan("MR", "f")
    right, beside = (resample(scan("CT", "f", move), mr.grid, outside=-1024.0) for move in (None, truth))
    quick = RegisterSettings(working_mm=4.0, samples=8000, least_overlap=0.75)
    laid = laid_on(beside, mr, quick)
    assert laid.registration is not None
    assert laid.shift_mm == pytest.approx(np.sqrt(4.0**2 + 3.0**2 + 5.0**2), abs=2.0)
    assert laid.information[1] > laid.information[0] + 0.02
    body = body_mask(right).array & body_mask(laid.ct).array
    before, after = (np.abs(ct.array - right.array)[body].mean() for ct in (beside, laid.ct))
    assert after < 0.5 * before
    assert laid.ct.grid.same_as(mr.grid)
    left = laid_on(right, mr, quick)
    assert left.registration is None
    assert left.ct is right
    assert left.shift_mm == 0.0
    with pytest.raises(GeometryMismatch):
        laid_on(scan("CT", "f"), mr, quick)
