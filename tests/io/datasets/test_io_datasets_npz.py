"""Pairs kept as npz: what is read, and what is refused."""

import numpy as np
import pytest

from rtplan.errors import FormatError
from rtplan.io.datasets.npz import read_folder, read_npz


def write(path, **arrays):
    plain = {
        "ct": np.full((3, 4, 5), -7, np.int16),
        "mr": np.arange(60, dtype=np.uint16).reshape(3, 4, 5),
        "spacing_zyx": np.array([3.0, 2.0, 1.0]),
    }
    np.savez(path, **{key: value for key, value in {**plain, **arrays}.items() if value is not None})
    return path


def test_a_pair_is_read_on_one_grid_with_its_gtv(tmp_path):
    gtv = np.zeros((3, 4, 5), np.uint8)
    gtv[1, 2, 3] = 1
    patient = read_npz(write(tmp_path / "A.npz", gtv=gtv))
    assert patient.key == "A"
    assert patient.images["T1w"].array[0, 0, 4] == 4.0
    assert patient.images["CT"].grid.spacing_zyx_mm == (3.0, 2.0, 1.0)
    assert patient.images["CT"].grid.same_as(patient.images["T1w"].grid)
    assert patient.structures["GTV"].region.array.sum() == 1
    assert "GTV" not in read_npz(write(tmp_path / "B.npz")).structures


@pytest.mark.parametrize("bad", [{"mr": None}, {"mr": np.zeros((2, 4, 5))}, {"ct": np.array([None, 1])}])
def test_a_file_that_is_no_pair_is_refused(tmp_path, bad):
    with pytest.raises(FormatError, match=r"bad\.npz"):
        read_npz(write(tmp_path / "bad.npz", **bad))
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(FormatError, match="no npz"):
        read_npz(tmp_path / "text.npz")


def test_a_folder_is_read_by_name(tmp_path):
    for name in "CAB":
        write(tmp_path / f"{name}.npz")
    assert [p.key for p in read_folder(tmp_path)] == ["A", "B", "C"]
    assert [p.key for p in read_folder(tmp_path, only=("C",))] == ["C"]
    with pytest.raises(FormatError, match="Z"):
        list(read_folder(tmp_path, only=("Z",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no npz"):
        list(read_folder(tmp_path / "empty"))


def test_the_shared_pairs(data):
    patient = read_npz(data / "sts" / "npz_2mm" / "STS_040.npz")
    assert patient.images["CT"].array.max() > 1000
    assert patient.structures["GTV"].kind == "GTV"
