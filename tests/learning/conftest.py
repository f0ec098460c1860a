"""Tiny patients and settings for the learning room."""

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Patient
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
