"""What is said of a predicted dose's errors: the head, factors, bands, and anatomies that are refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rtplan import resources
from rtplan.domain import Dose, Grid, Mask, Patient, Plan, Prescription, Structure
from rtplan.errors import ModelError
from rtplan.evaluation.openkbp import score_patient
from rtplan.evaluation.openkbp_spread import band_coverage, spread_findings, spread_of, voxel_coverage
from rtplan.learning.conformal import factor, signed_band
from rtplan.learning.doses import dose_case_of
from rtplan.learning.familiar import fit_familiar, head_measures
from rtplan.learning.predict_dose import foresee, predict_dose
from rtplan.learning.run import begin
from rtplan.learning.spread import Band, DoseSpread, Factor, HeadSpec, Spread, load_spread
from rtplan.learning.spread_fit import Cells, cells_of, fit_head
from rtplan.learning.zoo import Model, load_model
from rtplan.networks.scale_head import ScaleHead, laplace_nll
from rtplan.networks.unet import unfold

SPACING = (2.5, 4.0, 4.0)


@pytest.fixture(scope="module")
def familiar(head):
    rows = [head_measures(dose_case_of(head(seed=seed)), SPACING) for seed in range(1, 9)]
    return fit_familiar(rows, 3.0)


@pytest.fixture
def model(dose_settings, tmp_path):
    """An untrained network with a card."""
    shipped = load_model("dose_openkbp")
    plan = dose_settings()
    card = shipped.card.model_copy(update={"network": plan.network, "patch_zyx": plan.patch_zyx})
    return Model(card, begin(plan, tmp_path).ema.eval(), "0" * 64, tmp_path)


def told(familiar, factors=(1.0, 2.0)):
    return Spread(
        model="x",
        weights_sha256="0" * 64,
        data="",
        date="",
        script="",
        head=HeadSpec(file="spread.safetensors", sha256="", width=48),
        factor=tuple(
            Factor(region=r, level=0.8, factor=f) for r, f in zip(("target", "other"), factors, strict=True)
        ),
        band_coverage=0.8,
        band=(Band(structure="PTV70", metric="D_95", low_gy=-1.0, high_gy=100.0, patients=9),),
        familiar=familiar,
    )


def test_the_head_reads_what_the_mean_is_made_of(model):
    """The split into features and head leaves the network's answer as it is, bit by bit."""
    x = torch.rand(1, 20, 8, 8, 12)
    with torch.no_grad():
        found = unfold(model.network.head(model.network.features(x)).float(), model.network.stem)
        assert torch.equal(found, model.network(x))
        assert ScaleHead(model.network.head[0].in_channels)(model.network.features(x)).shape == found.shape


def test_the_head_finds_the_scale_of_laplace_errors():
    """Errors with ln b = 0.5 f₀ − 2: the likelihood leads back to it."""
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(40000, 3, generator=rng)
    scale = (0.5 * features[:, :1] - 2.0).expand(-1, 8)
    error = torch.exp(scale) * -torch.log(torch.rand(40000, 8, generator=rng))
    head = fit_head([Cells(features, error, torch.ones(40000, 8))], (2, 2, 2), steps=200)
    with torch.no_grad():
        found = head.layers(features[:500].T[None, :, :, None, None])[0, :, :, 0, 0].T
    assert float((found - scale[:500]).abs().mean()) < 0.08
    best = laplace_nll(error, scale, torch.ones(40000, 8))
    assert best < laplace_nll(error, scale + 0.2, torch.ones(40000, 8))
    assert best < laplace_nll(error, scale - 0.2, torch.ones(40000, 8))


def test_cells_hold_the_error_of_the_answer(model, head):
    case = dose_case_of(head())
    cells = cells_of(model.network, case, (4, 4, 4), 10**6)
    assert float(cells.weight.sum()) == case.mask("PossibleDose").sum()
    answer = predict_dose(replace(model, folder=None), head()).array
    error = np.abs(answer - head().doses["CT"].array)[head().structures["PossibleDose"].region.array]
    assert float((cells.error * cells.weight).sum()) * 70.0 == pytest.approx(error.sum(), rel=0.02)


def test_a_factor_gives_every_patient_the_same_weight():
    many, few = np.full(1000, 1.0), np.full(10, 3.0)
    assert factor([many, few], 0.5) == pytest.approx(1.0)
    assert factor([many, few], 0.6) == pytest.approx(3.0)
    rng = np.random.default_rng(1)
    laplace = rng.exponential(size=200000)
    assert factor([laplace], 0.8) == pytest.approx(-math.log(0.2), rel=0.02)


def test_a_band_holds_a_further_patient_as_often_as_it_says():
    rng = np.random.default_rng(2)
    draws = rng.gamma(2.0, size=(4000, 25))
    inside = [low <= row[-1] <= high for row in draws for low, high in [signed_band(row[:-1], 0.8)]]
    assert np.mean(inside) == pytest.approx(1.0 - 2 * 2 / 25, abs=0.02)
    assert signed_band(np.arange(8.0), 0.8) is None


def test_an_anatomy_is_near_to_those_learned_or_refused(head, familiar):
    near = head_measures(dose_case_of(head(seed=20)), SPACING)
    assert familiar.judged(near) is None
    edge = near | {"target's length": near["target's length"] + 4e6 * familiar.sd[0]}
    with pytest.raises(ModelError, match="target's length"):
        familiar.judged(edge)
    wide = familiar.model_copy(update={"warn": 1e-3, "refuse": 1e9})
    assert wide.judged(near).code == "ANATOMY_UNFAMILIAR"
    assert familiar.distance(near | {"Larynx volume": float("nan")}) == familiar.distance(near)
    with pytest.raises(ModelError, match="not measured"):
        familiar.distance({"target volume": 1.0})
    with pytest.raises(ModelError, match="Nothing"):
        familiar.distance(dict.fromkeys(near, float("nan")))


