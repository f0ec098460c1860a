"""Laws of outcome models, run on every parameter set; check values of the files; BED, EQD2, gEUD."""

import numpy as np
import pytest

from rtplan.dosimetry.budget import draw, interval95, probabilities
from rtplan.dosimetry.forms import lkb_probit, log_logit, relative_seriality
from rtplan.dosimetry.outcome import evaluate, ntcp
from rtplan.dosimetry.parameters import load_set, names
from rtplan.dosimetry.population import cautions
from rtplan.dosimetry.radiobiology import bed, eqd2, geud, physical
from rtplan.errors import DoseError, UnknownName

SETS = [load_set(name) for name in names()]
DOSES = np.array([10.0, 30.0, 50.0, 65.0, 75.0])
VOLUMES = np.array([0.35, 0.25, 0.20, 0.12, 0.08])


def test_verified_sets_are_those_of_issue_5():
    verified = {item.name for item in SETS if item.verified}
    assert {"rectum_bleeding_g2_quantec2010", "parotid_flow_dijkema2010"} <= verified
    assert {
        n for n in verified if not n.startswith(("rectum_bleeding_g2_q", "parotid_flow", "bladder_acute_"))
    } == set()
    assert not any(item.verified for item in SETS if item.kind == "tcp")


def test_worked_examples_of_other_forms():
    gamma50 = 1.0 / (0.13 * np.sqrt(2.0 * np.pi))
    logit = log_logit(DOSES, VOLUMES, {"n": 0.09, "gamma50": gamma50, "td50_gy": 76.9})
    assert logit == pytest.approx(0.0584498, abs=1e-6)
    serial = {"s": 1.5, "gamma": 2.2, "d50_gy": 80.0}
    assert relative_seriality(DOSES, VOLUMES, serial) == pytest.approx(0.0847958, abs=1e-6)
    assert relative_seriality(np.array([80.0]), np.array([1.0]), serial) == pytest.approx(0.5, abs=1e-12)


def test_partial_volume_lkb_is_the_effective_volume_form():
    p = {"n": 0.12, "m": 0.15, "td50_gy": 80.0}
    whole = lkb_probit(np.array([70.0, 0.0]), np.array([0.3, 0.7]), p)
    td50 = 80.0 * 0.3 ** -p["n"]
    assert whole == pytest.approx(
        lkb_probit(np.array([70.0]), np.array([1.0]), p | {"td50_gy": td50}), abs=1e-12
    )


@pytest.mark.parametrize(
    ("n", "expected"),
    [(0.09, 61.318658), (0.04, 67.904701), (0.12, 58.344409), (0.14, 56.639670), (1.0, 34.8)],
)
def test_geud(n, expected):
    assert geud(DOSES, VOLUMES, 1.0 / n) == pytest.approx(expected, abs=1e-6)


def test_geud_limits_and_stability():
    assert geud(DOSES, VOLUMES, 1e6) == pytest.approx(75.0, rel=1e-4)
    assert geud(DOSES, VOLUMES, -1e6) == pytest.approx(10.0, rel=1e-4)
    assert geud(DOSES, VOLUMES, 0.0) == pytest.approx(geud(DOSES, VOLUMES, 1e-9), rel=1e-6)
    assert geud(np.array([0.0, 60.0]), np.array([1.0, 1.0]), -10.0) == 0.0
    assert geud(DOSES * 3.0, VOLUMES * 7.0, 11.0) == pytest.approx(3.0 * geud(DOSES, VOLUMES, 11.0))


@pytest.mark.parametrize(
    ("dose", "fractions", "three", "one_and_half"),
    [
        (60, 20, 72.0, 77.143),
        (36.25, 5, 74.3125, 90.625),
        (77, 35, 80.08, 81.4),
        (95, 35, 108.571, 114.388),
        (67, 20, 85.09, 92.843),
        (35, 5, 70.0, 85.0),
        (50, 5, 130.0, 164.286),
        (42.7, 7, 77.714, 92.72),
    ],
)
def test_eqd2_table(dose, fractions, three, one_and_half):
    assert eqd2(dose, fractions, 3.0) == pytest.approx(three, abs=1e-3)
    assert eqd2(dose, fractions, 1.5) == pytest.approx(one_and_half, abs=1e-3)
    assert physical(eqd2(dose, fractions, 3.0), fractions, 3.0) == pytest.approx(dose, abs=1e-9)


def test_eqd2_is_per_voxel_and_not_scalar():
    dose = np.array([10.0, 35.0, 60.0])
    per_voxel = eqd2(dose, 5, 3.0)
    scalar = dose * (7.0 + 3.0) / (2.0 + 3.0)
    assert per_voxel[1] == pytest.approx(scalar[1])
    assert per_voxel[0] == pytest.approx(10.0)
    assert abs(per_voxel[0] - scalar[0]) > 5.0
    assert bed(2.0 * 30, 30, 3.0) == pytest.approx(100.0)


def test_interval_is_seeded_and_grows_with_the_published_one():
    item = load_set("rectum_bleeding_g2_quantec2010")
    low, high = interval95(probabilities(item, (DOSES, VOLUMES), None, draw(item), use_eqd2=False))
    assert low == pytest.approx(0.008, abs=0.004)
    assert high == pytest.approx(0.208, abs=0.015)
    again = interval95(probabilities(item, (DOSES, VOLUMES), None, draw(item), use_eqd2=False))
    assert again == (low, high)
    td50 = item.parameters["td50_gy"].model_copy(update={"ci95": (70.5, 83.3)})
    wider = item.model_copy(update={"parameters": {**item.parameters, "td50_gy": td50}})
    lower, higher = interval95(probabilities(wider, (DOSES, VOLUMES), None, draw(wider), use_eqd2=False))
    assert higher - lower > high - low
    assert draw(load_set("bladder_contracture_burman1991")) is None


def test_refusals_and_cautions():
    item = load_set("rectum_bleeding_g2_quantec2010")
    with pytest.raises(DoseError, match="fractions"):
        ntcp(item, (DOSES, VOLUMES))
    with pytest.raises(DoseError, match=">= 0"):
        ntcp(item, (-DOSES, VOLUMES), 35)
    with pytest.raises(DoseError):
        ntcp(item, (DOSES, VOLUMES[:3]), 35)
    with pytest.raises(UnknownName, match="lkb_probit"):
        ntcp(item.model_copy(update={"form": "magic"}), (DOSES, VOLUMES), 35)
    assert any("extrapolated" in words for words in cautions(item, DOSES, 5))
    assert not cautions(item, DOSES, 40)
    assert evaluate(item, (DOSES, VOLUMES), 35, use_eqd2=False).dose_kind == "physical"
    assert any("not verified" in w for w in cautions(load_set("rectum_late_g2_tucker2007"), DOSES, 40))
