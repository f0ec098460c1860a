"""The DVH: closed forms, laws, odd structures, and what is refused."""

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Mask, Structure
from rtplan.dosimetry.cells import cut
from rtplan.dosimetry.dvh import Settings, _first_step, dvh, dvhs, value
from rtplan.dosimetry.solid import Solid
from rtplan.errors import DoseError, GeometryMismatch, StructureError

GRID = Grid.axial((33, 33, 33), (2.5, 2.5, 2.5), (-40.0, -40.0, -40.0), "1.2")
TILT = np.linalg.qr(np.array([[0.9, 0.3, -0.2], [-0.25, 1.0, 0.15], [0.3, -0.1, 0.9]]))[0]
TILT = TILT * np.sign(np.diag(TILT))


def ring(radius, z, centre=(0.0, 0.0), count=180):
    t = np.arange(count) * 2 * np.pi / count
    return np.stack(
        [centre[0] + radius * np.cos(t), centre[1] + radius * np.sin(t), np.full(count, z)], axis=1
    )


def sphere(radius=15.0, gap=3.0, shift=0.7):
    heights = np.arange(-20, 21) * gap + shift
    return [ring(np.sqrt(radius**2 - z**2), z) for z in heights if abs(z) < radius]


def tube(radius=10.0, low=-12.0, high=12.0, gap=3.0, count=180):
    return [ring(radius, z, count=count) for z in np.arange(low, high + 0.1, gap)]


def structure(rings, frame="1.2", move=None):
    rings = [r if move is None else r @ TILT.T + move for r in rings]
    return Structure("S", "ORGAN", Contours(tuple(rings), frame))


def ramp(direction, grid=GRID, offset=50.0, turn=None):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    vector = np.asarray(direction, float)
    return Dose(grid, offset + grid.to_patient(index) @ (vector if turn is None else turn @ vector))


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, 1), (0.6, 0, 0.8)])
def test_sphere_in_a_linear_dose_is_the_closed_form(direction):
    made = dvh(structure(sphere()), ramp(direction))
    assert made.curve.total_cc == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=1e-3)
    heights = np.linspace(0, 30, 200001)
    share = np.pi * heights**2 * (15 - heights / 3) / (4 / 3 * np.pi * 15**3)
    for percent in (2, 10, 50, 90, 98):
        truth = 50 + 15 - np.interp(percent / 100, share, heights)
        got = value(made, f"D{percent}%[Gy]")
        assert got.value == pytest.approx(truth, abs=0.03)
        assert abs(got.value - truth) <= got.error_bound + 0.01
    assert made.curve.mean_gy == pytest.approx(50.0, abs=0.005)
    assert (made.curve.min_gy, made.curve.max_gy) == (
        pytest.approx(35, abs=0.05),
        pytest.approx(65, abs=0.05),
    )


@pytest.mark.parametrize("direction", [(0.6, 0.0, 0.8), (0.5, 0.5, 0.7071), (-0.3, 0.9, -0.316)])
def test_extremes_across_no_axis_lie_on_the_sphere(direction):
    made = dvh(structure(sphere(20.0, 2.0, 0.3)), ramp(direction))
    length = np.linalg.norm(direction)
    assert made.curve.min_gy == pytest.approx(50 - 20 * length, abs=0.01)
    assert made.curve.max_gy == pytest.approx(50 + 20 * length, abs=0.01)


@pytest.mark.parametrize(
    ("rings", "direction", "reach", "tight"),
    [
        (sphere(), (0, 0, 1), 15.0, True),
        (tube(), (0, 0, 1), 13.5, True),
        (tube(), (1, 0, 0), 10.0, True),
        (tube(), (0.6, 0, 0.8), 16.8, True),
        (sphere(20.0, 2.0, 0.3), (1, 0, 0), 20.0, False),
    ],
)
def test_the_bound_of_an_extreme_knows_where_it_lies(rings, direction, reach, tight):
    made = dvh(structure(rings), ramp(direction))
    for metric, truth in (("Min[Gy]", 50 - reach), ("Max[Gy]", 50 + reach)):
        got = value(made, metric)
        assert abs(got.value - truth) <= got.error_bound
        assert (got.error_bound < 2e-5) == tight


