"""DVHs of contour samples at fixed dose: the first is exact, the others are those of the moved contours."""

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Structure
from rtplan.dosimetry.dvh import dvh
from rtplan.dosimetry.reader import Readers, corrected
from rtplan.errors import DoseError
from rtplan.imaging.vary import ContourVariation, varied

GRID = Grid.axial((22, 40, 40), (3.0, 3.0, 3.0), (-60.0, -60.0, -30.0))
VARIATION = ContourVariation(2.0, 15.0)


def tube(radius=18.0):
    turn = np.linspace(0.0, 2.0 * np.pi, 90, endpoint=False)
    rings = [
        np.stack([radius * np.cos(turn), radius * np.sin(turn), np.full(90, z)], axis=1)
        for z in np.arange(-21.0, 24.0, 3.0)
    ]
    return Structure("Rectum", "ORGAN", Contours(tuple(rings)))


def falling():
    points = GRID.to_patient(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    return Dose(GRID, 40.0 + 0.5 * points[..., 1], fractions=20)


@pytest.fixture(scope="module")
def made():
    readers = Readers.of(tube(), VARIATION, 1)
    exact = dvh(tube(), falling())
    return readers, exact, corrected(readers, [falling()], exact.differential())


def test_the_first_sample_has_the_exact_dvh(made):
    _, exact, found = made
    own = found.volumes_cc[0, 0]
    assert own.sum() == pytest.approx(exact.curve.total_cc)
    assert np.average(found.doses_gy, weights=own) == pytest.approx(exact.curve.mean_gy, abs=0.02)
    for volume in (0.02, 0.5, 0.98):
        dose = found.doses_gy[::-1][np.searchsorted(np.cumsum(own[::-1]) / own.sum(), volume)]
        assert dose == pytest.approx(exact.dose_at(volume * exact.curve.total_cc), abs=0.3)
    assert 0.0 < found.moved_gy < 0.5


def test_each_sample_has_about_the_dvh_of_its_contours(made):
    _, _, found = made
    samples = list(varied(tube(), VARIATION, 1))
    for number in (0, 7, 42):
        exact = dvh(samples[number], falling())
        volumes = found.volumes_cc[0, number + 1]
        mean = np.average(found.doses_gy, weights=volumes)
        assert mean == pytest.approx(exact.curve.mean_gy, abs=0.1)
        assert volumes.sum() == pytest.approx(exact.curve.total_cc, rel=0.01)


def test_without_the_correction_the_first_is_off(made):
    _, exact, found = made
    raw = np.average(found.raw_gy, weights=found.volumes_cc[0, 0])
    correct = np.average(found.doses_gy, weights=found.volumes_cc[0, 0])
    assert abs(correct - exact.curve.mean_gy) <= abs(raw - exact.curve.mean_gy) + 1e-9


def test_samples_are_the_same_for_every_dose(made):
    readers, exact, _ = made
    double = Dose(GRID, 2.0 * falling().array)
    found = corrected(readers, [falling(), double], exact.differential())
    assert np.allclose(found.volumes_cc[0].sum(axis=1), found.volumes_cc[1].sum(axis=1))


def test_samples_that_leave_the_dose_are_refused(made):
    readers, exact, _ = made
    small = GRID.crop((0, 14, 0), (22, 28, 40))
    with pytest.raises(DoseError, match="leaves the dose grid"):
        corrected(readers, [Dose(small, falling().array[:, 14:28])], exact.differential())


def test_bins_keep_volume_and_mean_dose_of_every_sample(made):
    readers, _, _ = made
    axis = np.linspace(0.0, 90.0, 10)
    volumes = readers.volumes(falling(), axis)
    at = falling().grid.to_index(readers.points)
    dose = 40.0 + 0.5 * falling().grid.to_patient(at)[:, 1]
    assert np.allclose(volumes.sum(axis=1), readers.volume_cc.sum(axis=1))
    assert np.allclose(volumes @ axis, readers.volume_cc @ dose, rtol=1e-5)