def test_measures_are_those_of_the_shapes(head):
    found = head_measures(dose_case_of(head()), SPACING)
    ptv = head().structures["PTV_7000"].region.array
    assert found["highest target's volume"] == pytest.approx(math.log(ptv.sum() * 0.04))
    assert found["number of targets"] == 2.0
    assert math.isnan(found["Larynx volume"])
    swapped = head_measures(dose_case_of(head(mirror=True)), SPACING)
    assert swapped["target's side"] == pytest.approx(found["target's side"])


def test_the_scale_is_what_the_head_says_of_its_logarithm(model, head, familiar):
    """A head that says ln 0.05 everywhere: b is 0.05 of the network's unit of 70 Gy."""
    ours = ScaleHead(model.network.head[0].in_channels)
    last = ours.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(math.log(0.05))
    case = dose_case_of(head())
    scale = DoseSpread(told(familiar), ours).scale_gy(model.network, case, model.card.patch_zyx)
    assert scale.shape == case.labels.shape
    assert np.allclose(scale, 3.5, rtol=1e-5)


def test_intervals_follow_the_scale_and_are_judged(model, head, familiar, monkeypatch):
    patient = head()
    spread = DoseSpread(told(familiar), ScaleHead(model.network.head[0].in_channels))
    monkeypatch.setattr("rtplan.learning.predict_dose.load_spread", lambda _: spread)
    seen = foresee(model, patient)
    plain = predict_dose(replace(model, folder=None), patient)
    assert np.array_equal(seen.dose.array, plain.array)
    half = spread.half_width_gy(seen.scale_gy, seen.case, 0.8)
    ptv = seen.case.mask("PTV_7000")
    assert np.allclose(half[ptv], seen.scale_gy[ptv])
    assert half.sum() > 1.5 * seen.scale_gy.sum()
    with pytest.raises(ModelError, match="80 %"):
        spread.half_width_gy(seen.scale_gy, seen.case, 0.9)
    score = score_patient(patient, seen.dose)
    for size, share in (((1e-9, 1e-9), 0.0), ((1e9, 1e9), 1.0)):
        sized = DoseSpread(told(familiar, size), spread.head)
        one = spread_of(seen, sized, score)
        assert voxel_coverage([one, one])["all", 0.8].found == pytest.approx(share, abs=0.02)
        assert band_coverage([one, one], 0.8)["D_95"].found == 1.0
        names = [finding.metric for finding in spread_findings([one, one], sized, "x", "y")]
        assert any("80 % voxel" in name for name in names)
        assert "OpenKBP coverage of DVH bands, all" in names


def test_the_spread_of_other_weights_is_refused():
    shipped = load_model("dose_openkbp")
    spread = load_spread(shipped)
    assert spread.spec.levels == (0.5, 0.8, 0.95)
    with pytest.raises(ModelError, match="other weights"):
        load_spread(replace(shipped, sha256="1" * 64))
    assert load_spread(replace(shipped, folder=resources.shelf("models") / "beams")) is None


def test_a_head_that_is_another_file_is_refused(tmp_path):
    shipped = load_model("dose_openkbp")
    (tmp_path / "spread.toml").write_text((shipped.folder / "spread.toml").read_text())
    save_file(ScaleHead(96).state_dict(), tmp_path / "spread.safetensors")
    with pytest.raises(ModelError, match="SHA-256"):
        load_spread(replace(shipped, folder=tmp_path))


def test_a_pelvis_with_the_names_of_a_head_is_refused_by_the_shipped_network():
    """A body 36 cm wide, a gland of 5 cm, rectum, bladder and femurs named like organs of the neck."""
    grid = Grid.axial((48, 64, 96), (3.0, 4.0, 4.0), (-190.0, -126.0, 0.0), "pelvis")
    z, y, x = ((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(grid.shape, (3.0, 4.0, 4.0), strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    shapes = {
        "PossibleDose": (x / 180) ** 2 + (y / 110) ** 2 + 0 * z < 1,
        "PTV_7000": x**2 + y**2 + z**2 < 25**2,
        "Esophagus": (x**2 + (y - 40) ** 2 < 15**2) & (np.abs(z) < 50),
        "Larynx": x**2 + (y + 15) ** 2 + (z - 50) ** 2 < 35**2,
        "Parotid_L": (x - 95) ** 2 + y**2 + (z - 20) ** 2 < 24**2,
        "Parotid_R": (x + 95) ** 2 + y**2 + (z - 20) ** 2 < 24**2,
    }
    kinds = {"PTV_7000": "PTV", "PossibleDose": "CONTROL"}
    patient = Patient(
        key="pelvis",
        doses={"CT": Dose(grid, np.zeros(grid.shape), fractions=35)},
        structures={n: Structure(n, kinds.get(n, "ORGAN"), Mask(grid, m)) for n, m in shapes.items()},
        plan=Plan(Prescription({"PTV_7000": 70.0}, 35), ()),
    )
    with pytest.raises(ModelError, match="no dose is predicted"):
        predict_dose(load_model("dose_openkbp"), patient)
