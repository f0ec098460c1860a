"""TPS profiles: each setting has a rule, each rule a source; what is unknown or silent is refused."""

import dataclasses

import pytest

from rtplan.errors import FormatError, UnknownName
from rtplan.io import tps

SHIPPED = ("common", "eclipse", "generic", "monaco", "pinnacle", "raystation")
OWN = """
schema = 1
name = "own"
system = "our own"
holes = "xor"
[[rule]]
sets = ["holes"]
says = "it reads nothing else"
source = "tried here"
verified = true
"""


def test_the_profiles_on_the_shelf():
    assert tps.names() == SHIPPED
    for name in SHIPPED:
        profile = tps.load(name)
        assert profile.name == name
        assert profile.rule
        assert all(rule.source and rule.says for rule in profile.rule)
        assert profile.notice().code == "TPS_PROFILE"
        assert profile.axial == (name != "generic")  # the oblique original only for no system in particular
        assert profile.name_length == 16


def test_what_is_known_of_a_system_parts_it_from_the_others():
    plain = {
        name: tuple(getattr(tps.load(name), key) for key in tps.Settings.model_fields)
        for name in ("eclipse", "monaco", "raystation", "generic", "common")
    }
    assert len(set(plain.values())) == 5
    assert {tps.load(name).holes for name in SHIPPED} == {"keyhole"}  # no system is known to want another way


def test_a_profile_of_ones_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    assert tps.load(str(path)).holes == "xor"
    path.write_text(OWN.replace('sets = ["holes"]\n', ""), encoding="utf-8")
    with pytest.raises(FormatError, match="do not agree on holes"):
        tps.load(str(path))
    path.write_text(OWN.replace('["holes"]', '["hole"]'), encoding="utf-8")
    with pytest.raises(FormatError, match="hole"):
        tps.load(str(path))
    path.write_text(OWN.replace('"xor"', '"none"'), encoding="utf-8")
    with pytest.raises(FormatError, match="parse"):
        tps.load(str(path))
    with pytest.raises(UnknownName, match="eclipse"):
        tps.load("mosaiq")


def test_names_in_the_letters_of_the_system():
    eclipse = tps.load("eclipse")
    for name, wanted in (
        ("Übergang", "Ubergang"),
        ("前立腺", "___"),
        ("Straße", "Strasse"),
        ("PTVp_7700", "PTVp_7700"),
    ):
        assert eclipse.fitting(name) == wanted
    assert tps.load("generic").fitting("前立腺") == "前立腺"
    assert dataclasses.is_dataclass(eclipse.notice())
