"""Rules of who benefits, as data: what is on the shelf, doses in another course's fractions."""

from pathlib import Path

import pytest

from rtplan import resources
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.errors import FormatError, UnknownName
from rtplan.planning.spacer import DECIDES, load_gel, load_rule, read_by, rules, translated

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


def test_what_a_rule_reads_is_its_structures_metric_in_the_course() -> None:
    assert read_by(ABSOLUTE, 20) == "Rectum V55Gy[%]"
    assert read_by(ABSOLUTE, 35) == read_by(load_rule("baseline_v55_paetkau"), 35)
    assert read_by(RELATIVE, 35) != read_by(RELATIVE.model_copy(update={"structure": "Rectal_Wall"}), 35)


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
