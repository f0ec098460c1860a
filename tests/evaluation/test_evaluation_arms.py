"""Paired findings of an arm against doses in closed form."""

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Image, Mask, Structure
from rtplan.errors import GeometryMismatch
from rtplan.evaluation.arms import (
    Pair,
    dose_at,
    dose_findings,
    gamma_findings,
    image_findings,
    spread_findings,
    structure_findings,
)

GRID = Grid.axial((12, 14, 16), (3.0, 3.0, 3.0), (10.0, 20.0, 30.0), "f")
PAIR = Pair("CT0", "CT")
POINTS = GRID.to_patient(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
CENTRE = GRID.to_patient(np.array(GRID.shape) / 2.0)
FALL = 60.0 * np.exp(-((np.linalg.norm(POINTS - CENTRE, axis=-1) / 18.0) ** 4))
REFERENCE = Dose(GRID, FALL)
BOX = np.zeros(GRID.shape, bool)
BOX[4:8, 5:9, 6:10] = True


def by_metric(findings) -> dict:
    return {finding.metric: finding for finding in findings}


def test_a_scaled_dose_differs_by_its_scale_everywhere() -> None:
    dose = Dose(GRID, REFERENCE.array * 1.02)
    isocentre = tuple(float(c) for c in CENTRE)
    found = by_metric(dose_findings(PAIR, dose, REFERENCE, 60.0, isocentre))
    assert found["IsocentreDose[%]"].value == pytest.approx(2.0, abs=1e-3)
    high = REFERENCE.array >= 54.0
    assert found["DoseMAE90[%]"].value == pytest.approx(2.0 * REFERENCE.array[high].mean() / 60.0, rel=1e-4)
    target = Structure("PTVp", "PTV", Mask(GRID, BOX))
    mean = by_metric(structure_findings(PAIR, dose, REFERENCE, {"PTVp": target}, 60.0))["MeanDose[%]"]
    assert mean.value == pytest.approx(2.0 * REFERENCE.array[BOX].mean() / 60.0, rel=1e-4)
    assert (mean.arm, mean.reference_arm, mean.quantity) == ("CT0", "CT", "difference")


def test_equal_doses_differ_by_nothing_and_pass_gamma() -> None:
    found = dose_findings(
        PAIR, REFERENCE, REFERENCE, 60.0, (float(CENTRE[0]), float(CENTRE[1]), float(CENTRE[2]))
    )
    assert all(finding.value == 0.0 for finding in found)
    region = Mask(GRID, np.ones(GRID.shape, bool))
    passed = by_metric(gamma_findings(PAIR, REFERENCE, REFERENCE, region))
    assert {metric: f.value for metric, f in passed.items()} == {
        "Gamma2%/2mm[%]": 100.0,
        "Gamma1%/1mm[%]": 100.0,
    }


def test_gamma_fails_where_a_flat_dose_differs_too_much() -> None:
    flat, more = (Dose(GRID, np.full(GRID.shape, gy)) for gy in (50.0, 50.8))
    passed = by_metric(gamma_findings(PAIR, more, flat, Mask(GRID, BOX)))
    assert passed["Gamma2%/2mm[%]"].value == 100.0
    assert passed["Gamma1%/1mm[%]"].value == 0.0
    nothing = Dose(GRID, np.zeros(GRID.shape))
    failed = gamma_findings(PAIR, nothing, nothing, Mask(GRID, BOX))
    assert {finding.verdict for finding in failed} == {"not_evaluable"}


def test_what_lies_outside_the_dose_is_not_evaluable() -> None:
    far = Grid.axial((3, 3, 3), (1.0, 1.0, 1.0), (900.0, 0.0, 0.0), "f")
    away = Structure("Rectum", "ORGAN", Mask(far, np.ones(far.shape, bool)))
    finding = structure_findings(PAIR, REFERENCE, REFERENCE, {"Rectum": away}, 60.0)[0]
    assert (finding.value, finding.verdict) == (None, "not_evaluable")
    outside = dose_findings(PAIR, REFERENCE, REFERENCE, 60.0, (900.0, 0.0, 0.0))[0]
    assert outside.verdict == "not_evaluable"
    other = Dose(far, np.zeros(far.shape))
    with pytest.raises(GeometryMismatch):
        dose_findings(PAIR, other, REFERENCE, 60.0, None)


def test_the_dose_between_voxels_is_linear() -> None:
    ramp = Dose(GRID, POINTS @ np.array([0.5, 0.25, 0.125]))
    point = (20.3, 31.7, 44.4)
    assert dose_at(ramp, point) == pytest.approx(np.dot(point, [0.5, 0.25, 0.125]), rel=1e-5)
    corner = GRID.to_patient(np.array(GRID.shape) - 1.0)
    assert dose_at(ramp, tuple(float(c) for c in corner)) == pytest.approx(float(ramp.array[-1, -1, -1]))
    assert dose_at(ramp, (9.9, 31.0, 44.0)) is None


def test_image_figures_name_their_masks() -> None:
    reference = Image(GRID, np.where(BOX, 700.0, 40.0))
    body, bone = Mask(GRID, np.ones(GRID.shape, bool)), Mask(GRID, BOX)
    masks = {"Body": body, "SoftTissue": Mask(GRID, ~BOX), "Bone": bone}
    water = Image(GRID, np.zeros(GRID.shape))
    found = {(f.metric, f.structure): f.value for f in image_findings(PAIR, water, reference, masks, None)}
    assert found["ME[HU]", "SoftTissue"] == pytest.approx(-40.0)
    assert found["MAE[HU]", "Bone"] == pytest.approx(700.0)
    assert ("PSNR[dB]", "Body") in found
    assert ("Dice", "Bone") not in found
    own = image_findings(Pair("SynCT", "CT"), reference, reference, masks, bone)
    assert {(f.metric, f.structure): f.value for f in own}["Dice", "Bone"] == 1.0


def test_without_a_reference_only_the_spread_is_given() -> None:
    doses = {"CT0": REFERENCE, "SynCT": Dose(GRID, REFERENCE.array * 1.03)}
    target = Structure("PTVp", "PTV", Mask(GRID, BOX))
    finding = spread_findings(doses, {"PTVp": target}, 60.0)[0]
    assert finding.value == pytest.approx(3.0 * REFERENCE.array[BOX].mean() / 60.0, rel=1e-4)
    assert finding.verdict == "none"
    assert finding.reference_arm is None
