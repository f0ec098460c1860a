"""Leaves: openings add up to the map, pixels to areas, gaps and speed hold, motion is the mean of states."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rtplan import resources
from rtplan.domain import Beam, Fluence
from rtplan.errors import FormatError
from rtplan.planning.arc import arc_from, slowed
from rtplan.planning.machine import Machine, load_machine
from rtplan.planning.refine import Static
from rtplan.planning.sequence import sequenced, sweep, with_gaps
from rtplan.planning.shapes import frame_around, opened, strips_of, swept

MACHINE = load_machine("generic_mlc120")
LEAVES = MACHINE.leaves
STRICT = LEAVES.model_copy(update={"interdigitation": False})
EDGES = np.arange(-4.0, 5.0) * 5.0
COLUMNS = torch.arange(-24.0, 25.0, dtype=torch.float64)


def beam(mu: np.ndarray, gantry: float = 0.0) -> Beam:
    rows, columns = mu.shape
    corner = (-columns * 2.5 + 2.5, -rows * 2.5 + 2.5)  # edges of pixels at multiples of 5 mm
    return Beam(f"G{gantry:g}", gantry, (0.0, 0.0, 0.0), Fluence(mu, 5.0, corner))


@given(hnp.arrays(np.int64, (4, 8), elements=st.integers(0, 6)))
def test_a_sweep_adds_up_to_the_levels_and_goes_one_way(levels: np.ndarray) -> None:
    left, right = sweep(levels, EDGES)
    assert (right >= left).all()
    middles = 0.5 * (EDGES[:-1] + EDGES[1:])
    lit = (left[..., None] < middles) & (middles < right[..., None])
    np.testing.assert_array_equal(lit.sum(axis=0), levels)
    assert (np.diff(left, axis=0) >= 0).all()
    assert (np.diff(right, axis=0) >= 0).all()
    rises = np.maximum(np.diff(np.pad(levels, ((0, 0), (1, 0))), axis=1), 0).sum(axis=1)
    assert len(left) == rises.max(initial=0)  # no sweep of one direction needs fewer


def test_a_map_of_few_levels_is_sequenced_exactly() -> None:
    mu = np.kron([[0, 1, 2, 1], [1, 3, 3, 0]], np.ones((2, 2))) * 40.0
    made = sequenced(beam(mu), MACHINE)
    x = torch.as_tensor(Static((made,), MACHINE, 20).start())
    free = replace(made, left=np.where(made.right - made.left < 1, made.right, made.left))  # gaps shut
    for segments, tolerance in ((free, 1e-9), (made, 0.11 * 120.0)):
        layout = Static((segments,), MACHINE, 20)
        (raster,) = layout.rasters(torch.as_tensor(layout.start()))
        fluence = made.frame.beam.fluence
        assert raster.shape == fluence.mu.shape
        wanted = np.kron(mu, np.ones((2, 2)))  # from 5 mm to 2.5 mm pixels
        assert np.abs(raster.numpy() - wanted).max() <= tolerance
    assert x.shape == (2 * made.left.size + len(made.mu),)


@given(
    hnp.arrays(np.float64, (3, 5), elements=st.floats(-40, 40)),
    hnp.arrays(np.float64, (3, 5), elements=st.floats(0, 30)),
)
def test_the_open_parts_have_the_openings_length(left: np.ndarray, width: np.ndarray) -> None:
    ends = torch.as_tensor(left), torch.as_tensor(left + width)
    inside = np.clip(left + width, -24, 24) - np.clip(left, -24, 24)
    np.testing.assert_allclose(opened(*ends, COLUMNS).sum(-1), inside, atol=1e-9)
    still = swept((ends[0], ends[0]), (ends[1], ends[1]), COLUMNS)
    np.testing.assert_allclose(still, opened(*ends, COLUMNS), atol=2e-6)  # no motion: the state itself


def test_moving_leaves_open_the_mean_of_their_states() -> None:
    rng = np.random.default_rng(3)
    left, right = rng.uniform(-20, 0, (2, 6)), rng.uniform(0, 20, (2, 6))
    tensors = [torch.as_tensor(x) for x in (left[0], left[1], right[0], right[1])]
    at = (np.arange(4000) + 0.5) / 4000
    states = [
        opened(*(torch.as_tensor(e[0] + t * (e[1] - e[0])) for e in (left, right)), COLUMNS) for t in at
    ]
    mean = torch.stack(states).mean(0)
    np.testing.assert_allclose(
        swept((tensors[0], tensors[1]), (tensors[2], tensors[3]), COLUMNS), mean, atol=1e-3
    )


def test_gradients_of_openings_are_exact() -> None:
    rng = np.random.default_rng(5)
    ends = [torch.as_tensor(rng.uniform(-20, 20, 4)).requires_grad_() for _ in range(4)]
    weight = torch.as_tensor(rng.uniform(0, 1, (4, 48)))
    assert torch.autograd.gradcheck(
        lambda a, b, c, d: (weight * swept((a, b), (c, d), COLUMNS)).sum(), tuple(ends)
    )


@given(
    hnp.arrays(np.float64, (2, 6), elements=st.floats(-50, 50)),
    hnp.arrays(np.float64, (2, 6), elements=st.floats(0, 20)),
    st.booleans(),
)
def test_gaps_hold_and_openings_only_grow(left: np.ndarray, width: np.ndarray, strict: bool) -> None:
    leaves = STRICT if strict else LEAVES
    low, high = with_gaps(left, left + width, leaves)
    assert (low <= left).all()
    assert (high >= left + width).all()
    assert (high - low).min() >= leaves.min_gap_mm - 1e-9
    if strict:
        assert (high[..., 1:] - low[..., :-1]).min() >= leaves.min_gap_mm - 1e-9
        assert (high[..., :-1] - low[..., 1:]).min() >= leaves.min_gap_mm - 1e-9


@given(
    hnp.arrays(np.float64, (9, 3), elements=st.floats(-60, 60)),
    hnp.arrays(np.float64, (9, 3), elements=st.floats(0.5, 30)),
    st.floats(0.5, 20),
)
def test_slowed_leaves_keep_speed_and_order(left: np.ndarray, width: np.ndarray, reach: float) -> None:
    low, high = slowed(left, reach), slowed(left + width, reach)
    assert np.abs(np.diff(low, axis=0)).max() <= reach + 1e-9
    assert (high - low).min() >= width.min() - 1e-9
    np.testing.assert_allclose(slowed(low, reach), low, atol=1e-9)  # what is slow enough stays


def test_a_map_keeps_its_mu_and_area_along_each_leaf() -> None:
    mu = np.random.default_rng(2).uniform(0, 9, (6, 7)).astype(np.float32)
    made = beam(mu)
    frame = frame_around(made, LEAVES.boundaries_mm)
    np.testing.assert_allclose(strips_of(made, frame), mu, rtol=1e-6)
    assert frame.jaws_x_mm == (-17.5, 17.5)
    assert np.isclose(frame.shares().sum(axis=1), 1.0).all()


@settings(deadline=None, max_examples=10)
@given(hnp.arrays(np.float32, (4, 6), elements=st.floats(0, 50, width=32)))
def test_an_arc_begins_deliverable(mu: np.ndarray) -> None:
    mu[1:3, 2:4] += 1.0
    arc = arc_from(tuple(beam(mu, g) for g in (182.0, 272.0, 2.0, 92.0)), MACHINE)
    assert np.abs(np.diff(arc.left, axis=0)).max() <= arc.reach_mm + 1e-9
    assert (arc.right - arc.left).min() >= LEAVES.min_gap_mm - 1e-9
    assert len(arc.mu) == len(arc.angles_deg) - 1 == len(arc.beams)
    assert arc.mu.min() >= 0
    x = torch.as_tensor(arc.start())
    assert len(arc.rasters(x)) == len(arc.mu)
    np.testing.assert_allclose(arc.moved(arc.start()).left, arc.left, atol=1e-6)


def test_machines_are_data_with_their_sources() -> None:
    assert np.diff(LEAVES.boundaries_mm).tolist() == [10.0] * 10 + [5.0] * 40 + [10.0] * 10
    assert not MACHINE.verified
    assert all(part.source for part in (MACHINE.leaves, MACHINE.gantry, MACHINE.output, MACHINE.shape))
    assert "generic_mlc120" in resources.names("models/machines")


def test_a_file_that_is_no_machine_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "odd.toml"
    path.write_text('schema = 1\nname = "odd"\n')
    with pytest.raises(FormatError, match="not a machine"):
        load_machine(str(path))
    assert isinstance(MACHINE, Machine)
