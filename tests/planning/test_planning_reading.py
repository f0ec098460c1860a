"""Maps read at fixed places: the sparse matrix reads as torch samples, and its transpose is the gradient."""

import pytest
import torch

from rtplan.planning.engine import Reach, apply
from rtplan.planning.raytrace import sampled
from rtplan.planning.reading import Reading, bilinear

V, U, N = 7, 11, 400


def reach(dtype: torch.dtype = torch.float64) -> Reach:
    draw = torch.Generator().manual_seed(3)
    places = (2.2 * torch.rand(N, 2, generator=draw, dtype=torch.float64) - 1.1).to(dtype)  # some lie outside
    places[0], places[1] = -1.0, 1.0  # the outermost edges
    weight = torch.rand(2, 3, N, generator=draw, dtype=torch.float64).to(dtype)
    return Reach(weight, places, torch.arange(V, dtype=dtype), torch.arange(U, dtype=dtype))


def maps(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    draw = torch.Generator().manual_seed(4)
    return torch.randn(3, V, U, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()


def test_the_matrix_reads_as_torch_samples() -> None:
    whole, given = maps(), reach()
    wanted = sampled(whole.detach(), given.coordinates, 1)
    found = bilinear(given.coordinates, (V, U)) @ whole.detach().reshape(3, -1).numpy().T
    torch.testing.assert_close(torch.from_numpy(found.T), wanted, atol=1e-12, rtol=0.0)


def test_dose_and_gradient_are_those_of_the_engine_on_the_first_image() -> None:
    whole, given = maps(), reach()
    reading = Reading.of(given, threads=2)
    dose = reading(whole)
    wanted = apply(given, whole, 1)[0]
    torch.testing.assert_close(dose, wanted, atol=1e-12, rtol=0.0)
    pull = torch.linspace(-1.0, 2.0, N, dtype=torch.float64)
    (one,), (other,) = (torch.autograd.grad(d, whole, pull) for d in (dose, wanted))
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0.0)
    assert torch.autograd.gradcheck(reading, (whole,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_type_stays(dtype: torch.dtype) -> None:
    whole = maps(dtype)
    dose = Reading.of(reach(dtype), threads=1)(whole)
    (gradient,) = torch.autograd.grad(dose.sum(), whole)
    assert dose.dtype == gradient.dtype == dtype
