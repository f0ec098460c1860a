"""Measures of pelves are what they say; strange ones are warned of or refused; limits belong to weights."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rtplan.errors import FormatError, ModelError
from rtplan.learning.boost import BODY, Anatomy, Levels, boost_case_of
from rtplan.learning.boost_familiar import FILE, judged_pelvis, pelvis_measures
from rtplan.learning.familiar import fit_familiar

SHAPE, SPACING = (20, 24, 30), (4.0, 3.0, 3.0)
Z, Y, X = ((i - 0.5 * (n - 1)) * mm for i, n, mm in zip(np.indices(SHAPE), SHAPE, SPACING, strict=True))


def pelvis(back=20.0, radius=14.0, spacing=SPACING, boost_gy=95.0):
    """A case of a round gland with a boost, a round rectum behind, a bladder above, no urethra."""
    organs = {
        "Rectum": Z**2 + (Y - back) ** 2 + (X - 3.0) ** 2 < 9.0**2,
        "Bladder": (Z - 22.0) ** 2 + Y**2 + X**2 < 12.0**2,
        BODY: (Y / 34.0) ** 2 + (X / 43.0) ** 2 < 1.0,
    }
    away = np.sqrt(Z**2 + Y**2 + X**2)
    ptv, gtv = (np.float32(away < r) for r in (radius, 6.0))
    plates = np.zeros((2, *SHAPE), np.float32)
    anatomy = Anatomy(ptv, gtv, organs, np.float32(organs[BODY]), plates)
    return boost_case_of("one", anatomy, Levels(77.0, boost_gy, 35), spacing)


def test_measures_are_those_of_the_spheres():
    found = pelvis_measures(pelvis())
    assert found["Rectum back"] == pytest.approx(20.0, abs=0.7)
    assert found["Rectum aside"] == pytest.approx(3.0, abs=0.7)
    assert found["Bladder up"] == pytest.approx(22.0, abs=1.0)
    assert np.exp(found["target volume"]) == pytest.approx(4.18879 * 1.4**3, rel=0.05)
    assert found["body's depth"] == pytest.approx(66.0, abs=3.1)
    assert found["body's width"] == pytest.approx(84.0, abs=3.1)
    assert found["target's density"] == pytest.approx(1.0, abs=0.01)
    assert found["boost over gland"] == pytest.approx(95.0 / 77.0)
    assert np.isnan([found["Urethra volume"], found["Urethra back"]]).all()


def test_a_mirrored_pelvis_has_its_rectum_in_front():
    case = pelvis()
    turned = replace(case, labels=np.flip(case.labels, 1), parts=np.flip(case.parts, 2))
    ours, theirs = pelvis_measures(case), pelvis_measures(turned)
    assert theirs["Rectum back"] == pytest.approx(-ours["Rectum back"])
    assert theirs["Rectum volume"] == ours["Rectum volume"]


@pytest.fixture(scope="module")
def limits():
    rng = np.random.default_rng(1)
    rows = [
        pelvis_measures(
            pelvis(rng.uniform(17.0, 22.0), rng.uniform(11.0, 15.0), boost_gy=rng.uniform(82, 95))
        )
        for _ in range(40)
    ]
    familiar = fit_familiar(rows, 1.4)
    head = {
        "schema": 1,
        "model": "tiny",
        "weights_sha256": "ab" * 32,
        "data": "spheres",
        "date": "2026-11-24",
    }
    lines = [f"{k} = {json.dumps(v)}" for k, v in (head | {"script": "tests"}).items()]
    return "\n".join(
        [*lines, "[familiar]", *(f"{k} = {json.dumps(v)}" for k, v in familiar.model_dump().items())]
    )


def shelf(folder, text=None):
    """A model as far as limits ask for one."""
    if text is not None:
        (folder / FILE).write_text(text, encoding="utf-8")
    return SimpleNamespace(folder=folder, sha256="ab" * 32, card=SimpleNamespace(name="tiny"))


def test_like_pelves_pass_and_strange_ones_are_refused(limits, tmp_path):
    model = shelf(tmp_path, limits)
    assert judged_pelvis(model, pelvis(19.0, 13.0, boost_gy=90.0)) is None
    with pytest.raises(ModelError, match="no dose is predicted"):
        judged_pelvis(model, pelvis(-20.0))
    with pytest.raises(ModelError, match="no dose is predicted"):
        judged_pelvis(model, pelvis(spacing=(8.0, 6.0, 6.0)))


def test_one_between_is_warned_of(limits, tmp_path):
    model = shelf(tmp_path, limits)
    told = []
    for back in np.arange(22.0, 32.0, 0.5):
        try:
            told.append(judged_pelvis(model, pelvis(back, 13.0, boost_gy=90.0)))
        except ModelError:
            break
    assert told[0] is None
    assert told[-1].code == "ANATOMY_UNFAMILIAR"
    assert "Rectum back" in told[-1].message


def test_without_limits_nothing_is_said(tmp_path):
    assert judged_pelvis(shelf(tmp_path), pelvis(-20.0)) is None


def test_limits_of_other_weights_and_damaged_ones_are_refused(limits, tmp_path):
    with pytest.raises(ModelError, match="other weights"):
        judged_pelvis(shelf(tmp_path, limits.replace("ab" * 32, "cd" * 32)), pelvis())
    with pytest.raises(FormatError, match="no limits"):
        judged_pelvis(shelf(tmp_path, "schema = 2"), pelvis())
