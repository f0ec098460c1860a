"""The engine in water and in slabs: closed forms, laws of geometry and linearity, gradients, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rtplan.domain import Beam, Fluence, Grid, Image, Mask
from rtplan.errors import DoseError, GeometryMismatch
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine, EngineSettings
from rtplan.planning.openfield import open_field
from rtplan.planning.scene import Scene, mask_at

MODEL, CURVE = load_beam("generic_6mv"), load_curve("matrad_default")
ENGINE = Engine(MODEL, CURVE)


def point(x: float, y: float, z: float) -> Grid:
    return Grid.axial((1, 1, 1), (1.0, 1.0, 1.0), (x, y, z))


def tank(y_top: float = 0.0) -> tuple[Image, Mask]:
    """Water from y = y_top (anterior face) down 330 mm, 300 mm wide; air above it."""
    grid = Grid.axial((100, 120, 100), (3.0, 3.0, 3.0), (-148.5, y_top - 28.5, -148.5))
    inside = np.zeros(grid.shape, bool)
    inside[:, 10:] = True
    return Image(grid, np.where(inside, 0.0, -1000.0)), Mask(grid, inside)


def on_axis(depth: float, side: float = 100.0, ssd: float = 900.0) -> float:
    """Dose of 100 MU at a depth of the tank, source at ``ssd`` above the surface."""
    image, body = tank()
    beam = open_field((side, side), (0.0, 1000.0 - ssd, 0.0))
    return float(ENGINE.calculate([beam], [image], body, point(0.0, depth, 0.0))[0].array[0, 0, 0])


def pelvis(affine: np.ndarray | None = None) -> tuple[Image, Mask]:
    """An elliptic body on an anisotropic grid, with bone, gas and fat off centre; it moves with the grid."""
    grid = Grid.axial((24, 50, 70), (4.0, 4.0, 4.0), (-138.0, -98.0, -46.0), "1.2")
    x, y, z = np.moveaxis(grid.to_patient(np.stack(np.indices(grid.shape), axis=-1)), -1, 0)
    inside = (x / 125) ** 2 + (y / 85) ** 2 < 1
    hu = np.where(inside, 30.0, -1000.0)
    hu[(x - 60) ** 2 + (y + 5) ** 2 < 20**2] = 600.0
    hu[(x + 5) ** 2 + (y - 35) ** 2 + z**2 < 12**2] = -900.0
    hu[inside & (y < -45)] = -100.0
    place = grid if affine is None else Grid(grid.shape, affine @ grid.affine, "1.2")
    return Image(place, hu), Mask(place, inside)


def turn(axis: int, degrees: float, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """A rotation about a patient axis by the right-hand rule, and a shift, as a 4 x 4 matrix."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = [i for i in range(3) if i != axis]
    matrix = np.eye(4)
    matrix[a, a], matrix[b, b], matrix[a, b], matrix[b, a] = c, c, -s, s
    if axis == 1:
        matrix[a, b], matrix[b, a] = s, -s
    matrix[:3, 3] = shift
    return matrix


DOSE_GRID = Grid.axial((5, 9, 13), (8.0, 14.0, 12.0), (-72.0, -56.0, -16.0), "1.2")


def modulated(gantry: float = 25.0, **angles: float) -> Beam:
    mu = np.random.default_rng(5).uniform(0, 100, (12, 16)).astype(np.float32)
    fluence = Fluence(mu, 5.0, (-40.0, -20.0))
    beam = open_field((50, 50), (4.0, 6.0, -3.0), gantry_deg=gantry)
    return replace(beam, fluence=fluence, **angles)


def test_calibration_100_mu_give_1_gray_at_the_reference_point() -> None:
    assert on_axis(100.0) == pytest.approx(1.0, abs=5e-4)


@pytest.mark.parametrize("side", [40.0, 100.0, 200.0])
@pytest.mark.parametrize("depth", [15.0, 50.0, 100.0, 200.0, 300.0])
def test_depth_dose_in_water_is_the_formula(side: float, depth: float) -> None:
    assert on_axis(depth, side) == pytest.approx(100.0 * MODEL.on_axis(side, depth, 900.0)[0], rel=1.5e-3)


def test_inverse_square_law() -> None:
    for ssd in (800.0, 1000.0):
        assert on_axis(100.0, ssd=ssd) / on_axis(100.0) == pytest.approx(
            (1000.0 / (ssd + 100.0)) ** 2, rel=1e-3
        )


def test_dose_rises_with_the_field() -> None:
    assert (np.diff([on_axis(100.0, side) for side in (30.0, 50.0, 100.0, 150.0, 200.0)]) > 0).all()


def test_half_the_dose_at_the_edge_and_symmetry() -> None:
    image, body = tank()
    row = Grid.axial((1, 1, 5), (1.0, 1.0, 50.0), (-100.0, 100.0, 0.0))
    dose = ENGINE.calculate([open_field((100, 100), (0.0, 100.0, 0.0))], [image], body, row)[0].array[0, 0]
    assert dose[1] == pytest.approx(dose[3], rel=1e-4)
    assert 0.47 < dose[1] / dose[2] < 0.56
    assert 0.0 < dose[0] / dose[2] < 0.05


