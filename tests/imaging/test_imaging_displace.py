"""A virtual spacer in a pelvis of balls and tubes, axial and tilted: volumes, thickness, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from rtplan.domain import Grid, Image, Mask, Structure
from rtplan.errors import StructureError
from rtplan.imaging.displace import Gel, Inserted, insert
from rtplan.imaging.perirectal import Scene, scene_of
from rtplan.imaging.pushed import moved_image, moved_structure, rectum_change_percent

Float = NDArray[np.float64]


def pelvis(
    tilt: float = 0.0, *, behind_mm: float = 95.0, gap_mm: float = 3.0
) -> tuple[Image, dict[str, Structure]]:
    """A ball of a prostate in fat, a tube of a rectum behind it, and a plate of bone far behind."""
    grid = Grid.axial((38, 78, 72), (3.0, 2.2, 2.0), (-70.0, -60.0, -57.0), "frame")
    affine = grid.affine.copy()
    affine[:3, :3] = Rotation.from_rotvec([tilt, 0.3 * tilt, 0.0]).as_matrix() @ affine[:3, :3]
    grid = Grid(grid.shape, affine, "frame")
    x, y, z = np.moveaxis(grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    body = (np.abs(x) < 66.0) & (y > -50.0) & (y < behind_mm)
    prostate = (x / 24.0) ** 2 + (y / 19.0) ** 2 + (z / 21.0) ** 2 < 1.0
    middle = 19.0 + gap_mm + 14.0
    tube = np.hypot(x / 16.0, (y - middle - 0.2 * np.maximum(z, 0.0)) / 14.0)
    rectum, lumen = (tube < 1.0) & body, tube < 0.78
    hu = np.where(body, -95.0, -1000.0)
    hu = np.where(prostate, 38.0, np.where(rectum, np.where(lumen, 30.0, 45.0), hu))
    hu = np.where(body & (y > 85.0), 600.0, hu)
    masks = {"External": body, "Prostate": prostate, "Rectum": rectum, "Rectal_Wall": rectum & ~lumen}
    kinds = {"External": "EXTERNAL", "Prostate": "CTV"}
    structures = {n: Structure(n, kinds.get(n, "ORGAN"), Mask(grid, m)) for n, m in masks.items()}  # type: ignore[arg-type]
    return Image(grid, hu.astype(np.float32)), structures


def scene(made: tuple[Image, dict[str, Structure]]) -> Scene:
    image, structures = made
    return scene_of(image, structures, structures["External"].region)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=[0.0, 0.15])
def filled(request: pytest.FixtureRequest) -> tuple[Image, dict[str, Structure], Inserted]:
    image, structures = pelvis(request.param)
    return (
        image,
        structures,
        insert(scene((image, structures)), image.grid, Gel(10.0, 12.0, cell_mm=3.5, steps=8)),
    )


def test_the_gel_has_its_volume_and_thickness(filled: tuple[Image, dict[str, Structure], Inserted]) -> None:
    _, structures, inserted = filled
    assert inserted.volume_cc == pytest.approx(10.0, rel=0.05)
    assert inserted.thickness_mm == pytest.approx(12.0, abs=1.0)
    prostate = structures["Prostate"].region
    assert isinstance(prostate, Mask)
    assert not (inserted.spacer.array & prostate.array).any()


def test_nothing_tears_and_the_wall_keeps_its_volume(
    filled: tuple[Image, dict[str, Structure], Inserted],
) -> None:
    image, structures, inserted = filled
    assert inserted.jacobian.min() > 0.3
    assert rectum_change_percent(inserted) == pytest.approx(0.0, abs=0.5)
    assert rectum_change_percent(inserted, 3.0) == pytest.approx(0.0, abs=0.5)
    for name in ("Rectum", "Rectal_Wall"):
        mask = structures[name].region
        assert isinstance(mask, Mask)
        before = float(mask.array.sum()) * mask.grid.voxel_cc
        after = moved_structure(structures[name], inserted, image.grid).region
        assert isinstance(after, Mask)
        assert after.array.sum() * mask.grid.voxel_cc == pytest.approx(before, rel=0.01)
        assert not (after.array & inserted.spacer.array).any()


def test_what_is_pushed_comes_from_the_fat(filled: tuple[Image, dict[str, Structure], Inserted]) -> None:
    image, _, inserted = filled
    after = moved_image(image, inserted, 10.0)
    fat = Mask(image.grid, (image.array > -110.0) & (image.array < -80.0))
    left = moved_structure(Structure("zFat", "CONTROL", fat), inserted, image.grid).region
    assert isinstance(left, Mask)
    gone = float(fat.array.sum() - left.array.sum()) * image.grid.voxel_cc
    assert gone == pytest.approx(10.0, abs=1.5)
    np.testing.assert_array_equal(after.array < -500, image.array < -500)  # the outline stays
    np.testing.assert_allclose(after.array[inserted.spacer.array], 10.0)


def test_a_push_that_squeezes_the_rectum_is_measured(
    filled: tuple[Image, dict[str, Structure], Inserted],
) -> None:
    """Where every point was 5 % further from the middle before, 1 / 1.05³ of the volume is left."""
    _, _, inserted = filled
    field = inserted.registration.displacement
    assert field is not None
    points = field.grid.to_patient(np.moveaxis(np.indices(field.grid.shape), 0, -1))
    outward = 0.05 * (points - points[inserted.scene.rectum_mm < 0.0].mean(axis=0))
    moved = replace(inserted.registration, displacement=replace(field, vectors=outward))
    found = rectum_change_percent(replace(inserted, registration=moved))
    assert found == pytest.approx(100.0 * (1.05**-3 - 1.0), abs=1.5)


def test_targets_and_prostate_stay(filled: tuple[Image, dict[str, Structure], Inserted]) -> None:
    image, structures, inserted = filled
    prostate = structures["Prostate"]
    assert moved_structure(prostate, inserted, image.grid) is prostate
    ptv = replace(prostate, name="PTVp", kind="PTV")
    assert moved_structure(ptv, inserted, image.grid) is ptv


@pytest.mark.slow
def test_a_thicker_gel_of_the_same_volume_has_a_smaller_footprint() -> None:
    image, structures = pelvis()
    scales = [
        insert(scene((image, structures)), image.grid, Gel(9.0, t, cell_mm=5.0, steps=6)).scale
        for t in (9.0, 13.0)
    ]
    assert scales[1] < 0.9 * scales[0]


@pytest.mark.parametrize("missing", ["Prostate", "Rectum"])
def test_without_prostate_or_rectum_there_is_no_spacer(missing: str) -> None:
    image, structures = pelvis()
    del structures[missing]
    with pytest.raises(StructureError, match=missing):
        scene((image, structures))


def test_a_second_spacer_is_refused() -> None:
    image, structures = pelvis()
    structures["Spacer"] = replace(structures["Prostate"], name="Spacer", kind="AVOIDANCE")
    with pytest.raises(StructureError, match="already"):
        scene((image, structures))


def test_a_rectum_far_from_the_prostate_is_refused() -> None:
    with pytest.raises(StructureError, match="does not lie behind"):
        scene(pelvis(gap_mm=25.0))


def test_a_body_that_ends_behind_the_prostate_is_refused() -> None:
    with pytest.raises(StructureError, match="no room"):
        scene(pelvis(behind_mm=45.0))


def test_a_pelvis_without_fat_cannot_give_way() -> None:
    image, structures = pelvis()
    lean = replace(image, array=np.maximum(image.array, np.where(image.array > -500, 40.0, -1000.0)))
    with pytest.raises(StructureError, match="fat about the rectum"):
        insert(scene((lean, structures)), image.grid)


@pytest.mark.parametrize("wrong", [{"volume_cc": 40.0}, {"volume_cc": 0.5}, {"thickness_mm": 30.0}])
def test_gels_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(StructureError, match="between"):
        Gel(**wrong)
