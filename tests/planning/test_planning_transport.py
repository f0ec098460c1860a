"""Energy along directions: all of it, where it should go, as the exponential says, in any medium."""

import numpy as np
import pytest
import torch

from rtplan.planning.transport import carried, directions

RATE = torch.tensor([0.1, 0.02], dtype=torch.float64)


def sent(h: int, side: int, count: int = 2) -> torch.Tensor:
    """All energy of one source into one direction, with the first attenuation."""
    weight = torch.zeros(3 * count**2, 2, 2, 1, dtype=torch.float64)
    weight[h, side, 0] = 1.0
    return weight


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_cells_cover_the_sphere_evenly(count: int) -> None:
    cells = directions(count)
    assert 2.0 * cells.share.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.linalg.norm(cells.samples, axis=-1) == pytest.approx(1.0)
    weighed = (cells.samples * cells.share[:, None, :, None]).reshape(-1, 3)
    np.testing.assert_allclose(weighed.sum(axis=0), 0.0, atol=1e-12)
    square = np.einsum("hpsi,hpsj,hs->ij", cells.samples, cells.samples, cells.share)
    np.testing.assert_allclose(square, np.eye(3) / 3.0, atol=2e-3)
    middle = cells.samples.mean(axis=2)[:, 0]
    along = middle[np.arange(len(cells.axis)), cells.axis]
    across = np.stack([np.delete(m, a) for m, a in zip(middle, cells.axis, strict=True)]) / along[:, None]
    np.testing.assert_allclose(across, cells.tangent, atol=0.02)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("h", range(12))
def test_a_source_sends_its_energy_where_the_direction_points(h: int, side: int) -> None:
    cells = directions(2)
    water = torch.ones(1, 31, 31, 31, dtype=torch.float64)
    source = torch.zeros(1, 1, 31, 31, 31, dtype=torch.float64)
    source[0, 0, 15, 15, 15] = 1.0
    left = carried(water, source, sent(h, side), RATE * 2.0, cells, np.full(3, 3.0))[0].numpy()
    assert left.sum() == pytest.approx(1.0, abs=1e-3)  # the rest leaves the box
    centre = np.array([(left * i).sum() for i in np.indices(left.shape) - 15])
    wanted = np.insert(cells.tangent[h], cells.axis[h], 1.0) * (1.0 if side == 0 else -1.0)
    np.testing.assert_allclose(centre / np.linalg.norm(centre), wanted / np.linalg.norm(wanted), atol=1e-6)
    assert 3.0 * np.linalg.norm(centre) == pytest.approx(1.0 / 0.2, rel=0.06)  # the mean path


def test_energy_is_kept_in_any_medium_and_with_unequal_voxels() -> None:
    rng = np.random.default_rng(3)
    density = torch.tensor(rng.uniform(0.05, 2.0, (2, 14, 12, 16)))
    source = torch.tensor(rng.uniform(0.0, 1.0, (3, 2, 14, 12, 16)))
    cells = directions(2)
    weight = torch.tensor(rng.uniform(0.0, 1.0, (12, 2, 2, 3)))
    far = RATE * 1e3  # nothing leaves a voxel, so nothing leaves the box

    freed = torch.einsum("b,bazyx,azyx->a", weight.sum(dim=(0, 1, 2)), source, density)
    padded_density = torch.nn.functional.pad(density, (4,) * 6)
    padded_source = torch.nn.functional.pad(source, (4,) * 6)
    kept = carried(padded_density, padded_source, weight, far, cells, np.array([3.0, 5.0, 4.0]))
    torch.testing.assert_close((kept * padded_density).sum(dim=(1, 2, 3)), freed, rtol=2e-3, atol=0.0)


def test_paths_scale_with_density() -> None:
    cells = directions(1)
    source = torch.zeros(1, 1, 60, 3, 3, dtype=torch.float64)
    source[0, 0, 5, 1, 1] = 1.0
    water = torch.ones(1, 60, 3, 3, dtype=torch.float64)
    slab = water.clone()
    slab[:, 10:20] = 0.25
    plain, through = (
        carried(d, source / d[0, 5, 1, 1], sent(0, 0, 1), RATE, cells, np.full(3, 2.0))[0, :, 1, 1]
        for d in (water, slab)
    )
    # ten voxels of a quarter count as two and a half: behind the slab all comes 7.5 voxels earlier
    assert (through[25:] / plain[25:]).numpy() == pytest.approx(np.exp(0.1 * 15.0), rel=1e-9)
    assert (through[:10] / plain[:10])[5:].numpy() == pytest.approx(1.0)


def test_nothing_is_lost_in_empty_voxels() -> None:
    cells = directions(1)
    density = torch.ones(1, 40, 3, 3, dtype=torch.float64)
    density[:, 10:30] = 0.0
    source = torch.zeros(1, 1, 40, 3, 3, dtype=torch.float64)
    source[0, 0, 5, 1, 1] = 1.0
    near = torch.cat([density[:, :10], density[:, 30:]], dim=1)
    gap = carried(density, source, sent(0, 0, 1), RATE, cells, np.full(3, 2.0))[0, :, 1, 1]
    none = carried(near, source[:, :, :20], sent(0, 0, 1), RATE, cells, np.full(3, 2.0))[0, :, 1, 1]
    np.testing.assert_allclose(gap[30:], none[10:], rtol=1e-4)
    assert torch.isfinite(gap).all()


def test_gradcheck_in_density_and_source() -> None:
    rng = np.random.default_rng(4)
    density = torch.tensor(rng.uniform(0.3, 1.5, (1, 2, 3, 2)), requires_grad=True)
    source = torch.tensor(rng.uniform(0.0, 1.0, (2, 1, 2, 3, 2)), requires_grad=True)
    weight = torch.tensor(rng.uniform(0.0, 1.0, (3, 2, 2, 2)))
    cells = directions(1)

    def left(density: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        return carried(density, source, weight, RATE, cells, np.array([3.0, 5.0, 4.0]))

    assert torch.autograd.gradcheck(left, (density, source))
