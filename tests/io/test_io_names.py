"""Clinic names become TG-263 names; targets only by a map that says so."""

import pytest

from rtplan.errors import FormatError
from rtplan.io import names


@pytest.mark.parametrize(
    ("clinic", "wanted"),
    [
        ("Rectum", "Rectum"),
        ("BODY", "External"),
        ("FemoralHead RT", "Femur_Head_R"),
        ("FEMORAL_HEAD_LT", "Femur_Head_L"),
        ("Hüftkopf li", "Femur_Head_L"),
        ("Tête fémorale droite", "Femur_Head_R"),
        ("Harnblase", "Bladder"),
        ("Vessie", "Bladder"),
        ("Blaas", "Bladder"),
        ("Vejiga", "Bladder"),
        ("Vescica", "Bladder"),
        ("Urinblåsa", "Bladder"),
        ("Dünndarm", "Bowel_Small"),
        ("Lt Lung", "Lung_L"),
        ("penile_bulb", "PenileBulb"),
        ("Femur_Head_L", "Femur_Head_L"),
    ],
)
def test_clinic_names(clinic, wanted):
    assert names.load().tg263(clinic) == wanted


@pytest.mark.parametrize(
    "name", ["PTV", "ptv 60", "GTV Prostate", "CTV_Prostata", "Femoral Head", "blob", "", "L"]
)
def test_what_is_not_known_is_not_guessed(name):
    assert names.load().tg263(name) is None


def test_every_alias_leads_to_one_name_whatever_its_case():
    table = names.load()
    assert len(table.aliases) > 200
    for alias, wanted in table.aliases.items():
        if not wanted.endswith("*"):
            assert table.tg263(alias.upper()) == wanted


def test_a_clinics_own_map_comes_first_and_may_name_targets(tmp_path):
    path = tmp_path / "names.toml"
    path.write_text('[names]\n"Boost 95" = "GTVp_9500"\nRectum = "Rectum_Old"\n', encoding="utf-8")
    table = names.load(path)
    assert (table.tg263("Boost 95"), table.tg263("Rectum"), table.tg263("Blase")) == (
        "GTVp_9500",
        "Rectum_Old",
        "Bladder",
    )


@pytest.mark.parametrize("content", ["names = 3", "[names]\na = 3", "[names", ""])
def test_a_broken_map_is_refused_with_its_file(tmp_path, content):
    path = tmp_path / "names.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=r"names\.toml"):
        names.load(path)


def test_two_names_of_one_organ_keep_their_own():
    wanted, notices = names.rename(
        ["Blase", "Bladder", "Rectum", "Knie", "PTVp_7700", "PTV alt"], names.load()
    )
    assert wanted["Blase"] == "Blase"
    assert wanted["Bladder"] == "Bladder"
    assert {(n.code, n.structure) for n in notices} == {
        ("NAME_DOUBLE", "Bladder"),
        ("NAME_UNMAPPED", "Knie"),
        ("NAME_KEPT", "PTV alt"),
    }


def test_the_nearest_names_are_offered():
    assert "Bladder" in names.load().candidates("Bladdr")
