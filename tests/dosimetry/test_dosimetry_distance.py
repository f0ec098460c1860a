"""Signed distance on a lattice equals brute force, for holes, crossing rings and coarse or fine polygons."""

import numpy as np
import pytest

from rtplan.dosimetry.distance import Lattice, Outline, area, inside, signed_at, signed_lattice


def star(count, seed, centre=(0.0, 0.0), radius=10.0):
    draw = np.random.default_rng(seed)
    t = np.arange(count) * 2 * np.pi / count
    r = radius * (1 + 0.25 * np.sin(3 * t + seed) + 4.0 / count * draw.uniform(-0.3, 0.3, count))
    return np.stack([centre[0] + r * np.cos(t), centre[1] + r * np.sin(t)], axis=1)


CASES = {
    "one": [star(40, 1)],
    "fine": [star(700, 2)],
    "hole": [star(60, 3), star(30, 4, radius=4.0)],
    "two": [star(25, 5, (-12, 0), 6.0), star(25, 6, (9, 3), 5.0)],
    "crossing": [star(30, 7, (-3, 0)), star(30, 8, (4, 0))],
    "box": [np.array([[-9.0, -5.0], [9.0, -5.0], [9.0, 5.0], [-9.0, 5.0]])],
}


@pytest.mark.parametrize("name", CASES)
def test_lattice_equals_brute_force_near_the_outline(name):
    outline = Outline.of(CASES[name])
    lattice = Lattice((-25.0, -20.0), 0.7, (60, 72))
    got = signed_lattice(lattice, outline)[0][0]
    points = np.stack(np.meshgrid(lattice.u_mm, lattice.v_mm), axis=-1).reshape(-1, 2)
    wanted, _ = signed_at(points, outline)
    wanted = wanted.reshape(got.shape)
    np.testing.assert_array_equal(got < 0, wanted < 0)
    error = (got - wanted)[np.abs(wanted) < 1.3]
    assert (np.abs(error) > 1e-9).mean() < 0.05
    assert (np.abs(error) > 0.01).mean() < 0.02
    assert np.abs(error).max() < 0.2 * lattice.step_mm
    assert np.abs(got - wanted).max() < 0.8


def test_area_and_even_odd():
    box = CASES["box"][0]
    assert abs(area(box)) == pytest.approx(180.0)
    ring = Outline.of([box, 0.5 * box])
    assert inside(np.array([[0.0, 0.0], [7.0, 0.0], [20.0, 0.0]]), ring).tolist() == [False, True, False]
    assert len(ring.split(1.0).points) > 50
    np.testing.assert_allclose(area(Outline.of([box]).split(1.0).points), area(box))
