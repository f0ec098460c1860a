"""Folds: every patient is the test of one part, the settings leave that part out, and the file says how."""

from pathlib import Path

import pytest

from rtplan.errors import FormatError, UnknownName
from rtplan.learning.folds import Folds, drawn, load_folds
from rtplan.learning.settings import load_settings

MODELS = Path(__file__).resolve().parents[2] / "models" / "synct_t1w_limb"


def test_drawn_folds_part_the_patients_and_a_seed_decides():
    names = [f"P{i:02d}" for i in range(31)]
    folds = drawn(names, 3, 5, "some")
    assert sorted(len(part) for part in folds.fold.values()) == [10, 10, 11]
    assert sorted(name for part in folds.fold.values() for name in part) == names
    assert drawn(names[::-1], 3, 5, "some") == folds
    assert drawn(names, 3, 6, "some") != folds


def test_a_patient_in_two_folds_and_a_fold_that_is_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="once"):
        Folds(of="x", seed=1, fold={"1": ("a", "b"), "2": ("b",)})
    path = tmp_path / "folds.toml"
    for text in ("schema = ", 'schema = 1\nof = "x"\nseed = 1\n[fold]\n1 = ["a"]\n2 = ["a"]\n'):
        path.write_text(text)
        with pytest.raises(FormatError):
            load_folds(path)
    with pytest.raises(FormatError, match="not there"):
        load_folds(tmp_path / "none.toml")


def test_the_shipped_folds_are_those_of_their_seed_and_the_settings_leave_them_out():
    folds = load_folds(MODELS / "folds.toml")
    names = [name for part in folds.fold.values() for name in part]
    assert drawn(names, len(folds.fold), folds.seed, folds.of) == folds
    assert len(names) == 31
    for fold in (1, 2, 3):
        plan = load_settings(MODELS / "train.toml", fold)
        assert plan.fold == fold
        assert set(plan.data[0].exclude) == set(folds.test(fold))
        assert all(name in plan.data[0].words for name in folds.test(fold))
    assert load_settings(MODELS / "train.toml").fold == 1
    with pytest.raises(UnknownName, match="Known: 1, 2, 3"):
        load_settings(MODELS / "train.toml", 4)
    with pytest.raises(FormatError, match="no folds"):
        load_settings(MODELS.parent / "synct_mr_pelvis" / "train.toml", 1)
