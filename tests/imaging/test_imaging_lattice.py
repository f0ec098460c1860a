"""Masks to rings along voxel edges, keyholes, and back: exact for any mask."""

import numpy as np
import pytest
from scipy import ndimage

from rtplan.domain import Contours, Grid, Mask, Structure
from rtplan.imaging.contour import contours_of, mask_on
from rtplan.imaging.keyhole import keyholes, opened
from rtplan.imaging.lattice import lattice_fill, pixel_rings, stack_rings
from rtplan.imaging.planes import volume_cc
from rtplan.imaging.raster import coverage, ring_area

RNG = np.random.default_rng(5)


def noise(shape, share=0.55):
    return RNG.random(shape) < share


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_any_mask_comes_back_from_its_rings(share):
    mask = noise((5, 23, 31), share)
    rings = stack_rings(mask)
    assert sum(ring_area(ring[:, 1:]) for ring in rings) == pytest.approx(mask.sum())
    planes = [(k, [r[:, 1:] for r in rings if r[0, 0] == k]) for k in range(5)]
    np.testing.assert_array_equal(lattice_fill(planes, mask.shape), mask)
    for ring in rings:  # it turns at each corner
        step = np.diff(np.vstack([ring, ring[:1]])[:, 1:], axis=0)
        assert ((step == 0).sum(axis=1) == 1).all()
        assert (step[:, 0] * np.roll(step[:, 0], -1) == 0).all()


def test_rings_beyond_the_lattice_are_cut_and_others_are_not_taken():
    square = np.array([[-3.5, 1.5], [-3.5, 40.5], [2.5, 40.5], [2.5, 1.5]])
    filled = lattice_fill([(0, [square]), (7, [square])], (1, 6, 8))
    wanted = np.zeros((1, 6, 8), bool)
    wanted[0, :3, 2:] = True
    np.testing.assert_array_equal(filled, wanted)
    stairs = np.array([[1.5, 1.5], [1.5, 4.5], [2.5, 4.5], [2.5, 6.5], [9.5, 6.5], [9.5, 1.5]])
    wanted = np.zeros((1, 6, 8), bool)  # the edge that closes it lies below the last row
    wanted[0, 2:, 2:5] = wanted[0, 3:, 5:7] = True
    np.testing.assert_array_equal(lattice_fill([(0, [stairs])], (1, 6, 8)), wanted)
    assert lattice_fill([(0, [square + 0.2])], (1, 6, 8)) is None
    assert lattice_fill([(0, [square @ np.array([[1.0, 1.0], [0.0, 1.0]])])], (1, 6, 8)) is None
    assert not stack_rings(np.zeros((2, 3, 3), bool))


@pytest.mark.parametrize(
    ("shape", "spacing"), [((6, 100, 160), (3.0, 1.0, 1.0)), ((6, 60, 44), (2.5, 2.0, 1.0))]
)
def test_masks_of_any_matrix_and_pixel_come_back_voxel_for_voxel(shape, spacing):
    grid = Grid.axial(shape, spacing, (-60.0, -70.0, 10.0), "f")
    mask = ndimage.gaussian_filter(RNG.normal(size=shape), 3) > 0.01
    contours = contours_of(Mask(grid, mask))
    np.testing.assert_array_equal(mask_on(Structure("A", "ORGAN", contours), grid).array, mask)
    assert volume_cc(contours, spacing[0]) == pytest.approx(mask.sum() * grid.voxel_cc, rel=1e-9)
    assert volume_cc(contours, 1.0, fixed=True) == pytest.approx(
        mask.sum() * grid.voxel_cc / spacing[0], rel=1e-9
    )


def test_contours_off_the_lattice_get_the_voxels_of_which_they_hold_half(tilted):
    grid = tilted()
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    flat = np.stack([40.2 + 11.3 * np.sin(angle), 45.1 + 13.9 * np.cos(angle)], axis=1)
    rings = [grid.to_patient(np.column_stack([np.full(90, float(k)), flat])) for k in range(5, 11)]
    structure = Structure("A", "ORGAN", Contours(tuple(rings), grid.frame_of_reference))
    wanted = coverage([flat], grid.shape[1:]) >= 0.5
    found = mask_on(structure, grid).array
    for k in range(grid.shape[0]):
        np.testing.assert_array_equal(found[k], wanted if 5 <= k < 11 else np.zeros_like(wanted))


ALONG, NORMAL = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])


def in_space(ring):
    return np.column_stack([ring[:, 1], ring[:, 0], np.zeros(len(ring))])


def flat(rings):
    return [ring[:, 1::-1] for ring in rings]


@pytest.mark.parametrize("turned", [False, True])
def test_keyholes_hold_the_area_in_one_ring_a_region_and_open_to_the_holes_again(turned):
    for share in (0.6, 0.75, 0.9):
        mask = noise((19, 24), share)
        rings = [in_space(ring) for ring in pixel_rings(mask)]
        if turned:
            rings = [ring[::-1] for ring in rings]
        joined = keyholes(rings, ALONG, NORMAL)
        assert len(joined) == ndimage.label(mask)[1]
        assert sum(abs(ring_area(ring)) for ring in flat(joined)) == pytest.approx(mask.sum())
        np.testing.assert_array_equal(lattice_fill([(0, flat(joined))], (1, *mask.shape))[0], mask)
        again = opened(joined)
        assert len(again) == len(rings)
        areas = sorted(abs(ring_area(ring)) for ring in flat(again))
        assert areas == pytest.approx(sorted(abs(ring_area(ring)) for ring in flat(rings)))


def test_keyholes_of_round_rings_on_a_tilted_plane():
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    along = np.array([0.6, 0.0, 0.8])
    normal = np.array([0.0, 1.0, 0.0])
    down = np.cross(normal, along)

    def circle(radius, at):
        flat = np.outer(np.cos(angle), along) + np.outer(np.sin(angle), down)
        return radius * flat + at * along + 7.0 * normal

    rings = [circle(30, 0), circle(6, -12), circle(5, 12), circle(2, 12)]
    joined = keyholes(rings, along, normal)
    assert [len(ring) for ring in joined] == [60 + 2 * 63, 60]  # a ring with two holes, and the island
    unit = 30 * np.sin(2 * np.pi / 60)
    whole = Contours(tuple(joined))
    assert volume_cc(whole, 1.0) * 1000 == pytest.approx(unit * (900 - 36 - 25 + 4), rel=1e-9)
    assert len(opened(joined)) == 4
    spread = np.concatenate(joined) @ normal
    np.testing.assert_allclose(spread, 7.0, atol=1e-9)


def test_rings_that_cross_stay_and_spikes_go():
    square = np.array([[0.0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]])
    crossing = [square, square + np.array([2.0, 2.0, 0])]
    assert keyholes(crossing, ALONG, NORMAL) == crossing
    spike = np.insert(square, 2, [[9.0, 2, 0], [4.0, 0, 0]], axis=0)
    (kept,) = opened([spike])
    assert abs(ring_area(kept[:, :2])) == pytest.approx(16.0)
    assert opened([]) == []
