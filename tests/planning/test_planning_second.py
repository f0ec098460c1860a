"""The other algorithm: near in water, a notice where doses differ, not evaluable without its part."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Image, Mask
from rtplan.dosimetry.protocol import TargetDose
from rtplan.errors import UnknownName
from rtplan.planning.aims import Target
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.openfield import open_field
from rtplan.planning.optimise import Task
from rtplan.planning.prepare import Prepared
from rtplan.planning.second import calculated_by, other_than, second_opinion

MODEL = load_beam("generic_6mv")
GRID = Grid.axial((16, 36, 36), (5.0, 5.0, 5.0), (-87.5, -87.5, -37.5))
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
BODY = Mask(GRID, np.abs(X) + np.abs(Y) < 120)
PTV = Mask(GRID, X**2 + Y**2 + Z**2 < 15**2)
WANTED = (TargetDose(target="PTV", dose_gy=60.0, to="median", source="test", verified=True),)
BEAM = open_field((60.0, 60.0), (0.0, 0.0, 0.0))


def prepared(model=MODEL) -> Prepared:  # type: ignore[no-untyped-def]
    image = Image(GRID, np.where(BODY.array, 0.0, -1000.0))
    engine = Engine(model, load_curve("matrad_default"))
    return Prepared(
        Task({"PTV": Target(PTV, 60.0)}, {}, 20, (0.0, 0.0, 0.0)), image, BODY, engine, "CT", WANTED
    )


@pytest.fixture(scope="module")
def dose() -> Dose:
    return calculated_by("pencil", prepared(), [BEAM])


def test_in_water_the_two_agree_and_nothing_is_warned(dose: Dose) -> None:
    found, notices = second_opinion(prepared(), [BEAM], dose, "cone")
    by = {(f.structure, f.metric): f for f in found}
    assert abs(by["PTV", "Mean dose by cone"].value or 99.0) < 2.5
    assert by[None, "Gamma 2%/2mm by cone"].value is not None
    assert notices == ()


def test_a_dose_that_is_wrong_by_five_per_cent_is_warned(dose: Dose) -> None:
    wrong = replace(dose, array=dose.array * 1.06)
    _, (notice,) = second_opinion(prepared(), [BEAM], wrong, "cone")
    assert (notice.code, notice.structure) == ("ALGORITHMS_DIFFER", "PTV")


def test_a_machine_without_the_other_algorithms_part_is_not_evaluable(dose: Dose) -> None:
    (found,), notices = second_opinion(
        prepared(MODEL.model_copy(update={"cone": None})), [BEAM], dose, "cone"
    )
    assert found.verdict == "not_evaluable"
    assert notices == ()


def test_names() -> None:
    assert (other_than("pencil"), other_than("cone")) == ("cone", "pencil")
    with pytest.raises(UnknownName, match="no dose algorithm"):
        other_than("guess")
