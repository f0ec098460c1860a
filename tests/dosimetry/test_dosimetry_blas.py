"""BLAS runs on one thread inside the DVH, and on the caller's number after it."""

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.dosimetry import dvh as module
from rtplan.dosimetry.blas import one_thread


@pytest.fixture
def pools():
    """Return the BLAS libraries, put on two threads."""
    found = ThreadpoolController().select(user_api="blas")
    with found.limit(limits=2):
        if set(threads(found)) != {2}:
            pytest.skip("this BLAS does not take two threads")
        yield found


def threads(pools):
    return [pool["num_threads"] for pool in pools.info()]


def test_one_thread_and_the_callers_number_after_it(pools):
    with one_thread():
        assert set(threads(pools)) == {1}
    assert set(threads(pools)) == {2}


def test_the_number_comes_back_after_an_error(pools):
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert set(threads(pools)) == {2}


def test_a_dvh_is_made_on_one_thread(pools, monkeypatch):
    seen = []
    finish = module._finish

    def watched(*arguments):
        seen.extend(threads(pools))
        return finish(*arguments)

    monkeypatch.setattr(module, "_finish", watched)
    grid = Grid.axial((6, 6, 6), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    inner = np.zeros(grid.shape, bool)
    inner[2:4, 2:4, 2:4] = True
    dose = Dose(grid, np.broadcast_to(np.arange(6.0), grid.shape))
    module.dvhs(Structure("GTV", "GTV", Mask(grid, inner)), [dose, dose])
    assert seen
    assert set(seen) == {1}
    assert set(threads(pools)) == {2}
