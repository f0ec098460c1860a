"""The boost's climb: bound by the prescription, or by an organ that is named; the plan keeps what it had."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import StructureError
from rtplan.planning.aims import Organ, Target
from rtplan.planning.beam import load_beam
from rtplan.planning.boost import raise_boost, reach_gy
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.objective import Limit
from rtplan.planning.optimise import OptimiseSettings, Task, optimise
from rtplan.planning.prepare import Prepared

ENGINE = Engine(load_beam("generic_6mv"), load_curve("matrad_default"))
GRID = Grid.axial((20, 40, 50), (4.0, 4.0, 4.0), (-98.0, -78.0, -38.0))
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
BODY = Mask(GRID, (X / 95) ** 2 + (Y / 75) ** 2 < 1)
IMAGE = Image(GRID, np.where(BODY.array, 10.0, -1000.0))
PTV = Mask(GRID, X**2 + Y**2 + Z**2 < 22**2)
GTV = Mask(GRID, X**2 + (Y - 10) ** 2 + Z**2 < 9**2)
NEAR = Mask(GRID, (np.hypot(X, Y - 12) < 6) & (np.abs(Z) < 20))  # runs through the lesion
QUICK = OptimiseSettings(beams=5, first=35, further=15)


def task(boost_gy: float, *limits: Limit) -> Task:
    targets = {"PTV": Target(PTV, 60.0), "GTV": Target(GTV, boost_gy, "up_to")}
    return Task(targets, {"Near": Organ(NEAR, limits)}, 20, (0.0, 0.0, 0.0))


def with_all(asked: Task) -> Prepared:
    return Prepared(asked, IMAGE, BODY, ENGINE, "CT", ())


def test_a_boost_that_nothing_hinders_is_bound_by_its_prescription() -> None:
    asked = task(64.0)
    start = optimise(asked, IMAGE, BODY, ENGINE, QUICK)
    plan, boost = raise_boost(with_all(asked), start, QUICK)
    assert plan is start  # it reaches the prescription: nothing to change
    assert boost.bound_by_prescription
    assert (boost.aim_gy, boost.prescribed_gy) == (64.0, 64.0)
    assert boost.next_gy is None
    assert boost.permitted_gy == pytest.approx(66.0)


def test_an_organ_holds_the_boost_and_is_named_on_the_next_rung() -> None:
    limit = Limit("volume", 62.0, 0.0, name="Max <= 62")
    asked, told = task(90.0, limit), []
    start = optimise(asked, IMAGE, BODY, ENGINE, QUICK)
    plan, boost = raise_boost(with_all(asked), start, QUICK, say=told.append)
    assert not boost.bound_by_prescription
    assert boost.next_gy is not None
    assert boost.aim_gy < boost.next_gy <= boost.aim_gy + 2.5
    assert {b.organ for b in boost.broken} == {"Near"}
    assert all(b.excess_gy > 0.05 for b in boost.broken)
    assert plan.broken == ()  # the plan itself keeps what the next rung breaks
    assert reach_gy(plan, asked, "GTV") >= reach_gy(start, asked, "GTV") - 0.1
    assert any("Near Max <= 62" in line for line in told)


def test_without_a_boost_there_is_nothing_to_raise() -> None:
    plain = replace(task(64.0), targets={"PTV": Target(PTV, 60.0)})
    start = optimise(plain, IMAGE, BODY, ENGINE, replace(QUICK, rounds=1))
    with pytest.raises(StructureError, match="up_to"):
        raise_boost(with_all(plain), start, QUICK)
