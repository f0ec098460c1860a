"""Dose between voxels: exact on parabolas, the same on a lattice as point by point, carried on at faces."""

import numpy as np
import pytest

from rtplan.domain import Dose, Grid
from rtplan.dosimetry.lookup import BAND, Axes, Field, covered
from rtplan.errors import DoseError

DRAW = np.random.default_rng(5)
TILT = np.linalg.qr(DRAW.normal(size=(3, 3)))[0]


def grid(turn=None):
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 2.0], [0, 2.5, 0], [3.0, 0, 0]])
    affine[:3, 3] = (-10.0, -14.0, -9.0)
    if turn is not None:
        affine[:3] = turn @ affine[:3]
    return Grid((9, 12, 11), affine)


def field(values, where, interpolation):
    return Field.of(Dose(where, values), where.corners(), interpolation)


@pytest.mark.parametrize(("interpolation", "power"), [("linear", 1), ("cubic", 2)])
def test_polynomials_are_met_up_to_the_outer_voxel_centres(interpolation, power):
    where = grid()
    index = np.stack(np.meshgrid(*[np.arange(n) for n in where.shape], indexing="ij"), axis=-1)
    slope = np.array([0.3, -0.2, 0.5])

    def truth(points):
        along = points @ slope
        return 40 + along + (0.05 * along**2 if power == 2 else 0.0)

    made = field(truth(where.to_patient(index)), where, interpolation)
    points = where.to_patient(DRAW.uniform(0, np.array(where.shape) - 1, (200, 3)))
    np.testing.assert_allclose(made.at(points), truth(points), atol=2e-5)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("turn", [None, TILT])
@pytest.mark.parametrize("counts", [(5, 6, 7), (2 * BAND, 29, 40), (3, 4 * BAND + 1, 2 * BAND - 1)])
def test_a_lattice_is_read_as_its_points_are(interpolation, turn, counts):
    where = grid(turn)
    made = field(DRAW.uniform(0, 60, where.shape), where, interpolation)
    places = [np.sort(DRAW.uniform(-8, 8, n)) for n in counts]
    for directions in (np.eye(3), np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]), where.direction.T[::-1]):
        axes = Axes(directions, *places)
        n, v, u = np.meshgrid(*places, indexing="ij")
        points = np.stack([u, v, n], axis=-1).reshape(-1, 3) @ directions
        np.testing.assert_allclose(made.on(axes).ravel(), made.at(points), atol=1e-4)


def test_beyond_the_outer_centres_stands_the_dose_there_and_never_less_than_0():
    where = grid()
    values = np.zeros(where.shape)
    values[4] = 60.0
    made = field(values, where, "cubic")
    points = where.to_patient(DRAW.uniform(-0.5, np.array(where.shape) - 0.5, (500, 3)))
    assert made.at(points).min() == 0.0
    edge = where.to_patient([[4.0, -0.4, 3.0], [4.0, 0.0, 3.0]])
    assert made.at(edge)[0] == pytest.approx(made.at(edge)[1])
    assert covered(where.to_patient([[0, -0.49, 0], [0, -0.51, 0]]), where).tolist() == [True, False]


def test_what_is_not_finite_is_refused():
    values = np.zeros(grid().shape)
    values[2, 3, 4] = np.inf
    with pytest.raises(DoseError, match="not finite"):
        field(values, grid(), "cubic")