def test_a_peak_inside_is_the_maximum():
    index = np.stack(np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij"), axis=-1)
    peak = np.array([1.9, -2.2, 3.1])
    dose = Dose(GRID, 60 * np.exp(-0.5 * ((GRID.to_patient(index) - peak) ** 2).sum(axis=-1) / 8**2))
    assert dvh(structure(sphere()), dose).curve.max_gy == pytest.approx(60.0, abs=0.05)


@pytest.mark.parametrize(("caps", "height"), [("none", 24.0), ("half_slice", 27.0), ("rounded", 27.0)])
def test_cylinder_by_cap_policy(caps, height):
    made = dvh(structure(tube()), ramp((0, 0, 1)), Settings(caps=caps))
    assert made.curve.total_cc == pytest.approx(np.pi * 100 * height / 1000, rel=5e-4)
    assert value(made, "D98%[Gy]").value == pytest.approx(50 - 0.48 * height, abs=0.01)
    assert made.curve.max_gy == pytest.approx(50 + height / 2, abs=0.01)
    assert value(made, "Mean[Gy]").cap_bound == pytest.approx(1.5, abs=0.01)


def test_irregular_spacing_a_hole_and_two_components():
    heights = [-12, -9, -6, -5, -4, -3, 0, 3, 6]
    outer = [ring(12, z) for z in heights]
    inner = [ring(6, z) for z in heights]
    apart = [ring(4, z, (25, 0)) for z in heights[2:7]]
    settings = Settings(caps="half_slice")
    made = dvh(structure(outer + inner + apart), ramp((1, 0, 0)), settings)
    expected = np.pi * ((144 - 36) * 21 + 16 * (6 + 0.5 + 1.5))
    assert made.curve.total_cc == pytest.approx(expected / 1000, rel=5e-3)
    parts = [dvh(structure(rings), ramp((1, 0, 0)), settings) for rings in (outer, inner, apart)]
    whole = parts[0].curve.total_cc - parts[1].curve.total_cc + parts[2].curve.total_cc
    assert made.curve.total_cc == pytest.approx(whole, rel=2e-3)
    for dose in (45.0, 50.0, 58.0, 74.0):
        additive = parts[0].volume_at(dose) - parts[1].volume_at(dose) + parts[2].volume_at(dose)
        assert made.volume_at(dose) == pytest.approx(additive, abs=3e-3 * whole)


def test_invariant_under_rigid_motion_of_both():
    here = dvh(structure(sphere(12.0) + [ring(5, z, (3, 0)) for z in (-2.3, 0.7)]), ramp((0.6, 0, 0.8)))
    move = np.array([30.0, -20.0, 11.0])
    affine = np.eye(4)
    affine[:3, :3] = TILT @ GRID.affine[:3, :3]
    affine[:3, 3] = TILT @ GRID.origin_mm + move
    grid = Grid(GRID.shape, affine, "1.2")
    dose = Dose(grid, ramp((0.6, 0, 0.8)).array)
    there = dvh(structure(sphere(12.0) + [ring(5, z, (3, 0)) for z in (-2.3, 0.7)], move=move), dose)
    assert there.curve.total_cc == pytest.approx(here.curve.total_cc, rel=2e-4)
    for metric in ("D98%[Gy]", "D50%[Gy]", "D2%[Gy]", "Mean[Gy]"):
        assert value(there, metric).value == pytest.approx(value(here, metric).value, abs=0.02)


def test_smaller_than_a_voxel_and_of_one_slice():
    small = dvh(structure(sphere(1.0, 0.5, 0.1)), ramp((1, 0, 0)))
    assert small.curve.total_cc == pytest.approx(4 / 3 * np.pi / 1000, rel=0.01)
    flat = dvh(structure([ring(10.0, 1.0)]), ramp((0, 0, 1)), Settings(caps="half_slice"))
    assert flat.curve.total_cc == pytest.approx(np.pi * 100 * 2.5 / 1000, rel=1e-3)
    assert flat.curve.mean_gy == pytest.approx(51.0, abs=1e-4)


@pytest.mark.parametrize("rings", [sphere(), tube(), sphere(8.0) + [ring(3, z) for z in (-2.3, 0.7, 3.7)]])
def test_monotone_and_between_the_extremes(rings):
    made = dvh(structure(rings), ramp((0.5, 0.7, -0.5)))
    assert (np.diff(made.cumulative) <= 0).all()
    assert (np.diff(made.dose_gy) > 0).all()
    assert made.cumulative[-1] == 0
    assert made.curve.min_gy < made.curve.mean_gy < made.curve.max_gy
    doses, volumes = made.differential()
    assert volumes.sum() == pytest.approx(made.curve.total_cc)
    assert (doses * volumes).sum() / volumes.sum() == pytest.approx(made.curve.mean_gy, abs=0.02)


def test_mask_is_made_of_cuboids():
    mask = np.zeros(GRID.shape, bool)
    mask[10:20, 12:16, 8:12] = True
    made = dvh(Structure("M", "GTV", Mask(GRID, mask)), ramp((0, 0, 1)))
    low, high = -40 + 9.5 * 2.5, -40 + 19.5 * 2.5
    assert made.curve.total_cc == pytest.approx(160 * GRID.voxel_cc)
    assert (made.curve.min_gy, made.curve.max_gy) == (
        pytest.approx(50 + low, abs=1e-3),
        pytest.approx(50 + high, abs=1e-3),
    )
    assert value(made, "D98%[Gy]").value == pytest.approx(50 + low + 0.02 * (high - low), abs=0.01)
    assert value(made, "Mean[Gy]").cap_bound == 0.0


def test_large_mask_in_blocks_keeps_volume_and_mean():
    grid = Grid.axial((60, 80, 80), (1.0, 1.0, 1.0), (-30.0, -40.0, -40.0), "1.2")
    k, j, i = np.indices(grid.shape)
    mask = (k - 30) ** 2 + (j - 40) ** 2 + (i - 40) ** 2 < 28**2
    made = dvh(Structure("M", "ORGAN", Mask(grid, mask)), ramp((1, 0, 0)))
    assert made.curve.total_cc == pytest.approx(mask.sum() / 1000)
    assert made.curve.mean_gy == pytest.approx(60.0, abs=1e-3)


def test_cubic_keeps_a_peak_that_linear_cuts_off():
    index = np.stack(np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij"), axis=-1)
    far = ((GRID.to_patient(index) - 1.25) ** 2).sum(axis=-1)
    dose = Dose(GRID, 60 * np.exp(-0.5 * far / 20**2))
    small = structure([r + np.array([1.25, 1.25, 0.55]) for r in sphere(6.0, 1.0, 0.0)])
    truth = 60 * np.exp(-0.5 * (6.0 * 0.02 ** (1 / 3)) ** 2 / 20**2)
    cubic = value(dvh(small, dose), "D2%[Gy]").value
    linear = value(dvh(small, dose, Settings(interpolation="linear")), "D2%[Gy]").value
    assert cubic == pytest.approx(truth, abs=0.05)
    assert truth - linear > 0.1


def test_several_doses_at_once_are_the_same_as_one_by_one():
    doses = [ramp((1, 0, 0)), ramp((1, 0, 0), offset=51.0)]
    one, two = dvhs(structure(sphere()), doses)
    assert two.curve.mean_gy - one.curve.mean_gy == pytest.approx(1.0, abs=1e-5)
    assert dvh(structure(sphere()), doses[0]).curve.mean_gy == one.curve.mean_gy


def test_eqd2_is_read_per_voxel():
    dose = ramp((1, 0, 0))
    made = dvh(structure(sphere()), Dose(dose.grid, dose.array, fractions=20))
    d50, d2 = value(made, "D50%[Gy]").value, value(made, "D2%[Gy]").value
    for physical, metric in ((d50, "D50%[Gy]@EQD2(3)"), (d2, "D2%[Gy]@EQD2(3)")):
        assert value(made, metric).value == pytest.approx(physical * (physical / 20 + 3) / 5, abs=1e-3)
    with pytest.raises(DoseError, match="fractions"):
        value(dvh(structure(sphere()), dose), "D50%[Gy]@EQD2(3)")


def test_leaving_the_grid_is_refused_bounded_or_zero():
    out = structure([r + np.array([40.0, 0.0, 0.0]) for r in tube()])
    with pytest.raises(DoseError, match="outside the dose grid"):
        dvh(out, ramp((1, 0, 0)))
    zero = dvh(out, ramp((1, 0, 0)), Settings(outside="zero"))
    assert 0.4 < zero.covered_fraction < 0.7
    assert zero.curve.min_gy == 0.0
    bounds = value(dvh(out, ramp((1, 0, 0)), Settings(outside="bounds")), "Mean[Gy]")
    inside = ramp((1, 0, 0)).array.max()
    assert bounds.error_bound >= 0.5 * (1 - zero.covered_fraction) * inside * 0.9


def test_refusals():
    with pytest.raises(StructureError, match="no closed contour"):
        dvh(Structure("S", "GTV", Contours(())), ramp((1, 0, 0)))
    with pytest.raises(StructureError, match="empty"):
        dvh(Structure("S", "GTV", Mask(GRID, np.zeros(GRID.shape, bool))), ramp((1, 0, 0)))
    with pytest.raises(GeometryMismatch, match="frames of reference"):
        dvh(structure(sphere(), frame="9.9"), ramp((1, 0, 0)))
    with pytest.raises(DoseError, match="not finite"):
        dvh(structure(sphere()), Dose(GRID, np.full(GRID.shape, np.nan)))
    made = dvh(structure(sphere()), ramp((1, 0, 0)))
    with pytest.raises(DoseError, match="smaller"):
        value(made, "D100cc[Gy]")
    with pytest.raises(DoseError, match="prescription"):
        value(made, "V95%[%]")
    assert value(made, "V100%[%]", rx_gy=50.0).value == pytest.approx(50.0, abs=0.1)


def test_cut_cell_moments_against_random_points():
    draw = np.random.default_rng(3)
    normal = draw.normal(size=(40, 3))
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    width = draw.uniform(0.5, 2.0, (40, 3))
    distance = draw.uniform(-0.8, 0.8, 40)
    share, centroid, lost = cut(distance, normal, width)
    points = draw.uniform(-0.5, 0.5, (40000, 3))
    for row in range(40):
        along = points * width[row] @ normal[row]
        within = along + distance[row] < 0
        assert share[row] == pytest.approx(within.mean(), abs=0.012)
        if within.mean() > 0.05:
            mean = (points[within] * width[row]).mean(axis=0)
            np.testing.assert_allclose(centroid[row], mean, atol=0.03)
            assert lost[row] == pytest.approx(along.var() - along[within].var(), abs=0.03)


def test_a_box_of_voxels_in_a_linear_dose_is_exact():
    mask = np.zeros(GRID.shape, bool)
    mask[10:20, 12:16, 8:12] = True
    made = dvh(Structure("M", "GTV", Mask(GRID, mask)), ramp((0, 0, 1)))
    low, span = 50 - 40 + 9.5 * 2.5, 25.0
    for percent in (98, 90, 50, 10, 2):
        wanted = low + span * (1 - percent / 100)
        assert value(made, f"D{percent}%[Gy]").value == pytest.approx(wanted, abs=2e-5)
    assert made.curve.mean_gy == pytest.approx(low + span / 2, abs=1e-5)
    assert made.curve.total_cc == pytest.approx(160 * GRID.voxel_cc, rel=1e-9)


def test_masks_add_up_over_a_disjoint_union():
    k, j, i = np.indices(GRID.shape)
    left = (k - 16) ** 2 + (j - 16) ** 2 + (i - 8) ** 2 < 30
    right = (k - 14) ** 2 + (j - 17) ** 2 + (i - 24) ** 2 < 40
    dose = ramp((0.5, 0.7, -0.5))
    a, b, both = (dvh(Structure("M", "GTV", Mask(GRID, m)), dose) for m in (left, right, left | right))
    assert both.curve.total_cc == pytest.approx(a.curve.total_cc + b.curve.total_cc, rel=1e-9)
    moment = a.curve.mean_gy * a.curve.total_cc + b.curve.mean_gy * b.curve.total_cc
    assert both.curve.mean_gy * both.curve.total_cc == pytest.approx(moment, rel=1e-6)
    for level in (40.0, 48.0, 55.0, 62.0):
        added = a.volume_at(level) + b.volume_at(level)
        assert both.volume_at(level) == pytest.approx(added, abs=2e-3 * both.curve.total_cc)


def test_a_keyhole_is_the_hole_that_two_rings_make():
    outer, inner = ring(12, 0.0), ring(6, 0.0)[::-1]
    keyhole = np.concatenate([outer, outer[:1], np.roll(inner, 1, axis=0), inner[-1:]])
    heights = (-6.0, -3.0, 0.0, 3.0, 6.0)
    lifted = [keyhole + np.array([0, 0, z]) for z in heights]
    nested = [r + np.array([0, 0, z]) for z in heights for r in (outer, inner)]
    settings = Settings(caps="half_slice")
    one, two = (dvh(structure(rings), ramp((1, 0, 0)), settings) for rings in (lifted, nested))
    assert one.curve.total_cc == pytest.approx(np.pi * (144 - 36) * 15 / 1000, rel=3e-3)
    assert one.curve.total_cc == pytest.approx(two.curve.total_cc, rel=3e-3)
    assert value(one, "D10%[Gy]").value == pytest.approx(value(two, "D10%[Gy]").value, abs=0.05)
    assert one.notes == two.notes == ()
    dots = [ring(12, 0.0, count=2), ring(12, 3.0)[[0, 0, 90]], ring(12, 3.0, count=1)]
    assert dvh(structure(lifted + dots), ramp((1, 0, 0)), settings).notes == (
        "3 contours of 1 or 2 points left out",
    )


def test_small_rings_beside_large_ones_do_not_make_the_lattice_finer():
    large = sphere(15.0)
    small = [
        ring(0.8, z, centre=(20.0, 3.0 * k - 9.0))
        for z in np.unique([r[0, 2] for r in large])
        for k in range(7)
    ]
    solids = (Solid.of(structure(rings).region) for rings in (large, large + small))
    one, both = (_first_step(solid, 2.5, ramp((1, 0, 0)), Settings()) for solid in solids)
    assert both > 0.6 * one


def test_a_peak_in_a_hole_is_not_the_maximum():
    index = np.stack(np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij"), axis=-1)
    far = (GRID.to_patient(index)[..., :2] ** 2).sum(axis=-1)
    dose = Dose(GRID, 60 * np.exp(-0.5 * far / 8**2))
    made = dvh(structure(tube(14.0) + tube(8.0)), dose, Settings(caps="half_slice"))
    assert made.curve.max_gy == pytest.approx(60 * np.exp(-0.5), abs=0.1)
    assert made.curve.min_gy == pytest.approx(60 * np.exp(-0.5 * (14 / 8) ** 2), abs=0.1)


def test_wholly_outside_is_refused_or_unknown():
    out = structure([r + np.array([200.0, 0.0, 0.0]) for r in tube()])
    with pytest.raises(DoseError, match=r"100\.0 % of"):
        dvh(out, ramp((1, 0, 0)))
    bounds = dvh(out, ramp((1, 0, 0)), Settings(outside="bounds"))
    highest = float(ramp((1, 0, 0)).array.max())
    mean = value(bounds, "Mean[Gy]")
    assert bounds.covered_fraction == 0.0
    assert (mean.value, mean.error_bound) == (
        pytest.approx(highest / 2, rel=1e-3),
        pytest.approx(highest / 2, rel=1e-3),
    )


def test_a_dose_that_is_not_finite_elsewhere_does_not_matter():
    array = ramp((1, 0, 0)).array.copy()
    array[:3], array[:, :3], array[:, :, :3] = np.nan, np.nan, np.nan
    assert dvh(structure(sphere(10.0)), Dose(GRID, array)).curve.mean_gy == pytest.approx(50.0, abs=1e-3)


@pytest.mark.parametrize("count", [24, 60, 360])
def test_the_bound_covers_polygons_of_few_points(count):
    rings = [ring(np.sqrt(12.0**2 - z**2), z, count=count) for z in np.arange(-10.7, 12, 2.0)]
    made, fine = (
        dvh(structure(rings), ramp((0.6, 0, 0.8)), Settings(tolerance_gy=t, most_cells=10**6))
        for t in (0.02, 0.002)
    )
    for metric in ("Volume[cc]", "D98%[Gy]", "D50%[Gy]", "D2%[Gy]", "Mean[Gy]"):
        got, known = value(made, metric), value(fine, metric)
        assert abs(got.value - known.value) <= got.error_bound + known.error_bound
        assert got.error_bound < (0.02 * got.value if metric == "Volume[cc]" else 0.1)
