"""Several volumes read at once: the same numbers as each alone, inside, at the rim and outside."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from rtplan.planning.gather import POINTS, gathered, images_last, worthwhile
from rtplan.planning.raytrace import sampled


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(5, 6, 7), (2, 9, 2)])
def test_all_volumes_at_once_are_each_alone(threads: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(4)
    volumes = torch.tensor(rng.normal(size=(3, *shape)))
    places = torch.tensor(rng.uniform(-1.5, 1.5, (POINTS * 3 + 17, 3)))
    places[:3] = torch.tensor([[-1.0, 1.0, 0.0], [1.0, -1.0, 1.0], [9.0, 0.0, 0.0]])
    grid = places.view(1, 1, 1, -1, 3)
    wanted = functional.grid_sample(volumes[None], grid, align_corners=False).view(3, -1)
    for laid_out in (volumes, images_last(volumes)):
        np.testing.assert_allclose(gathered(laid_out, places, threads), wanted, atol=1e-12)
    single = gathered(volumes.float(), places.float(), threads)
    np.testing.assert_allclose(single, wanted, atol=2e-5)
    assert (wanted[:, 2] == 0.0).all()


def test_only_several_volumes_without_gradient_are_gathered() -> None:
    volumes = torch.rand(2, 3, 4, 5)
    assert worthwhile(volumes, 3)
    assert not worthwhile(volumes[:1], 3)
    assert not worthwhile(volumes[0], 2)
    assert not worthwhile(torch.rand(2, 1, 4, 5), 3)
    volumes.requires_grad_()
    assert not worthwhile(volumes, 3)
    with torch.no_grad():
        assert worthwhile(volumes, 3)


def test_the_way_with_a_gradient_gives_the_same() -> None:
    volumes, places = torch.rand(2, 3, 4, 5), torch.rand(40, 3) * 2.4 - 1.2
    plain = sampled(volumes, places, 1)
    graph = sampled(volumes.clone().requires_grad_(), places, 1)
    np.testing.assert_allclose(plain, graph.detach(), atol=1e-6)
