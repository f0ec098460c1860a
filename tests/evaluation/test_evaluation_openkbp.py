"""The challenge's scores, against plain code that is written here once more from their definition."""

import json
import math

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Mask, Patient, Structure
from rtplan.errors import DoseError, GeometryMismatch, StructureError
from rtplan.evaluation.openkbp import PatientScore, dose_error, dvh_metrics, masks_of, score, score_patient

SPACING = (2.5, 3.9, 4.1)
GRID = Grid.axial((6, 9, 10), SPACING, (-20.0, -17.5, 4.0))


def percentile(values, share):
    """Return a percentile by its definition: linear between the order statistics, 0 % the least."""
    ranked = sorted(values)
    place = (len(ranked) - 1) * share / 100.0
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


def plain_metrics(dose, names):
    """Return the metrics from lists of doses, voxel by voxel."""
    voxel = SPACING[0] * SPACING[1] * SPACING[2]
    small = max(1, round(100.0 / voxel))
    found = {}
    for name, mask in names.items():
        inside = [float(d) for d, m in zip(dose.ravel(), mask.ravel(), strict=True) if m]
        if not inside:
            continue
        if name.startswith("PTV"):
            for metric, share in (("D_99", 1), ("D_95", 5), ("D_1", 99)):
                found[metric, name] = percentile(inside, share)
        else:
            found["D_0.1_cc", name] = percentile(inside, 100.0 - small / len(inside) * 100.0)
            found["mean", name] = sum(inside) / len(inside)
    return found


def patient(seed, rois=("Brainstem", "LeftParotid", "PTV56", "PTV70")):
    rng = np.random.default_rng(seed)
    called = {"Brainstem": "Brainstem", "LeftParotid": "Parotid_L", "PTV56": "PTV_5600", "PTV70": "PTV_7000"}
    structures = {
        "PossibleDose": Structure("PossibleDose", "CONTROL", Mask(GRID, rng.random(GRID.shape) < 0.7))
    }
    for name in rois:
        kind = "PTV" if name.startswith("PTV") else "ORGAN"
        mask = Mask(GRID, rng.random(GRID.shape) < 0.2)
        structures[called[name]] = Structure(called[name], kind, mask)
    dose = Dose(GRID, rng.uniform(0, 70, GRID.shape))
    return Patient(key=f"pt_{seed}", structures=structures, doses={"CT": dose})


def test_metrics_are_those_of_the_plain_code():
    for seed in range(4):
        case = patient(seed)
        masks = {name: mask for name, mask in masks_of(case).items() if name != "PossibleDose"}
        assert len(masks) == 4
        ours = dvh_metrics(case.doses["CT"], masks)
        plain = plain_metrics(case.doses["CT"].array, {name: mask.array for name, mask in masks.items()})
        assert ours.keys() == plain.keys()
        for name, value in plain.items():
            assert ours[name] == pytest.approx(value, abs=1e-12, rel=1e-13)


def test_dose_outside_the_possible_dose_counts():
    case = patient(1)
    possible = case.structures["PossibleDose"].region
    reference = case.doses["CT"]
    inside = Dose(GRID, reference.array + 2.0 * possible.array)
    assert dose_error(reference, inside, possible) == pytest.approx(2.0, abs=1e-6)
    outside = Dose(GRID, reference.array + 2.0 * ~possible.array)
    wanted = 2.0 * (~possible.array).sum() / possible.array.sum()
    assert dose_error(reference, outside, possible) == pytest.approx(wanted, abs=1e-6)


