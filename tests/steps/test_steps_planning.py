"""OptimisePlan and RecalculateArms on a cylinder: one plan, a dose per arm, notices for what lacks."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan import pipeline
from rtplan.domain import Grid, Image, Mask, Patient, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.dosimetry.protocol import Goal, load_protocol
from rtplan.errors import DoseError, UnknownName
from rtplan.imaging.contour import mask_on
from rtplan.planning.beam import load_beam
from rtplan.planning.cone import ConeEngine
from rtplan.planning.density import load_curve
from rtplan.planning.optimise import OptimiseSettings
from rtplan.steps.optimise_plan import OptimisePlan
from rtplan.steps.recalculate_arms import RecalculateArms

FLAME = load_protocol("prostate_boost_flame")
QUICK = OptimiseSettings(beams=5, grid_mm=4.0, first=30, further=10, rounds=3)
GRID = Grid.axial((40, 60, 80), (3.0, 3.0, 3.0), (-118.5, -88.5, -58.5), "1.2.3")
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
REGIONS = {
    "External": (X / 110) ** 2 + (Y / 80) ** 2 < 1,
    "PTVp_7700": X**2 + Y**2 + Z**2 < 24**2,
    "GTVp": (X - 8) ** 2 + (Y + 5) ** 2 + Z**2 < 8**2,
    "Rectum": X**2 + (Y - 34) ** 2 < 12**2,
}


def patient(*names: str, crop: int = 80) -> Patient:
    grid = GRID.crop((0, 0, 0), (40, 60, crop))
    hu = np.where(REGIONS["External"], 20.0, -1000.0)[:, :, :crop]
    bone = np.where(hu > 0, 100.0, hu)
    images = {
        "CT": Image(grid, hu),
        "CT0": Image(grid, np.where(hu > 0, 0.0, hu)),
        "CTpop": Image(grid, bone),
    }
    masks = {name: Mask(grid, REGIONS[name][:, :, :crop]) for name in names}
    return Patient(images=images).with_structures(*(Structure(n, kind_of(n), m) for n, m in masks.items()))


STEPS = (OptimisePlan(FLAME, QUICK), RecalculateArms(grid_mm=4.0))


@pytest.fixture(scope="module")
def done() -> Patient:
    return pipeline.run(STEPS, patient(*REGIONS))


def test_one_plan_on_the_reference_and_a_dose_for_every_arm(done: Patient) -> None:
    assert done.plan is not None
    assert done.plan.made_on == "CT"
    assert list(done.doses) == ["CT", "CT0", "CTpop"]
    assert {dose.fractions for dose in done.doses.values()} == {35}
    grids = [dose.grid for dose in done.doses.values()]
    assert all(grid.same_as(grids[0]) for grid in grids)


def test_target_is_covered_and_only_the_density_tells_the_arms_apart(done: Patient) -> None:
    ptv = mask_on(done.structure("PTVp_7700"), done.doses["CT"].grid).array
    mean = {arm: float(dose.array[ptv].mean()) for arm, dose in done.doses.items()}
    assert (done.doses["CT"].array[ptv] >= 0.95 * 77.0).mean() >= 0.95
    assert mean["CT0"] > mean["CT"] > mean["CTpop"]  # less density, more dose: nothing is normalised again
    assert abs(mean["CT0"] / mean["CT"] - 1.0) < 0.02


def test_no_notice_where_nothing_lacks(done: Patient) -> None:
    assert [n.code for n in done.notices if n.code != "LIMIT_BROKEN"] == []


def test_a_missing_boost_is_planned_without_and_said() -> None:
    made = STEPS[0](patient("External", "PTVp_7700"))
    assert made.plan is not None
    assert [(n.code, n.structure) for n in made.notices] == [("TARGET_MISSING", "GTVp")]


def test_without_the_gland_there_is_no_plan_and_the_dose_is_left_out() -> None:
    made = pipeline.run(STEPS, patient("External", "GTVp"))
    assert made.plan is None
    assert not made.doses
    assert [n.code for n in made.notices] == ["TARGET_MISSING", "STEP_SKIPPED"]


def test_without_skin_or_target_the_steps_are_left_out() -> None:
    for names in (("PTVp_7700",), ("External", "Rectum")):
        made = pipeline.run(STEPS, patient(*names))
        assert made.plan is None
        assert {n.code for n in made.notices} == {"STEP_SKIPPED"}


def test_beams_through_a_crop_are_named() -> None:
    made = STEPS[0](patient("External", "PTVp_7700", "GTVp", crop=55))
    assert "BEAM_CROSSES_CROP" in [n.code for n in made.notices]


def test_metal_beyond_the_curve_is_said() -> None:
    made = patient(*REGIONS)
    hu = made.images["CT"].array.copy()
    hu[14:26, 24:36, 52:62] = 9000.0
    made = STEPS[0](made.with_images(CT=Image(GRID, hu)))
    (notice,) = [n for n in made.notices if n.code == "HU_BEYOND_CURVE"]
    assert "matrad_default" in notice.message


def test_a_limit_that_cannot_be_kept_is_named_with_excess_and_overlap() -> None:
    strict = FLAME.model_copy(
        update={
            "goal": (
                Goal(
                    structure="Rectum",
                    metric="V30Gy[%]",
                    limit="< 1",
                    priority=1,
                    source="test",
                    verified=True,
                ),
            )
        }
    )
    grown = patient(*REGIONS)
    inside = grown.structure("Rectum").region
    assert isinstance(inside, Mask)
    whole = Mask(GRID, inside.array | (REGIONS["PTVp_7700"] & (Y > 5)))
    made = OptimisePlan(strict, QUICK)(grown.with_structures(Structure("Rectum", "ORGAN", whole)))
    (notice,) = [n for n in made.notices if n.code == "LIMIT_BROKEN" and "V30Gy" in n.message]
    assert notice.structure == "Rectum"
    assert "Gy too high" in notice.message
    assert "cc of it lie in the targets" in notice.message
    (cold,) = [n for n in made.notices if n.code == "TARGET_COLD"]
    assert cold.structure == "PTVp_7700"
    assert "% of it get 95 %" in cold.message


def test_the_arms_are_calculated_by_the_algorithm_asked_for_and_the_history_says_which(done: Patient) -> None:
    planned = replace(done, doses={}, history=())
    cone = pipeline.run((RecalculateArms(grid_mm=8.0, algorithm="cone"),), planned)
    assert [(r.step, r.settings["algorithm"]) for r in cone.history] == [("RecalculateArms", "cone")]
    plan, images = done.plan, [done.images[arm] for arm in done.arms]
    assert plan is not None
    engine = ConeEngine(load_beam("generic_6mv"), load_curve("matrad_default"))
    body = mask_on(done.structure("External"), GRID)
    wanted = engine.calculate(plan.beams, images, body, cone.doses["CT"].grid)
    for arm, dose in zip(done.arms, wanted, strict=True):
        np.testing.assert_allclose(cone.doses[arm].array, dose.array, atol=1e-4)
    pencil = RecalculateArms(grid_mm=8.0)(planned).doses["CT"].array
    assert 0.1 < float(np.abs(pencil - cone.doses["CT"].array).max()) < 15.0
    with pytest.raises(UnknownName, match="pencil, cone"):
        RecalculateArms(algorithm="monte")(planned)


def test_hu_beyond_the_curve_are_said_of_the_other_arms_too(done: Patient) -> None:
    hu = done.images["CTpop"].array.copy()
    hu[14:26, 24:36, 52:62] = 9000.0
    made = RecalculateArms(grid_mm=8.0)(replace(done, notices=()).with_images(CTpop=Image(GRID, hu)))
    (notice,) = made.notices
    assert notice.code == "HU_BEYOND_CURVE"
    assert "on CTpop" in notice.message


def test_bad_calls_are_named() -> None:
    with pytest.raises(UnknownName, match="SynCT"):
        OptimisePlan(FLAME, QUICK, plan_on="SynCT")(patient(*REGIONS))
    with pytest.raises(DoseError, match="no plan"):
        RecalculateArms()(patient(*REGIONS))
