"""Courses of different fractions summed per voxel: closed forms, the scalar form it is not, refusals."""

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.dosimetry.courses import PHYSICAL_SUM, common_grid, eqd2_dose, eqd2_sum, physical_sum
from rtplan.dosimetry.dvh import dvh, value
from rtplan.dosimetry.outcome import ntcp
from rtplan.dosimetry.parameters import load_set
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.errors import DoseError, GeometryMismatch

GRID = Grid.axial((8, 10, 12), (2.0, 2.5, 3.0), (-11.0, 4.0, 7.0), "1.2.3")


def ramp(low, high, fractions=None, grid=GRID, kind="physical"):
    return Dose(grid, np.broadcast_to(np.linspace(low, high, grid.shape[2]), grid.shape), kind, fractions)


def ball(grid=GRID):
    inner = np.zeros(grid.shape, bool)
    inner[2:6, 2:8, 2:10] = True
    return Structure("Rectum", "ORGAN", Mask(grid, inner))


def test_each_course_has_its_own_fractions_in_each_voxel():
    first, boost = ramp(10.0, 50.0, 25), ramp(0.0, 20.0, 2)
    total = eqd2_sum([first, boost], 3.0)
    d1, d2 = np.linspace(10.0, 50.0, 12), np.linspace(0.0, 20.0, 12)
    expected = d1 * (1 + d1 / 25 / 3) / (1 + 2 / 3) + d2 * (1 + d2 / 2 / 3) / (1 + 2 / 3)
    assert np.allclose(total.array[3, 4], expected, atol=2e-5)
    assert (total.kind, total.fractions) == ("EQD2(3)", None)


def test_is_neither_the_sum_of_doses_nor_the_scalar_form():
    first, boost = ramp(10.0, 50.0, 25), ramp(0.0, 20.0, 2)
    total = float(eqd2_sum([first, boost], 3.0).array[0, 0, 5])
    d1, d2 = float(first.array[0, 0, 5]), float(boost.array[0, 0, 5])
    together = float(eqd2(d1 + d2, 27, 3.0))
    prescribed = d1 * (50 / 25 + 3) / 5 + d2 * (20 / 2 + 3) / 5  # one fraction size for all voxels
    assert abs(total - together) > 0.5
    assert abs(total - prescribed) > 5.0


def test_order_and_one_course_alone():
    first, boost = ramp(10.0, 50.0, 25), ramp(0.0, 20.0, 2)
    assert np.allclose(eqd2_sum([first, boost], 3).array, eqd2_sum([boost, first], 3).array, atol=1e-5)
    assert np.array_equal(eqd2_sum([first], 3).array, eqd2_dose(first, 3).array)
    assert physical_sum([first]) is first
    again = eqd2_sum([eqd2_dose(first, 3.0), boost], 3.0)
    assert np.allclose(again.array, eqd2_sum([first, boost], 3).array, atol=1e-5)


def test_another_grid_is_interpolated_and_the_sum_ends_where_one_is_unknown():
    finer = Grid.axial((9, 13, 19), (2.0, 2.0, 2.0), (-11.0, 4.0, 9.0), "")
    boost = Dose(finer, np.broadcast_to(np.arange(19.0), finer.shape), fractions=5)
    total = physical_sum([ramp(0.0, 33.0, 20), boost])
    assert total.grid.shape == (7, 10, 12)  # the planes below z = 9 mm - half a voxel are not in the boost
    assert np.allclose(total.grid.origin_mm, (-11.0, 4.0, 9.0))
    x = -11.0 + 3.0 * np.arange(12)
    assert np.allclose(total.array[2, 3], np.arange(12) * 3.0 + (x + 11.0) / 2.0, atol=1e-4)
    assert common_grid([boost, ramp(0.0, 1.0)]).frame_of_reference == ""


def test_a_sum_of_physical_doses_has_a_dvh_and_no_risk():
    first, boost = ramp(10.0, 50.0, 25), ramp(0.0, 20.0, 2)
    total = physical_sum([first, boost])
    assert (total.kind, total.fractions) == (PHYSICAL_SUM, None)
    histogram = dvh(ball(), total)
    assert value(histogram, "Mean[Gy]").value == pytest.approx(10 + 5.5 / 11 * 40 + 5.5 / 11 * 20, abs=0.01)
    rectum = load_set("rectum_bleeding_g2_quantec2010")
    for eqd2_on in (True, False):
        with pytest.raises(DoseError, match="physical sum"):
            ntcp(rectum, histogram, 27, eqd2=eqd2_on)
    with pytest.raises(DoseError, match="physical sum"):
        value(histogram, "D2%[Gy]@EQD2(3)")


def test_a_sum_in_eqd2_has_the_risk_of_its_alpha_beta_only():
    courses = [ramp(60.0, 60.0, 30), ramp(10.0, 10.0, 5)]
    rectum = load_set("rectum_bleeding_g2_quantec2010")
    right = dvh(ball(), eqd2_sum(courses, 3.0))
    assert ntcp(rectum, right) == pytest.approx(0.24503, abs=1e-4)  # 70 Gy in 2 Gy fractions
    assert ntcp(rectum, right, 35) == ntcp(rectum, right)  # not converted twice
    with pytest.raises(DoseError, match=r"EQD2\(2\)"):
        ntcp(rectum, dvh(ball(), eqd2_sum(courses, 2.0)))


def test_refusals():
    first, boost = ramp(10.0, 50.0, 25), ramp(0.0, 20.0)
    with pytest.raises(DoseError, match="never guessed"):
        eqd2_sum([first, boost], 3.0)
    with pytest.raises(DoseError, match="dose per fraction is lost"):
        eqd2_sum([first, ramp(0, 20, 2, kind="EQD2(10)")], 3.0)
    with pytest.raises(DoseError, match=r"EQD2\(3\)"):
        physical_sum([first, ramp(0, 20, kind="EQD2(3)")])
    with pytest.raises(DoseError, match="not finite"):
        physical_sum([first, ramp(0.0, np.nan, 2)])
    with pytest.raises(DoseError, match="no voxel"):
        physical_sum([first, ramp(0, 1, 2, Grid.axial((4, 4, 4), (2, 2, 2), (900, 0, 0), "1.2.3"))])
    with pytest.raises(GeometryMismatch, match="different frames"):
        physical_sum([first, ramp(0, 1, 2, Grid.axial((4, 4, 4), (2, 2, 2), (0, 4, 7), "9.9"))])
    with pytest.raises(DoseError, match="at least one"):
        physical_sum([])
