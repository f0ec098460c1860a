"""Plan quality: closed forms of the indices and of isodose volumes, on tilted grids; bad input."""

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Mask
from rtplan.dosimetry import quality
from rtplan.errors import DoseError, GeometryMismatch, StructureError


def grid_of(n: int = 32, degrees: float = 25.0) -> Grid:
    a = np.deg2rad(degrees)
    affine = Grid.axial((n, n, n), (3.0, 2.0, 2.5), (-20.0, 10.0, 5.0)).affine.copy()
    affine[:3, :3] = (
        np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ affine[:3, :3]
    )
    return Grid((n, n, n), affine)


def cone(grid: Grid, peak_gy: float = 80.0, per_mm: float = 2.0) -> Dose:
    """A dose that falls linearly with the distance from the middle: isodoses are spheres."""
    middle = grid.to_patient((np.array(grid.shape) - 1) / 2 + 0.2)
    points = grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1))
    return Dose(grid, np.maximum(peak_gy - per_mm * np.linalg.norm(points - middle, axis=-1), 0.0))


def test_indices_have_their_published_values():
    assert quality.paddick_conformity(100.0, 110.0, 90.0) == pytest.approx(0.736364, abs=1e-6)
    assert quality.rtog_conformity(100.0, 110.0) == pytest.approx(1.1)
    assert quality.gradient_index(330.0, 110.0) == pytest.approx(3.0)
    assert quality.homogeneity_index(62.0, 60.0, 57.0) == pytest.approx(5 / 60)


@pytest.mark.parametrize(("radius", "flattened"), [(8.0, 0.06), (13.0, 0.025), (21.0, 0.012)])
def test_isodose_volume_of_a_sphere(radius, flattened):
    """Linear interpolation on 2 to 3 mm cuts the tip of the cone: the volume is a little too small."""
    volume = quality.isodose_volume(cone(grid_of()), 80.0 - 2.0 * radius)
    exact = 4 / 3 * np.pi * radius**3 / 1000
    assert exact * (1 - flattened) < volume < exact * 1.001


def test_isodose_volume_of_a_ramp_is_exact():
    """A plane isodose: half spaces are cut to a hundredth of a voxel."""
    grid = Grid.axial((6, 8, 20), (3.0, 2.0, 2.5), (0, 0, 0))
    ramp = Dose(grid, np.broadcast_to(10.0 + np.arange(20.0), grid.shape))
    region = np.ones(grid.shape, np.float32)
    for level, columns in ((12.5, 17.0), (12.25, 17.25), (20.0, 9.5)):
        expected = columns * 6 * 8 * grid.voxel_cc
        assert quality.isodose_volume(ramp, level, region) == pytest.approx(expected, rel=2e-3)


def test_volumes_fall_with_the_level_and_add_over_disjoint_regions():
    dose = cone(grid_of())
    levels = np.linspace(10.0, 78.0, 12)
    whole = np.ones(dose.grid.shape, np.float32)
    volumes = [quality.isodose_volume(dose, level, whole) for level in levels]
    assert (np.diff(volumes) <= 1e-9).all()
    left = whole.copy()
    left[:, :, 16:] = 0.0
    parts = [quality.isodose_volume(dose, 40.0, part) for part in (left, whole - left)]
    assert sum(parts) == pytest.approx(quality.isodose_volume(dose, 40.0, whole), rel=1e-6)


def test_conformity_of_a_target_that_is_its_isodose():
    dose = cone(grid_of(40))
    fit = quality.conformity(dose, quality.isodose_share(dose, 50.0), 50.0)
    assert fit.rtog == pytest.approx(1.0, abs=1e-6)
    assert fit.paddick == pytest.approx(1.0, abs=1e-6)
    radii = np.array([(80 - 25) / 2, (80 - 50) / 2])
    assert fit.gradient == pytest.approx((radii[0] / radii[1]) ** 3, rel=0.02)
    mask = quality.conformity(dose, Mask(dose.grid, dose.array >= 50.0), 50.0)
    assert mask.rtog == pytest.approx(1.0, abs=0.02)


def test_refuses_what_has_no_value():
    dose = cone(grid_of())
    with pytest.raises(DoseError, match="leaves the dose grid"):
        quality.isodose_volume(dose, 1.0)
    with pytest.raises(DoseError, match="positive level"):
        quality.isodose_share(dose, 0.0)
    with pytest.raises(StructureError, match="empty"):
        quality.conformity(dose, Mask(dose.grid, np.zeros(dose.grid.shape, bool)), 50.0)
    with pytest.raises(GeometryMismatch):
        quality.isodose_volume(dose, 50.0, np.ones((2, 2, 2), np.float32))
    with pytest.raises(StructureError, match="between 0 and 1"):
        quality.isodose_volume(dose, 50.0, np.full(dose.grid.shape, 1.5, np.float32))
    with pytest.raises(DoseError, match="isodose"):
        quality.paddick_conformity(100.0, 0.0, 0.0)
    with pytest.raises(DoseError, match="exceeds"):
        quality.paddick_conformity(100.0, 50.0, 60.0)
    with pytest.raises(DoseError, match="homogeneity"):
        quality.homogeneity_index(50.0, 60.0, 57.0)
