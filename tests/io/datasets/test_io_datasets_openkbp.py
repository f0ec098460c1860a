"""OpenKBP's CSV folders and npz: one patient by hand, the same in both forms, and what is refused."""

import numpy as np
import pytest

from rtplan.domain import Dose, Grid
from rtplan.errors import DoseError, FormatError
from rtplan.io.datasets.openkbp import EDGE, FEASIBLE, ROIS, openkbp_paths, read_openkbp, read_openkbp_folder
from rtplan.io.datasets.openkbp_write import write_openkbp_dose

VOXEL = (4.0, 3.5, 2.5)  # posterior, left, inferior
POINTS = {  # official indices (posterior, left, inferior)
    "Brainstem": [(60, 64, 40), (61, 64, 40)],
    "RightParotid": [(60, 50, 44)],
    "LeftParotid": [(60, 78, 44)],
    "PTV70": [(55, 60, 60), (55, 61, 60), (56, 60, 61)],
    "PTV56": [(55, 62, 62)],
}
DOSE = {(60, 64, 40): 12.5, (55, 60, 60): 70.25, (56, 60, 61): 69.0, (62, 66, 63): 1.5}
CT = {(60, 64, 40): 1064.0, (55, 60, 60): 4095.0, (56, 60, 61): 32743.0}
BOX = (slice(54, 64), slice(48, 80), slice(39, 65))


def flat(point):
    return (point[0] * EDGE + point[1]) * EDGE + point[2]


@pytest.fixture
def folder(tmp_path):
    """One official folder, in the manner of the challenge's files."""
    home = tmp_path / "csv" / "pt_7"
    home.mkdir(parents=True)
    for name, points in POINTS.items():
        rows = "".join(f"{flat(point)},\n" for point in points)
        (home / f"{name}.csv").write_text(",data\n" + rows)
    inside = [(i, j, k) for i in range(54, 64) for j in range(48, 80) for k in range(39, 65)]
    (home / "possible_dose_mask.csv").write_text(",data\n" + "".join(f"{flat(p)},\n" for p in inside))
    for name, values in (("dose", DOSE), ("ct", CT)):
        rows = "".join(f"{flat(point)},{value}\n" for point, value in values.items())
        (home / f"{name}.csv").write_text(",data\n" + rows)
    (home / "voxel_dimensions.csv").write_text("".join(f"{mm}\n" for mm in VOXEL))
    return home


@pytest.fixture
def npz(tmp_path):
    """The same patient, cropped."""
    labels = np.zeros((EDGE,) * 3, np.uint16)
    for bit, name in enumerate(ROIS):
        for point in POINTS.get(name, ()):
            labels[point] |= 1 << bit
    labels[BOX] |= 1 << 15
    ct, dose = np.zeros((EDGE,) * 3, np.int16), np.zeros((EDGE,) * 3, np.float16)
    for array, values in ((ct, CT), (dose, DOSE)):
        for point, value in values.items():
            array[point] = value
    path = tmp_path / "npz" / "pt_7.npz"
    path.parent.mkdir()
    start = [part.start for part in BOX]
    np.savez(
        path,
        ct=ct[BOX],
        labels=labels[BOX],
        dose=dose[BOX],
        origin_index=np.array(start, np.int16),
        shape=np.array([EDGE] * 3, np.int16),
        voxel_mm=np.array(VOXEL, np.float32),
        rois=np.array(list(ROIS)),
    )
    return path


def at(volume, point):
    """Return the patient point of an official index; the reader's grid must have a voxel centre there."""
    z, y, x = (EDGE / 2 - point[2]) * VOXEL[2], (point[0] - 64) * VOXEL[0], (point[1] - 64) * VOXEL[1]
    index = volume.grid.to_index([x, y, z])
    assert np.allclose(index, np.round(index), atol=1e-6)
    return tuple(np.round(index).astype(int))


@pytest.mark.parametrize("form", ["folder", "npz"])
def test_every_voxel_is_where_the_official_index_says(form, request):
    patient = read_openkbp(request.getfixturevalue(form))
    dose, ct = patient.doses["CT"], patient.images["CT"]
    assert dose.grid.is_axial
    assert dose.grid.spacing_zyx_mm == pytest.approx((2.5, 4.0, 3.5))
    assert {point: float(dose.array[at(dose, point)]) for point in DOSE} == DOSE
    assert dose.array.sum() == pytest.approx(sum(DOSE.values()))
    assert ct.array[at(ct, (60, 64, 40))] == 40.0  # HU
    assert ct.array[at(ct, (56, 60, 61))] == 4095.0 - 1024.0  # metal is cut
    for name, points in POINTS.items():
        mask = patient.structures[ROIS[name][0]].region
        assert mask.array.sum() == len(points)
        assert all(mask.array[at(mask, point)] for point in points)
    assert patient.structures[FEASIBLE].region.array.sum() == 10 * 32 * 26
    assert "Larynx" not in patient.structures
    assert dict(patient.plan.prescription.targets) == {"PTV_5600": 56.0, "PTV_7000": 70.0}
    right = patient.structures["Parotid_R"].region
    assert right.grid.to_patient(np.argwhere(right.array)[0])[0] < 0.0  # LPS: x runs to the left
    assert patient.key == "pt_7"


