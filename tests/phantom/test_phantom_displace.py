"""The rigid error between MR and CT, and the MR of another day."""

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask, Patient, Structure
from rtplan.errors import FormatError
from rtplan.phantom.cohort import GAS_AND_BLADDER, make_patient
from rtplan.phantom.displace import displaced
from rtplan.phantom.draws import Draws


@pytest.fixture(scope="module")
def pair():
    grid = Grid.axial((20, 30, 30), (3.0, 2.0, 2.0), (-40.0, 10.0, 5.0), "frame")
    mask = np.zeros(grid.shape, bool)
    mask[5:9, 10:16, 20:24] = True
    values = np.zeros(grid.shape, np.float32)
    images = {"CT": Image(grid, values, modality="CT"), "T2w": Image(grid, values, modality="MR")}
    return Patient(images=images, structures={"PTVp": Structure("PTVp", "PTV", Mask(grid, mask))})


@pytest.mark.parametrize("error_mm", [0.5, 2.0, 6.0])
def test_the_centre_of_the_target_moves_by_the_error_and_distances_stay(pair, error_mm):
    moved = displaced(pair, error_mm, seed=4)
    before, after = pair.images["T2w"].grid, moved.images["T2w"].grid
    assert moved.images["CT"] is pair.images["CT"]
    assert after.frame_of_reference == before.frame_of_reference
    middle = np.array([6.5, 12.5, 21.5])
    assert np.linalg.norm(after.to_patient(middle) - before.to_patient(middle)) == pytest.approx(error_mm)
    index = np.random.default_rng(0).uniform(0, 20, (2, 50, 3))
    gaps = [np.linalg.norm(g.to_patient(index[0]) - g.to_patient(index[1]), axis=1) for g in (before, after)]
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-9)
    turn = after.direction @ before.direction.T
    angle = np.arccos((np.trace(turn) - 1.0) / 2.0)
    assert angle == pytest.approx(error_mm / 100.0, rel=1e-6)


def test_the_error_depends_on_the_seed_alone(pair):
    first, again, other = (displaced(pair, 2.0, seed=s).images["T2w"].grid for s in (1, 1, 2))
    assert first.same_as(again)
    assert not first.same_as(other)
    assert displaced(pair, 0.0, seed=1) is pair


@pytest.mark.parametrize("error_mm", [-1.0, 21.0, float("nan")])
def test_an_error_that_is_none_is_refused(pair, error_mm):
    with pytest.raises(FormatError, match="registration error"):
        displaced(pair, error_mm, seed=1)


def test_draws_made_anew_change_alone():
    first, second = Draws("study", 3), Draws("study", 3, GAS_AND_BLADDER)
    changed = {name for name in first.ranges if first[name] != second[name]}
    assert changed == set(GAS_AND_BLADDER)
    assert second["bladder_cc"] == Draws("study", 3, GAS_AND_BLADDER)["bladder_cc"]


def test_the_mr_of_another_day_shows_another_bladder_and_the_ct_stays():
    spacing = (8.0, 5.0, 5.0)
    plain, other = (
        make_patient("study", 2, spacing_zyx_mm=spacing, contrasts=("T2w",), mr_anew=anew)
        for anew in ((), GAS_AND_BLADDER)
    )
    assert (plain.images["CT"].array == other.images["CT"].array).all()
    assert (plain.structure("Bladder").region.array == other.structure("Bladder").region.array).all()
    change = np.abs(plain.images["T2w"].array - other.images["T2w"].array)
    bladder = plain.structure("Bladder").region.array
    bone = plain.structure("Femur_Head_L").region.array
    assert change[bladder].mean() > 4.0 * change[bone].mean()
    assert dict(other.history[0].settings)["mr_anew"] == GAS_AND_BLADDER
