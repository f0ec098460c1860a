"""Tiny patients and settings for the learning room."""

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Image, Mask, Patient, Plan, Prescription, Structure
from rtplan.learning.dose_settings import DoseSettings
from rtplan.learning.settings import TrainSettings


def _arrays(shape, spacing, seed):
    rng = np.random.default_rng(seed)
    z, y, x = ((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True))
    r = np.hypot(y[:, None] / 50, x[None] / 60) + 0 * z[:, None, None]
    bone = np.hypot(y[:, None] - 5, np.abs(x[None]) - 28) + 0 * z[:, None, None] < 12
    ct = np.where(r < 1, 40.0, -1000.0)
    ct[(r < 1) & (r > 0.85)] = -100.0
    ct[bone] = 600.0
    mr = np.where(r < 1, 250.0, 0.0)
    mr[(r < 1) & (r > 0.85)] = 500.0
    mr[bone] = 90.0
    mr = mr + np.abs(rng.normal(0, 8, shape))
    return ct + rng.normal(0, 5, shape), mr


def make_patient(seed=1, shape=(12, 40, 48), spacing=(4.0, 3.0, 3.0), grid=None):
    ct, mr = _arrays(shape, spacing, seed)
    grid = grid or Grid.axial(shape, spacing, (-70.0, -60.0, 10.0), "1.2.3")
    return Patient(
        key=f"tiny{seed}",
        images={"CT": Image(grid, ct), "T2w": Image(grid, mr, modality="MR")},
    )


@pytest.fixture(scope="session")
def tiny():
    """Make a tiny patient (CT, T2w); keywords: seed, shape, spacing, grid."""
    return make_patient


@pytest.fixture(scope="session")
def settings():
    """Make tiny settings; keywords replace parts by dotted name, as ``optimise__steps=3``."""

    def make(**parts):
        plain = {
            "schema": 1,
            "name": "tiny",
            "site": "pelvis",
            "network": {"channels": (4, 8, 12)},
            "inputs": (
                {"name": "mr", "kind": "mr", "normalise": "zscore_body", "roles": ("T2w", "T1w")},
                {"name": "body", "kind": "body"},
            ),
            "outputs": ({"name": "hu", "unit": "HU", "clip": (-1024, 3071)},),
            "spacing_zyx_mm": (4.0, 4.0, 4.0),
            "patch_zyx": (8, 24, 24),
            "data": ({"kind": "phantom", "patients": 1},),
            "optimise": {"steps": 8, "validate_every": 4, "rate": 5e-3},
        }
        for name, value in parts.items():
            place, *rest = name.split("__")
            if rest:
                plain[place] = {**plain.get(place, {}), rest[0]: value}
            else:
                plain[place] = value
        return TrainSettings.model_validate(plain)

    return make


HEAD_GRID = Grid.axial((12, 20, 24), (2.5, 4.0, 4.0), (-46.0, -38.0, 5.0), "head")


def make_head(seed=1, grid=HEAD_GRID, mirror=False):
    """A neck like a cylinder with two targets, a cord and two parotids, and a dose that falls from them."""
    rng = np.random.default_rng(seed)
    points = np.moveaxis(HEAD_GRID.to_patient(np.moveaxis(np.indices(HEAD_GRID.shape), 0, -1)), -1, 0)
    x, y, z = points
    z = z - z.mean()
    shift = rng.uniform(-6, 6)
    spheres = {
        "PTV_7000": ((14.0 + shift, -4.0, 0.0), 12.0, "PTV"),
        "PTV_5600": ((-12.0, 2.0, 3.0), 10.0, "PTV"),
        "SpinalCord": ((0.0, 22.0, 0.0), 6.0, "ORGAN"),
        "Parotid_R": ((-26.0, -10.0, 6.0), 7.0, "ORGAN"),
        "Parotid_L": ((26.0, -8.0, 6.0), 7.0, "ORGAN"),
    }
    body = np.hypot(x / 42.0, y / 36.0) < 1.0
    far = {
        name: np.sqrt((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2)
        for name, (at, _, _) in spheres.items()
    }
    masks = {name: (far[name] < radius) & body for name, (_, radius, _) in spheres.items()}
    masks["PTV_5600"] &= ~masks["PTV_7000"]
    dose = 70.0 * np.exp(-np.maximum(far["PTV_7000"] - 12.0, 0.0) / 25.0)
    dose = np.maximum(dose, 56.0 * np.exp(-np.maximum(far["PTV_5600"] - 10.0, 0.0) / 25.0)) * body
    ct = np.where(body, 30.0 + rng.normal(0.0, 10.0, body.shape), -1000.0)
    masks["PossibleDose"] = body
    if mirror:
        swap = {"Parotid_R": "Parotid_L", "Parotid_L": "Parotid_R"}
        masks = {swap.get(name, name): mask[..., ::-1] for name, mask in masks.items()}
        dose, ct = dose[..., ::-1], ct[..., ::-1]
    kinds = {name: kind for name, (_, _, kind) in spheres.items()} | {"PossibleDose": "CONTROL"}
    return Patient(
        key=f"pt_{seed}",
        images={"CT": Image(grid, ct)},
        doses={"CT": Dose(grid, dose, fractions=35)},
        structures={n: Structure(n, kinds[n], Mask(grid, mask)) for n, mask in masks.items()},
        plan=Plan(Prescription({"PTV_7000": 70.0, "PTV_5600": 56.0}, 35), ()),
    )


@pytest.fixture(scope="session")
def head():
    """Make a tiny head and neck with a dose; keywords: seed, grid, mirror."""
    return make_head


@pytest.fixture(scope="session")
def dose_settings():
    """Make tiny settings of a dose network; keywords replace parts by dotted name."""

    def make(**parts):
        plain = {
            "schema": 1,
            "name": "tiny_dose",
            "task": "dose",
            "site": "head_and_neck",
            "network": {"name": "folded_unet", "channels": (8, 12), "stem": (2, 2, 2)},
            "spacing_zyx_mm": (2.5, 4.0, 4.0),
            "patch_zyx": (4, 4, 4),
            "data": ({"folder": "train"},),
            "loss": {"dvh": 0.1},
            "limits": {"spacing_zyx_mm_min": (2.0, 3.0, 3.0), "spacing_zyx_mm_max": (3.0, 5.0, 5.0)},
            "optimise": {"steps": 6, "schedule": "constant", "validate_every": 3, "rate": 5e-3},
        }
        for name, value in parts.items():
            place, *rest = name.split("__")
            plain[place] = {**plain.get(place, {}), rest[0]: value} if rest else value
        return DoseSettings.model_validate(plain)

    return make
