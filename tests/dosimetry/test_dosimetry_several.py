"""DVHs of several structures on threads: bit for bit those made alone, in order, errors in their places."""

import dataclasses
from threading import Barrier, get_ident

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Mask, Structure
from rtplan.dosimetry import several
from rtplan.dosimetry.dvh import Dvh, dvhs, value
from rtplan.dosimetry.several import dvhs_of_all
from rtplan.dosimetry.workers import cores, in_order
from rtplan.errors import DoseError, StructureError

TILT = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(0.3), -np.sin(0.3)], [0.0, np.sin(0.3), np.cos(0.3)]])
STRAIGHT = np.eye(3)


def ellipsoid(name, half, centre, turned=STRAIGHT):
    a, b, c = half
    t = np.arange(60) * 2 * np.pi / 60
    rings = []
    for z in np.arange(-c + 1.0, c, 2.0):
        part = np.sqrt(1 - (z / c) ** 2)
        ring = np.stack([a * part * np.cos(t), b * part * np.sin(t), np.full(60, z)], axis=1)
        rings.append(ring @ turned.T + centre)
    return Structure(name, "ORGAN", Contours(tuple(rings)))


@pytest.fixture(scope="module")
def doses():
    """Return two curved doses on an anisotropic, shifted grid."""
    grid = Grid.axial((30, 40, 44), (3.0, 2.5, 2.0), (-43.0, -49.0, -44.0))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    points = grid.to_patient(index)
    first = 60.0 * np.exp(-0.5 * ((points - (5.0, 0.0, 3.0)) ** 2).sum(axis=-1) / 30.0**2)
    return [Dose(grid, first), Dose(grid, 20.0 + 0.2 * points[..., 0])]


@pytest.fixture(scope="module")
def structures(doses):
    grid = doses[0].grid
    inner = np.zeros(grid.shape, bool)
    inner[8:15, 10:20, 12:30] = True
    return [
        ellipsoid("Bladder", (9, 8, 10), (0.0, 0.0, 0.0)),
        Structure("Empty", "ORGAN", Mask(grid, np.zeros(grid.shape, bool))),
        ellipsoid("Rectum", (14, 12, 20), (6.0, -5.0, 4.0), TILT),
        ellipsoid("Outside", (9, 9, 9), (45.0, 0.0, 0.0)),
        Structure("Bowel", "ORGAN", Mask(grid, inner)),
        ellipsoid("Bulb", (4, 5, 6), (-8.0, 9.0, -7.0)),
    ]


def content(thing):
    """Return everything in a DVH, with the arrays' bytes."""
    if dataclasses.is_dataclass(thing):
        return [content(getattr(thing, field.name)) for field in dataclasses.fields(thing)]
    if isinstance(thing, np.ndarray):
        return thing.tobytes()
    return {k: content(v) for k, v in thing.items()} if isinstance(thing, dict) else repr(thing)


def test_threads_change_no_bit_and_no_order(structures, doses):
    good = [s for s in structures if s.name not in ("Empty", "Outside")]
    alone = [content(list_) for s in good for list_ in dvhs(s, doses)]
    for threads in (2, 3, 0):
        made = dvhs_of_all(good * 2, doses, threads=threads)
        assert [found[0].name for found in made] == [s.name for s in good * 2]
        assert [content(found) for pair in made for found in pair] == alone * 2


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_stands_in_its_place_and_the_others_are_made(structures, doses, threads):
    made = dvhs_of_all(structures, doses[:1], threads=threads)
    empty, outside = made[1], made[3]
    assert isinstance(empty, StructureError)
    assert "Empty" in str(empty)
    assert isinstance(outside, DoseError)
    assert "Outside" in str(outside)
    kept = [found for n, found in enumerate(made) if n not in (1, 3)]
    assert all(isinstance(found[0], Dvh) for found in kept)
    assert all(value(found[0], "Mean[Gy]").value > 0 for found in kept)


def test_a_fault_of_the_program_is_not_taken_for_a_finding(structures, doses, monkeypatch):
    def broken(structure, *_):
        raise ZeroDivisionError(structure.name)

    monkeypatch.setattr(several, "dvhs", broken)
    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError):
            dvhs_of_all(structures, doses, threads=threads)


def test_one_thread_is_the_callers_and_two_work_at_once():
    meet = Barrier(2)

    def work(number):
        meet.wait(10)
        return number, get_ident()

    made = in_order(work, [1, 2], 2)
    assert [number for number, _ in made] == [1, 2]
    assert len({ident for _, ident in made}) == 2
    assert in_order(lambda _: get_ident(), [1, 2], 1) == [get_ident()] * 2


def test_the_longest_are_begun_first():
    begun = []
    assert in_order(lambda n: begun.append(n) or -n, [2, 9, 4], 2, size=float) == [-2, -9, -4]
    assert begun[0] == 9
    assert sorted(begun) == [2, 4, 9]
    assert cores() >= 1


def test_no_structures_give_no_dvhs(doses):
    assert dvhs_of_all([], doses) == []
