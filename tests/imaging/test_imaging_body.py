"""The outline on CT and MR: a known body on a couch, gas, a second leg, cut images, real data."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import StructureError
from rtplan.imaging.body import body_mask, skin_seen


def scene(grid: Grid, centre=(0.0, 0.0), half=(150.0, 90.0)) -> tuple[np.ndarray, np.ndarray]:
    """An elliptic body of 30 HU with gas and bone inside, on a hollow couch that touches it."""
    points = grid.to_patient(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    x, y = points[..., 0] - centre[0], points[..., 1] - centre[1]
    body = (x / half[0]) ** 2 + (y / half[1]) ** 2 < 1
    hu = np.where(body, 30.0, -1000.0)
    hu[np.hypot(x - 20, y - 20) < 15] = -950.0
    hu[np.hypot(x + 60, y) < 20] = 700.0
    shell = (np.abs(y - half[1] - 2) < 1.6) | (np.abs(y - half[1] - 40) < 1.6)
    hu[shell & (np.abs(x) < 240) & ~body] = 150.0
    return hu.astype(np.float32), body


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture
def wide() -> Grid:
    return Grid.axial((5, 110, 190), (5.0, 2.5, 2.7), (-256.0, -130.0, 0.0), "f")


def test_the_body_comes_without_the_couch_and_with_its_gas(wide: Grid) -> None:
    hu, body = scene(wide)
    found = body_mask(Image(wide, hu)).array
    assert dice(found, body) > 0.985
    assert found[body & (hu < -900)].all()
    assert np.sum(found & ~body) < 0.03 * body.sum()
    couch = (hu == 150.0) & ~body
    assert found[couch].mean() < 0.15  # only where it touches the skin


def test_a_second_leg_is_kept_and_a_bottle_is_not(wide: Grid) -> None:
    left, a = scene(wide, (-110.0, 0.0), (90.0, 80.0))
    right, b = scene(wide, (110.0, 0.0), (80.0, 70.0))
    _, bottle = scene(wide, (0.0, -100.0), (15.0, 15.0))
    hu = np.where(bottle, 0.0, np.maximum(left, right))
    found = body_mask(Image(wide, hu)).array
    assert dice(found, a | b) > 0.97
    assert not (found & bottle & ~a & ~b).any()


def test_skin_is_seen_all_round_or_not_at_all(wide: Grid) -> None:
    hu, body = scene(wide)
    whole = Image(wide, hu)
    assert skin_seen(whole, body_mask(whole)) == 1.0
    inner = wide.crop((0, 30, 60), (5, 70, 120))
    cut = Image(inner, hu[:, 30:70, 60:120])
    assert skin_seen(cut, Mask(inner, body[:, 30:70, 60:120])) == 0.0
    assert skin_seen(cut, Mask(inner, np.zeros(inner.shape, bool))) == 0.0


def test_the_fraction_of_skin_is_weighted_by_length() -> None:
    grid = Grid.axial((3, 20, 30), (4.0, 2.0, 1.0), (0.0, 0.0, 0.0))
    box = np.zeros(grid.shape, bool)
    box[:, 5:15, 10:] = True  # 20 mm of border on the left side, 20 + 20 + 20 mm of skin
    assert skin_seen(Image(grid, np.zeros(grid.shape)), Mask(grid, box)) == pytest.approx(60.0 / 80.0)


def test_an_mr_needs_no_calibrated_signal(wide: Grid) -> None:
    hu, body = scene(wide)
    rng = np.random.default_rng(3)
    signal = np.where(body & (hu > -900) & (hu < 600), 700.0, 0.0) + np.abs(rng.normal(0, 12, hu.shape))
    assert dice(body_mask(Image(wide, signal, "MR")).array, body) > 0.97
    twice = body_mask(Image(wide, 2.0 * signal, "MR")).array
    np.testing.assert_array_equal(twice, body_mask(Image(wide, signal, "MR")).array)


@pytest.mark.parametrize("noise", [10.0, 25.0, 40.0])
def test_the_noise_of_air_is_no_body(noise: float) -> None:
    grid = Grid.axial((3, 180, 260), (5.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    y, x = np.ogrid[-90:90, -130:130]
    body = np.broadcast_to((y / 70.0) ** 2 + (x / 110.0) ** 2 < 1.0, grid.shape)
    rng = np.random.default_rng(3)
    tissue = rng.uniform(0.12, 1.0, (1, 18, 26)).repeat(10, 1).repeat(10, 2)  # every brightness
    true = np.where(body, 700.0 * tissue, 0.0)
    signal = np.hypot(true + rng.normal(0.0, noise, grid.shape), rng.normal(0.0, noise, grid.shape))  # Rician
    assert dice(body_mask(Image(grid, signal, "MR")).array, body) > 0.97


def test_air_alone_is_no_body(wide: Grid) -> None:
    with pytest.raises(StructureError, match="No body"):
        body_mask(Image(wide, np.full(wide.shape, -1000.0)))
    with pytest.raises(StructureError, match="No body"):
        body_mask(Image(wide, np.zeros(wide.shape), "MR"))


def test_a_dark_strip_at_the_border_of_an_mr_is_no_skin() -> None:
    grid = Grid.axial((4, 100, 100), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    signal = np.full(grid.shape, 300.0)
    signal[:, :, :5] = 1.0
    signal[:, 96:] = 1.0
    image = Image(grid, signal, "MR")
    body = body_mask(image)
    assert not body.array[:, :, :3].any()
    assert skin_seen(image, body) < 0.05
    signal[:, :20] = 1.0  # real air
    image = Image(grid, signal, "MR")
    assert skin_seen(image, body_mask(image)) == pytest.approx(0.29, abs=0.04)


def test_the_prostate_mr_has_no_skin_all_round(data: Path) -> None:
    folder = data / "prostatex" / "ProstateX-0000" / "dicom_t2tra"
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    array = sitk.GetArrayFromImage(sitk.ReadImage(names))
    image = Image(Grid.axial(array.shape, (3.0, 0.5, 0.5), (0.0, 0.0, 0.0)), array, "MR")
    body = body_mask(image)
    assert body.array.mean() > 0.95  # dark muscle is body
    assert skin_seen(image, body) < 0.2  # only in front


@pytest.mark.parametrize("case", ["STS_010", "STS_040", "STS_021"])
def test_ct_and_mr_of_real_patients_agree(data: Path, case: str) -> None:
    raw = np.load(data / "sts" / "npz_2mm" / f"{case}.npz")
    dz, dy, dx = (float(s) for s in raw["spacing_zyx"])
    grid = Grid.axial(raw["ct"].shape, (dz, dy, dx), (0.0, 0.0, 0.0))
    ct, mr = Image(grid, raw["ct"], "CT"), Image(grid, raw["mr"], "MR")
    assert dice(body_mask(ct).array, body_mask(mr).array) > 0.9
    assert 0.05 < skin_seen(ct, body_mask(ct)) < 0.95  # cropped images
