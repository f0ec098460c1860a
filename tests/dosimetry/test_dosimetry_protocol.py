"""Every protocol on the shelf is valid; a wrong one is refused by file and key."""

import pytest

from rtplan import resources
from rtplan.dosimetry import parameters
from rtplan.dosimetry.protocol import Limit, load_protocol
from rtplan.errors import FormatError, UnknownName

NAMES = resources.names("protocols")


@pytest.mark.parametrize("name", NAMES)
def test_shipped_protocol(name):
    protocol = load_protocol(name)
    assert protocol.name == name
    for entry in (*protocol.prescription, *protocol.derive, *protocol.goal):
        assert entry.source or not entry.verified
    for outcome in protocol.outcome:
        assert outcome.model in parameters.names()
    for goal in protocol.goal:
        if goal.wish is not None:
            limit, wish = Limit.parse(goal.limit), Limit.parse(goal.wish)
            assert limit.holds(wish.value), f"{goal.key}: the wish is looser than the limit"


def test_the_shelf():
    assert len(NAMES) >= 15
    flame = load_protocol("prostate_boost_flame")
    assert flame.doses_gy == {"PTVp_7700": 77.0, "GTVp": 95.0}
    assert next(g.metric for g in flame.goal if g.structure == "Rectum") == "V50Gy[%]@EQD2(3)"
    sarcoma = load_protocol("sts_preop_50gy")
    assert (sarcoma.fractions, sarcoma.doses_gy["PTV_5000"]) == (25, 50.0)
    assert sarcoma.prescription[0].verified
    assert not sarcoma.derive[0].verified


VALID = """
schema = 1
name = "x"
site = "prostate"
fractions = 20
[source]
citation = "none"
[[prescription]]
target = "PTV"
dose_gy = 60.0
[[goal]]
structure = "PTV"
metric = "V95%[%]"
limit = ">= 98"
"""


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('limit = ">= 98"', 'limit = "98"'), r"goal\[0\].limit"),
        (("V95%[%]", "V95[%]"), r"goal\[0\].metric"),
        (("fractions = 20", "fractions = 0"), "fractions"),
        (("fractions = 20", "fractions = 20\nfractionz = 1"), "fractionz"),
        (("dose_gy = 60.0", "dose_gy = -1"), r"prescription\[0\].dose_gy"),
        (("dose_gy = 60.0", "dose_gy = 60.0\nverified = true"), "names no source"),
        (('limit = ">= 98"', 'limit = ">= 98"\nreference = "PTV2"'), "PTV2"),
        (("schema = 1", "schema = 2"), "schema"),
        (("schema = 1", "schema = "), "Not a TOML file"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path, change, key):
    path = tmp_path / "mine.toml"
    path.write_text(VALID, encoding="utf-8")
    assert load_protocol(str(path)).goal[0].verdict(98.5) == "met"
    path.write_text(VALID.replace(*change), encoding="utf-8")
    with pytest.raises(FormatError, match=key) as refused:
        load_protocol(str(path))
    assert "mine.toml" in str(refused.value)


def test_unknown_name_lists_the_known():
    with pytest.raises(UnknownName, match="prostate_chhip_60gy"):
        load_protocol("no_such_protocol")


def test_verdicts():
    goal = next(g for g in load_protocol("prostate_chhip_60gy").goal if g.metric == "V57Gy[%]")
    assert [goal.verdict(v) for v in (9.0, 10.0, 12.0, 15.0, 15.1)] == [
        "wish_met",
        "wish_met",
        "met",
        "met",
        "missed",
    ]
