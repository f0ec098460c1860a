"""Cases and channels of a dose network: what each channel holds, the mirror, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rtplan.domain import Grid, Mask, Patient, Plan, Prescription, Structure
from rtplan.errors import ModelError, StructureError
from rtplan.learning.doses import CHANNELS, FEASIBLE, dose_case_of, dose_channels, mirrored


def channel(x, name):
    return x[CHANNELS.index(name)].numpy()


def test_each_channel_is_what_its_name_says(head):
    patient = head()
    case = dose_case_of(patient)
    x = dose_channels(case)
    assert x.shape == (len(CHANNELS), *case.labels.shape)
    box = tuple(slice(a, a + n) for a, n in zip(case.start, case.labels.shape, strict=True))
    for name in ("PTV_7000", "PTV_5600", "SpinalCord", "Parotid_R"):
        mask = patient.structures[name].region.array
        assert mask[box].sum() == mask.sum()
        assert np.array_equal(channel(x, name), mask[box])
    assert not channel(x, "Larynx").any()
    high, low = (patient.structures[n].region.array[box] for n in ("PTV_7000", "PTV_5600"))
    assert np.allclose(channel(x, "level"), np.where(high, 1.0, np.where(low, 0.8, 0.0)))
    assert np.array_equal(channel(x, "possible_dose"), patient.structures[FEASIBLE].region.array[box])
    assert channel(x, "possible_dose")[0].any()  # cut to the box of the possible dose
    assert np.allclose(channel(x, "ct") * 1000.0, patient.images["CT"].array[box], atol=1.0)
    assert np.array_equal(case.dose, patient.doses["CT"].array[box])
    assert not channel(dose_channels(case, with_ct=False), "ct").any()


def test_the_distance_is_that_to_all_targets_of_the_level_and_above(head):
    """Brute force over all pairs of voxels, mm; 50 mm in 127.5 steps."""
    patient = head()
    case = dose_case_of(patient)
    x = dose_channels(case)
    places = np.argwhere(np.ones(case.labels.shape)) * np.array([2.5, 4.0, 4.0])
    high = case.mask("PTV_7000").ravel()
    for name, inside in (("distance_70", high), ("distance_56", high | case.mask("PTV_5600").ravel())):
        outward = np.sqrt(((places[:, None] - places[inside][None]) ** 2).sum(-1)).min(1)
        inward = np.sqrt(((places[:, None] - places[~inside][None]) ** 2).sum(-1)).min(1)
        wanted = np.clip(outward - inward, -50.0, 50.0)
        assert np.abs(channel(x, name).ravel() * 50.0 - wanted).max() < 0.25


def test_the_channels_of_the_mirror_image_are_the_mirrored_channels(head):
    ours = mirrored(dose_channels(dose_case_of(head())))
    theirs = dose_channels(dose_case_of(head(mirror=True)))
    for index, name in enumerate(CHANNELS):
        difference = (ours[index] - theirs[index]).abs()
        assert difference.mean() < 0.01, name
        if not name.startswith("plate"):
            assert difference.max() < 1e-6, name
    assert torch.equal(mirrored(mirrored(ours)), ours)
    right = CHANNELS.index("Parotid_R")
    assert not torch.equal(ours[right], ours[right].flip(-1))


def test_a_missing_target_of_a_level_is_far_away_and_without_plate(head):
    patient = head()
    few = {name: s for name, s in patient.structures.items() if name != "PTV_7000"}
    x = dose_channels(dose_case_of(replace(patient, structures=few)))
    assert channel(x, "distance_70").min() == 1.0
    assert channel(x, "plate_70").max() == 0.0
    assert channel(x, "plate_56").max() > 0.5


def without(patient, *names):
    return replace(patient, structures={n: s for n, s in patient.structures.items() if n not in names})


def test_what_the_network_has_not_seen_is_refused(head):
    patient = head()
    with pytest.raises(StructureError, match="possible dose"):
        dose_case_of(without(patient, FEASIBLE))
    with pytest.raises(StructureError, match="none of the targets"):
        dose_case_of(without(patient, "PTV_7000", "PTV_5600"))
    with pytest.raises(ModelError, match="head and"):
        dose_case_of(without(patient, "SpinalCord", "Parotid_R", "Parotid_L"))
    for targets in ({"PTV_7000": 60.0, "PTV_5600": 56.0}, {"PTV_5600": 56.0}):
        with pytest.raises(ModelError, match="70 Gy") as refused:
            dose_case_of(replace(patient, plan=Plan(Prescription(targets, 35), ())))
        assert "PTV_7000" in str(refused.value)
    with pytest.raises(ModelError, match="35 fractions"):
        dose_case_of(replace(patient, plan=Plan(Prescription({"PTV_7000": 70.0, "PTV_5600": 56.0}, 20), ())))
    with pytest.raises(ModelError, match="Gy"):
        dose_case_of(replace(patient, plan=None))


def test_a_target_outside_the_possible_dose_is_refused(head):
    patient = head()
    target = patient.structures["PTV_7000"].region
    shrunk = patient.structures[FEASIBLE].region.array.copy()
    shrunk[target.array] &= np.random.default_rng(1).random(int(target.array.sum())) < 0.8
    moved = patient.with_structures(Structure(FEASIBLE, "CONTROL", Mask(target.grid, shrunk)))
    with pytest.raises(StructureError, match="no dose is possible"):
        dose_case_of(moved)


def test_another_or_a_tilted_grid_is_refused(head):
    patient = head()
    region = patient.structures["SpinalCord"].region
    other = region.grid.crop((0, 0, 0), (6, 20, 24))
    cut = Structure("SpinalCord", "ORGAN", Mask(other, region.array[:6]))
    with pytest.raises(ModelError, match="axial grid"):
        dose_case_of(patient.with_structures(cut))
    shifted = Structure("SpinalCord", "ORGAN", Mask(_moved(region.grid, 3.0), region.array))
    with pytest.raises(ModelError, match="axial grid"):
        dose_case_of(patient.with_structures(shifted))
    angle = np.deg2rad(5.0)
    affine = region.grid.affine.copy()
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine[:3, :3] = turn @ affine[:3, :3]
    with pytest.raises(ModelError, match="axial grid"):
        dose_case_of(head(grid=Grid(region.grid.shape, affine)))


def _moved(grid: Grid, mm: float) -> Grid:
    return Grid.axial(grid.shape, grid.spacing_zyx_mm, tuple(grid.origin_mm + mm), grid.frame_of_reference)


def test_an_empty_patient_is_refused():
    with pytest.raises(StructureError):
        dose_case_of(Patient(key="nobody"))