def test_beam_enters_from_the_stated_side() -> None:
    image, body = pelvis()
    sides = {0.0: (0.0, -60.0), 90.0: (90.0, 0.0), 180.0: (0.0, 60.0), 270.0: (-90.0, 0.0)}
    for gantry, (x, y) in sides.items():
        beam = open_field((60, 60), (0.0, 0.0, 0.0), gantry_deg=gantry)
        near, far = (
            ENGINE.calculate([beam], [image], body, replace_frame(point(s * x, s * y, 0.0)))[0].array.item()
            for s in (1, -1)
        )
        assert near > 1.3 * far


def replace_frame(grid: Grid) -> Grid:
    return Grid(grid.shape, grid.affine, "1.2")


@pytest.mark.parametrize(
    ("axis", "angles"),
    # A positive turn about z takes anterior to left, as the gantry does from 0 to 90; about y, the couch.
    [(2, {"gantry": 25.0 + 35.0}), (1, {"couch_deg": 35.0})],
)
def test_turning_patient_and_beam_together_changes_nothing(axis: int, angles: dict[str, float]) -> None:
    start = modulated()
    matrix = turn(axis, 35.0)
    image, body = pelvis()
    plain = ENGINE.calculate([start], [image], body, DOSE_GRID)[0].array
    moved_image, moved_body = pelvis(matrix)
    iso = (matrix @ np.array([*start.isocentre_mm, 1.0]))[:3]
    beam = replace(modulated(**angles), isocentre_mm=(float(iso[0]), float(iso[1]), float(iso[2])))
    grid = Grid(DOSE_GRID.shape, matrix @ DOSE_GRID.affine, "1.2")
    turned = ENGINE.calculate([beam], [moved_image], moved_body, grid)[0].array
    np.testing.assert_allclose(turned, plain, atol=0.002 * plain.max())


def test_turning_the_field_in_the_collimator() -> None:
    image, body = pelvis()
    wide = open_field((40, 80), (0.0, 0.0, 0.0), gantry_deg=30.0)
    tall = open_field((80, 40), (0.0, 0.0, 0.0), gantry_deg=30.0, collimator_deg=90.0)
    a, b = (ENGINE.calculate([beam], [image], body, DOSE_GRID)[0].array for beam in (wide, tall))
    np.testing.assert_allclose(a, b, atol=0.008 * a.max())  # the rays' raster turns too


def test_shifting_all_changes_nothing() -> None:
    shift = turn(2, 0.0, (200.0, -75.0, 1000.0))
    image, body = pelvis()
    plain = ENGINE.calculate([modulated()], [image], body, DOSE_GRID)[0].array
    beam = replace(modulated(), isocentre_mm=(204.0, -69.0, 997.0))
    moved = ENGINE.calculate(
        [beam], [pelvis(shift)[0]], pelvis(shift)[1], Grid(DOSE_GRID.shape, shift @ DOSE_GRID.affine, "1.2")
    )[0].array
    np.testing.assert_allclose(moved, plain, atol=5e-4 * plain.max())


def test_dose_is_linear_in_mu_and_beams_add() -> None:
    image, body = pelvis()
    a, b = modulated(10.0), modulated(200.0)
    doses = [ENGINE.calculate(beams, [image], body, DOSE_GRID)[0].array for beams in ([a], [b], [a, b])]
    np.testing.assert_allclose(doses[0] + doses[1], doses[2], rtol=1e-5, atol=1e-6)
    twice = replace(a, fluence=replace(a.fluence, mu=2.0 * a.fluence.mu))
    np.testing.assert_allclose(
        ENGINE.calculate([twice], [image], body, DOSE_GRID)[0].array, 2 * doses[0], rtol=1e-5
    )


def test_several_images_at_once_are_each_alone() -> None:
    image, body = pelvis()
    water = image.with_array(np.where(body.array, 0.0, -1000.0))
    bone = image.with_array(np.where(body.array, 200.0, -1000.0))
    beams = [modulated(10.0), modulated(130.0)]
    together = ENGINE.calculate(beams, [image, water, bone], body, DOSE_GRID)
    for one, dose in zip((image, water, bone), together, strict=True):
        alone = ENGINE.calculate(beams, [one], body, DOSE_GRID)[0].array
        np.testing.assert_allclose(dose.array, alone, rtol=1e-6, atol=1e-7)


