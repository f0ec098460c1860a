"""Bands around DVHs: percentiles of dose samples, else the bounds of the calculation."""

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Mask, Patient, Structure
from rtplan.dosimetry.bands import BOUNDS, bands
from rtplan.dosimetry.dvh import dvh, value
from rtplan.imaging.contour import contours_of

GRID = Grid.axial((12, 30, 30), (3.0, 2.0, 2.0), (4.0, -7.0, 11.0), "1.2")


def inside():
    index = np.moveaxis(np.indices(GRID.shape), 0, -1)
    away = np.linalg.norm(GRID.to_patient(index) - GRID.to_patient((5, 15, 15)), axis=-1)
    return Mask(GRID, away < 12.0)


def dose(scale=1.0):
    ramp = np.linspace(20.0, 60.0, GRID.shape[2]) * np.ones(GRID.shape)
    return Dose(GRID, scale * ramp)


def patient(count, region=None):
    samples = {f"SynCT#{k:03d}": dose(1.0 + 0.01 * (k - count / 2)) for k in range(count)}
    structure = Structure("Rectum", "ORGAN", region or inside())
    return Patient(
        structures={"Rectum": structure}, doses={"CT": dose(), "SynCT": dose(1.01)}, samples=samples
    )


def test_samples_of_scaled_doses_give_the_band_of_the_scaled_curve():
    found = bands(patient(40))["SynCT"]["Rectum"]
    reference = dvh(Structure("Rectum", "ORGAN", inside()), dose())
    scales = 1.0 + 0.01 * (np.arange(40) - 20.0)
    for n in (30, 60, 80):  # a dose D under the scale s is that of D / s under 1
        volumes = [value(reference, f"V{found.dose_gy[n] / s:.6f}Gy[%]").value for s in scales]
        low, high = np.percentile(volumes, [2.5, 97.5])
        assert found.low_percent[n] == pytest.approx(low, abs=0.6)
        assert found.high_percent[n] == pytest.approx(high, abs=0.6)
    assert found.what == "95 % of 40 dose samples of the synthetic CT"


def test_without_samples_the_band_is_that_of_the_bounds_and_holds_every_cap():
    structure = Structure("Rectum", "ORGAN", contours_of(inside()))
    found = bands(patient(0, structure.region))["CT"]["Rectum"]
    assert found.what == BOUNDS
    read = dvh(structure, dose())
    for cap, curve in read.curves.items():
        volume = np.interp(found.dose_gy, curve.dose_gy, 100.0 * curve.volume_cc / curve.total_cc, 100.0, 0.0)
        assert (volume >= found.low_percent - 0.05).all(), cap
        assert (volume <= found.high_percent + 0.05).all(), cap
    assert found.low_percent[0] == found.high_percent[0] == 100.0
    assert float((found.high_percent - found.low_percent).max()) > 0.1


def test_few_samples_make_no_band_of_samples_and_no_arm_borrows_another_s():
    assert bands(patient(7))["SynCT"]["Rectum"].what == BOUNDS
    assert bands(patient(8))["SynCT"]["Rectum"].what != BOUNDS
    assert bands(patient(8))["CT"]["Rectum"].what == BOUNDS


def test_a_structure_outside_the_dose_has_no_band():
    away = Structure(
        "Far", "ORGAN", Mask(Grid.axial((3, 3, 3), (2.0,) * 3, (900.0,) * 3, "1.2"), np.ones((3,) * 3))
    )
    made = patient(0).with_structures(away)
    assert set(bands(made)["CT"]) == {"Rectum"}
