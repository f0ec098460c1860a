"""Registrations lead there and back, and through frames in between."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rtplan.domain import Displacement, Grid, Registration
from rtplan.domain.registration import links
from rtplan.errors import RegistrationError

RNG = np.random.default_rng(2)


def rigid(start, end, seed):
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.4, 3)).as_matrix()
    matrix[:3, 3] = rng.normal(0, 60, 3)
    return Registration(start, end, matrix)


def test_there_and_back_and_in_a_chain():
    one, two = rigid("MR", "PET", 1), rigid("CT", "PET", 2)
    points = RNG.normal(0, 100, (9, 3))
    np.testing.assert_allclose(one.inverse().apply(one.apply(points)), points, atol=1e-9)
    table = links([one, two])
    assert set(table) == {(a, b) for a in ("MR", "PET", "CT") for b in ("MR", "PET", "CT") if a != b}
    assert table["MR", "PET"] is one
    through = two.inverse().apply(one.apply(points))
    np.testing.assert_allclose(table["MR", "CT"].apply(points), through, atol=1e-9)
    np.testing.assert_allclose(table["CT", "MR"].apply(through), points, atol=1e-9)


def test_what_is_not_linked_stays_so_and_deformable_ones_do_not_lead_back():
    grid = Grid.axial((2, 2, 2), (1, 1, 1), (0, 0, 0), "CT")
    bent = Registration(
        "MR", "CT", np.eye(4), "deformable", displacement=Displacement(grid, np.zeros((2, 2, 2, 3)))
    )
    table = links([bent, rigid("A", "B", 3)])
    assert set(table) == {("MR", "CT"), ("A", "B"), ("B", "A")}
    with pytest.raises(RegistrationError):
        bent.inverse()
    with pytest.raises(RegistrationError):
        rigid("A", "B", 3).then(rigid("A", "B", 3))
