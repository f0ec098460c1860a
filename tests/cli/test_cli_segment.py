"""rtplan segment: the shipped network on a digital patient as files and as DICOM, and the refusals."""

import json

import numpy as np
import pytest

from rtplan import cli
from rtplan.domain import Image, Patient
from rtplan.io.nifti import read_labels, read_volume, write_volume
from rtplan.phantom.cohort import make_patient


def leave(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(a) for a in arguments])
    return left.value.code


@pytest.fixture(scope="module")
def pelvis():
    """Return the T2w of a digital patient in a small field about the gland, and the gland's mask there."""
    patient = make_patient("study", 21, spacing_zyx_mm=(3.0, 1.5, 1.5), contrasts=("T2w",))
    gland, image = patient.structures["Prostate"].region.array, patient.images["T2w"]
    middle = np.rint(np.argwhere(gland).mean(axis=0)).astype(int)
    half = np.array([12, 48, 48])
    start, stop = middle - half, middle + half
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    grid = image.grid.crop(tuple(start), tuple(stop))
    return Image(grid, np.ascontiguousarray(image.array[box]), modality="MR"), gland[box]


def dice(a, b):
    return 2.0 * (a & b).sum() / (a.sum() + b.sum())


def test_a_label_map_holds_the_gland_and_the_map_of_doubt_lies_beside(pelvis, tmp_path, capsys):
    image, gland = pelvis
    write_volume(image, tmp_path / "t2.nii.gz")
    out, doubt = tmp_path / "labels.nii.gz", tmp_path / "entropy.nii.gz"
    order = ("segment", tmp_path / "t2.nii.gz", "--out", out, "--uncertainty", doubt, "--passes", 2, "--json")
    assert leave(*order) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"]["name"] == "segment_pelvis_t2w"
    volume = {f["structure"]: f["value"] for f in said["findings"]}
    masks = {s.name: s.region.array for s in read_labels(out)}
    found = masks["Prostate_TZ"] | masks["Prostate_PZ"]
    assert dice(found, gland) > 0.7
    assert volume["Prostate"] == pytest.approx(found.sum() * image.grid.voxel_cc, rel=1e-3)
    entropy = read_volume(doubt).array
    edge = found ^ np.roll(found, 1, axis=2)
    assert entropy.min() >= 0.0
    assert entropy.max() <= 1.0
    assert entropy[edge].mean() > 3.0 * entropy[:, :4].mean()
    assert leave(*order) == 1
    assert "there already" in capsys.readouterr().err


def test_an_rtstruct_refers_to_the_slices_it_was_drawn_on(pelvis, tmp_path, capsys):
    from rtplan.imaging.contour import mask_on
    from rtplan.io import rtstruct
    from rtplan.io.image import read_series
    from rtplan.io.image_write import write_series

    image, gland = pelvis
    write_series(image, tmp_path / "mr", Patient().identity, description="t2 tse tra")
    assert leave("segment", tmp_path / "mr", "--out", tmp_path / "RS.dcm", "--passes", 1) == 0
    assert "Research use only" in capsys.readouterr().out
    found = rtstruct.read(tmp_path / "RS.dcm")
    by_name = {s.name: s for s in found.structures}
    assert {"Prostate", "Prostate_TZ", "Prostate_PZ"} <= set(by_name)
    series = read_series(tmp_path / "mr")
    assert dice(mask_on(by_name["Prostate"], series.grid).array, gland) > 0.7


def test_what_cannot_be_is_refused_before_anything_is_written(pelvis, tmp_path, capsys):
    image, _ = pelvis
    write_volume(image, tmp_path / "t2.nii.gz")
    for out, words in (("RS.dcm", "DICOM slices"), ("labels.txt", "known ending")):
        assert leave("segment", tmp_path / "t2.nii.gz", "--out", tmp_path / out) == 1
        assert words in capsys.readouterr().err
    order = ("segment", tmp_path / "t2.nii.gz", "--out", tmp_path / "a.mha", "--model", "synct_mr_pelvis")
    assert leave(*order) == 1
    assert "not for segmentations" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t2.nii.gz"]
