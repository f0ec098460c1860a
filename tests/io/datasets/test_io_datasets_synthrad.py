"""SynthRAD's layout, and the folder that is either that or npz."""

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import FormatError
from rtplan.io.datasets.matched import names_of_pairs, read_pairs
from rtplan.io.datasets.synthrad import MASK, read_synthrad
from rtplan.io.nifti import write_volume

GRID = Grid.axial((4, 6, 5), (2.5, 1.0, 1.5), (12.0, -30.0, 7.5))


def write_case(folder, ending=".nii.gz", grid=GRID, mask=True, seed=1):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    ct, mr = rng.integers(-900, 900, GRID.shape), rng.integers(0, 400, GRID.shape)
    write_volume(Image(GRID, ct.astype(float)), folder / f"ct{ending}")
    write_volume(Image(grid, mr.astype(float), modality="MR"), folder / f"mr{ending}")
    if mask:
        write_volume(Mask(GRID, ct > 0), folder / f"mask{ending}")
    return ct, mr


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_a_case_is_read_on_its_own_grid(tmp_path, ending):
    ct, mr = write_case(tmp_path / "1PA001", ending)
    patient = read_synthrad(tmp_path / "1PA001")
    assert patient.key == "1PA001"
    assert (patient.images["CT"].array == ct).all()
    assert (patient.images["MR"].array == mr).all()
    assert patient.images["MR"].modality == "MR"
    assert patient.images["CT"].grid.same_as(Grid(GRID.shape, GRID.affine, "1PA001"))
    assert (patient.structures[MASK].region.array == (ct > 0)).all()
    patient.images["CT"].demand_same_grid(patient.images["MR"])


def test_a_folder_of_cases_and_a_folder_of_npz(tmp_path):
    write_case(tmp_path / "rad" / "b", mask=False)
    write_case(tmp_path / "rad" / "a", ".mha", seed=2)
    (tmp_path / "rad" / "overview").mkdir()
    assert names_of_pairs(tmp_path / "rad") == ("a", "b")
    assert [p.key for p in read_pairs(tmp_path / "rad", only=("b",))] == ["b"]
    (tmp_path / "npz").mkdir()
    ct = np.zeros((3, 4, 5), np.int16)
    np.savez(tmp_path / "npz" / "c.npz", ct=ct, mr=ct.astype(np.uint16), spacing_zyx=[2.0, 1.0, 1.0])
    assert names_of_pairs(tmp_path / "npz") == ("c",)
    assert [p.key for p in read_pairs(tmp_path / "npz")] == ["c"]


def test_what_is_no_case_is_refused(tmp_path):
    with pytest.raises(FormatError, match="no pairs"):
        read_pairs(tmp_path)
    write_case(tmp_path / "set" / "a")
    with pytest.raises(FormatError, match="these cases: z"):
        list(read_pairs(tmp_path / "set", only=("z",)))
    write_case(tmp_path / "apart" / "a", grid=Grid.axial(GRID.shape, (2.5, 1.0, 1.6), (12.0, -30.0, 7.5)))
    with pytest.raises(FormatError, match="one grid"):
        list(read_pairs(tmp_path / "apart"))
    (tmp_path / "apart" / "a" / "mr.nii.gz").unlink()
    with pytest.raises(FormatError, match=r"mr\.nii\.gz"):
        read_synthrad(tmp_path / "apart" / "a")
