"""Derived structures: volumes of rings, cuts, walls and isodoses in closed form, on any grid, and laws."""

import math

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Mask, Structure
from rtplan.dosimetry.derived import follow
from rtplan.dosimetry.difference import dose_difference
from rtplan.dosimetry.dvh import dvh, value
from rtplan.dosimetry.indices import quality_findings
from rtplan.dosimetry.isodose import isodose
from rtplan.dosimetry.quality import isodose_volume
from rtplan.dosimetry.recipe import parse_recipe
from rtplan.errors import DoseError, GeometryMismatch, StructureError, UnknownName

FRAME = "1.2.3"
GRID = Grid.axial((41, 41, 41), (2.0, 2.0, 2.0), (-37.0, -43.0, -41.0), FRAME)


def sphere(name, radius, centre=(0.0, 0.0, 0.0), step=2.0, turn=0.0):
    """Return a ball's contours; the planes may be turned about x by an angle in degrees."""
    angle = np.linspace(0.0, 2 * np.pi, 180, endpoint=False)
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    rotation = np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    rings = []
    for z in np.arange(-radius + step / 2, radius, step):
        r = math.sqrt(radius**2 - z**2)
        ring = np.stack([r * np.cos(angle), r * np.sin(angle), np.full(180, z)], axis=1)
        rings.append(ring @ rotation.T + centre)
    return Structure(name, "PTV", Contours(tuple(rings), FRAME))


