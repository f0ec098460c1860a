"""A small study of three coarse digital patients, run once."""

from dataclasses import replace

import pytest

from rtplan.case.settings import CaseSettings
from rtplan.evaluation.agreement import Judging
from rtplan.evaluation.limits import Bootstrap
from rtplan.study.run import run_study
from rtplan.study.settings import StudySettings

COARSE = (8.0, 5.0, 5.0)


@pytest.fixture(scope="session")
def small() -> StudySettings:
    """Return a study of three digital patients with three arms, coarse in everything."""
    case = CaseSettings(
        protocol="prostate_chhip_60gy",
        arms=("CT", "CT0", "CTstrat"),
        beams=3,
        grid_mm=8.0,
        gamma=((3.0, 2.0),),
        outcome=("prostate_walsh2016",),
        residuals="digital",
    )
    judging = Judging(margin=0.01, precision=0.001, bootstrap=Bootstrap(resamples=499))
    return StudySettings(case=case, phantoms=3, spacing_zyx_mm=COARSE, judging=judging)


@pytest.fixture(scope="session")
def done(small, tmp_path_factory):
    """Return the finished study, its folder, and what was told on the way."""
    out = tmp_path_factory.mktemp("study") / "out"
    told = []
    study = run_study(
        small, out, pages=False, tell=lambda patient, count, of: told.append((patient, count, of))
    )
    return study, out, told


@pytest.fixture
def with_salt(small):
    """Return a function that changes what is asked."""
    return lambda **changes: replace(small, **changes)
