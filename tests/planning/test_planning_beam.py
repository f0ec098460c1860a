"""The machine's formula: closed forms, digits where beta meets m, and the shared TMR table."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf

from rtplan.errors import FormatError, UnknownName
from rtplan.planning.beam import BeamModel, ExtraFocal, load_beam, square_field

FITTED, UNSEEN = (4, 10, 20), (3, 6, 8, 12, 15, 25)


@pytest.fixture(scope="module")
def model() -> BeamModel:
    return load_beam("generic_6mv")


def test_depth_functions_are_the_singular_value_form(model: BeamModel) -> None:
    t = np.array([1.0, 15.0, 100.0, 300.0])
    m = model.attenuation_per_mm
    wanted = [b / (b - m) * (np.exp(-m * t) - np.exp(-b * t)) for b in model.beta_per_mm]
    found = model.depth_functions(torch.tensor(t)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("gap", [0.0, 1e-13, 3e-5])
def test_float32_keeps_its_digits_where_beta_meets_m(model: BeamModel, gap: float) -> None:
    m = 0.005066
    near = model.model_copy(update={"attenuation_per_mm": m, "beta_per_mm": (0.3, 0.02, m + gap)})
    t = torch.linspace(0, 400, 401)
    last = near.depth_functions(t)[2].numpy()
    exact = near.depth_functions(t.double())[2].numpy()
    np.testing.assert_allclose(last, exact, rtol=2e-6)
    if gap == 0.0:
        deep = t.double().numpy()
        np.testing.assert_allclose(exact, m * deep * np.exp(-m * deep), rtol=1e-12)


@pytest.mark.parametrize("gap", [None, 0.0, 3e-5])
def test_dose_of_several_depths_is_the_sum_over_the_depth_functions(
    model: BeamModel, gap: float | None
) -> None:
    if gap is not None:
        m = model.attenuation_per_mm
        model = model.model_copy(update={"beta_per_mm": (0.3, m + gap, 0.02)})
    rng = np.random.default_rng(3)
    depth, unit = (
        torch.tensor(rng.uniform(-5.0, 400.0, (4, 50))),
        torch.tensor(rng.uniform(-1.0, 2.0, (3, 50))),
    )
    wanted = torch.einsum("ian,in->an", model.depth_functions(depth), unit).numpy()
    np.testing.assert_allclose(model.dose_of(depth, unit).numpy(), wanted, rtol=1e-10, atol=1e-14)
    single = model.dose_of(depth.float(), unit.float()).numpy()
    np.testing.assert_allclose(single, wanted, rtol=1e-5, atol=1e-6)


def test_nothing_above_the_surface(model: BeamModel) -> None:
    assert (model.depth_functions(torch.tensor([-5.0, 0.0])) == 0).all()


def test_square_field_without_horn_is_a_product_of_error_functions(model: BeamModel) -> None:
    flat = model.model_copy(
        update={
            "horn": model.horn.model_copy(update={"relative_fluence": (1.0,) * len(model.horn.radius_mm)})
        }
    )
    wanted = erf(50.0 / (np.sqrt(2.0) * flat.width_mm)) ** 2
    np.testing.assert_allclose(square_field(flat, 100.0), wanted, rtol=1e-12)


def test_calibration_gives_one_gray_for_100_mu(model: BeamModel) -> None:
    assert 100.0 * model.on_axis(100.0, 100.0, ssd_mm=900.0)[0] == pytest.approx(1.0, abs=1e-12)


def test_the_whole_kernel_is_never_negative(model: BeamModel) -> None:
    depth = torch.linspace(5.0, 400.0, 80, dtype=torch.float64)
    radius = np.linspace(0.0, 300.0, 200)
    rings = np.exp(-(radius[:, None] ** 2) / 2 / model.width_mm**2) / model.width_mm**2
    kernel = model.depth_functions(depth).numpy().T @ np.array(model.kernel.weight) @ rings.T
    assert kernel.min() >= 0.0


def test_output_and_depth_dose_rise_with_the_field(model: BeamModel) -> None:
    dose = [model.on_axis(side, 100.0, 900.0)[0] for side in (30, 40, 60, 80, 100, 150, 200, 250, 300)]
    assert (np.diff(dose) > 0).all()
    assert (np.diff([model.tmr(s, 200.0)[0] for s in (30, 60, 100, 200, 300)]) > 0).all()


def test_tmr_meets_the_shared_table_on_fitted_and_unseen_fields(model: BeamModel, data: Path) -> None:
    table = np.genfromtxt(data / "beam" / "generic_truebeam_6mv_tmr.csv", delimiter=",", names=True)
    depth = np.array([50.0, 100.0, 150.0, 200.0, 250.0])
    for sides, bar in ((FITTED, 0.010), (UNSEEN, 0.015)):
        for side in sides:
            wanted = np.interp(depth / 10.0, table["depth_cm"], table[f"tmr_{side}x{side}"])
            assert np.abs(model.tmr(10.0 * side, depth) / wanted - 1.0).max() <= bar, side


def test_quality_and_maximum(model: BeamModel) -> None:
    deep, shallow = model.tmr(100.0, [200.0, 100.0])
    assert deep / shallow == pytest.approx(0.666, rel=0.01)
    fine = np.arange(5.0, 30.0, 0.1)
    assert 13.0 <= fine[np.argmax(model.tmr(100.0, fine))] <= 17.0


def test_unknown_and_broken_files_are_named_errors(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="generic_6mv"):
        load_beam("nonsense")
    broken = tmp_path / "b.toml"
    broken.write_text('schema = 1\nname = "b"\n', encoding="utf-8")
    with pytest.raises(FormatError, match="beam model"):
        load_beam(str(broken))


def test_head_scatter_as_a_second_source_lowers_small_fields() -> None:
    model = load_beam("generic_6mv")
    wide = model.model_copy(update={"extra_focal": ExtraFocal(weight=0.06, sigma_mm=30.0)})
    np.testing.assert_allclose(wide.weights.sum(axis=1), model.weights.sum(axis=1), rtol=1e-12)
    plain, scattered = (
        [m.on_axis(side, 100.0, 900.0)[0] for side in (40.0, 100.0, 200.0)] for m in (model, wide)
    )
    assert scattered[1] == pytest.approx(plain[1], rel=1e-9)  # calibrated
    assert 0.95 < scattered[0] / plain[0] < 0.98
    assert 1.005 < scattered[2] / plain[2] < 1.02
