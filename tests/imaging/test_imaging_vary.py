"""Contour samples: closed, on the planes as drawn, moved by what was asked, correlated along the surface."""

import numpy as np
import pytest

from rtplan.domain import Contours, Grid, Mask, Structure
from rtplan.errors import StructureError
from rtplan.imaging.planes import planes_of
from rtplan.imaging.vary import ContourVariation, band_of, displacements, varied

TURN = np.linspace(0.0, 2.0 * np.pi, 90, endpoint=False)
TILT = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(0.3), -np.sin(0.3)], [0.0, np.sin(0.3), np.cos(0.3)]])


def tube(radius=18.0, heights=(0.0, 3.0, 6.0, 10.0, 14.0, 18.0, 22.0, 26.0, 30.0), tilt=False, hole=0.0):
    rings = []
    for z in heights:
        for r in (radius, hole) if hole else (radius,):
            ring = np.stack([5.0 + r * np.cos(TURN), -7.0 + r * np.sin(TURN), np.full(90, z)], axis=1)
            rings.append(ring @ TILT.T if tilt else ring)
    return Structure("Rectum", "ORGAN", Contours(tuple(rings), "1.2"))


@pytest.mark.parametrize("tilt", [False, True])
def test_samples_are_closed_rings_on_the_same_planes(tilt):
    given = tube(tilt=tilt)
    planes = planes_of(given.region)
    for sample in list(varied(given, ContourVariation(2.0, 15.0), 1))[:5]:
        found = planes_of(sample.region)
        assert np.allclose(found.at_mm, planes.at_mm, atol=1e-6)
        assert abs(float(found.normal @ planes.normal)) == pytest.approx(1.0, abs=1e-9)
        assert sample.region.frame_of_reference == "1.2"
        assert all(len(ring) >= 3 and not np.allclose(ring[0], ring[-1]) for ring in sample.region.rings)
        assert (sample.name, sample.kind) == ("Rectum", "ORGAN")


def test_the_outline_moves_by_the_sd_and_its_correlation():
    variation = ContourVariation(1.5, 12.0, samples=400)
    radii = []
    for sample in varied(tube(), variation, 3):
        ring = sample.region.rings[4][:, :2] - np.array([5.0, -7.0])
        angle = np.arctan2(ring[:, 1], ring[:, 0])
        order = np.argsort(angle)
        wanted = np.linspace(-3.0, 3.0, 40)
        radii.append(np.interp(wanted, angle[order], np.linalg.norm(ring[order], axis=1)))
    moved = np.array(radii) - 18.0
    assert moved.std() == pytest.approx(1.5, rel=0.06)
    assert moved.mean() == pytest.approx(0.0, abs=0.1)
    step = 2.0 * 18.0 * np.sin(6.0 / 39 / 2.0)
    for n in (2, 5, 10):
        chord = 2.0 * 18.0 * np.sin(n * step / 18.0 / 2.0)
        found = np.mean(moved[:, n:] * moved[:, :-n]) / moved.var()
        assert found == pytest.approx(np.exp(-0.5 * (chord / 12.0) ** 2), abs=0.1)


def test_neighbouring_planes_move_together():
    band = band_of(tube(), ContourVariation(2.0, 15.0))
    fields = np.stack(list(displacements(band, ContourVariation(2.0, 15.0), 1)))
    near = np.corrcoef(fields[:, 3].ravel(), fields[:, 4].ravel())[0, 1]
    far = np.corrcoef(fields[:, 0].ravel(), fields[:, 8].ravel())[0, 1]
    assert near == pytest.approx(np.exp(-0.5 * (4.0 / 15.0) ** 2), abs=0.05)
    assert far < 0.4


def test_distance_is_that_of_a_circle_and_of_a_ring():
    band = band_of(tube(), ContourVariation(2.0, 15.0), 1.0)
    nodes = np.indices(band.distance_mm.shape).reshape(3, -1)
    points = band.points(tuple(nodes))
    wanted = np.linalg.norm(points[:, :2] - np.array([5.0, -7.0]), axis=1) - 18.0
    assert np.allclose(band.distance_mm.ravel(), wanted, atol=0.03)
    ring = band_of(tube(hole=9.0), ContourVariation(2.0, 15.0), 1.0)
    wanted = np.maximum(wanted, 9.0 - (wanted + 18.0))
    assert np.allclose(ring.distance_mm.ravel(), wanted, atol=0.03)


def test_occupancy_keeps_the_volume():
    band = band_of(tube(), ContourVariation(2.0, 15.0), 1.5)
    volume = float((band.occupancy() * band.weight_cc[:, None, None]).sum())
    assert volume == pytest.approx(np.pi * 18.0**2 * band.thick_mm.sum() / 1000.0, rel=0.005)


def test_no_plane_of_a_thin_organ_vanishes():
    thin = tube(radius=3.0)
    samples = list(varied(thin, ContourVariation(4.0, 15.0), 1))
    assert all(len(planes_of(sample.region).at_mm) == 9 for sample in samples)


def test_a_mask_is_varied_on_its_own_slices():
    grid = Grid.axial((6, 30, 30), (4.0, 2.0, 2.0), (0.0, 0.0, 0.0), "9")
    _, j, i = np.indices(grid.shape)
    given = Structure("Bladder", "ORGAN", Mask(grid, (j - 15) ** 2 + (i - 15) ** 2 < 64))
    sample = next(varied(given, ContourVariation(1.0, 10.0), 1))
    assert np.allclose(planes_of(sample.region).at_mm, np.arange(6) * 4.0)


@pytest.mark.parametrize(("sd", "length", "samples"), [(0.0, 10.0, 100), (2.0, 0.0, 100), (2.0, 10.0, 40)])
def test_senseless_variations_are_refused(sd, length, samples):
    with pytest.raises(StructureError):
        ContourVariation(sd, length, samples)
