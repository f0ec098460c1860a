"""From goals to limits: doses, parts of volumes, EQD2; unverified ones only when allowed."""

import pytest

from rtplan.dosimetry.protocol import Goal, Protocol, Source, TargetDose
from rtplan.planning.limits import guard, limits_of, physical_dose

PTV = TargetDose(target="PTV_6000", dose_gy=60.0)


def protocol(*goals: Goal, prescription: tuple[TargetDose, ...] = (PTV,), fractions: int = 20) -> Protocol:
    return Protocol(
        schema=1,
        name="made_here",
        site="prostate",
        fractions=fractions,
        source=Source(citation="a test", doi="10.0/test"),
        prescription=prescription,
        goal=goals,
    )


def goal(metric: str, limit: str, **more: object) -> Goal:
    fields = {
        "structure": "Rectum",
        "metric": metric,
        "limit": limit,
        "verified": True,
        "source": "s",
        **more,
    }
    return Goal(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "bound", "form", "dose", "fraction"),
    [
        ("V40Gy[%]", "<= 50", "volume", 40.0, 0.5),
        ("V40Gy[cc]", "<= 10", "volume", 40.0, 0.1),
        ("D2cc[Gy]", "< 55", "volume", 55.0, 0.02),
        ("D25%[Gy]", "<= 30", "volume", 30.0, 0.25),
        ("Max[Gy]", "<= 62", "volume", 62.0, 0.0),
        ("Mean[Gy]", "<= 35", "mean", 35.0, 0.0),
        ("V90%[%]", "<= 15", "volume", 54.0, 0.15),
        ("V70Gy[%]@EQD2(3)", "<= 20", "volume", physical_dose(70.0, 3.0, 20), 0.2),
    ],
)
def test_goals_become_limits(metric: str, bound: str, form: str, dose: float, fraction: float) -> None:
    made = protocol(goal(metric, bound, reference="PTV_6000" if "%[" in metric and "V" in metric else None))
    (limit,) = limits_of(made, "Rectum", 100.0)
    assert (limit.form, limit.fraction, limit.hard) == (form, pytest.approx(fraction), True)
    assert limit.dose_gy == pytest.approx(dose)
    assert limit.source == "s"


def test_only_verified_upper_bounds_of_the_organ_drive() -> None:
    made = protocol(
        goal("V40Gy[%]", ">= 50"),
        goal("V30Gy[%]", "<= 50", verified=False),
        goal("V20Gy[%]", "<= 50", structure="Bladder"),
        goal("V10Gy[%]", "<= 50", priority=2),
    )
    assert [limit.name for limit in limits_of(made, "Rectum", 90.0)] == ["V10Gy[%] <= 50"]
    assert not limits_of(made, "Rectum", 90.0)[0].hard
    assert len(limits_of(made, "Rectum", 90.0, allow_unverified=True)) == 2


def test_the_boost_is_guarded_only_where_it_goes_as_high_as_organs_permit() -> None:
    boost = TargetDose(target="GTVp", dose_gy=70.0, to="up_to")
    guarded = protocol(prescription=(PTV, boost))
    (limit,) = guard(guarded, "Rectum", 60.0)
    assert limit.dose_gy == 60.0
    assert limit.fraction == pytest.approx(0.03 / 60.0)
    assert limit.source == "rtplan design choice"
    assert guard(guarded, "Femur_Head_L", 60.0) == ()
    assert guard(protocol(), "Rectum", 60.0) == ()


@pytest.mark.parametrize(("fractions", "alpha_beta"), [(1, 10.0), (5, 3.0), (35, 1.5)])
def test_physical_dose_is_the_inverse_of_eqd2(fractions: int, alpha_beta: float) -> None:
    dose = physical_dose(64.0, alpha_beta, fractions)
    assert dose * (dose / fractions + alpha_beta) / (2.0 + alpha_beta) == pytest.approx(64.0)
