"""Scenarios: displacement laws, worst cases named, a plan for scenarios keeps more of its target in them."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask, Patient, Structure
from rtplan.dosimetry.protocol import TargetDose
from rtplan.errors import DoseError, UnknownName
from rtplan.imaging.vary import ContourVariation
from rtplan.planning.aims import Organ, Target
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.objective import Limit
from rtplan.planning.optimise import OptimiseSettings, Outcome, Task
from rtplan.planning.prepare import Prepared
from rtplan.planning.robust import Robust, displaced, evaluate, robust_findings, samples, shifts
from rtplan.planning.solved import solved

ENGINE = Engine(load_beam("generic_6mv"), load_curve("matrad_default"))
GRID = Grid.axial((20, 40, 50), (4.0, 4.0, 4.0), (-98.0, -78.0, -38.0))
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
BODY = Mask(GRID, (X / 95) ** 2 + (Y / 75) ** 2 < 1)
IMAGE = Image(GRID, np.where(BODY.array, 10.0, -1000.0))
PTV = Mask(GRID, X**2 + Y**2 + Z**2 < 22**2)
ORGAN = Mask(GRID, (X**2 + (Y - 34) ** 2 < 11**2) & ~PTV.array)
LIMIT = Limit("volume", 45.0, 0.02, name="V45 <= 2", source="test")
WANTED = (TargetDose(target="PTV", dose_gy=60.0, to="median", source="test", verified=True),)
PREPARED = Prepared(
    Task({"PTV": Target(PTV, 60.0)}, {"Organ": Organ(ORGAN, (LIMIT,))}, 20, (0.0, 0.0, 0.0)),
    IMAGE,
    BODY,
    ENGINE,
    "CT",
    WANTED,
)
PATIENT = Patient(images={"CT": IMAGE}).with_structures(
    Structure("PTV", "PTV", PTV), Structure("Organ", "ORGAN", ORGAN)
)
SETTINGS = OptimiseSettings(beams=5, first=30, further=10, rounds=3)


@pytest.fixture(scope="module")
def plan() -> Outcome:
    return solved(PREPARED, SETTINGS)


def test_a_displaced_patient_is_a_displaced_isocentre(plan: Outcome) -> None:
    # a voxel's step of patient, body and structures against the room is a step of the isocentre the other way
    moved = ENGINE.calculate(displaced(plan.plan.beams, (4.0, 0.0, 0.0)), [IMAGE], BODY, GRID)[0].array
    image = Image(GRID, np.roll(IMAGE.array, 1, axis=2))
    body = Mask(GRID, np.roll(BODY.array, 1, axis=2))
    there = np.roll(ENGINE.calculate(plan.plan.beams, [image], body, GRID)[0].array, -1, axis=2)
    np.testing.assert_allclose(moved[PTV.array], there[PTV.array], rtol=2e-3)


def test_no_displacement_is_the_plan_and_moved_doses_are_near_calculated_ones(plan: Outcome) -> None:
    few = evaluate(PREPARED, plan.plan.beams, plan.dose, PATIENT, Robust(0.0))
    assert [r.name for r in few] == ["as planned"]
    assert few[0].coverage["PTV"] == pytest.approx(plan.coverage["PTV"], abs=1e-6)
    again = evaluate(PREPARED, plan.plan.beams, plan.dose, PATIENT, Robust(3.0))
    assert [r.name for r in again] == ["as planned", "+x", "-x", "+y", "-y", "+z", "-z"]
    many = plan.plan.beams * 5  # as many beams as an arc has: the dose is moved
    moved = evaluate(PREPARED, many, plan.dose, PATIENT, Robust(3.0))
    for a, b in zip(again, moved, strict=True):
        assert a.d98_gy["PTV"] == pytest.approx(b.d98_gy["PTV"], abs=1.5)
        assert a.coverage["PTV"] == pytest.approx(b.coverage["PTV"], abs=0.05)
    assert again[3].excess_gy["Organ", "V45 <= 2"] < again[4].excess_gy["Organ", "V45 <= 2"]  # +y: away


def test_findings_name_the_worst_scenario(plan: Outcome) -> None:
    robust = Robust(3.0)
    found = robust_findings(
        evaluate(PREPARED, plan.plan.beams, plan.dose, PATIENT, robust), robust, calculated=True
    )
    by = {(f.structure, f.metric): f for f in found}
    worst = by["PTV", "V95%[%] worst scenario"]
    assert worst.value is not None
    assert worst.value <= worst.detail["as_planned"]
    organ = by["Organ", "Excess of V45 <= 2, worst scenario"]
    assert organ.detail["scenario"] == "-y"  # the patient moves forward: the organ comes into the beam
    assert organ.value is not None
    assert organ.value > organ.detail["as_planned"]


def test_a_plan_for_scenarios_keeps_more_of_its_target_in_the_worst(plan: Outcome) -> None:
    robust = Robust(4.0)
    made = solved(PREPARED, replace(SETTINGS, rounds=2), patient=PATIENT, robust=robust)
    worst = [
        min(r.coverage["PTV"] for r in evaluate(PREPARED, o.plan.beams, o.dose, PATIENT, robust))
        for o in (plan, made)
    ]
    assert worst[1] > worst[0] + 0.01
    few = replace(SETTINGS, first=15, rounds=1)
    expected = solved(PREPARED, few, patient=PATIENT, robust=replace(robust, how="expected"))
    assert expected.coverage["PTV"] > 0.9


def test_contour_samples_are_scenarios(plan: Outcome) -> None:
    robust = Robust(0.0, ContourVariation(2.0, 15.0))
    drawn = list(samples(PREPARED, PATIENT, robust, 3))
    assert len(drawn) == 3
    assert all(set(masks) == {"PTV", "Organ"} for masks in drawn)
    sizes = [masks["PTV"].array.sum() / PTV.array.sum() for masks in drawn]
    assert len(set(sizes)) == 3
    assert all(0.6 < size < 1.5 for size in sizes)
    made = solved(PREPARED, replace(SETTINGS, rounds=1), patient=PATIENT, robust=robust)
    assert made.coverage["PTV"] > 0.9


def test_robust_settings_are_checked() -> None:
    with pytest.raises(DoseError, match="out of range"):
        Robust(30.0)
    with pytest.raises(UnknownName, match="expected"):
        Robust(3.0, how="best")
    assert sum(np.array(list(shifts(2.0).values()))).tolist() == [0.0, 0.0, 0.0]
