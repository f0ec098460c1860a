"""BLAS runs on one thread inside the DVH, and on the caller's number after it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from threadpoolctl import OpenBLASController, ThreadpoolController

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


def test_blocks_that_overlap_in_two_threads_give_the_callers_number_back(pools):
    release = getattr(OpenBLASController, "clear_controlling_thread", lambda: None)
    release()  # threadpoolctl lets one thread alone set the number: the other one shall
    entered, left = Event(), Event()

    def other():
        with one_thread():
            entered.set()
            assert left.wait(10)
            return threads(pools)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(other)
        assert entered.wait(10)
        with one_thread():
            assert set(threads(pools)) == {1}
            left.set()
            assert set(first.result(10)) == {1}
    assert set(threads(pools)) == {2}


def test_a_block_inside_another_leaves_the_number(pools):
    with one_thread():
        with one_thread():
            assert set(threads(pools)) == {1}
        assert set(threads(pools)) == {1}
    assert set(threads(pools)) == {2}
