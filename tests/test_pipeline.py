"""Steps run when their needs are there; else they are left out and the notice says what would supply them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from rtplan import pipeline
from rtplan.domain import Grid, Image, Patient
from rtplan.errors import UnknownName


@dataclass(frozen=True)
class AddCT:
    hu: float = 40.0
    needs: ClassVar[tuple[str, ...]] = ()
    makes: ClassVar[tuple[str, ...]] = ("ct",)

    def __call__(self, patient):
        grid = Grid.axial((2, 2, 2), (1, 1, 1), (0, 0, 0))
        return patient.with_images(CT=Image(grid, np.full(grid.shape, self.hu)))


@dataclass(frozen=True)
class NeedCT:
    needs: ClassVar[tuple[str, ...]] = ("ct", "external")
    makes: ClassVar[tuple[str, ...]] = ("plan",)

    def __call__(self, patient):
        raise AssertionError("must not run")


@dataclass(frozen=True)
class Misspelt:
    needs: ClassVar[tuple[str, ...]] = ("sceleton",)
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient):
        return patient


def test_a_run_records_each_step_and_leaves_out_what_cannot_run():
    patient = pipeline.run((AddCT(10.0), NeedCT()), Patient(), seed=3)
    assert [record.step for record in patient.history] == ["AddCT"]
    assert patient.history[0].settings == {"hu": 10.0}
    assert patient.history[0].seed == 3
    (notice,) = patient.notices
    assert notice.code == "STEP_SKIPPED"
    assert "skin" in notice.message
    assert "--structures" in notice.action


def test_a_step_that_only_follows_another_is_left_out_quietly():
    @dataclass(frozen=True)
    class NeedPlan(NeedCT):
        needs: ClassVar[tuple[str, ...]] = ("plan",)

    patient = pipeline.run((NeedCT(), NeedPlan()), Patient())
    assert [notice.severity for notice in patient.notices] == ["warn", "info"]


def test_the_forecast_runs_nothing_and_counts_what_earlier_steps_make():
    assert [lacks for _, lacks in pipeline.forecast((AddCT(), NeedCT()), Patient())] == [(), ("external",)]


def test_an_unknown_need_lists_the_known_ones():
    with pytest.raises(UnknownName, match="external"):
        pipeline.missing(Misspelt(), Patient())
