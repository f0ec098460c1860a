"""Dose mimicking: a plan's own dose comes back, the impossible is denied and said, wrong ones are refused."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Image, Mask
from rtplan.dosimetry.protocol import TargetDose
from rtplan.errors import DoseError, GeometryMismatch
from rtplan.planning.aims import Organ, Target
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.mimic import denied, wished
from rtplan.planning.optimise import OptimiseSettings, Outcome, Task
from rtplan.planning.prepare import Prepared
from rtplan.planning.solved import solved

ENGINE = Engine(load_beam("generic_6mv"), load_curve("matrad_default"))
GRID = Grid.axial((20, 40, 50), (4.0, 4.0, 4.0), (-98.0, -78.0, -38.0), frame_of_reference="1.2.3")
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
BODY = Mask(GRID, (X / 95) ** 2 + (Y / 75) ** 2 < 1)
IMAGE = Image(GRID, np.where(BODY.array, 10.0, -1000.0))
PTV = Mask(GRID, X**2 + Y**2 + Z**2 < 22**2)
ORGAN = Mask(GRID, (X**2 + (Y - 34) ** 2 < 11**2) & ~PTV.array)
WANTED = (TargetDose(target="PTV", dose_gy=60.0, to="median", source="test", verified=True),)
PREPARED = Prepared(
    Task({"PTV": Target(PTV, 60.0)}, {"Organ": Organ(ORGAN)}, 20, (0.0, 0.0, 0.0)),
    IMAGE,
    BODY,
    ENGINE,
    "CT",
    WANTED,
)
SETTINGS = OptimiseSettings(beams=5, first=40, further=15, rounds=3)


@pytest.fixture(scope="module")
def own() -> Outcome:
    return solved(PREPARED, SETTINGS)


def mean_gap(a: Dose, b: Dose) -> float:
    seen = a.array > 6.0
    return float(np.abs(a.array[seen] - b.array[seen]).mean())


def test_a_dose_that_can_be_given_is_given(own: Outcome) -> None:
    made = solved(PREPARED, SETTINGS, dose=wished(own.dose, PREPARED))
    assert mean_gap(own.dose, made.dose) < 1.5
    told = {(f.structure, f.metric): f for f in denied(PREPARED, own.dose, made.dose)}
    assert abs(told["PTV", "Mean[Gy] given - promised"].value or 9.0) < 0.6
    assert told[None, "Mean absolute difference to the promised dose"].value == pytest.approx(
        mean_gap(own.dose, made.dose), abs=1e-3
    )


def test_mimicking_follows_the_dose_and_not_the_protocol(own: Outcome) -> None:
    tilted = replace(own.dose, array=own.dose.array * (1.0 + 0.002 * X).astype(np.float32))
    made = solved(PREPARED, SETTINGS, dose=wished(tilted, PREPARED))
    inside = PTV.array
    slopes = [np.polyfit(X[inside], d.array[inside], 1)[0] for d in (own.dose, tilted, made.dose)]
    assert slopes[2] > slopes[0] + 0.5 * (slopes[1] - slopes[0])


def test_what_physics_denies_is_said(own: Outcome) -> None:
    sharp = replace(own.dose, array=np.where(PTV.array, 60.0, 3.0).astype(np.float32))
    made = solved(PREPARED, SETTINGS, dose=wished(sharp, PREPARED))
    told = {(f.structure, f.metric): f for f in denied(PREPARED, wished(sharp, PREPARED), made.dose)}
    organ = told["Organ", "D2%[Gy] given - promised"]
    assert organ.value is not None
    assert organ.value > 5.0  # a cliff of dose was promised, a penumbra given
    assert organ.detail["promised"] == pytest.approx(3.0)


def test_wrong_doses_are_refused(own: Outcome) -> None:
    for bad, error, words in (
        (replace(own.dose, kind="EQD2(3)"), DoseError, "physical"),
        (replace(own.dose, fractions=5), DoseError, "5 fractions"),
        (replace(own.dose, array=own.dose.array * 0.1), DoseError, "belong together|check"),
        (
            replace(own.dose, grid=replace(own.dose.grid, frame_of_reference="9.9")),
            GeometryMismatch,
            "frame of reference",
        ),
    ):
        with pytest.raises(error, match=words):
            wished(bad, PREPARED)
