"""What a spacer changes, where all is known: a rectum moved down a slope of dose; models and rules on it."""

import numpy as np
import pytest

from rtplan.domain import Dose, Finding, Grid, Image, Mask, Patient, Structure
from rtplan.dosimetry.outcome import ntcp
from rtplan.dosimetry.parameters import load_set
from rtplan.dosimetry.protocol import load_protocol
from rtplan.planning.benefit import ARM, Asked, Pair, compare
from rtplan.planning.gel_samples import PARTS, GelSamples
from rtplan.planning.spacer import load_rule, rules

PROTOCOL = load_protocol("prostate_boost_flame")
GRID = Grid.axial((12, 60, 12), (3.0, 1.5, 3.0), (4.0, -11.0, 7.0), "frame")
#: Dose falls by so much for each mm to the back, from 90 Gy.
SLOPE = 1.0


def patient(first_row: int) -> Patient:
    rectum = np.zeros(GRID.shape, bool)
    rectum[2:10, first_row : first_row + 20, 2:10] = True  # 30 mm deep
    image = Image(GRID, np.zeros(GRID.shape, np.float32))
    return Patient(
        images={"CT": image}, structures={"Rectum": Structure("Rectum", "ORGAN", Mask(GRID, rectum))}
    )


@pytest.fixture(scope="module")
def pair() -> Pair:
    depth = np.arange(60)[None, :, None] * 1.5
    gy = np.broadcast_to(90.0 - SLOPE * depth, GRID.shape).astype(np.float32)
    dose = Dose(GRID, gy, fractions=35)
    shift = np.full((40, len(PARTS)), -0.5) + np.linspace(-1.0, 1.0, 40)[:, None]
    return Pair(
        patient(10), patient(16), (dose, dose), "CT", GelSamples({"Rectum": shift}, "as the test says")
    )


def asked(first: str, **more: bool) -> Asked:
    names = [first, *(n for n in rules() if n != first)]
    return Asked(tuple(load_rule(n) for n in names), samples=256, **more)  # type: ignore[arg-type]


def one(
    findings: tuple[Finding, ...], metric: str, quantity: str, arm: str = ARM, model: str | None = None
) -> Finding:
    wanted = ("Rectum", metric, quantity, arm, model)
    (found,) = [f for f in findings if (f.structure, f.metric, f.quantity, f.arm, f.model) == wanted]
    return found


def test_metrics_and_differences_as_the_slope_says(pair: Pair) -> None:
    findings, _ = compare(pair, PROTOCOL, asked("relative_v70_25"))
    # the rectum begins at the face of its first row, half a voxel before its centre
    before, after = (90.0 - (row - 0.5) * 1.5 for row in (10, 16))
    for arm, top in (("CT", before), (ARM, after)):
        share = 100.0 * np.clip((top - 70.0) / 30.0, 0.0, 1.0)
        assert one(findings, "V70Gy[%]", "value", arm).value == pytest.approx(share, abs=0.3)
        assert one(findings, "Mean[Gy]", "value", arm).value == pytest.approx(top - 15.0, abs=0.05)
    change = one(findings, "Mean[Gy]", "difference")
    assert change.value == pytest.approx(-9.0, abs=0.02)
    assert change.reference_arm == "CT"
    assert change.interval95 is not None
    np.testing.assert_allclose(change.interval95, (-10.5, -8.5), atol=0.1)  # the samples' ends


def test_the_risk_is_the_models_and_its_interval_is_paired(pair: Pair) -> None:
    findings, _ = compare(pair, PROTOCOL, asked("relative_v70_25"))
    model = "rectum_bleeding_g2_quantec2010"
    values = [one(findings, "NTCP", "value", arm, model).value for arm in ("CT", ARM)]
    known = [ntcp(load_set(model), dvh, 35) for dvh in pair.dvhs("Rectum")]
    np.testing.assert_allclose(values, known, atol=1e-9)
    change = one(findings, "NTCP", "difference", ARM, model)
    assert change.value == pytest.approx(known[1] - known[0])
    assert change.interval95 is not None
    assert change.interval95[0] < change.value < change.interval95[1] <= 0.0
    assert change.interval_method is not None
    assert change.interval_method.startswith("paired")


def test_the_first_verified_rule_decides_and_the_others_stand_beside(pair: Pair) -> None:
    findings, judged = compare(pair, PROTOCOL, asked("delta_v55_paetkau"))
    assert [name for name, j in judged.items() if j.decides] == ["delta_v55_paetkau"]
    said = one(findings, "SpacerBenefit", "difference", model="delta_v55_paetkau")
    assert said.verdict == "met"
    assert said.detail["answer"] == "benefits"
    assert "60 Gy / 20" in said.detail["converted"]
    assert said.value == pytest.approx(30.0, abs=0.5)  # 9 of 30 mm
    assert one(findings, "SpacerBenefit", "difference", model="relative_v70_25").verdict == "none"


