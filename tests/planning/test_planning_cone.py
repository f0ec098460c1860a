"""The collapsed cone in water and slabs: the quadrature, laws of geometry, energy, gradients, refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtplan.domain import Beam, Fluence, Grid, Image, Mask
from rtplan.errors import DoseError, GeometryMismatch, UnknownName
from rtplan.planning.algorithm import ALGORITHMS, algorithm
from rtplan.planning.beam import load_beam
from rtplan.planning.cone import ConeEngine, ConeSettings, Fineness, box_of, set_free
from rtplan.planning.coneaxis import cone_on_axis
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.kernel import load_kernel
from rtplan.planning.openfield import open_field
from rtplan.planning.scene import Scene

MODEL, CURVE, KERNEL = load_beam("generic_6mv"), load_curve("matrad_default"), load_kernel("water_6mv")
ENGINE = ConeEngine(MODEL, CURVE)
#: For laws that hold at any fineness.
COARSE = ConeEngine(
    MODEL, CURVE, settings=ConeSettings(Fineness(6.0, 2), Fineness(12.0, 2), ray_spacing_mm=6.0)
)


def line(*y: float) -> Grid:
    """Points on the axis x = z = 0, equally spaced."""
    return Grid.axial((1, len(y), 1), (1.0, y[1] - y[0] if len(y) > 1 else 1.0, 1.0), (0.0, y[0], 0.0))


def tank(width: int = 60, deep: int = 64) -> tuple[Image, Mask]:
    """Water from y = 0 down, in voxels of 3 mm; air above it."""
    grid = Grid.axial(
        (width, deep + 2, width), (3.0, 3.0, 3.0), (-1.5 * (width - 1), -4.5, -1.5 * (width - 1))
    )
    inside = np.zeros(grid.shape, bool)
    inside[:, 2:] = True
    return Image(grid, np.where(inside, 0.0, -1000.0)), Mask(grid, inside)


def cylinder(matrix: np.ndarray | None = None) -> tuple[Image, Mask]:
    """A water cylinder of radius 90 mm along z with bone and gas off centre; it moves with the grid."""
    grid = Grid.axial((24, 40, 40), (6.0, 5.0, 5.0), (-97.5, -97.5, -69.0), "1.2")
    x, y, z = np.moveaxis(grid.to_patient(np.stack(np.indices(grid.shape), axis=-1)), -1, 0)
    inside = x**2 + y**2 < 90**2
    hu = np.where(inside, 0.0, -1000.0)
    hu[(x - 30) ** 2 + (y + 5) ** 2 < 20**2] = 600.0
    hu[(x + 15) ** 2 + (y - 25) ** 2 + z**2 < 15**2] = -900.0
    place = grid if matrix is None else Grid(grid.shape, matrix @ grid.affine, "1.2")
    return Image(place, hu), Mask(place, inside)


def about_z(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:3, 3] = (12.0, -7.0, 40.0)
    return matrix


def modulated(gantry: float) -> Beam:
    mu = np.random.default_rng(5).uniform(0, 100, (10, 12)).astype(np.float32)
    return replace(
        open_field((50, 50), (0.0, 0.0, 0.0), gantry_deg=gantry), fluence=Fluence(mu, 5.0, (-27.5, -22.5))
    )


DOSE_GRID = Grid.axial((4, 7, 7), (12.0, 20.0, 20.0), (-60.0, -60.0, -18.0), "1.2")


def test_the_engine_follows_the_quadrature_and_the_calibration() -> None:
    image, body = tank()
    depth = np.array([25.0, 50.0, 75.0, 100.0, 125.0, 150.0])
    for side in (40.0, 100.0):
        beam = open_field((side, side), (0.0, 100.0, 0.0))
        dose = ENGINE.calculate([beam], [image], body, line(*depth))[0].array[0, :, 0]
        formula = 100.0 * cone_on_axis(MODEL, KERNEL, side, depth, 900.0)
        np.testing.assert_allclose(dose, formula, rtol=0.015)  # the tank is narrower than scatter goes
        if side == 100.0:
            assert dose[3] == pytest.approx(1.0, abs=0.01)


def test_cone_and_pencil_agree_in_water() -> None:
    image, body = tank(54, 70)
    pencil = Engine(MODEL, CURVE)
    for depth in (30.0, 130.0):
        beam = open_field((100, 100), (0.0, depth, 0.0))
        cone, other = (
            e.calculate([beam], [image], body, line(depth))[0].array.item() for e in (ENGINE, pencil)
        )
        assert cone == pytest.approx(other, rel=0.02)


def test_inverse_square_law() -> None:
    """The same field at the point from two distances, without head scatter (it sees the jaws' opening)."""
    assert MODEL.cone is not None
    bare = MODEL.model_copy(update={"cone": MODEL.cone.model_copy(update={"extra_focal": None})})
    engine = ConeEngine(bare, CURVE, settings=COARSE.settings)
    image, body = tank(40, 60)
    doses = []
    for ssd in (700.0, 1100.0):
        side = 40.0 * 1000.0 / (ssd + 20.0)
        beam = open_field((side, side), (0.0, 1000.0 - ssd, 0.0))
        doses.append(engine.calculate([beam], [image], body, line(20.0))[0].array.item())
    assert doses[0] / doses[1] == pytest.approx((1120.0 / 720.0) ** 2, rel=0.01)


def test_rotating_patient_and_beam_together_changes_little() -> None:
    matrix = about_z(35.0)
    plain = ENGINE.calculate([modulated(25.0)], [cylinder()[0]], cylinder()[1], DOSE_GRID)[0].array
    image, body = cylinder(matrix)
    iso = matrix[:3, 3]
    beam = replace(modulated(60.0), isocentre_mm=(float(iso[0]), float(iso[1]), float(iso[2])))
    grid = Grid(DOSE_GRID.shape, matrix @ DOSE_GRID.affine, "1.2")
    turned = ENGINE.calculate([beam], [image], body, grid)[0].array
    np.testing.assert_allclose(turned, plain, atol=0.002 * plain.max())  # the cubes turn with the image


def test_gantry_0_and_90_and_45_in_a_water_cylinder() -> None:
    image, body = cylinder()
    water = image.with_array(np.where(body.array, 0.0, -1000.0))
    point = Grid.axial((1, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "1.2")
    doses = [
        ENGINE.calculate([open_field((60, 60), (0.0, 0.0, 0.0), gantry_deg=g)], [water], body, point)[
            0
        ].array.item()
        for g in (0.0, 90.0, 45.0)
    ]
    assert doses[1] == pytest.approx(doses[0], rel=1e-3)
    assert doses[2] == pytest.approx(doses[0], rel=8e-3)


def test_beams_add_and_images_are_each_alone() -> None:
    image, body = cylinder()
    water = image.with_array(np.where(body.array, 0.0, -1000.0))
    a, b = modulated(10.0), modulated(200.0)
    alone = [COARSE.calculate([one], [image], body, DOSE_GRID)[0].array for one in (a, b)]
    both = COARSE.calculate([a, b], [image, water], body, DOSE_GRID)
    np.testing.assert_allclose(both[0].array, alone[0] + alone[1], rtol=1e-4, atol=1e-5)
    single = COARSE.calculate([a, b], [water], body, DOSE_GRID)[0].array
    np.testing.assert_allclose(both[1].array, single, rtol=1e-5, atol=1e-6)
    doubled = replace(a, fluence=replace(a.fluence, mu=2.0 * a.fluence.mu))
    np.testing.assert_allclose(
        COARSE.calculate([doubled], [image], body, DOSE_GRID)[0].array, 2.0 * alone[0], rtol=1e-5
    )


def test_neighbouring_directions_share_a_kernel_at_little_cost_and_same_ones_at_none() -> None:
    image, body = cylinder()
    arc = [modulated(30.0 + 2.0 * n) for n in range(5)]
    exact, shared = (
        ConeEngine(MODEL, CURVE, settings=replace(COARSE.settings, sector_deg=width)) for width in (0.0, 8.0)
    )
    one, other = (engine.calculate(arc, [image], body, DOSE_GRID)[0].array for engine in (exact, shared))
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(other, one, atol=0.005 * one.max())
    a = modulated(10.0)
    twice = exact.calculate([a, a], [image], body, DOSE_GRID)[0].array
    once = exact.calculate([a], [image], body, DOSE_GRID)[0].array
    np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-5, atol=1e-6)


def test_no_more_energy_is_left_than_the_beam_lost() -> None:
    """In the whole body: dose times mass against the energy that the rays lost, per unit of fluence."""
    image, body = cylinder()
    beam = open_field((60, 60), (0.0, 0.0, 0.0))
    grid = body.grid
    index = np.argwhere(body.array)
    scene = COARSE.scene([image], body, grid, index)
    with torch.no_grad():
        dose = COARSE.dose(scene, [beam])[0]
        lost = torch.zeros(())
        for part in (COARSE._primary, COARSE._scatter):
            box = box_of(scene, part.fineness.voxel_mm, 1)
            mu = torch.tensor(np.array(beam.fluence.mu))
            freed = COARSE._freed(scene, box, beam, mu, part)
            lost = lost + (freed * box.density).sum() * part.fineness.voxel_mm**3
        density = CURVE.of(torch.tensor(image.array[body.array]))
        left = (dose * density).sum() * float(np.prod(grid.spacing_zyx_mm))
    assert 0.55 < float(left / lost) < 0.95  # the rest leaves a body of this size as scatter


def test_the_beam_hardens() -> None:
    spectrum = MODEL.cone.spectrum  # type: ignore[union-attr]
    depth = torch.linspace(0.0, 300.0, 31, dtype=torch.float64)
    slope = -torch.diff(torch.log(set_free(spectrum, spectrum.attenuation_per_mm, depth)))
    assert (torch.diff(slope) < 0).all()
    assert set_free(spectrum, spectrum.absorption_per_mm, depth)[0] == pytest.approx(
        float(np.dot(spectrum.energy_fluence, spectrum.absorption_per_mm))
    )


def test_electrons_are_lost_in_lung_and_come_back_behind_it() -> None:
    """What the pencil beam cannot know: a narrow field is under-dosed within a light slab."""
    image, body = tank(40, 60)
    lung = image.with_array(np.where((np.indices(image.grid.shape)[1] - 2) // 20 == 1, -750.0, image.array))
    assert CURVE.of(torch.tensor(-750.0)) == pytest.approx(0.26, abs=0.02)
    beam = open_field((30, 30), (0.0, 90.0, 0.0))
    points = line(30.0, 90.0, 150.0)
    ratios = []
    for engine in (ENGINE, Engine(MODEL, CURVE)):
        plain, slab = (d.array[0, :, 0] for d in engine.calculate([beam], [image, lung], body, points))
        ratios.append(slab / plain)
    assert ratios[0][1] < ratios[1][1] - 0.05  # in the slab
    assert ratios[0][2] == pytest.approx(ratios[1][2], abs=0.03)  # behind it both see less attenuation
    assert ratios[0][2] > 1.05


def test_gradcheck_in_density_and_fluence() -> None:
    settings = ConeSettings(Fineness(11.0, 1), Fineness(14.0, 1), ray_spacing_mm=9.0, map_spacing_mm=6.0)
    engine = ConeEngine(MODEL, CURVE, dtype=torch.float64, settings=settings)
    rng = np.random.default_rng(2)
    grid = Grid.axial((2, 3, 3), (12.0, 11.0, 10.0), (-10.0, -11.0, -6.0))
    density = torch.tensor(rng.uniform(0.3, 1.5, (2, 2, 3, 3)), requires_grad=True)
    points = torch.tensor(rng.uniform(-8, 8, (4, 3)))
    beam = replace(modulated(33.0), fluence=Fluence(np.ones((2, 2), np.float32), 9.0, (-4.5, -4.5)))
    mu = torch.tensor(rng.uniform(1, 5, (2, 2)), requires_grad=True)

    def dose(density: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
        return engine.dose(Scene(density, grid, points, torch.tensor(grid.corners())), [beam], [mu])

    assert torch.autograd.gradcheck(dose, (density, mu))


def test_bad_input_is_named() -> None:
    image, body = cylinder()
    with pytest.raises(UnknownName, match="pencil, cone"):
        algorithm("monte", MODEL, CURVE)
    assert isinstance(algorithm("cone", MODEL, CURVE), ConeEngine)
    for name in ALGORITHMS:
        engine = algorithm(name, MODEL, CURVE)
        with pytest.raises(DoseError, match="machine"):
            engine.calculate([replace(modulated(0.0), machine="other")], [image], body, DOSE_GRID)
        with pytest.raises(GeometryMismatch, match="frames of reference"):
            engine.calculate([modulated(0.0)], [image], body, Grid(DOSE_GRID.shape, DOSE_GRID.affine, "9"))
    with pytest.raises(DoseError, match="no collapsed-cone part"):
        ConeEngine(MODEL.model_copy(update={"cone": None}), CURVE)


@pytest.mark.parametrize("side", [3, 4, 6, 8, 10, 12, 15, 20, 25])
def test_the_formula_follows_the_shared_table(data: Path, side: int) -> None:
    """Loosely: what cubes and directions add is in benchmarks/results/dose_cone.md, with the bars."""
    table = np.genfromtxt(data / "beam" / "generic_truebeam_6mv_tmr.csv", delimiter=",", names=True)
    peak, depth = np.arange(9.0, 27.0), np.array([50.0, 100.0, 150.0, 200.0, 250.0])
    highest = cone_on_axis(MODEL, KERNEL, 10.0 * side, peak, 1000.0 - peak).max()
    ratio = cone_on_axis(MODEL, KERNEL, 10.0 * side, depth, 1000.0 - depth) / highest
    wanted = np.interp(depth / 10.0, table["depth_cm"], table[f"tmr_{side}x{side}"])
    np.testing.assert_allclose(ratio, wanted, rtol=0.018)
