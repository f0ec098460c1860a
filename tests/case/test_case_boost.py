"""A boost's case and the cohort it is learned from: what is drawn, what is kept, what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rtplan.case import boost_cohort
from rtplan.case.boost import (
    boost_levels,
    boosted_to,
    case_of,
    grid_of,
    plan_settings,
    prepare_boost,
)
from rtplan.case.boost_cohort import Drawn, digital_boost, draw, gather_boost, planner_sha256
from rtplan.case.boost_sweep import levels_gy
from rtplan.domain import Grid, Image, Mask, Patient, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.dosimetry.protocol import TargetDose, load_protocol
from rtplan.errors import FormatError, GeometryMismatch, ModelError, StructureError
from rtplan.learning.boost_settings import BoostData

GRID = Grid.axial((30, 45, 60), (4.0, 4.0, 4.0), (-118.0, -88.0, -58.0), "1.2.3")
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
REGIONS = {
    "External": (X / 108) ** 2 + (Y / 78) ** 2 < 1,
    "PTVp_7700": X**2 + Y**2 + Z**2 < 22**2,
    "GTVp": (X - 6) ** 2 + (Y + 5) ** 2 + Z**2 < 9**2,
    "Rectum": (X**2 + (Y - 34) ** 2 < 11**2) & (np.abs(Z) < 40),
    "Bladder": X**2 + Y**2 + (Z - 38) ** 2 < 17**2,
}
FLAME = load_protocol("prostate_boost_flame")


def patient(*without, **regions):
    hu = np.where(REGIONS["External"], 20.0, -1000.0)
    masks = {**REGIONS, **regions}
    made = Patient(images={"CT": Image(GRID, hu)})
    return made.with_structures(
        *(Structure(n, kind_of(n), Mask(GRID, m)) for n, m in masks.items() if n not in without)
    )


def test_a_case_holds_what_the_patient_has_on_the_grid_of_the_dose():
    prepared = prepare_boost(patient(), FLAME)
    grid = grid_of(patient(), prepared)
    case = case_of(patient(), FLAME, prepared, 7, grid=grid)
    assert grid.spacing_zyx_mm == case.spacing_zyx_mm == (4.0, 4.0, 4.0)
    assert case.labels.shape == grid.shape
    assert (case.gland_gy, case.boost_gy, case.fractions) == (77.0, 95.0, 35)
    for name, key in (("PTVp_7700", "ptv"), ("GTVp", "gtv"), ("Rectum", "Rectum"), ("Bladder", "Bladder")):
        assert case.mask(key).sum() == pytest.approx(REGIONS[name].sum(), rel=0.12), name
    assert case.plates[0][case.mask("ptv")].astype(float).mean() == pytest.approx(1.0, abs=0.01)
    assert not case.mask("Femur_Heads").any()


def protocol_with(**changes):
    return FLAME.model_copy(update=changes)


def test_a_protocol_that_the_network_has_not_seen_is_refused():
    gland, boost = boost_levels(FLAME)
    assert (gland.dose_gy, boost.dose_gy) == (77.0, 95.0)
    with pytest.raises(ModelError, match="headneck"):
        boost_levels(protocol_with(site="headneck", name="headneck_x"))
    with pytest.raises(ModelError, match="20"):
        boost_levels(protocol_with(fractions=20))
    second = TargetDose(target="PTVp_6000", dose_gy=60.0)
    with pytest.raises(ModelError, match="60 Gy to PTVp_6000"):
        boost_levels(protocol_with(prescription=(gland, second, boost)))
    with pytest.raises(ModelError, match="one boost"):
        boost_levels(protocol_with(prescription=(gland,)))
    for wrong in (70.0, 120.0):
        with pytest.raises(ModelError, match=r"boosts from 77\.0 to 97\.8 Gy"):
            boost_levels(boosted_to(FLAME, wrong))
    with pytest.raises(ModelError, match="7 and 9 fields"):
        plan_settings(5)
    assert boost_levels(boosted_to(FLAME, 85.0))[1].verified is False


def test_two_prescriptions_for_one_volume_are_refused():
    with pytest.raises(ModelError, match="two prescriptions"):
        prepare_boost(patient(GTVp=REGIONS["PTVp_7700"]), FLAME)
    with pytest.raises(ModelError, match="Less than half"):
        prepare_boost(patient(GTVp=(X - 40) ** 2 + Y**2 + Z**2 < 9**2), FLAME)


def test_a_missing_target_or_organ_is_refused():
    for name in ("PTVp_7700", "GTVp", "Rectum", "Bladder"):
        with pytest.raises(StructureError, match=name):
            prepare_boost(patient(name), FLAME)
    with pytest.raises(StructureError, match="outside the body"):
        prepare_boost(
            patient(PTVp_7700=(X - 108) ** 2 + Y**2 + Z**2 < 22**2, GTVp=(X - 105) ** 2 + Y**2 + Z**2 < 9**2),
            FLAME,
        )


def test_structures_of_another_frame_are_refused():
    other = Grid.axial(GRID.shape, GRID.spacing_zyx_mm, tuple(GRID.origin_mm), "9.9.9")
    strange = Structure("Rectum", "ORGAN", Mask(other, REGIONS["Rectum"]))
    with pytest.raises(GeometryMismatch):
        prepare_boost(patient().with_structures(strange), FLAME)


def test_the_levels_of_a_sweep_rise_and_hold_the_protocols_own():
    for gland, boost in ((77.0, 95.0), (40.0, 45.0)):
        levels = levels_gy(gland, boost, 7)
        assert list(levels) == sorted(levels)
        assert boost in levels
        assert levels[0] == gland


def test_what_is_drawn_varies_and_is_the_same_again():
    drawn = [draw(seed) for seed in range(5001, 5101)]
    assert drawn == [draw(seed) for seed in range(5001, 5101)]
    assert {d.beams for d in drawn} == {7, 9}
    assert {d.protocol for d in drawn} == set(boost_cohort.PROTOCOLS)
    assert 20 < sum(d.spacer for d in drawn) < 48
    assert 30 < sum(d.ratio is None for d in drawn) < 70
    assert 25 < sum(d.gland_cc is not None for d in drawn) < 55
    assert all(d.margin_mm[1] <= d.margin_mm[0] <= 8.0 for d in drawn)


def test_a_drawn_gland_and_its_boosts_have_their_volumes(monkeypatch):
    monkeypatch.setattr(boost_cohort, "SPACING_ZYX_MM", (4.0, 3.0, 3.0))
    drawn = Drawn("prostate_boost_flame", 1.1, 7, False, 60.0, (2.0,), (5.0, 4.0))
    made, protocol = digital_boost("train", 5003, drawn)
    grid = made.images["CT"].grid
    cc = {n: float(made.structure(n).region.array.sum()) * grid.voxel_cc for n in made.structures}
    assert cc["Prostate"] == pytest.approx(60.0, rel=0.08)
    assert 0.2 < cc["GTVp"] < 2.4
    assert cc["PTVp_7700"] > 1.3 * cc["Prostate"]
    inside = made.structure("Prostate").region.array
    assert inside[made.structure("GTVp").region.array].all()
    assert next(e.dose_gy for e in protocol.prescription if e.to == "up_to") == pytest.approx(84.7)


def test_a_cohort_is_made_once_and_belongs_to_one_planner(tmp_path, monkeypatch):
    prepared = prepare_boost(patient(), FLAME)
    made = []

    def quick(_patient, _protocol, beams):
        made.append(beams)
        return case_of(patient(), FLAME, prepared, beams)

    def anyone(_cohort, seed, _drawn):
        if seed == 3:
            raise StructureError("No room.")
        return patient(), FLAME

    monkeypatch.setattr(boost_cohort, "planned_case", quick)
    monkeypatch.setattr(boost_cohort, "digital_boost", anyone)
    data, said = BoostData(cohort="train", seed=2, patients=2), []
    first = gather_boost(data, tmp_path, said.append)
    assert [case.name for case in first] == ["train2"]
    assert "No room." in said[1]
    again = gather_boost(data, tmp_path, said.append)
    assert len(made) == 1
    assert np.array_equal(again[0].labels, first[0].labels)
    kept = tmp_path / "train-2" / "cohort.json"
    assert json.loads(kept.read_text())["planner_sha256"] == planner_sha256()
    kept.write_text(json.dumps({"schema": 1, "planner_sha256": "another"}))
    assert len(gather_boost(data, tmp_path)) == 1  # complete: whoever made it
    with pytest.raises(FormatError, match="another version of the planner"):
        gather_boost(data.model_copy(update={"patients": 3}), tmp_path)


def test_the_planner_is_what_the_cohort_learns(monkeypatch):
    """The case of a planned patient: the gland's median is 1, the boost gets more, the rectum is spared."""
    monkeypatch.setattr(
        boost_cohort, "plan_settings", lambda beams: replace(plan_settings(beams), first=25, rounds=1)
    )
    case, _ = boost_cohort.planned(patient(), FLAME, 7)
    dose = case.dose.astype(np.float32)
    gtv, ptv = case.mask("gtv"), case.mask("ptv")
    assert np.median(dose[ptv & ~gtv]) == pytest.approx(1.0, abs=0.02)
    assert 1.12 < np.median(dose[gtv]) < 1.3
    assert dose[case.mask("Rectum")].mean() < 0.6
