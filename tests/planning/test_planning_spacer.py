"""Rules of who benefits: doses in another course's fractions, thresholds, intervals that straddle them."""

from pathlib import Path

import pytest

from rtplan import resources
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.errors import FormatError, ModelError, UnknownName
from rtplan.planning.spacer import (
    DECIDES,
    Judged,
    benefit_of,
    judge,
    load_gel,
    load_rule,
    rules,
    translated,
    verdict,
)

RELATIVE = load_rule("relative_v70_25")
ABSOLUTE = load_rule("delta_v55_paetkau")


def test_every_rule_names_its_source_and_the_deciding_one_is_verified() -> None:
    assert set(rules()) == {"relative_v70_25", "baseline_v55_paetkau", "delta_v55_paetkau", "delta_ntcp"}
    assert all(load_rule(name).source.citation for name in rules())
    assert load_rule(DECIDES).verified
    assert not load_rule("delta_ntcp").verified


def test_a_dose_keeps_its_meaning_in_other_fractions() -> None:
    found = translated(RELATIVE, 35)
    assert found.converted
    assert found.metric.amount == pytest.approx(float(eqd2(70.0, 44, 3.0)), abs=0.005)
    assert "79.2 Gy / 44" in found.said
    same = translated(RELATIVE, 44)
    assert not same.converted
    assert str(same.metric) == "V70Gy[%]"


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        ((26.0, 40.0), "benefits"),
        ((25.0, 25.0), "benefits"),
        ((10.0, 24.9), "does_not"),
        ((20.0, 30.0), "cannot_tell"),
    ],
)
def test_the_whole_interval_decides(interval: tuple[float, float], answer: str) -> None:
    assert judge(RELATIVE, 8.0, sum(interval) / 2, interval, decides=True).answer == answer


def test_next_to_nothing_cannot_fall_and_no_interval_tells_nothing() -> None:
    assert judge(RELATIVE, 0.99, 90.0, (80.0, 100.0), decides=True).answer == "does_not"
    assert judge(RELATIVE, 1.0, 90.0, (80.0, 100.0), decides=True).answer == "benefits"
    assert judge(ABSOLUTE, 8.0, 5.0, None, decides=True).answer == "cannot_tell"
    assert judge(ABSOLUTE, 8.0, None, None, decides=True).answer == "not_evaluable"
    assert judge(RELATIVE, None, None, None, decides=True).answer == "not_evaluable"
    assert judge(RELATIVE, 0.0, None, None, decides=True).answer == "does_not"


def test_benefits_in_the_rules_units() -> None:
    assert benefit_of(RELATIVE, 8.0, 2.0) == pytest.approx(75.0)
    assert benefit_of(ABSOLUTE, 8.0, 2.0) == pytest.approx(6.0)
    assert benefit_of(load_rule("baseline_v55_paetkau"), 8.0, 2.0) == 8.0
    assert benefit_of(RELATIVE, 0.0, 0.0) is None


def test_without_a_deciding_rule_there_is_no_verdict() -> None:
    said = Judged(RELATIVE, "benefits", 30.0, (26.0, 40.0), False, "")
    with pytest.raises(ModelError, match="No rule decides"):
        verdict({"relative_v70_25": said})
    decided = judge(ABSOLUTE, 8.0, 5.0, (4.0, 6.0), decides=True)
    assert verdict({"relative_v70_25": said, "delta_v55_paetkau": decided}).answer == "benefits"


def test_unknown_and_broken_rules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="relative_v70_25"):
        load_rule("no_such_rule")
    text = resources.find("models/spacer", "relative_v70_25").read_text(encoding="utf-8")
    path = tmp_path / "rule.toml"
    path.write_text(text.replace("[found_in]\ndose_gy = 79.2\nfractions = 44\n", ""))
    with pytest.raises(FormatError, match="course"):
        load_rule(str(path))


def test_the_gel_is_nearly_water() -> None:
    facts = load_gel()
    for entry in (facts.hu, facts.volume_cc, facts.thickness_mm):
        assert entry.range_[0] <= entry.value <= entry.range_[1]
        assert entry.source
    assert facts.hu.range_ == (0.0, 20.0)
