"""The way back through the collapsed cones: against differences, as a transpose, only what is asked for."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rtplan.planning.sweep import Ray, swept
from rtplan.planning.transport import Directions, carried, directions

ALL = directions(2)
#: A slanted pair along each axis.
SOME = [0, 5, 10]
CONES = Directions(ALL.axis[SOME], ALL.tangent[SOME], ALL.samples[SOME], ALL.share[SOME])
#: Unequal edges, in the order of the axes.
STEP = np.array([3.0, 2.2, 4.1])


def box(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = (3, 4, 3)) -> tuple[Tensor, ...]:
    """Two images with a hole, a wisp of gas and bone, two sources, their weights, two attenuations."""
    rng = np.random.default_rng(11)
    density = rng.uniform(0.3, 1.6, (2, *shape))
    density[0, 1:3, 1:3, 1] = 0.0
    density[1, 1:3, 1:3] = 0.002
    source = rng.uniform(0.0, 1.0, (2, *density.shape))
    weight = rng.uniform(-0.01, 0.03, (len(CONES.axis), 2, 2, 2))
    parts = (density, source, weight, np.array([0.3, 0.004]))
    return tuple(torch.tensor(x, dtype=dtype).requires_grad_() for x in parts)


def leaves(*inputs: Tensor) -> Tensor:
    return carried(*inputs, CONES, STEP)


def test_gradcheck_in_density_sources_weights_and_attenuations() -> None:
    assert torch.autograd.gradcheck(leaves, box(), atol=1e-6, rtol=1e-4)


def test_the_way_back_is_the_transpose() -> None:
    """What sources x leave, against y, is x against what y gives back."""
    density, source, weight, rate = box()
    y = torch.tensor(np.random.default_rng(3).normal(size=density.shape))
    (back,) = torch.autograd.grad(leaves(density, source, weight, rate), source, y)
    x = torch.tensor(np.random.default_rng(4).normal(size=source.shape))
    there = leaves(*(t.detach() for t in (density, x, weight, rate)))
    assert float((there * y).sum()) == pytest.approx(float((x * back).sum()), rel=1e-12)


@pytest.mark.parametrize("asked", [(0,), (1,), (2,), (3,), (0, 2), (1, 3)])
def test_a_gradient_asked_for_alone_is_that_asked_for_with_the_others(asked: tuple[int, ...]) -> None:
    inputs = box()
    y = torch.tensor(np.random.default_rng(3).normal(size=inputs[0].shape))
    every = torch.autograd.grad(leaves(*inputs), inputs, y)
    some = [x if n in asked else x.detach() for n, x in enumerate(inputs)]
    found = torch.autograd.grad(leaves(*some), [some[n] for n in asked], y)
    for n, one in zip(asked, found, strict=True):
        torch.testing.assert_close(one, every[n], rtol=1e-12, atol=0.0)
    assert not leaves(*(x.detach() for x in inputs)).requires_grad


def test_single_precision_keeps_its_digits_in_thin_gas() -> None:
    """The slope of a cell's own share is a small difference of large numbers there, unless by its series."""
    found = []
    for dtype in (torch.float32, torch.float64):
        inputs = box(dtype, (6, 6, 6))
        y = torch.linspace(-1.0, 1.0, inputs[0].numel(), dtype=dtype).view(inputs[0].shape)
        found.append(torch.autograd.grad(leaves(*inputs), inputs[0], y)[0].double())
    gas = (slice(1, 2), slice(1, 3), slice(1, 3))
    torch.testing.assert_close(
        found[0][gas], found[1][gas], rtol=1e-4, atol=1e-6 * float(found[1].abs().max())
    )


def test_rays_that_leave_a_thin_box_at_once_are_lost() -> None:
    """Planes of 9 mm and voxels of 1 mm: a slanted ray moves by more than the box is wide."""
    rho, sent = torch.ones(3, 1, 3, 3), torch.ones(3, 1, 9)
    weight = torch.tensor([0.25, 0.25]).view(1, 2, 1, 1)
    ray = Ray(np.array([0.45, 0.45]), np.array([9.0, 1.0, 1.0]), 3)
    left = swept(rho, sent, weight, torch.tensor([0.01]), [ray])
    assert torch.isfinite(left).all()
    kept = 1.0 - (1.0 - np.exp(-0.01 * ray.length_mm)) / (0.01 * ray.length_mm)
    assert float(left[0].sum()) == pytest.approx(9 * 0.5 * kept, rel=1e-5)