def ball_dose(grid=GRID, peak=60.0, fall=1.0):
    """Return a dose that falls by ``fall`` Gy per mm from the origin."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return Dose(grid, np.maximum(peak - fall * np.linalg.norm(grid.to_patient(index), axis=-1), 0.0))


def cc(structure):
    return structure.region.array.sum() * structure.region.grid.voxel_cc


def ball_cc(radius):
    return 4 / 3 * math.pi * radius**3 / 1000


def made(text, *structures, dose=None):
    return follow(parse_recipe(text), {s.name: s for s in structures}, dose)


@pytest.mark.parametrize(("turn", "off"), [(0.0, 0.005), (20.0, 0.03)])  # tilted planes keep their stairs
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (3.3, -7.7, 1.9)])
def test_a_ring_has_the_volume_of_its_shell(turn, off, centre):
    ptv = sphere("PTV", 15.0, centre, turn=turn)
    shell = ball_cc(23.0) - ball_cc(15.0)
    assert cc(made("Ring = (PTV + 8) - PTV", ptv)) == pytest.approx(shell, rel=off)
    assert cc(made("Ring = (PTV + (8, P 7.999)) - PTV", ptv)) == pytest.approx(shell, rel=off)
    assert cc(made("In = PTV - 5", ptv)) == pytest.approx(ball_cc(10.0), rel=0.06)


def test_cuts_are_disjoint_and_add_up():
    ptv, organ = sphere("PTV", 14.0), sphere("Rectum", 10.0, (0.0, 12.0, 0.0))
    both, rest = made("Both = PTV & Rectum", ptv, organ), made("Rest = PTV - Rectum", ptv, organ)
    either = made("Either = PTV | Rectum", ptv, organ)
    assert cc(both) + cc(rest) == pytest.approx(ball_cc(14.0), rel=0.01)
    assert cc(either) == pytest.approx(cc(rest) + ball_cc(10.0), rel=0.01)
    distance, r1, r2 = 12.0, 14.0, 10.0  # lens of two balls
    lens = math.pi * (r1 + r2 - distance) ** 2 / (12 * distance)
    lens *= distance**2 + 2 * distance * (r1 + r2) - 3 * (r1 - r2) ** 2
    assert cc(both) == pytest.approx(lens / 1000, rel=0.01)


def test_a_margin_per_direction_goes_there():
    grown = made("New = PTV + (0, P 9)", sphere("PTV", 10.0))
    points = grown.region.grid.to_patient(np.argwhere(grown.region.array))
    low, high = points.min(axis=0), points.max(axis=0)
    assert high[1] == pytest.approx(19.0, abs=0.5)
    assert low[1] == pytest.approx(-10.0, abs=0.5)
    assert high[0] == pytest.approx(10.0, abs=0.5)
    assert high[2] == pytest.approx(10.0, abs=0.5)


def test_a_wall_is_a_shell_in_plane():
    angle = np.linspace(0.0, 2 * np.pi, 360, endpoint=False)
    circle = np.stack([15 * np.cos(angle), 15 * np.sin(angle)], axis=1)
    rings = tuple(np.column_stack([circle, np.full(360, z)]) for z in np.arange(0.0, 60.0, 3.0))
    tube = Structure("Rectum", "ORGAN", Contours(rings, FRAME))
    wall = made("Rectal_Wall = wall(Rectum, 3)", tube)
    assert cc(wall) == pytest.approx(math.pi * (15**2 - 12**2) * 60 / 1000, rel=0.03)


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (3.0, 2.5, 1.5)])
def test_an_isodose_is_the_ball_that_it_should_be(spacing):
    count = tuple(int(80 / s) | 1 for s in spacing)
    dose = ball_dose(Grid.axial(count, spacing, (-38.3, -40.1, -39.2), FRAME))
    for level, radius in ((40.0, 20.0), (48.0, 12.0)):
        wanted = isodose_volume(dose, level)
        assert wanted == pytest.approx(ball_cc(radius), rel=0.03)
        contours = isodose(dose, level)
        assert value(dvh(contours, dose), "Volume[cc]").value == pytest.approx(wanted, rel=0.02)
        points = np.concatenate(contours.region.rings)
        assert np.abs(np.linalg.norm(points, axis=1) - radius).max() < 0.35
        assert cc(made(f"Hot = isodose({level:g})", dose=dose)) == pytest.approx(wanted, rel=0.01)


def test_an_isodose_keeps_its_holes():
    grid = Grid.axial((5, 61, 61), (3.0, 1.0, 1.0), (-30.0, -30.0, -6.0))
    radius = np.linalg.norm(grid.to_patient(np.argwhere(np.ones(grid.shape, bool)))[:, :2], axis=1)
    values = 50.0 - np.abs(radius.reshape(grid.shape) - 15.0)
    values[[0, -1]] = 0.0
    rings = isodose(Dose(grid, values), 45.0).region.rings
    assert len(rings) == 6
    radii = sorted(np.linalg.norm(ring[:, :2], axis=1).mean() for ring in rings)
    assert radii[0] == pytest.approx(10.0, abs=0.1)
    assert radii[-1] == pytest.approx(20.0, abs=0.1)


def test_spill_beyond_a_target_is_a_dvh_input():
    dose, ptv = ball_dose(), sphere("PTV", 12.0)
    spill = made("Spill = isodose(40) - PTV", ptv, dose=dose)
    found = dvh(spill, dose)
    assert value(found, "Volume[cc]").value == pytest.approx(ball_cc(20) - ball_cc(12), rel=0.02)
    assert value(found, "D2%[Gy]").value == pytest.approx(48.0, abs=0.7)
    assert value(found, "D98%[Gy]").value == pytest.approx(40.0, abs=0.7)


def test_conformity_of_a_ball_in_a_ball():
    dose, ptv = ball_dose(), sphere("PTVp_6000", 15.0)
    found = {f.metric: f for f in quality_findings(ptv, dose, dvh(ptv, dose), 42.0, "test")}
    assert found["CI_RTOG"].value == pytest.approx((18 / 15) ** 3, rel=0.02)
    assert found["CI_Paddick"].value == pytest.approx((15 / 18) ** 3, rel=0.02)
    assert found["GI"].verdict == "not_evaluable"  # 21 Gy lie 39 mm out, beyond the grid
    assert "leaves the dose grid" in found["GI"].reason
    steep = ball_dose(fall=2.0)
    gradient = quality_findings(ptv, steep, dvh(ptv, steep), 24.0, "test")[-1]
    assert gradient.value == pytest.approx((24 / 18) ** 3, rel=0.02)
    d2, d50, d98 = (60 - 15 * share ** (1 / 3) for share in (0.02, 0.5, 0.98))
    assert found["HI"].value == pytest.approx((d2 - d98) / d50, abs=0.005)


def test_difference_of_doses():
    dose = ball_dose()
    finer = ball_dose(Grid.axial((60, 60, 60), (1.0, 1.0, 1.0), (-20.0, -20.0, -20.0), ""))
    more = Dose(finer.grid, finer.array + 1.0)
    found = dose_difference(dose, more)
    inside = found.map.array[np.isfinite(found.map.array)]
    assert found.n == inside.size < dose.array.size
    assert found.mean_gy == pytest.approx(1.0, abs=0.01)
    assert found.largest_gy == pytest.approx(1.0, abs=0.4)  # the tip of the cone
    same = dose_difference(dose, dose)
    assert (same.rms_gy, same.p95_gy, same.largest_gy, same.n) == (0.0, 0.0, 0.0, dose.array.size)
    mask = Mask(GRID, np.indices(GRID.shape)[0] < 3)
    assert dose_difference(dose, dose, mask).n == 3 * 41 * 41


def test_refusals():
    ptv, dose = sphere("PTV", 12.0), ball_dose()
    with pytest.raises(UnknownName, match=r"needs Rectum. Known: PTV"):
        made("A = PTV | Rectum", ptv)
    with pytest.raises(StructureError, match="PTV already"):
        made("PTV = PTV + 3", ptv)
    with pytest.raises(UnknownName, match="needs a dose"):
        made("A = isodose(30)", ptv)
    with pytest.raises(DoseError, match="leaves the dose grid"):
        made("A = isodose(5)", ptv, dose=dose)
    with pytest.raises(StructureError, match="No voxel reaches"):
        made("A = isodose(70)", dose=dose)
    with pytest.raises(StructureError, match="empty"):
        made("A = E + 3", Structure("E", "ORGAN", Contours(())))
    with pytest.raises(StructureError, match=r"wall of 0\.4"):
        made("A = wall(PTV, 0.4)", ptv)
    with pytest.raises(GeometryMismatch, match="frames"):
        made("A = PTV | B", ptv, Structure("B", "ORGAN", Contours(ptv.region.rings, "9.9")))
    with pytest.raises(DoseError, match="positive level"):
        isodose(dose, 0.0)
    with pytest.raises(DoseError, match="not finite"):
        dose_difference(dose, Dose(GRID, np.full(GRID.shape, np.nan)))
    with pytest.raises(DoseError, match="one kind"):
        dose_difference(dose, Dose(GRID, dose.array, "EQD2(3)"))
    with pytest.raises(DoseError, match="No voxel"):
        dose_difference(dose, Dose(Grid.axial((3, 3, 3), (1, 1, 1), (900, 0, 0), FRAME), np.ones((3, 3, 3))))
    gone = made("A = PTV - PTV", ptv)
    with pytest.raises(StructureError):
        dvh(gone, dose)
