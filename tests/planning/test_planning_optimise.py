"""Plans on a small cylinder: coverage, limits before boost, determinism, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import DoseError, StructureError
from rtplan.planning.aims import Organ, Target, aims_of
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.objective import Limit, excess_gy
from rtplan.planning.optimise import OptimiseSettings, Outcome, Task, optimise

ENGINE = Engine(load_beam("generic_6mv"), load_curve("matrad_default"))
GRID = Grid.axial((20, 40, 50), (4.0, 4.0, 4.0), (-98.0, -78.0, -38.0))
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
BODY = Mask(GRID, (X / 95) ** 2 + (Y / 75) ** 2 < 1)
IMAGE = Image(GRID, np.where(BODY.array, 10.0, -1000.0))
PTV = Mask(GRID, X**2 + Y**2 + Z**2 < 22**2)
GTV = Mask(GRID, X**2 + (Y - 10) ** 2 + Z**2 < 9**2)
ORGAN = Mask(GRID, (X**2 + (Y - 30) ** 2 < 12**2) & ~PTV.array)
QUICK = OptimiseSettings(beams=5, first=35, further=15)
CEILING = Limit("volume", 60.0, 0.03 / (ORGAN.array.sum() * GRID.voxel_cc), name="D0.03cc <= 60")


def plan(boost_gy: float, *limits: Limit) -> Outcome:
    targets = {"PTV": Target(PTV, 60.0), "GTV": Target(GTV, boost_gy, "up_to")}
    task = Task(targets, {"Organ": Organ(ORGAN, limits)}, 20, (0.0, 0.0, 0.0))
    return optimise(task, IMAGE, BODY, ENGINE, QUICK)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return plan(72.0, CEILING, Limit("volume", 40.0, 0.2, name="V40 <= 20"))


def test_target_is_covered_and_normalised_once(outcome: Outcome) -> None:
    own = outcome.dose.array[PTV.array & ~GTV.array]
    assert np.median(own) == pytest.approx(60.0, rel=1e-3)
    assert (outcome.dose.array[PTV.array] >= 57.0).mean() >= 0.95
    assert outcome.coverage["PTV"] >= 0.95


def test_the_boost_is_given_and_limits_hold(outcome: Outcome) -> None:
    assert outcome.broken == ()
    organ = torch.tensor(outcome.dose.array[ORGAN.array])
    assert excess_gy(organ, CEILING, 20) <= 0.05
    assert np.median(outcome.dose.array[GTV.array]) > 66.0


def test_the_dose_is_that_of_the_plan(outcome: Outcome) -> None:
    again = ENGINE.calculate(outcome.plan.beams, [IMAGE], BODY, GRID)[0].array
    np.testing.assert_allclose(again, outcome.dose.array, rtol=2e-5, atol=1e-4)
    assert outcome.dose.fractions == 20
    assert dict(outcome.plan.prescription.targets) == {"PTV": 60.0, "GTV": 72.0}


def test_the_boost_gives_way_to_a_limit() -> None:
    near = Mask(GRID, (np.hypot(X, Y - 10) < 5) & (np.abs(Z) < 20))  # runs through the boost
    targets = {"PTV": Target(PTV, 60.0), "GTV": Target(GTV, 80.0, "up_to")}
    limit = Limit("volume", 60.0, 0.0, name="Max <= 60")
    free, held = (
        optimise(Task(targets, {"Near": Organ(near, x)}, 20, (0.0, 0.0, 0.0)), IMAGE, BODY, ENGINE, QUICK)
        for x in ((), (limit,))
    )
    assert free.dose.array[near.array].max() > 62.0
    assert held.dose.array[near.array].max() < free.dose.array[near.array].max() - 2.0
    assert held.dose.array[GTV.array].mean() < free.dose.array[GTV.array].mean()
    assert all(b.excess_gy < 1.0 for b in held.broken)


def test_an_impossible_limit_is_named_with_its_excess() -> None:
    limit = Limit("volume", 20.0, 0.0, name="Max <= 20")
    task = Task({"PTV": Target(PTV, 60.0)}, {"Same": Organ(PTV, (limit,))}, 20, (0.0, 0.0, 0.0))
    (broken,) = optimise(task, IMAGE, BODY, ENGINE, replace(QUICK, rounds=2)).broken
    assert (broken.organ, broken.limit.name) == ("Same", "Max <= 20")
    assert broken.excess_gy > 39.0


def test_a_coarser_lattice_far_away_keeps_all_that_is_near() -> None:
    targets, organs = {"PTV": Target(PTV, 60.0)}, {"Organ": Organ(ORGAN, (CEILING,))}
    fine, coarse = (aims_of(targets, organs, BODY.array, 20, every) for every in (2, 4))
    chosen = [{tuple(i) for i in aims.index} for aims in (fine, coarse)]
    assert chosen[1] < chosen[0]
    away = np.sqrt(X**2 + Y**2 + Z**2) - 22.0
    kept = (away < 10.0) | ORGAN.array
    assert {tuple(i) for i in np.argwhere(kept & BODY.array)} <= chosen[1]
    left_out = np.array(sorted(chosen[0] - chosen[1]))
    assert away[tuple(left_out.T)].min() > 10.0
    assert coarse.whole["PTV"].numel() == int(PTV.array.sum())
    far = [next(t for t in aims.terms if t.form == "over" and t.weight == 15.0) for aims in (fine, coarse)]
    assert 4 < far[0].voxels.numel() / far[1].voxels.numel() < 16


def test_same_input_same_plan(outcome: Outcome) -> None:
    again = plan(72.0, CEILING, Limit("volume", 40.0, 0.2, name="V40 <= 20"))
    for a, b in zip(outcome.plan.beams, again.plan.beams, strict=True):
        np.testing.assert_array_equal(a.fluence.mu, b.fluence.mu)


def test_two_levels_are_each_reached() -> None:
    low = Mask(GRID, (np.abs(X - 26) < 14) & (np.abs(Y) < 12) & (np.abs(Z) < 12) & ~PTV.array)
    task = Task({"High": Target(PTV, 60.0), "Low": Target(low, 48.0)}, {}, 20, (6.0, 0.0, 0.0))
    made = optimise(task, IMAGE, BODY, ENGINE, QUICK)
    assert made.coverage["High"] > 0.95
    assert made.coverage["Low"] > 0.95
    assert np.median(made.dose.array[low.array]) < 55.0


def test_bad_input_is_named() -> None:
    ptv = {"PTV": Target(PTV, 60.0)}
    with pytest.raises(StructureError, match="no target"):
        optimise(Task({}, {}, 20, (0.0, 0.0, 0.0)), IMAGE, BODY, ENGINE)
    with pytest.raises(DoseError, match="isocentre"):
        optimise(Task(ptv, {}, 20, (0.0, 150.0, 0.0)), IMAGE, BODY, ENGINE)
    empty, away = Mask(GRID, np.zeros(GRID.shape)), Mask(GRID, X > 85)
    with pytest.raises(StructureError, match="no voxel"):
        optimise(Task({"PTV": Target(empty, 60.0)}, {}, 20, (0.0, 0.0, 0.0)), IMAGE, BODY, ENGINE)
    with pytest.raises(StructureError, match="outside the body"):
        optimise(Task({"PTV": Target(away, 60.0)}, {}, 20, (0.0, 0.0, 0.0)), IMAGE, BODY, ENGINE)
