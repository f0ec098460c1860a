"""Synthetic CT against the true one: every figure by hand, the lookup's law, and the sums over patients."""

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import GeometryMismatch
from rtplan.evaluation.lookup import UNKNOWN_HU, counts, looked_up, lookup
from rtplan.evaluation.synct import STYLES, Bodies, CaseScore, bone_of, score_case
from rtplan.evaluation.synct_summary import summary

GRID = Grid.axial((8, 20, 24), (3.0, 2.5, 2.0), (7.0, -4.0, 11.0), "f")


def box(z, y, x):
    mask = np.zeros(GRID.shape, bool)
    mask[slice(*z), slice(*y), slice(*x)] = True
    return mask


CT_BODY, MR_BODY = box((0, 8), (2, 18), (2, 20)), box((0, 8), (2, 18), (4, 22))
BONE, FAT, GAS = (
    box((0, 8), (6, 12), (6, 12)),
    box((0, 8), (2, 18), (16, 18)),
    box((3, 4), (13, 15), (12, 14)),
)


def images(bone=100.0, fat=-30.0, gas=200.0, soft=10.0):
    """A CT and a synthetic one that is off by this many HU in each tissue."""
    ct = np.where(CT_BODY, 40.0, -1000.0)
    change = np.where(CT_BODY, soft, 0.0)
    for mask, hu, off in ((BONE, 600.0, bone), (FAT, -100.0, fat), (GAS, -800.0, gas)):
        ct[mask], change[mask] = hu, off
    made = np.where(MR_BODY, ct + change, -1024.0)
    return Image(GRID, made), Image(GRID, ct)


BODIES = Bodies(Mask(GRID, CT_BODY), Mask(GRID, MR_BODY))


def test_figures_by_hand():
    made, ct = images()
    score = score_case("a", made, ct, BODIES, STYLES["clean"])
    f, both = score.figures, CT_BODY & MR_BODY
    n = {name: int((mask & both).sum()) for name, mask in (("bone", BONE), ("fat", FAT), ("gas", GAS))}
    soft = int(both.sum()) - sum(n.values())
    total = 100.0 * n["bone"] + 30.0 * n["fat"] + 200.0 * n["gas"] + 10.0 * soft
    assert f["MAE"] == f["MAE intersection"] == pytest.approx(total / both.sum())
    assert f["ME"] == pytest.approx((total - 60.0 * n["fat"]) / both.sum())
    assert [f[f"MAE {t}"] for t in ("gas", "fat", "soft", "bone")] == pytest.approx(
        [200.0, 30.0, 10.0, 100.0]
    )
    assert f["ME fat"] == pytest.approx(-30.0)
    cut = CT_BODY & ~MR_BODY  # body in the CT alone: air in the synthetic CT
    assert f["MAE ct_body"] == pytest.approx((total + 1064.0 * cut.sum()) / CT_BODY.sum())
    extra = MR_BODY & ~CT_BODY  # body in the MR alone: air in both, the change is 0
    assert f["MAE union"] == pytest.approx((total + 1064.0 * cut.sum()) / (CT_BODY | extra).sum())
    assert f["Dice bone"] == 1.0
    squared = (np.array([100.0, 30.0, 200.0, 10.0]) ** 2 * [*n.values(), soft]).sum() / both.sum()
    assert f["PSNR"] == pytest.approx(10 * np.log10(4095.0**2 / squared))
    assert score.overlap == pytest.approx(2 * both.sum() / (CT_BODY.sum() + MR_BODY.sum()))
    assert score.apart


def test_styles_differ_in_mask_and_range():
    made, ct = images()
    own = Bodies(BODIES.ct, BODIES.mr, Mask(GRID, FAT | BONE))
    found = {name: score_case("a", made, ct, own, style).figures for name, style in STYLES.items()}
    inside = (FAT | BONE).sum()
    wanted = (100.0 * BONE.sum() + 30.0 * FAT.sum()) / inside
    for name in ("synthrad2023", "synthrad2025-metrics", "synthrad2025-evaluation"):
        assert found[name]["MAE"] == pytest.approx(wanted)
    apart = found["synthrad2025-evaluation"]["PSNR"] - found["synthrad2025-metrics"]["PSNR"]
    assert apart == pytest.approx(20 * np.log10(4095 / 4024))
    assert "SSIM" in found["synthrad2023"]
    assert "MS-SSIM as SynthRAD" in found["synthrad2025-metrics"]
    without = score_case("a", made, ct, BODIES, STYLES["synthrad2023"]).figures
    assert without["MAE"] == without["MAE ct_body"]


def test_bone_in_parts_below_one_cc_does_not_count():
    array = np.zeros(GRID.shape)
    array[0:4, 0:5, 0:4] = 200.0  # 80 voxels of 0.015 cc: 1.2 cc
    array[6:8, 10:15, 10:16] = 199.0
    array[6:8, 0:5, 15:20] = 900.0  # 50 voxels: 0.75 cc
    seen = bone_of(Image(GRID, array), Mask(GRID, np.ones(GRID.shape, bool)))
    assert seen.array.sum() == 80


