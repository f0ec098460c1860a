"""Digital patients: volumes, places, tissues and contrasts as published, over a sample of each cohort."""

import numpy as np
import pytest
from scipy import ndimage

from rtplan.errors import UnknownName
from rtplan.phantom.cohort import make_patient
from rtplan.phantom.ct import densities
from rtplan.phantom.draws import COHORTS, Draws, table
from rtplan.phantom.field import Axes, even_axes, true_distance
from rtplan.phantom.mr import signals
from rtplan.phantom.rectum import large_bowel
from rtplan.phantom.shift import shift_text, shifts

COARSE = (5.0, 4.0, 4.0)
PUBLISHED = table("models/anatomy", "published")
LAYOUT = table("models/anatomy", "layout")
DISJOINT = (
    "Prostate",
    "Bladder",
    "Rectum",
    "Bowel_Small",
    "PenileBulb",
    "Femur_Head_L",
    "Femur_Head_R",
    "Colon_Sigmoid",
)


def masks(patient):
    return {name: s.region.array for name, s in patient.structures.items()}


def centre(patient, name):
    mask = patient.structures[name].region
    return mask.grid.to_patient(np.argwhere(mask.array)).mean(0)


@pytest.fixture(scope="module")
def fine():
    return make_patient(
        "train", 11, spacing_zyx_mm=(2.5, 2.5, 2.5), spacer=True, contrasts=("T2w", "T1w", "Dixon")
    )


def test_volumes_lie_in_the_published_ranges(sample):
    for patient in sample:
        for name, facts in PUBLISHED["volume"].items():
            if name in patient.structures:
                mask = patient.structures[name].region
                volume = mask.array.sum() * mask.grid.voxel_cc
                assert facts["low"] <= volume <= facts["high"], (patient.key, name, volume)
    assert all(
        {"Prostate", "Bladder", "Rectum", "SeminalVes", "PenileBulb", "GTVp"} <= set(p.structures)
        for p in sample
    )


def test_no_two_organs_overlap(sample, fine):
    for patient in [*sample, fine]:
        present = masks(patient)
        count = sum(present[name].astype(int) for name in DISJOINT if name in present)
        assert count.max() == 1, patient.key
        bone = present["Bone_Pelvic"] | present["Sacrum"]
        for name in ("Prostate", "Bladder", "Rectum", "SeminalVes"):
            assert not (present[name] & bone).any(), (patient.key, name)


def test_parts_lie_in_their_wholes(fine):
    m = masks(fine)
    for part, whole in (
        ("GTVp", "Prostate"),
        ("Prostate_TZ", "Prostate"),
        ("Prostate_PZ", "Prostate"),
        ("Urethra", "Prostate"),
        ("Rectal_Wall", "Rectum"),
        ("Bladder_Wall", "Bladder"),
        ("Prostate", "PTVp"),
    ):
        assert m[part].any(), part
        assert not (m[part] & ~m[whole]).any(), (part, whole)
    assert all(not (mask & ~m["External"]).any() for mask in m.values())
    assert not (m["Prostate_PZ"] & m["Prostate_TZ"]).any()


def test_organs_lie_where_they_do_in_men(sample):
    for patient in sample:
        at = {
            n: centre(patient, n)
            for n in ("Prostate", "Bladder", "Rectum", "SeminalVes", "PenileBulb", "Sacrum")
        }
        assert centre(patient, "Femur_Head_L")[0] > 40 > -40 > centre(patient, "Femur_Head_R")[0]
        assert at["PenileBulb"][2] < at["Prostate"][2] < at["Bladder"][2] < at["Sacrum"][2] + 40
        assert at["Prostate"][1] < at["Rectum"][1] < at["Sacrum"][1] + 10
        assert at["Prostate"][2] < at["SeminalVes"][2]
        assert abs(at["Prostate"][0]) < 12


def test_skin_is_seen_all_round(sample):
    for patient in sample:
        body = patient.structures["External"].region.array
        assert not body[:, 0].any()
        assert not body[:, -1].any()
        assert not body[:, :, 0].any()
        assert not body[:, :, -1].any()
        assert body[0].any()
        assert body[-1].any()
        assert ndimage.label(body)[1] <= 3


