"""What is cut is said, with how much: organs at an image's end, targets near it, structures off the dose."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rtplan.domain import Contours, Grid, Mask, Structure
from rtplan.io.patient import read_patient
from rtplan.io.preflight import preflight
from rtplan.io.truncation import beyond_dose, cut_organs, short_ranges, truncations

TILT = Rotation.from_euler("xyz", (17, 0, 24), degrees=True).as_matrix()


def tilted(shape=(20, 60, 50), turn=TILT):
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0.0, 0, 1.5], [0, 2, 0], [3, 0, 0]])
    affine[:3, 3] = (-31.2, 44.7, -812.5)
    return Grid(shape, affine, "1.2.3")


def stack(grid, planes, half=8.0, centre=(30, 25), kind="ORGAN", name="Rectum"):
    """A box of contours in these planes of a grid, sides 2 × half voxels."""
    rings = []
    for k in planes:
        size = half[k] if isinstance(half, dict) else half
        corners = [(-size, -size), (-size, size), (size, size), (size, -size)]
        rings.append(grid.to_patient([(k, centre[0] + a, centre[1] + b) for a, b in corners]))
    return Structure(name, kind, Contours(tuple(rings), grid.frame_of_reference))


def test_an_organ_that_ends_in_the_last_plane_is_cut():
    grid = tilted()
    assert cut_organs([stack(grid, range(3, 18))], grid, "the image CT") == []
    (notice,) = cut_organs([stack(grid, range(12, 20))], grid, "the image CT")
    assert (notice.code, notice.severity, notice.structure) == ("ORGAN_CUT", "warn", "Rectum")
    assert "last plane (100 % of its largest area) of the image CT" in notice.message
    (both,) = cut_organs([stack(grid, range(20))], grid, "the image CT")
    assert "the first plane" in both.message
    assert "the last plane" in both.message


def test_a_small_last_contour_may_be_the_organs_end():
    grid = tilted()
    half = dict.fromkeys(range(12, 20), 8.0) | {19: 2.0}
    (notice,) = cut_organs([stack(grid, range(12, 20), half)], grid, "the image CT")
    assert notice.severity == "info"
    assert "(6 % of its largest area)" in notice.message  # (2 / 8) squared


def test_what_is_not_judged_or_cannot_be_compared_is_not_cut():
    grid = tilted()
    skin = stack(grid, range(20), kind="EXTERNAL", name="External")
    mask = Structure("Bladder", "ORGAN", Mask(grid, np.ones(grid.shape)))
    other = Grid(grid.shape, grid.affine, "9.9")
    beyond = stack(grid, range(12, 25))
    assert cut_organs([skin, mask, beyond], grid, "x") == []
    assert cut_organs([stack(grid, range(20))], other, "x") == []
    across = tilted(turn=Rotation.from_euler("x", 90, degrees=True).as_matrix())
    assert cut_organs([stack(grid, range(20))], across, "x") == []


def test_the_range_beyond_a_target_is_measured_along_the_patient():
    """On an axial grid: 20 planes of 3 mm, target in planes 8 to 13."""
    grid = Grid.axial((20, 60, 50), (3.0, 2.0, 1.5), (-31.2, 44.7, -812.5), "1.2.3")
    target = stack(grid, range(8, 14), kind="PTV", name="PTVp_7700")
    (notice,) = short_ranges([target], {"T2w": grid})
    assert (notice.code, notice.severity, notice.structure) == ("RANGE_SHORT", "warn", "PTVp_7700")
    assert "ends 19.5 mm above PTVp_7700 and 25.5 mm below PTVp_7700" in notice.message
    assert "35 % of the 30 mm" in notice.message
    assert short_ranges([target], {"CT": grid.crop((-2, 0, 0), (24, 60, 50))}) == []
    (one,) = short_ranges([target], {"CT": grid.crop((-2, 0, 0), (20, 60, 50))})
    assert "below" not in one.message


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_the_range_is_the_same_whatever_the_order_of_the_planes(axes):
    """A sagittal or coronal grid of the same box gives the same millimetres."""
    grid = Grid.axial((20, 60, 50), (3.0, 2.0, 1.5), (-31.2, 44.7, -812.5), "1.2.3")
    target = stack(grid, range(8, 14), kind="PTV", name="PTV")
    affine = np.eye(4)
    affine[:3, :3] = grid.affine[:3, :3][:, axes]
    affine[:3, 3] = grid.affine[:3, 3]
    turned = Grid(tuple(grid.shape[a] for a in axes), affine, "1.2.3")
    (notice,) = short_ranges([target], {"T2w": turned})
    assert "ends 19.5 mm above PTV and 25.5 mm below PTV" in notice.message


def test_a_target_that_leaves_a_tilted_image_has_no_range_at_all():
    grid = tilted()
    target = stack(grid, range(8, 22), kind="CTV", name="CTV")
    (notice,) = short_ranges([target], {"T2w": grid})
    assert "0.0 mm" in notice.message
    assert "100 % of the 30 mm" in notice.message


def test_the_part_beyond_the_dose_grid_has_a_closed_form():
    grid = tilted()
    whole = stack(grid, range(2, 12), half=8.0, centre=(30, 25))  # 10 planes, 16 × 16 voxels
    assert beyond_dose([whole], grid, "the dose CT") == []
    (notice,) = beyond_dose(
        [whole], grid.crop((0, 0, 0), (9, 60, 50)), "the dose CT"
    )  # planes 9, 10, 11 are out
    assert (notice.code, notice.severity) == ("DOSE_GRID_SHORT", "warn")
    assert "30.0 % of Rectum" in notice.message
    (notice,) = beyond_dose([whole], grid.crop((0, 24, 0), (20, 60, 50)), "the dose CT")
    assert f"{100 * 1.5 / 16:.1f} % of Rectum" in notice.message  # rows 22 to 23.5 of 22 to 38
    fine = grid.crop((0, 0, 0), (9, 60, 50)).with_spacing((1.0, 3.0, 2.5))
    (notice,) = beyond_dose([whole], fine, "the dose CT")
    assert 29.0 < float(notice.message.split(" %")[0]) < 31.0
    (notice,) = beyond_dose([whole], grid.crop((12, 0, 0), (20, 60, 50)), "the dose CT")
    assert "100.0 % of Rectum" in notice.message


def test_the_half_planes_at_a_structures_ends_count():
    """Contours stand for slabs: the outermost half plane lies off a grid that ends at the last contour."""
    grid = tilted()
    whole = stack(grid, range(2, 12))  # slabs from 1.5 to 11.5
    fine = grid.crop((0, 0, 0), (11, 60, 50)).with_spacing((1.0, 2.0, 1.5))  # ends at 10.5
    longer = fine.crop((0, 0, 0), (fine.shape[0] + 2, 60, 50))  # ends at 11.1667: beyond the contour at 11
    (notice,) = beyond_dose([whole], longer, "the dose CT")
    assert f"{100 * (1 / 3) / 10:.1f} % of Rectum" in notice.message


def test_images_on_one_grid_are_said_once():
    grid = tilted()
    organ = stack(grid, range(12, 20))
    found = truncations([organ], {"CT": grid, "SynCT": tilted()}, {"CT": grid, "SynCT": grid})
    assert [n.code for n in found] == ["ORGAN_CUT", "ORGAN_CUT"]
    assert "the image CT, SynCT" in found[0].message
    assert "the dose CT, SynCT" in found[1].message


def test_both_doors_say_what_is_cut(bare, tmp_path):
    bare.series(tmp_path / "ct", np.zeros((5, 9, 16), np.int16))
    rings = [("CLOSED_PLANAR", bare.square(z, 0, 5)) for z in (-27.0, -24.0, -21.0, -18.0)]
    bare.rtstruct(tmp_path / "rs.dcm", [("Bladder", "ORGAN", rings), ("PTV", "PTV", rings[:1])])
    bare.rtdose(tmp_path / "rd.dcm", np.ones((4, 9, 16), np.uint16))
    wanted = {("ORGAN_CUT", "Bladder"), ("RANGE_SHORT", "PTV"), ("DOSE_GRID_SHORT", "Bladder")}
    assert wanted <= {(n.code, n.structure) for n in read_patient(tmp_path).notices}
    assert wanted <= {(n.code, n.structure) for n in preflight(tmp_path).notices}
