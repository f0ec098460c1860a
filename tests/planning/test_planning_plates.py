"""Open fields on the targets of a task: laws of a plate, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask, Patient, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import DoseError
from rtplan.planning.optimise import OptimiseSettings
from rtplan.planning.plates import open_doses
from rtplan.planning.prepare import Means, prepare

GRID = Grid.axial((30, 45, 60), (4.0, 4.0, 4.0), (-118.0, -88.0, -58.0), "1.2.3")
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
BODY = (X / 108) ** 2 + (Y / 78) ** 2 < 1
TARGETS = ("PTVp_7700", "GTVp")


@pytest.fixture(scope="module")
def prepared():
    regions = {
        "External": BODY,
        "PTVp_7700": X**2 + Y**2 + Z**2 < 24**2,
        "GTVp": (X - 8) ** 2 + Y**2 + Z**2 < 8**2,
        "Rectum": (X**2 + (Y - 36) ** 2 < 11**2) & (np.abs(Z) < 45),
    }
    made = Patient(images={"CT": Image(GRID, np.where(BODY, 0.0, -1000.0))})
    made = made.with_structures(*(Structure(n, kind_of(n), Mask(GRID, m)) for n, m in regions.items()))
    return prepare(made, load_protocol("prostate_boost_flame"), Means(grid_mm=4.0))


@pytest.fixture(scope="module")
def plates(prepared):
    return open_doses(prepared, OptimiseSettings(beams=9, grid_mm=4.0), GRID, TARGETS)


def test_a_plate_is_one_in_its_target_and_nothing_outside_the_body(plates, prepared):
    assert plates.shape == (2, *GRID.shape)
    for plate, name in zip(plates, TARGETS, strict=True):
        mask = prepared.task.targets[name].mask
        at = np.rint(GRID.to_index(mask.grid.to_patient(np.argwhere(mask.array)))).astype(int)
        assert plate[tuple(at.T)].mean() == pytest.approx(1.0, rel=1e-5)
        assert not plate[~BODY].any()
        assert plate.min() >= 0.0


def test_fields_on_the_boost_are_narrower_and_the_boosts_side_gets_more(plates):
    whole, focus = plates
    assert (focus > 0.5).sum() < 0.5 * (whole > 0.5).sum()
    side = (np.abs(Y) < 6) & (np.abs(Z) < 6)
    assert focus[side & (np.abs(X - 30) < 3)].mean() > 2 * focus[side & (np.abs(X + 30) < 3)].mean()


def test_a_symmetric_patient_has_a_symmetric_plate(plates):
    """Nine fields from anterior mirror onto themselves, and so do body and gland."""
    inner = np.abs(Z) < 40
    mirrored = plates[0][..., ::-1]
    assert np.abs(plates[0] - mirrored)[inner].max() < 0.03


def test_equal_fields_add_up_to_what_the_engine_gives_them(plates, prepared):
    """The plate is the dose of flat fluences through the open pixels, up to one factor."""
    from rtplan.planning.optimise import influence_of

    settings = OptimiseSettings(beams=9, grid_mm=4.0)
    index = np.argwhere((X**2 + Y**2 + Z**2 < 40**2) & BODY)
    scene = prepared.engine.scene([prepared.image], prepared.body, GRID, index)
    task = replace(prepared.task, targets={"PTVp_7700": prepared.task.targets["PTVp_7700"]})
    influence = influence_of(prepared.engine, scene, task, settings)
    import torch

    dose = influence.dose(influence.rasters(torch.ones(influence.count))).numpy()
    ours = plates[0][tuple(index.T)]
    factor = float((dose * ours).sum() / (ours**2).sum())
    assert np.abs(dose / factor - ours).max() < 0.02


def test_a_grid_beside_the_body_or_the_target_is_refused(prepared):
    away = Grid.axial((4, 4, 4), (4.0, 4.0, 4.0), (500.0, 500.0, 500.0), "1.2.3")
    with pytest.raises(DoseError):
        open_doses(prepared, OptimiseSettings(beams=7), away, TARGETS)
    rim = Grid.axial((3, 3, 3), (4.0, 4.0, 4.0), (80.0, 0.0, 0.0), "1.2.3")
    with pytest.raises(DoseError, match="do not reach"):
        open_doses(prepared, OptimiseSettings(beams=7), rim, TARGETS)