def profile(anatomy, draws):
    """Front of the rectum, of its lumen, and back of the prostate along the midline, mm, on 0.25 mm."""
    centre = anatomy.gland.centre
    fine = even_axes(centre - np.array([0.7, 0.0, 8.0]), centre + np.array([0.7, 55.0, 8.0]), 0.25)
    back = anatomy.gland.surface(fine, draws)
    away = true_distance(back, fine.spacing_mm) - 0.6 * LAYOUT["prostate"]["rectum_gap"]
    bowel = large_bowel(anatomy.course, fine, draws, away)
    for k in range(0, len(fine.z), 8):
        yield tuple(
            fine.y[np.flatnonzero(f[k, :, len(fine.x) // 2] < 0)[end]]
            for f, end in ((bowel.rectum, 0), (bowel.lumen, 0), (back, -1))
        )


def test_distances_lie_in_the_published_ranges(made):
    facts = PUBLISHED["distance"]
    for (cohort, seed), (_, anatomy) in made.items():
        lines = np.array(list(profile(anatomy, Draws(cohort, seed))))
        gap, wall = lines[:, 0] - lines[:, 2], lines[:, 1] - lines[:, 0]
        assert facts["prostate_rectum"]["low"] <= gap.min() <= 2.5, (cohort, seed)
        assert gap.max() <= facts["prostate_rectum"]["high"], (cohort, seed)
        assert facts["rectal_wall"]["low"] <= wall.min(), (cohort, seed)
        assert wall.max() <= facts["rectal_wall"]["high"] + 0.25, (cohort, seed)
        assert facts["rectum_length"]["low"] <= anatomy.course.turn_mm <= facts["rectum_length"]["high"]
        back = anatomy.skeleton.landmarks["symphysis_back_upper"][1]
        front = anatomy.gland.centre[1] - anatomy.gland.radii[1]
        assert facts["prostate_symphysis"]["low"] <= front - back <= facts["prostate_symphysis"]["high"] + 10


def test_a_spacer_parts_prostate_and_rectum_as_published(fine):
    m, axes = masks(fine), Axes.of(fine.images["CT"].grid)
    k, _, i = np.argwhere(m["Prostate"]).mean(0).astype(int)
    gap = axes.y[m["Rectum"][k, :, i]].min() - axes.y[m["Prostate"][k, :, i]].max() - axes.spacing_mm[1]
    facts = PUBLISHED["distance"]["prostate_rectum_spacer"]
    assert facts["low"] - 1.0 <= gap <= facts["high"]
    volume = m["Spacer"].sum() * axes.voxel_cc
    assert PUBLISHED["volume"]["Spacer"]["low"] <= volume <= PUBLISHED["volume"]["Spacer"]["high"]
    assert not (m["Spacer"] & (m["Prostate"] | m["Rectum"])).any()


def test_no_content_lies_nearer_to_the_outside_than_the_wall(fine, sample):
    step = fine.images["CT"].grid.spacing_zyx_mm
    (box,) = ndimage.find_objects(masks(fine)["Rectum"].astype(int))
    m = {n: np.pad(a[box], 1) for n, a in masks(fine).items()}
    depth = ndimage.distance_transform_edt(m["Rectum"], sampling=step)
    low = PUBLISHED["distance"]["rectal_wall"]["low"]
    assert depth[m["Rectum"] & ~m["Rectal_Wall"]].min() >= low - 0.8 * step[1]
    assert all("Spacer" not in p.structures for p in sample)


def test_tissue_densities_stay_published_and_the_ct_shows_them(fine):
    for cohort in COHORTS:
        for seed in range(15):
            values = densities(Draws(cohort, seed))
            for name, t in table("models/tissue", "hu")["tissue"].items():
                assert t["published"][0] <= values[name] <= t["published"][1]
    m, ct = masks(fine), fine.images["CT"].array
    core = {n: ndimage.binary_erosion(m[n], iterations=2) for n in ("Bladder", "Prostate", "Femur_Head_L")}
    urine = core["Bladder"] & ~ndimage.binary_dilation(m["Bladder_Wall"], iterations=1)
    values = densities(Draws("train", 11))
    assert ct[urine].mean() == pytest.approx(values["urine"], abs=3)
    assert 25 < ct[core["Prostate"]].mean() < 50
    assert ct[core["Femur_Head_L"]].mean() > 150
    gas = ndimage.binary_erosion(m["zGas"])
    assert not gas.any() or ct[gas].mean() < -600
    assert ct[~ndimage.binary_dilation(m["External"], iterations=3)].mean() == pytest.approx(-1000, abs=10)


def test_compartments_have_the_published_means(sample):
    facts = PUBLISHED["hu"]
    for patient in sample:
        m, ct = masks(patient), patient.images["CT"].array
        bone = ct[m["Bone_Pelvic"]].mean()
        assert facts["compartment_bone"]["low"] <= bone <= facts["compartment_bone"]["high"]
        body = ndimage.binary_erosion(m["External"], iterations=2)
        fat = ct[body & (ct < -60) & (ct > -160)].mean()
        assert facts["compartment_fat"]["low"] <= fat <= facts["compartment_fat"]["high"]
        organs = m["Bone_Pelvic"] | m["Sacrum"] | m["Bladder"] | m["Rectum"]
        muscle = ct[body & ~organs & (ct > -40) & (ct < 110)].mean()
        assert facts["compartment_muscle"]["low"] <= muscle <= facts["compartment_muscle"]["high"]


def test_contrasts_have_the_known_order():
    for cohort in COHORTS:
        for seed in range(8):
            t2, t1 = (signals(c, Draws(cohort, seed)) for c in ("T2w", "T1w"))
            assert t2["urine"] > t2["peripheral_zone"] > t2["transition_zone"] > t2["muscle"] > t2["cortex"]
            assert t2["peripheral_zone"] > t2["lesion"] > t2["muscle"]
            assert t2["fat"] > 2 * t2["muscle"]
            assert t2["gel"] > t2["fat"]
            assert t1["fat"] > 1.5 * t1["muscle"] > 1.5 * t1["urine"] > t1["gas"] == 0.0
            assert t1["cortex"] < 0.5 * t1["muscle"]
            assert t1["spongiosa"] > t1["cortex"]


def test_images_show_the_contrasts(fine):
    m = masks(fine)
    inner = {
        n: ndimage.binary_erosion(m[n], iterations=3) for n in ("Bladder", "Prostate_TZ", "Femur_Head_L")
    }
    t2, t1 = fine.images["T2w"].array, fine.images["T1w"].array
    air = ~ndimage.binary_dilation(m["External"], iterations=4)
    assert t2[inner["Bladder"]].mean() > t2[inner["Prostate_TZ"]].mean() > 5 * t2[air].mean()
    assert t1[inner["Femur_Head_L"]].mean() > t1[inner["Bladder"]].mean()
    water, fat, inside, outside = (fine.images[f"Dixon_{k}"].array for k in ("W", "F", "IP", "OP"))
    rim = m["External"] & ~ndimage.binary_erosion(m["External"], iterations=6)
    rim &= ndimage.binary_erosion(m["External"], iterations=3)
    assert fat[rim].mean() > 2 * water[rim].mean()
    assert water[inner["Bladder"]].mean() > fat[inner["Bladder"]].mean()
    clear = inside >= outside
    assert np.abs(inside - (water + fat))[clear].max() <= 2
    assert clear[m["External"]].mean() > 0.9


def test_all_lie_on_one_grid_and_frame(fine):
    grid = fine.images["CT"].grid
    assert all(i.grid.same_as(grid) for i in fine.images.values())
    assert all(s.region.grid.same_as(grid) for s in fine.structures.values())
    assert {"CT", "T2w", "T1w", "Dixon_W", "Dixon_F", "Dixon_IP", "Dixon_OP"} == set(fine.images)
    extent = np.array(grid.shape) * grid.spacing_zyx_mm
    assert extent[0] == pytest.approx(220.0)
    assert 250 < extent[1] < 450
    assert 350 < extent[2] < 560


def test_same_seed_same_bytes_whatever_contrasts_are_asked_and_other_seed_or_cohort_not(made, sample):
    first, other = made["train", 1][0], made["valid", 1][0]
    again = make_patient("train", 1, spacing_zyx_mm=COARSE, contrasts=("T2w", "T1w"))
    assert "T2w" not in first.images
    for name, image in first.images.items():
        assert again.images[name].array.tobytes() == image.array.tobytes()
    assert set(again.structures) == set(first.structures)
    assert all(np.array_equal(masks(again)[n], a) for n, a in masks(first).items())
    assert other.images["CT"].array.tobytes() != again.images["CT"].array.tobytes()
    assert other.identity.study_uid != again.identity.study_uid
    frames = {p.images["CT"].grid.frame_of_reference for p in sample}
    assert len(frames) == len(sample)


def test_study_is_shifted_and_valid_is_not():
    table_ = {s.name: s for s in shifts()}
    outside = [n for n in table_ if table_[n].outside == 1.0]
    for name in (
        "subcutaneous_mm",
        "belly_mm",
        "hu_bone",
        "relaxation",
        "t2w_te_ms",
        "bias",
        "distortion_mm",
    ):
        assert name in outside
    assert Draws("valid", 0).ranges == Draws("train", 0).ranges
    assert shift_text().count("\n") == len(table_) + 1
    assert max(Draws("study", 0).ranges["distortion_mm"]) <= PUBLISHED["distance"]["distortion"]["high"]


def test_no_seed_of_one_cohort_repeats_another():
    drawn = {c: {tuple(Draws(c, s).stream("pelvis").standard_normal(3)) for s in range(60)} for c in COHORTS}
    assert len(set.union(*drawn.values())) == 3 * 60


def test_unknown_names_are_refused():
    with pytest.raises(UnknownName, match="cohort"):
        make_patient("test", 1)
    with pytest.raises(UnknownName, match="contrast"):
        make_patient("train", 1, spacing_zyx_mm=(12.0, 6.0, 6.0), contrasts=("FLAIR",))
