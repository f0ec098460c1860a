"""The surface step: a tube under a known dose, its paired difference, and what cannot be unwrapped."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Image, Notice, Patient, Structure
from rtplan.domain.patient import WITHHOLD_ABSOLUTE
from rtplan.dosimetry.protocol import load_protocol
from rtplan.dosimetry.radiobiology import eqd2, physical
from rtplan.dosimetry.wall import load_levels
from rtplan.pipeline import Step
from rtplan.steps.estimate_outcome import EstimateOutcome
from rtplan.steps.map_surface import MapSurface

CHHIP = load_protocol("prostate_chhip_60gy")
LEVELS = load_levels()
RADIUS = 15.0
FRAME = "1.2.3"


def tube(radius=RADIUS, top=61.0):
    turn = np.linspace(0.0, 2.0 * np.pi, 91)[:-1]
    ring = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.zeros_like(turn)], axis=1)
    planes = tuple(ring + np.array([0.0, 0.0, z]) for z in np.arange(0.0, top, 3.0))
    return Structure("Rectum", "ORGAN", Contours(planes, FRAME))


@pytest.fixture
def patient():
    """Return a straight tube; EQD2 falls from the front: 50 + 2.5 Gy per mm in front of the axis."""
    grid = Grid.axial((28, 32, 32), (3.0, 2.5, 2.5), (-38.0, -38.0, -9.0), FRAME)
    y = grid.to_patient(np.argwhere(np.ones(grid.shape)))[:, 1].reshape(grid.shape)
    wanted = np.clip(50.0 - 2.5 * y, 0.0, None)
    dose = physical(wanted, 20, LEVELS.alpha_beta_gy)
    images = {arm: Image(grid, np.zeros(grid.shape)) for arm in ("CT", "SynCT")}
    doses = {
        "CT": Dose(grid, dose, fractions=20),
        "SynCT": Dose(grid, physical(np.clip(wanted + 5.0, 0.0, None), 20, 3.0)),
    }
    return Patient("P1", images, {"Rectum": tube()}, doses=doses)


def one(findings, **wanted):
    found = [f for f in findings if all(getattr(f, k) == v for k, v in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def share(level, more=0.0):
    """Return the share of the circle in front of the line on which the EQD2 is the level."""
    ahead = (level - 50.0 - more) / 2.5 / RADIUS
    return 100.0 * np.arccos(np.clip(ahead, -1.0, 1.0)) / np.pi


def test_is_a_step_in_the_clinical_order():
    from rtplan.case.assemble import clinical_steps
    from rtplan.case.settings import CaseSettings

    assert isinstance(MapSurface(CHHIP), Step)
    names = [type(step).__name__ for step in clinical_steps(CHHIP, CaseSettings("prostate_chhip_60gy"))]
    assert names.index("MapSurface") == names.index("EstimateOutcome") + 1


def test_area_and_extents_of_a_tube_per_arm_and_their_difference(patient):
    found = MapSurface(CHHIP)(patient).findings
    assert len(found) == 3 * len(LEVELS.levels_gy) * 3
    for level in LEVELS.levels_gy:
        area = f"Surface V{level:g}Gy[%]"
        on_ct = one(found, arm="CT", metric=area)
        assert on_ct.value == pytest.approx(share(level), abs=1.5)
        assert (on_ct.dose_kind, on_ct.unit, on_ct.verified) == ("EQD2(3)", "%", False)
        change = one(found, arm="SynCT", metric=area, quantity="difference")
        assert change.reference_arm == "CT"
        assert change.value == pytest.approx(share(level, 5.0) - share(level), abs=2.0)
        lateral = one(found, arm="CT", metric=f"Surface Lateral{level:g}Gy[mm]")
        width = share(level) / 100.0 * 2.0 * np.pi * RADIUS
        assert abs(lateral.value - width) <= lateral.error_bound + 0.6  # and the dose between voxels
        assert lateral.error_bound == pytest.approx(2.0 * np.pi * RADIUS / LEVELS.n_theta, rel=0.01)
        along = one(found, arm="CT", metric=f"Surface Longitudinal{level:g}Gy[mm]")
        assert along.value == pytest.approx(60.0)
    assert one(found, arm="CT", metric="Surface V50Gy[%]").detail["length_mm"] == pytest.approx(60.0)


def test_levels_are_eqd2_and_a_level_not_reached_covers_nothing(patient):
    cold = replace(patient, doses={"CT": replace(patient.doses["CT"], array=patient.doses["CT"].array * 0.5)})
    found = MapSurface(CHHIP)(cold).findings
    assert {f.value for f in found if "75Gy" in f.metric} == {0.0}
    in_one = replace(patient.doses["CT"], array=eqd2(patient.doses["CT"].array, 20, 3.0), kind="EQD2(3)")
    same = MapSurface(CHHIP)(replace(patient, doses={"CT": in_one})).findings
    first = one(MapSurface(CHHIP)(patient).findings, arm="CT", metric="Surface V60Gy[%]")
    assert one(same, metric="Surface V60Gy[%]").value == pytest.approx(first.value, abs=0.5)


def reason(patient, protocol=CHHIP):
    found = MapSurface(protocol)(patient).findings
    assert [f.value for f in found] == [None]
    return found[0].reason


def test_what_cannot_be_unwrapped_is_not_evaluable(patient):
    assert "no structure Rectum" in reason(replace(patient, structures={}))
    flat = replace(patient, structures={"Rectum": tube(top=2.0)})
    assert "two planes" in reason(flat)
    assert "outside the dose grid" in reason(replace(patient, structures={"Rectum": tube(42.0)}, images={}))
    assert "cut by the field of view" in reason(replace(patient, structures={"Rectum": tube(top=76.0)}))
    assert "There is no dose" in reason(replace(patient, doses={}))
    other = replace(patient, doses={"CT": replace(patient.doses["CT"], kind="EQD2(1.5)")})
    assert "EQD2(1.5)" in reason(other)
    code = next(iter(WITHHOLD_ABSOLUTE))
    assert "not linear" in reason(replace(patient, notices=(Notice(code, "warn", "Withheld."),)))


def test_another_site_has_no_rectal_wall(patient):
    neck = load_protocol("headneck_openkbp")
    assert MapSurface(neck)(patient).findings == ()


def test_organs_without_an_accepted_model_are_said_to_go_by_constraints(patient):
    bulb = replace(tube(5.0), name="PenileBulb")
    said = EstimateOutcome(CHHIP, samples=64)(replace(patient, structures={"PenileBulb": bulb})).notices
    assert [n.code for n in said] == ["CONSTRAINTS_ONLY"]
    assert "PenileBulb" in said[0].message
    neck = load_protocol("headneck_openkbp")
    assert not EstimateOutcome(neck, samples=64)(patient).notices