def test_the_dvh_score_pools_all_metrics_of_all_patients():
    """Two patients with 10 and 5 metrics: the mean over 15 numbers, not the mean of two means."""
    cases = [patient(1), patient(2, rois=("PTV70", "Brainstem"))]
    scored = []
    pooled, errors = [], []
    for case in cases:
        rng = np.random.default_rng(len(case.key))
        predicted = Dose(GRID, case.doses["CT"].array + rng.normal(0, 3, GRID.shape).astype(np.float32))
        scored.append(score_patient(case, predicted))
        masks = {n: m.array for n, m in masks_of(case).items() if n != "PossibleDose"}
        ours, true = plain_metrics(predicted.array, masks), plain_metrics(case.doses["CT"].array, masks)
        pooled += [abs(ours[name] - true[name]) for name in true]
        total = sum(
            abs(float(a) - float(b))
            for a, b in zip(predicted.array.ravel(), case.doses["CT"].array.ravel(), strict=True)
        )
        errors.append(total / masks_of(case)["PossibleDose"].array.sum())
    assert [len(one.differences) for one in scored] == [10, 5]
    result = score(scored)
    assert result.dvh_score == pytest.approx(sum(pooled) / 15, rel=1e-12)
    assert result.dose_score == pytest.approx(sum(errors) / 2, rel=1e-12)
    assert result.n == 2
    low, high = sorted(errors)
    assert result.dose_interval95 == pytest.approx((low, high))
    found = result.findings("some", "here")
    assert [finding.value for finding in found] == [result.dose_score, result.dvh_score]
    json.dumps([finding.as_dict() for finding in found], allow_nan=False)


def test_the_small_volume_is_rounded_half_to_even_and_at_least_one_voxel():
    """At 100 mm³ in 2.5 voxels two voxels are taken; in voxels of 1000 mm³, one."""
    for spacing, voxels in (((4.0, 10.0, 1.0), 2), ((10.0, 10.0, 10.0), 1)):
        grid = Grid.axial((1, 1, 5), spacing, (0.0, 0.0, 0.0))
        dose = Dose(grid, np.array([[[1.0, 2.0, 4.0, 8.0, 16.0]]]))
        got = dvh_metrics(dose, {"Larynx": Mask(grid, np.ones(grid.shape, bool))})["D_0.1_cc", "Larynx"]
        place = 4 * (1 - voxels / 5)
        values = [1.0, 2.0, 4.0, 8.0, 16.0]
        low = int(place)
        assert got == pytest.approx(values[low] + (place - low) * (values[low + 1] - values[low]))


def test_an_organ_below_the_small_volume_has_a_mean_only():
    grid = Grid.axial((1, 1, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    dose = Dose(grid, np.array([[[1.0, 2.0, 6.0]]]))
    assert dvh_metrics(dose, {"Larynx": Mask(grid, np.ones(grid.shape, bool))}) == {("mean", "Larynx"): 3.0}


def test_what_cannot_be_scored_is_refused():
    case = patient(3)
    dose = case.doses["CT"]
    other = Grid.axial(GRID.shape, SPACING, (-20.0, -17.5, 5.0))
    with pytest.raises(GeometryMismatch):
        score_patient(case, Dose(other, dose.array))
    with pytest.raises(DoseError, match="no reference"):
        score_patient(Patient(key="pt_1", structures=case.structures), dose)
    with pytest.raises(StructureError, match="possible dose"):
        score_patient(Patient(key="pt_1", doses=case.doses), dose)
    with pytest.raises(DoseError, match="no patient"):
        score([])
    with pytest.raises(DoseError, match="empty"):
        dose_error(dose, dose, Mask(GRID, np.zeros(GRID.shape, bool)))


def test_the_interval_is_over_patients():
    """Equal patients have no spread; a hundred with errors 0 or 1 that of a fair coin."""
    one = PatientScore("pt_1", 2.0, {("mean", "Larynx"): 3.0}, {("mean", "Larynx"): 1.0})
    same = score([one] * 5)
    assert same.dose_interval95 == (2.0, 2.0)
    assert same.dvh_interval95 == (2.0, 2.0)
    many = [
        PatientScore(f"pt_{i}", float(i % 2), {("mean", "Larynx"): 0.0}, {("mean", "Larynx"): float(i % 2)})
        for i in range(100)
    ]
    low, high = score(many).dose_interval95
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.02)
    assert high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.02)
