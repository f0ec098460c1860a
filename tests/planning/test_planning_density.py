"""HU to electron density: clamped, monotone, differentiable, refused when it falls."""

from pathlib import Path

import pytest
import torch

from rtplan import resources
from rtplan.errors import FormatError, UnknownName
from rtplan.planning.density import Curve, load_curve

CURVES = resources.names("models/curves")


@pytest.mark.parametrize("name", CURVES)
def test_curve_runs_through_its_nodes_and_is_monotone_and_clamped(name: str) -> None:
    curve = load_curve(name)
    hu = torch.tensor(curve.hu, dtype=torch.float64)
    torch.testing.assert_close(curve.of(hu), torch.tensor(curve.density, dtype=torch.float64))
    fine = curve.of(torch.linspace(-3000, 5000, 20001, dtype=torch.float64))
    assert (torch.diff(fine) >= 0).all()
    assert curve.of(torch.tensor([-3000.0])).item() == pytest.approx(curve.density[0])
    assert curve.of(torch.tensor([9000.0])).item() == pytest.approx(curve.density[-1])
    assert curve.of(torch.tensor([0.0])).item() == pytest.approx(1.0)
    assert curve.source


def test_derivative_is_the_segments_slope_and_0_outside() -> None:
    curve = load_curve("matrad_default")
    hu = torch.tensor([-2000.0, -500.0, 50.0, 1000.0, 5000.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(curve.of(hu).sum(), hu)
    wanted = [0.0, (0.95 - 0.001) / 909, 0.095 / 100, (2.505 - 1.199) / 2650, 0.0]
    torch.testing.assert_close(slope, torch.tensor(wanted, dtype=torch.float64))


def test_a_falling_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="must not fall"):
        Curve(
            name="x",
            quantity="relative_electron_density",
            hu=(0.0, 1.0, 2.0),
            density=(1.0, 1.2, 1.1),
            source="",
        )


def test_unknown_and_broken_files_are_named_errors(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="matrad_default"):
        load_curve("nonsense")
    broken = tmp_path / "c.toml"
    broken.write_text('schema = 1\nname = "c"\nhu = [0.0]\n', encoding="utf-8")
    with pytest.raises(FormatError, match="calibration curve"):
        load_curve(str(broken))
