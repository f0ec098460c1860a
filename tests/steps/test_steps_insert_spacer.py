"""A digital patient gets a gel: what moves, what stays, what is checked; other gels under one dose."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Dose, Patient
from rtplan.errors import DoseError, StructureError
from rtplan.imaging.contour import mask_on
from rtplan.imaging.displace import Gel, Inserted
from rtplan.phantom.cohort import make_patient
from rtplan.planning.gel_samples import sample_gels
from rtplan.planning.spacer import load_gel
from rtplan.steps.insert_spacer import InsertSpacer


@pytest.fixture(scope="module")
def before() -> Patient:
    return make_patient("valid", 3, spacing_zyx_mm=(5.0, 3.0, 3.0), contrasts=("T2w",))


@pytest.fixture(scope="module")
def inserted(before: Patient) -> tuple[Patient, Inserted]:
    return InsertSpacer(cell_mm=4.0).insert(before)


def test_images_and_structures_follow(before: Patient, inserted: tuple[Patient, Inserted]) -> None:
    after, how = inserted
    spacer = how.spacer.array
    assert set(after.images) == {"CT", "T2w"}
    np.testing.assert_allclose(after.images["CT"].array[spacer], load_gel().hu.value)
    assert after.structures["Prostate"] is before.structures["Prostate"]
    assert after.structures["External"] is before.structures["External"]
    assert not (mask_on(after.structures["Rectum"], how.spacer.grid).array & spacer).any()
    moved = [
        np.argwhere(mask_on(p.structures["Rectum"], how.spacer.grid).array)[:, 1].mean()
        for p in (before, after)
    ]
    assert moved[1] > moved[0]


def test_the_checks_are_findings(inserted: tuple[Patient, Inserted]) -> None:
    found = {(f.structure, f.metric): f for f in inserted[0].findings}
    assert found[None, "LeastJacobian"].verdict == "met"
    assert found["Rectal_Wall", "VolumeChange[%]"].verdict == "met"
    assert abs(found["Rectal_Wall", "VolumeChange[%]"].value or 9.0) < 1.0
    assert found["Spacer", "Volume[cc]"].value == pytest.approx(10.0, rel=0.1)
    assert any(n.code == "SPACER_VIRTUAL" for n in inserted[0].notices)


@pytest.mark.slow
def test_a_wall_that_is_not_drawn_is_the_outer_3_mm(before: Patient) -> None:
    bare = replace(before, structures={n: s for n, s in before.structures.items() if n != "Rectal_Wall"})
    after, _ = InsertSpacer(volume_cc=5.0, thickness_mm=8.0, cell_mm=5.0).insert(bare)
    assert any(f.structure == "Rectal_Wall" for f in after.findings)


def test_a_torn_wall_is_refused(before: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtplan.steps.insert_spacer.WALL_PERCENT", 1e-9)
    with pytest.raises(StructureError, match="fails a check"):
        InsertSpacer(volume_cc=5.0, thickness_mm=8.0, cell_mm=5.0)(before)


@pytest.mark.slow
def test_images_of_another_frame_are_left_out_and_said(before: Patient) -> None:
    mr = before.images["T2w"]
    other = replace(mr, grid=replace(mr.grid, frame_of_reference="1.2.3"))
    after, _ = InsertSpacer(volume_cc=5.0, thickness_mm=8.0, cell_mm=5.0).insert(
        before.with_images(T2w=other)
    )
    assert "T2w" not in after.images
    assert any(n.code == "IMAGE_NOT_MOVED" for n in after.notices)


@pytest.mark.slow
def test_other_gels_shift_the_rectum_along_a_slope_of_dose(
    before: Patient, inserted: tuple[Patient, Inserted]
) -> None:
    grid = before.images["CT"].grid
    y = grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1))[..., 1]
    dose = Dose(grid, (60.0 - 0.2 * y).astype(np.float32), fractions=35)
    masks = {"Rectum": mask_on(before.structures["Rectum"], grid)}
    made = sample_gels(inserted[1], Gel(), masks, dose, facts=load_gel(), count=40, seed=1)
    shift = made.shift_gy["Rectum"]
    assert shift.shape == (40, 1000)
    assert shift.mean(axis=1).min() < 0.0 < shift.mean(axis=1).max()  # some gels push further, some less
    assert np.abs(shift).max() < 0.2 * 8.0
    with pytest.raises(DoseError, match="40"):
        sample_gels(inserted[1], Gel(), masks, dose, facts=load_gel(), count=10)


def test_an_image_alone_is_no_patient(before: Patient) -> None:
    alone = replace(before, structures={"External": before.structures["External"]})
    with pytest.raises(StructureError, match="Prostate"):
        InsertSpacer()(alone)