def test_real_patients_stand_upright(data):
    """Right is right, the mandible is in front of the cord, the brainstem above it."""
    seen = 0
    names = ("SpinalCord", "Brainstem", "Parotid_R", "Parotid_L", "Bone_Mandible")
    for path in list(openkbp_paths(data / "openkbp" / "valid").values())[:6]:
        patient = read_openkbp(path)
        if not all(name in patient.structures for name in names):
            continue
        masks = [patient.structures[name].region for name in names]
        cord, stem, right, left, mandible = (
            mask.grid.to_patient(np.argwhere(mask.array).mean(axis=0)) for mask in masks
        )
        assert right[0] < cord[0] < left[0]
        assert mandible[1] < cord[1]
        assert stem[2] > cord[2]
        assert 65.0 < patient.doses["CT"].array.max() < 90.0
        seen += 1
    assert seen >= 3


def test_a_written_dose_is_read_back(folder):
    patient = read_openkbp(folder)
    dose = patient.doses["CT"]
    write_openkbp_dose(dose, folder / "dose.csv")
    assert np.array_equal(read_openkbp(folder).doses["CT"].array, dose.array)
    small = dose.grid.crop((60, 50, 45), (90, 66, 82))
    part = Dose(small, dose.array[60:90, 50:66, 45:82])
    assert part.array.sum() == dose.array.sum()
    write_openkbp_dose(part, folder / "dose.csv")
    assert np.array_equal(read_openkbp(folder).doses["CT"].array, dose.array)
    elsewhere = Grid.axial(small.shape, small.spacing_zyx_mm, tuple(small.origin_mm + 1.0))
    with pytest.raises(DoseError, match="OpenKBP's grid"):
        write_openkbp_dose(Dose(elsewhere, part.array), folder / "dose.csv")


def test_a_patient_without_ct_or_dose_is_read_without(folder):
    (folder / "ct.csv").unlink()
    (folder / "dose.csv").unlink()
    patient = read_openkbp(folder)
    assert not patient.images
    assert not patient.doses


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("dose.csv", f",data\n{EDGE**3},1.0\n", "outside"),
        ("dose.csv", ",data\n5,1.0\n5,2.0\n", "twice"),
        ("dose.csv", ",data\n5,inf\n", "finite"),
        ("dose.csv", ",data\nfive,1.0\n", "index,value"),
        ("voxel_dimensions.csv", "4.0\n3.5\n", "three numbers"),
        ("voxel_dimensions.csv", "4.0\n3.5\n-1\n", "positive"),
        ("possible_dose_mask.csv", ",data\n", "empty"),
        ("possible_dose_mask.csv", None, "possible_dose_mask"),
    ],
)
def test_broken_folders_are_refused_by_name(folder, file, text, said):
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text)
    with pytest.raises(FormatError, match=said):
        read_openkbp(folder)


def test_no_target_no_patient(folder, npz, tmp_path):
    for name in ("PTV70", "PTV56"):
        (folder / f"{name}.csv").unlink()
    with pytest.raises(FormatError, match="none of the targets"):
        read_openkbp(folder)
    with np.load(npz) as file:
        arrays = {name: file[name] for name in file.files}
    del arrays["voxel_mm"]
    np.savez(npz, **arrays)
    with pytest.raises(FormatError, match="voxel_mm"):
        read_openkbp(npz)
    npz.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="no npz"):
        read_openkbp(npz)
    with pytest.raises(FormatError, match="no OpenKBP patient"):
        openkbp_paths(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="neither"):
        read_openkbp(tmp_path / "pt_8")


def test_folders_are_read_in_the_order_of_their_numbers(npz):
    for name in ("pt_10", "pt_9", "pt_101"):
        (npz.parent / f"{name}.npz").write_bytes(npz.read_bytes())
    assert list(openkbp_paths(npz.parent)) == ["pt_7", "pt_9", "pt_10", "pt_101"]
    assert [patient.key for patient in read_openkbp_folder(npz.parent, only=("pt_9",))] == ["pt_9"]
    with pytest.raises(FormatError, match="pt_3"):
        list(read_openkbp_folder(npz.parent, only=("pt_3",)))