def test_an_unverified_rule_decides_only_where_that_is_allowed(pair: Pair) -> None:
    _, judged = compare(pair, PROTOCOL, asked("delta_ntcp"))
    assert not any(j.decides for j in judged.values())
    _, judged = compare(pair, PROTOCOL, asked("delta_ntcp", allow_unverified=True))
    assert judged["delta_ntcp"].decides


def test_without_samples_of_the_gel_nothing_is_told(pair: Pair) -> None:
    bare = Pair(pair.without, pair.with_gel, pair.doses, "CT")
    findings, judged = compare(bare, PROTOCOL, asked("relative_v70_25"))
    assert judged["relative_v70_25"].answer == "cannot_tell"
    assert one(findings, "Mean[Gy]", "difference").interval95 is None


def test_a_rectum_outside_the_dose_is_not_evaluable(pair: Pair) -> None:
    small = Dose(GRID.crop((0, 0, 0), (12, 20, 12)), pair.doses[0].array[:, :20], fractions=35)
    findings, judged = compare(
        Pair(pair.without, pair.with_gel, (small, small), "CT", pair.gels), PROTOCOL, asked("relative_v70_25")
    )
    assert judged["relative_v70_25"].answer == "not_evaluable"
    assert one(findings, "Mean[Gy]", "value").verdict == "not_evaluable"


def test_each_dvh_is_made_once(pair: Pair) -> None:
    fresh = Pair(pair.without, pair.with_gel, pair.doses, "CT", pair.gels)
    compare(fresh, PROTOCOL, asked("relative_v70_25"))
    first = fresh.dvhs("Rectum")
    assert all(a is b for a, b in zip(first, fresh.dvhs("Rectum"), strict=True))
    shared = Pair(pair.without, pair.with_gel, pair.doses, "CT", ledger=fresh.ledger)
    assert all(a is b for a, b in zip(first, shared.dvhs("Rectum"), strict=True))


def test_nothing_falls_by_more_than_all(pair: Pair) -> None:
    cooler = Dose(GRID, pair.doses[1].array - np.float32(0.5), fractions=35)  # a little lies at 66 Gy
    gels = GelSamples(
        {"Rectum": np.linspace(-9.0, 1.0, 40)[:, None] * np.ones(len(PARTS))}, "as the test says"
    )
    few = Pair(pair.without, pair.with_gel, (pair.doses[0], cooler), "CT", gels)
    gain = compare(few, PROTOCOL, asked("relative_v70_25"))[1]["relative_v70_25"]
    assert gain.interval95 is not None
    assert gain.value < gain.interval95[1] <= 100.0


def test_who_has_next_to_nothing_to_begin_with_does_not_benefit(pair: Pair) -> None:
    cool = Dose(GRID, np.minimum(pair.doses[0].array, np.float32(60.0)), fractions=35)
    few = Pair(pair.without, pair.with_gel, (cool, cool), "CT", pair.gels)
    findings, judged = compare(few, PROTOCOL, asked("relative_v70_25"))
    assert judged["relative_v70_25"].answer == "does_not"
    said = one(findings, "SpacerBenefit", "difference", model="relative_v70_25")
    assert (said.verdict, said.value, said.detail["baseline"]) == ("missed", 0.0, 0.0)
    assert "below 1 %" in said.detail["reason"]


def test_of_a_rectum_that_the_image_cuts_only_what_is_relative_is_told(pair: Pair) -> None:
    small = Image(GRID.crop((2, 0, 0), (12, 60, 12)), np.zeros((10, 60, 12), np.float32))
    cut = Pair(pair.without.with_images(CT=small), pair.with_gel, pair.doses, "CT", pair.gels)
    findings, judged = compare(cut, PROTOCOL, asked("relative_v70_25"))
    relative = judged["relative_v70_25"]
    assert relative.value == pytest.approx(
        compare(pair, PROTOCOL, asked("relative_v70_25"))[1]["relative_v70_25"].value
    )
    assert relative.answer == "cannot_tell"  # of the whole rectum less than 1 % may lie at 70 Gy
    assert "without a spacer, wanted at least 1" in relative.reason
    assert judged["delta_v55_paetkau"].answer == judged["delta_ntcp"].answer == "not_evaluable"
    (risk,) = [f for f in findings if f.metric == "NTCP"]
    assert "cut by the field of view" in (risk.reason or "")
