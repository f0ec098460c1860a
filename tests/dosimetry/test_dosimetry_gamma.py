"""Gamma: known answers of clinical.md D.3, a brute-force search, laws, grids of all kinds, bad input."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from rtplan.domain import Dose, Grid, Mask
from rtplan.dosimetry import gamma as gamma_file
from rtplan.dosimetry.gamma import GammaSettings, gamma
from rtplan.dosimetry.gamma_search import Points
from rtplan.errors import DoseError, GeometryMismatch


def tilted(shape=(9, 12, 11), spacing=(3.0, 2.0, 2.5), degrees=20.0, origin=(-5.0, 4.0, 7.0)) -> Grid:
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tip = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    affine = Grid.axial(shape, spacing, origin).affine.copy()
    affine[:3, :3] = turn @ tip @ affine[:3, :3]
    return Grid(shape, affine)


def smooth(grid: Grid, seed: int, ripple_gy: float = 6.0) -> Dose:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=grid.shape), 1.5)
    return Dose(grid, 40.0 + ripple_gy * noise / noise.std())


def inner(result, rim: int) -> np.ndarray:
    return result.map[rim:-rim, rim:-rim, rim:-rim]


@pytest.mark.parametrize("grid", [Grid.axial((5, 6, 7), (2.5, 2.0, 3.0), (1, 2, 3)), tilted()])
@pytest.mark.parametrize(("extra", "expected"), [(1.5, 0.5), (3.0, 1.0), (0.75, 0.25), (0.0, 0.0)])
def test_flat_doses_give_the_dose_difference(grid, extra, expected):
    low, high = (Dose(grid, np.full(grid.shape, gy, np.float32)) for gy in (50.0, 50.0 + extra))
    result = gamma(low, high, GammaSettings(3.0, 3.0, 10.0, normalisation_gy=100.0))
    assert np.abs(result.map - expected).max() < 1e-6
    assert result.pass_rate == 1.0
    assert result.n == np.prod(grid.shape)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("grid", [Grid.axial((17, 17, 17), (2.0, 2.0, 2.0), (0, 0, 0)), tilted((17, 19, 18))])
def test_a_shifted_gradient_gives_the_closed_form(grid, axis):
    """s g / sqrt(DD^2 + (g DTA)^2) = 3 / sqrt(18) for g = 1 Gy/mm, s = 3 mm, 3 Gy, 3 mm."""
    along = grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1)) @ grid.direction[:, axis]
    ramp = 100.0 + along
    reference, evaluated = Dose(grid, ramp), Dose(grid, ramp - 3.0)
    result = gamma(reference, evaluated, GammaSettings(3.0, 3.0, 0.0, normalisation_gy=100.0))
    assert np.abs(inner(result, 4) - 3.0 / np.sqrt(18.0)).max() < 1e-6 + 1e-5  # the doses are float32
    assert np.abs(np.median(inner(result, 4)) - 3.0 / np.sqrt(18.0)) < 1e-6


def test_an_oblique_gradient_between_grids_that_do_not_coincide():
    reference_grid = Grid.axial((9, 9, 9), (3.0, 2.5, 2.0), (10.0, 11.0, 12.0))
    evaluated_grid = Grid.axial((24, 24, 24), (2.0, 2.0, 2.0), (-1.3, -0.7, 0.2))
    slope = np.array([0.25, -0.5, 0.75])

    def ramp(grid, extra):
        points = grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1))
        return Dose(grid, 64.0 + points @ slope + extra)

    result = gamma(
        ramp(reference_grid, 0), ramp(evaluated_grid, 1.5), GammaSettings(2.0, 2.0, 0, False, 2, 100)
    )
    expected = 1.5 / np.sqrt(2.0**2 + 2.0**2 * (slope @ slope))
    assert np.abs(inner(result, 1) - expected).max() < 1e-5


def test_identical_doses_give_nought():
    dose = smooth(tilted(), 1)
    result = gamma(dose, dose, GammaSettings(3.0, 2.0, 10.0))
    assert result.map.max() == 0.0
    assert result.mean == 0.0


def brute(reference, evaluated, result, places):
    """Search a lattice of 0.2 mm in the whole sphere, then of 0.02 mm round its best places."""
    settings = result.settings
    reach = settings.distance_mm * settings.max_gamma

    def lattice(reach_mm, step_mm):
        a = np.arange(-reach_mm, reach_mm + step_mm / 2, step_mm)
        return np.stack(np.meshgrid(a, a, a, indexing="ij"), -1).reshape(-1, 3)

    coarse, fine = lattice(reach, 0.25), lattice(0.26, 0.02)
    coarse = coarse[(coarse**2).sum(1) <= reach**2]
    last = np.array(evaluated.grid.shape)[:, None] - 1
    values = evaluated.array.astype(np.float64)
    found = []
    for place in places:
        dose = float(reference.array[tuple(place)])
        criterion = settings.dose_percent / 100 * (dose if settings.local else result.normalisation_gy)
        origin = reference.grid.to_patient(place)

        def squared(offsets, origin=origin, dose=dose, criterion=criterion):
            index = evaluated.grid.to_index(origin + offsets).T
            inside = ((index >= -1e-9) & (index <= last + 1e-9)).all(0)
            there = ndimage.map_coordinates(values, index, order=1, mode="nearest")
            both = (offsets**2).sum(1) / settings.distance_mm**2 + ((there - dose) / criterion) ** 2
            return np.where(inside, both, np.inf)

        first = squared(coarse)
        best = min(squared(coarse[b] + fine).min() for b in np.argsort(first)[:6])
        found.append(min(np.sqrt(min(best, first.min())), settings.max_gamma))
    return np.array(found)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("other", ["same grid", "another grid"])
def test_equals_a_brute_force_search(local, other):
    grid = Grid.axial((12, 13, 14), (2.5, 2.5, 2.5), (0, 0, 0))
    second = grid if other == "same grid" else tilted((13, 15, 14), (2.7, 2.2, 2.5), 6.0, (-2.0, -1.0, -3.0))
    reference, evaluated = smooth(grid, 3), smooth(second, 4)
    result = gamma(reference, evaluated, GammaSettings(3.0, 2.0, 10.0, local=local))
    places = np.argwhere(np.isfinite(result.map))
    places = places[np.random.default_rng(5).choice(len(places), 12, replace=False)]
    difference = result.map[tuple(places.T)] - brute(reference, evaluated, result, places)
    assert difference.max() < 1e-6  # never above what a lattice finds
    assert difference.min() > -1e-3
    assert 0.2 < result.pass_rate < 0.98


def test_local_gamma_is_global_gamma_with_the_local_dose():
    grid = tilted()
    flat = Dose(grid, np.full(grid.shape, 20.0))
    more = Dose(grid, np.full(grid.shape, 20.5))
    local = gamma(flat, more, GammaSettings(5.0, 2.0, 0.0, local=True, normalisation_gy=100.0))
    glob = gamma(flat, more, GammaSettings(5.0, 2.0, 0.0, normalisation_gy=100.0))
    assert local.mean == pytest.approx(0.5, abs=1e-6)
    assert glob.mean == pytest.approx(0.1, abs=1e-6)


def test_is_invariant_under_a_rigid_motion_of_both():
    grid = Grid.axial((9, 12, 11), (3.0, 2.0, 2.5), (0, 0, 0))
    settings = GammaSettings(3.0, 2.0, 10.0)
    here = gamma(smooth(grid, 6), smooth(grid, 7), settings)
    there = gamma(smooth(tilted(), 6), smooth(tilted(), 7), settings)
    assert np.abs(here.map - there.map).max() < 1e-6


def test_wider_criteria_never_raise_gamma():
    grid = tilted()
    tight, wide = (
        gamma(smooth(grid, 8), smooth(grid, 9), GammaSettings(d, m, 10.0)) for d, m in ((2, 2), (3, 2.5))
    )
    assert (wide.map <= tight.map + 1e-6).all()


def test_cutoff_mask_and_what_lies_outside():
    grid = Grid.axial((6, 6, 6), (2.0, 2.0, 2.0), (0, 0, 0))
    array = np.full(grid.shape, 10.0)
    array[0] = 0.5
    mask = np.ones(grid.shape, bool)
    mask[:, 0] = False
    half = grid.crop((0, 0, 0), (6, 6, 3))
    result = gamma(
        Dose(grid, array), Dose(half, array[:, :, :3]), GammaSettings(3, 2, 10.0), mask=Mask(grid, mask)
    )
    assert np.isnan(result.map[0]).all()  # below the cut-off
    assert np.isnan(result.map[:, 0]).all()  # outside the mask
    assert np.isnan(result.map[:, :, 3:]).all()  # no evaluated dose there
    assert (result.n, result.n_outside) == (5 * 5 * 3, 5 * 5 * 3)
    assert result.histogram.sum() == result.n
    assert result.histogram[0] == result.n


def test_a_single_slice_is_searched_in_its_plane():
    grid = Grid.axial((1, 20, 20), (3.0, 1.5, 1.5), (0, 0, 0))
    ramp = np.broadcast_to(50.0 + np.arange(20) * 1.5, grid.shape)
    result = gamma(Dose(grid, ramp), Dose(grid, ramp - 3.0), GammaSettings(3, 3, 0, normalisation_gy=100.0))
    assert np.abs(result.map[0, :, 4:-4] - 3 / np.sqrt(18)).max() < 1e-6


def test_values_beyond_the_greatest_gamma_are_capped():
    grid = Grid.axial((3, 3, 3), (2, 2, 2), (0, 0, 0))
    low, high = Dose(grid, np.full(grid.shape, 10.0)), Dose(grid, np.full(grid.shape, 90.0))
    result = gamma(low, high, GammaSettings(3, 2, 0, max_gamma=1.5, normalisation_gy=100.0))
    assert np.allclose(result.map, 1.5)
    assert result.pass_rate == 0.0
    assert result.histogram[-1] == 27


def test_torch_gives_what_numpy_gives(monkeypatch):
    """The same search on torch tensors (here on the CPU), in one piece and in several."""
    grid = tilted()
    reference, evaluated, settings = smooth(grid, 10), smooth(grid, 11), GammaSettings(3.0, 2.0, 10.0)
    by_numpy = gamma(reference, evaluated, settings)
    taken = []

    def through_torch(field, points: Points, max_gamma, device):
        taken.append(device)
        return on_device(field, points, max_gamma, "cpu")

    on_device = gamma_file._on_device
    monkeypatch.setattr(gamma_file, "_on_device", through_torch)
    monkeypatch.setattr(gamma_file, "CHUNK_ON_DEVICE", 500)
    by_torch = gamma(reference, evaluated, settings, device="cuda")
    assert taken == ["cuda"]
    assert np.abs(by_torch.map - by_numpy.map).max() < 1e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_gpu_gives_what_the_cpu_gives():
    grid = tilted()
    reference, evaluated, settings = smooth(grid, 10), smooth(grid, 11), GammaSettings(3.0, 2.0, 10.0)
    there = gamma(reference, evaluated, settings, device="cuda")
    assert np.abs(there.map - gamma(reference, evaluated, settings).map).max() < 1e-6


@pytest.mark.parametrize(
    "wrong",
    [{"dose_percent": 0.0}, {"distance_mm": -1.0}, {"cutoff_percent": 100.0}, {"max_gamma": np.nan},
     {"normalisation_gy": -60.0}],
)  # fmt: skip
def test_refuses_impossible_criteria(wrong):
    with pytest.raises(DoseError):
        GammaSettings(**({"dose_percent": 3.0, "distance_mm": 2.0, "cutoff_percent": 10.0} | wrong))


def test_refuses_what_cannot_be_compared():
    grid = Grid.axial((4, 4, 4), (2, 2, 2), (0, 0, 0), "1.2.3")
    dose, settings = Dose(grid, np.full(grid.shape, 5.0)), GammaSettings(3, 2, 10)
    array = np.full(grid.shape, 5.0)
    array[0, 0, 0] = np.nan
    with pytest.raises(DoseError, match="not finite"):
        gamma(dose, Dose(grid, array), settings)
    with pytest.raises(DoseError, match="one kind"):
        gamma(dose, Dose(grid, dose.array, kind="EQD2(3)"), settings)
    with pytest.raises(GeometryMismatch, match="frames"):
        gamma(dose, Dose(Grid(grid.shape, grid.affine, "9.9"), dose.array), settings)
    with pytest.raises(DoseError, match="above 0 Gy"):
        gamma(dose.with_array(np.zeros(grid.shape)), dose, settings)
    with pytest.raises(DoseError, match="No point is left"):
        gamma(dose, dose, settings, mask=Mask(grid, np.zeros(grid.shape, bool)))
    sheared = grid.affine.copy()
    sheared[0, 1] = 1.0
    with pytest.raises(GeometryMismatch, match="sheared"):
        gamma(dose, Dose(Grid(grid.shape, sheared, "1.2.3"), dose.array), settings)
