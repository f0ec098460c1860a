"""Prostate masks kept as npz: what is read, and what is refused."""

import numpy as np
import pytest

from rtplan.errors import FormatError
from rtplan.io.datasets.picai import read_prostate


def write(path, **arrays):
    gland = np.zeros((4, 5, 6), np.uint8)
    gland[1:3, 1:4, 1:5] = 1
    zones = gland * 2
    zones[:, 3] = gland[:, 3]
    lesion = np.zeros_like(gland)
    lesion[1, 3, 2] = 4
    plain = {"gland": gland, "zones": zones, "lesion_isup": lesion, "spacing_zyx": np.array([3.0, 0.5, 0.6])}
    np.savez(path, **{key: value for key, value in {**plain, **arrays}.items() if value is not None})
    return path


def test_the_parts_are_read_as_masks_on_one_grid(tmp_path):
    patient = read_prostate(write(tmp_path / "P.npz"))
    masks = {name: s.region for name, s in patient.structures.items()}
    assert set(masks) == {"Prostate", "Prostate_PZ", "Prostate_TZ", "GTVp"}
    assert {name: int(m.array.sum()) for name, m in masks.items()} == {
        "Prostate": 24, "Prostate_PZ": 8, "Prostate_TZ": 16, "GTVp": 1,
    }  # fmt: skip
    assert all(m.grid.same_as(masks["Prostate"].grid) for m in masks.values())
    assert masks["Prostate"].grid.spacing_zyx_mm == pytest.approx((3.0, 0.5, 0.6))
    assert patient.structures["GTVp"].kind == "GTV"


def test_no_lesion_no_gtv(tmp_path):
    patient = read_prostate(write(tmp_path / "Q.npz", lesion_isup=np.zeros((4, 5, 6), np.uint8)))
    assert "GTVp" not in patient.structures


@pytest.mark.parametrize(
    "bad", [{"zones": None}, {"gland": np.zeros((4, 5, 5))}, {"gland": np.array([None, 1])}]
)
def test_a_file_that_is_no_prostate_is_refused(tmp_path, bad):
    with pytest.raises(FormatError, match=r"bad\.npz"):
        read_prostate(write(tmp_path / "bad.npz", **bad))
    with pytest.raises(FormatError, match="no such file"):
        read_prostate(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(FormatError, match="no npz"):
        read_prostate(tmp_path / "text.npz")