def test_a_lookup_learns_a_known_relation_and_says_the_median():
    rng = np.random.default_rng(2)
    signal = rng.uniform(0.0, 1000.0, GRID.shape)
    body = Mask(GRID, np.ones(GRID.shape, bool))
    mr = Image(GRID, signal, modality="MR")
    low, high = np.percentile(signal, [0.5, 99.5])
    ct = Image(GRID, np.where(signal > (low + high) / 2, -100.0, 60.0))
    one = counts(mr, ct, body, body)
    assert one.table.sum() == signal.size
    error = np.abs(looked_up(mr, body, lookup([one])).array - ct.array)
    assert (error == 0.0).mean() > 0.97  # all but the one bin that holds the step
    wrong = counts(mr, ct.with_array(np.full(GRID.shape, 500.0)), body, body)
    table = lookup([one, one, wrong])
    assert set(np.unique(table)) <= {-100.0, 60.0, UNKNOWN_HU}
    nothing = Mask(GRID, CT_BODY)
    assert (looked_up(mr, nothing, table).array[~CT_BODY] == -1024.0).all()
    with pytest.raises(GeometryMismatch, match="other patients"):
        lookup([])


def score(key, mae, other, overlap=0.98):
    return CaseScore(key, overlap, {"MAE": mae, "Dice bone": np.nan if key == "a" else 0.5}, {"MAE": other})


def test_sums_over_patients():
    scores = [score("a", 10.0, 20.0), score("b", 20.0, 19.0), score("c", 60.0, 80.0, overlap=0.9)]
    found = {(f.metric, f.detail["cases"], f.model): f for f in summary(scores, "net", "clean")}
    assert found["MAE, median", "all", "net"].value == 20.0
    assert found["MAE, mean", "all", "net"].value == 30.0
    assert found["MAE, mean", "matched", "net"].value == 15.0
    assert found["MAE, mean", "apart", "net"].value == 60.0
    assert found["MAE, mean", "apart", "net"].interval95 is None
    assert found["MAE, mean", "all", "lookup"].value == pytest.approx(119 / 3)
    assert found["better than lookup, fraction", "all", "net"].value == pytest.approx(2 / 3)
    assert found["Dice bone, mean", "all", "net"].detail["n"] == 2  # one case has no bone at all
    low, high = found["MAE, median", "all", "net"].interval95
    assert (low, high) == (10.0, 60.0)
    close = summary(scores[:2], "net", "clean")
    assert {f.detail["cases"] for f in close} == {"all"}


def test_an_empty_mask_and_another_grid_are_refused():
    made, ct = images()
    nothing = Mask(GRID, np.zeros(GRID.shape, bool))
    with pytest.raises(GeometryMismatch, match="empty"):
        score_case("a", made, ct, Bodies(nothing, nothing), STYLES["clean"])
    other = Image(Grid.axial(GRID.shape, (3.0, 2.5, 2.0), (0.0, 0.0, 0.0), "f"), made.array)
    with pytest.raises(GeometryMismatch):
        score_case("a", other, ct, BODIES, STYLES["clean"])


def test_mae_and_psnr_are_those_of_synthrads_code():
    """Made by SynthRAD2023/metrics (fe7e385) and SynthRAD2025/evaluation (17cac47) on the same volumes."""
    ct, made, mask = volumes()
    grid = Grid.axial(ct.shape, (3.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    body = Mask(grid, ct > -300)
    bodies = Bodies(body, body, Mask(grid, mask))
    psnr = {"synthrad2023": 24.847685670263154, "synthrad2025-evaluation": 24.73321651504361}
    for name, value in psnr.items():
        f = score_case("a", Image(grid, made), Image(grid, ct), bodies, STYLES[name]).figures
        assert f["MAE"] == pytest.approx(50.560831988937544, rel=1e-14)
        assert f["PSNR"] == pytest.approx(value, rel=1e-14)


def volumes():
    """The made-up pair of test_evaluation_similarity."""
    z, y, x = np.indices((40, 60, 110)).astype(float)
    r = np.hypot((y - 30) / 26, (x - 54) / 48)
    ct = np.where(r < 1, np.round(40 + 60 * np.sin(x / 7) * np.cos(y / 5) * np.sin(z / 3)), -1000)
    ct = ct.astype(np.int16)
    bone = np.hypot(y - 32, x - 40) < 7
    ct[bone] = (700 + 20 * (z[bone] % 7)).astype(np.int16)
    made = np.round(ct * 0.93 + 25 * np.cos(z / 4 + x / 9)).astype(np.int16)
    made[np.hypot(y - 32, x - 40) < 4] = 3500
    return ct, made, r < 1.05
