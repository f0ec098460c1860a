"""The kernel of water: all energy, forward electrons, and the refusal of what is no kernel."""

from pathlib import Path

import numpy as np
import pytest

from rtplan import resources
from rtplan.errors import FormatError, UnknownName
from rtplan.planning.kernel import EnergyKernel, Part, load_kernel


@pytest.fixture(scope="module")
def kernel() -> EnergyKernel:
    return load_kernel("water_6mv")


@pytest.mark.parametrize("name", ["primary", "scatter"])
def test_the_integral_of_energy_is_1(kernel: EnergyKernel, name: str) -> None:
    part: Part = getattr(kernel, name)
    assert part.within(1e6) == pytest.approx(1.0, abs=1e-4)
    cosine, share = np.polynomial.legendre.leggauss(2000)
    mean = (part.per_angle(cosine) * share / 2.0).sum(axis=1)
    np.testing.assert_allclose(mean, np.array(part.weight).sum(axis=1), atol=2e-3)  # linear between cones
    assert (np.diff(part.within(np.linspace(0.0, 600.0, 400))) >= 0).all()


def test_electrons_stay_near_and_scatter_goes_far(kernel: EnergyKernel) -> None:
    near, far = kernel.primary.within([5.0, 20.0]), kernel.scatter.within([20.0, 300.0])
    assert 0.6 < near[0] < 0.8
    assert near[1] > 0.97
    assert far[0] < 0.06
    assert 0.55 < far[1] < 0.8


def test_electrons_go_forward(kernel: EnergyKernel) -> None:
    ahead, aside, back = kernel.primary.per_angle([0.95, 0.0, -0.95]).sum(axis=0)
    assert ahead > 8.0 * aside > 8.0 * back


def test_what_is_no_kernel_is_refused(tmp_path: Path) -> None:
    text = resources.find("models/kernels", "water_6mv").read_text(encoding="utf-8")
    broken = {
        "more energy than 1": text.replace("weight = [\n  [", "weight = [\n  [0.17, ", 1),
        "negative attenuation": text.replace("rate_per_mm = [", "rate_per_mm = [-", 1),
        "another field": text + "\nfudge = 1.17\n",
        "no TOML": "kernel",
    }
    for words, content in broken.items():
        path = tmp_path / "kernel.toml"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(FormatError, match="energy kernel"):
            load_kernel(str(path))
        assert words
    with pytest.raises(UnknownName, match="water_6mv"):
        load_kernel("lead")


def test_a_kernel_that_holds_more_than_all_energy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.17"):
        Part(rate_per_mm=(0.1,), weight=((0.6, 0.57),))
    with pytest.raises(ValueError, match="negative energy"):
        Part(rate_per_mm=(0.1,), weight=((1.2, -0.2),))
