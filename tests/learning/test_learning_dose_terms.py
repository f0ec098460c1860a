"""Generalised means in a loss: closed forms, gradients, dosimetry's formulas, and every number finite."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rtplan.dosimetry import radiobiology
from rtplan.dosimetry.parameters import load_set
from rtplan.learning.boost_settings import BoostSettings
from rtplan.learning.dose_terms import COLDEST, Course, MeanTerm, effect, mean_terms, power_mean
from rtplan.learning.settings import parse
from rtplan.resources import shelf

EXPONENTS = (-20.0, -1.0, 1.0, 2.0, 8.0, 1 / 0.09, 200.0)


def doses(count=40, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.2, 1.2, count))


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_mean_is_that_of_dosimetry_and_of_a_uniform_dose_the_dose(exponent):
    dose, weight = doses(), doses(seed=2)
    wanted = radiobiology.geud(dose.numpy(), weight.numpy(), exponent)
    assert float(power_mean(dose, weight, exponent)) == pytest.approx(float(wanted), rel=1e-12)
    assert float(power_mean(torch.full((9,), 0.7), torch.ones(9), exponent)) == pytest.approx(0.7, rel=1e-6)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_mean_is_homogeneous_and_its_gradient_that_of_differences(exponent):
    dose, weight = doses(12).requires_grad_(), doses(12, seed=2)
    assert torch.autograd.gradcheck(lambda d: power_mean(d, weight, exponent), (dose,))
    twice = power_mean(2.0 * dose.detach(), weight, exponent)
    assert float(twice) == pytest.approx(2.0 * float(power_mean(dose.detach(), weight, exponent)), rel=1e-12)


def test_two_voxels_by_hand():
    dose = torch.tensor([1.0, 3.0])
    assert float(power_mean(dose, torch.tensor([3.0, 1.0]), 1.0)) == pytest.approx(1.5)
    assert float(power_mean(dose, torch.ones(2), -1.0)) == pytest.approx(1.5)
    assert float(power_mean(dose, torch.ones(2), 2.0)) == pytest.approx(math.sqrt(5.0))


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dose", [[0.0, 0.0, 0.0], [-0.3, 0.5, 1.0], [0.0, 1e-30, 1.2]])
def test_no_dose_gives_a_mean_or_a_gradient_that_is_not_finite(dose, exponent):
    """In float32, also where a network's answer is below 0 or 0 everywhere."""
    there = torch.tensor(dose, requires_grad=True)
    found = power_mean(there, torch.ones(3), exponent)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(there.grad).all()
    assert float(found.detach()) <= max(max(dose), COLDEST) * (1.0 + 1e-5)


@pytest.mark.parametrize("course", [Course(77.0, 35), Course(40.0, 5)])
def test_effect_is_eqd2_over_that_of_the_prescription(course):
    dose = doses()
    wanted = radiobiology.eqd2(dose.numpy() * course.dose_gy, course.fractions, 3.0)
    whole = radiobiology.eqd2(course.dose_gy, course.fractions, 3.0)
    assert np.allclose(effect(dose, course, 3.0).numpy(), wanted / whole, rtol=1e-12)


def test_terms_are_differences_of_means_and_nought_for_equal_doses():
    planned, part = doses(), (doses(seed=3) > 0.6).double()
    parts = {"Rectum": part, "gtv": torch.zeros_like(part)}
    course = Course(40.0, 5)
    risk = MeanTerm(structure="Rectum", exponent=1 / 0.09, alpha_beta_gy=3.0, weight=0.5)
    terms = (risk, MeanTerm(structure="gtv", exponent=-20.0, weight=1.0))
    assert float(mean_terms(planned, planned, parts.__getitem__, course, terms)) == 0.0
    found = float(mean_terms(planned + 0.05, planned, parts.__getitem__, course, terms))
    inside = part.numpy() > 0
    means = [
        radiobiology.geud(radiobiology.eqd2(d[inside] * 40.0, 5, 3.0), np.ones(inside.sum()), 1 / 0.09)
        for d in (planned.numpy() + 0.05, planned.numpy())
    ]
    wanted = 0.5 * (means[0] - means[1]) / radiobiology.eqd2(40.0, 5, 3.0)
    assert found == pytest.approx(float(wanted), rel=1e-9)
    moved = planned.clone()
    moved[part == 0] += 0.3
    assert float(mean_terms(moved, planned, parts.__getitem__, course, terms)) == 0.0


def test_weights_and_alpha_beta_are_above_nought():
    for wrong in ({"weight": 0.0}, {"weight": 1.0, "alpha_beta_gy": 0.0}):
        with pytest.raises(ValidationError):
            MeanTerm(structure="Rectum", exponent=1.0, **wrong)


def test_shipped_recipe_judges_by_the_parameters_of_the_model_of_risk():
    """Exponent and alpha/beta of the recipe are those of the parameter set that the benchmark judges by."""
    model = load_set("rectum_bleeding_g2_quantec2010")
    plan = parse(shelf("models") / "dose_prostate_boost" / "train.toml", BoostSettings)
    risk = [term for term in plan.loss.means if term.alpha_beta_gy is not None]
    assert [term.structure for term in risk] == ["Rectum"]
    assert risk[0].exponent == pytest.approx(1.0 / model.values["n"])
    assert risk[0].alpha_beta_gy == model.dose.alpha_beta_gy