def test_same_input_same_bits() -> None:
    image, body = pelvis()
    first, second = (ENGINE.calculate([modulated()], [image], body, DOSE_GRID)[0].array for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_tilted_anisotropic_dose_grid_reads_the_same_dose() -> None:
    image, body = pelvis()
    fine = Grid.axial((41, 81, 81), (1.0, 1.0, 1.0), (-40.0, -40.0, -20.0), "1.2")
    axial = ENGINE.calculate([modulated()], [image], body, fine)[0].array
    tilt = turn(0, 18.5) @ turn(2, 10.0)
    tilted = Grid(
        (4, 6, 5), tilt @ Grid.axial((4, 6, 5), (3.5, 5.0, 7.0), (-14.0, -12.0, -6.0)).affine, "1.2"
    )
    found = ENGINE.calculate([modulated()], [image], body, tilted)[0].array
    index = fine.to_index(tilted.to_patient(np.stack(np.indices(tilted.shape), axis=-1)))
    place = torch.tensor((2.0 * index[..., ::-1] + 1.0) / fine.shape[::-1] - 1.0).float()
    wanted = torch.nn.functional.grid_sample(
        torch.tensor(axial)[None, None], place[None], align_corners=False
    )
    np.testing.assert_allclose(found, wanted[0, 0], atol=0.01 * axial.max())


def test_a_tilted_image_of_the_same_water_gives_the_same_dose() -> None:
    beam = open_field((60, 60), (0.0, 0.0, 0.0), gantry_deg=70.0)
    doses = []
    for matrix in (np.eye(4), turn(0, 18.5)):
        base = Grid.axial((60, 60, 60), (4.0, 5.0, 4.5), (-132.75, -147.5, -118.0), "1.2")
        grid = Grid(base.shape, matrix @ base.affine, "1.2")
        x, y, z = np.moveaxis(grid.to_patient(np.stack(np.indices(grid.shape), axis=-1)), -1, 0)
        inside = x**2 + y**2 + z**2 < 100**2
        image = Image(grid, np.where(inside, 0.0, -1000.0))
        doses.append(ENGINE.calculate([beam], [image], Mask(grid, inside), DOSE_GRID)[0].array)
    inner = [dose[:, :, 1:-1] for dose in doses]  # away from the stairs of the surface
    np.testing.assert_allclose(inner[0], inner[1], atol=0.012 * doses[0].max())


def test_the_couch_and_all_outside_the_body_count_nothing() -> None:
    image, body = pelvis()
    with_couch = np.array(image.array)
    with_couch[:, 48:] = 800.0
    beams = [modulated(180.0)]
    plain, couch = (
        ENGINE.calculate(beams, [i], body, DOSE_GRID)[0].array for i in (image, image.with_array(with_couch))
    )
    np.testing.assert_array_equal(plain, couch)
    assert (plain[~mask_at(body, DOSE_GRID)] == 0).all()


def test_gradcheck_in_density_and_fluence() -> None:
    engine = Engine(
        MODEL, CURVE, dtype=torch.float64, settings=EngineSettings(ray_spacing_mm=9.0, map_spacing_mm=6.0)
    )
    rng = np.random.default_rng(2)
    grid = Grid.axial((4, 5, 4), (10.0, 11.0, 12.0), (-18.0, -22.0, -15.0))
    density = torch.tensor(rng.uniform(0.3, 1.5, (2, 4, 5, 4)), requires_grad=True)
    points = torch.tensor(rng.uniform(-12, 12, (6, 3)))
    beam = replace(modulated(33.0), isocentre_mm=(0.0, 0.0, 0.0))
    beam = replace(beam, fluence=Fluence(np.ones((3, 2), np.float32), 9.0, (-4.5, -9.0)))
    mu = torch.tensor(rng.uniform(1, 5, (3, 2)), requires_grad=True)

    def dose(density: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
        scene = Scene(density, grid, points, torch.tensor(grid.corners()))
        return engine.beam_dose(scene, beam, mu)

    assert torch.autograd.gradcheck(dose, (density, mu))


def test_bad_input_is_named() -> None:
    image, body = pelvis()
    far = Grid.axial((2, 2, 2), (3.0, 3.0, 3.0), (900.0, 0.0, 0.0), "1.2")
    with pytest.raises(DoseError, match="lies in the body"):
        ENGINE.calculate([modulated()], [image], body, far)
    with pytest.raises(DoseError, match="machine"):
        ENGINE.calculate([replace(modulated(), machine="other")], [image], body, DOSE_GRID)
    with pytest.raises(DoseError, match="at least one"):
        ENGINE.calculate([], [image], body, DOSE_GRID)
    with pytest.raises(GeometryMismatch, match="frames of reference"):
        ENGINE.calculate([modulated()], [image], body, Grid(DOSE_GRID.shape, DOSE_GRID.affine, "9"))
    with pytest.raises(GeometryMismatch, match="one grid"):
        ENGINE.calculate([modulated()], [image, pelvis(turn(2, 3.0))[0]], body, DOSE_GRID)
    bad = image.with_array(np.where(body.array, np.nan, 0.0))
    with pytest.raises(DoseError, match="not finite"):
        ENGINE.calculate([modulated()], [bad], body, DOSE_GRID)
    with pytest.raises(DoseError, match="monitor units"):
        open_field((100, 100), (0.0, 0.0, 0.0), mu=-5.0)
    with pytest.raises(DoseError, match="open field"):
        open_field((0, 100), (0.0, 0.0, 0.0))
