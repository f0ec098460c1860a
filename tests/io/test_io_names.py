"""Clinic names become TG-263 names; targets only by a map that says so."""

import pytest

from rtplan.domain.nomenclature import KINDS
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
        ("HüftkopfRe", "Femur_Head_R"),
        ("hüftkopf_li", "Femur_Head_L"),
        ("femheadr", "Femur_Head_R"),
        ("LFemHead", "Femur_Head_L"),
        ("Tete femorale G", "Femur_Head_L"),
        ("TÊTE FÉMORALE D", "Femur_Head_R"),
        ("Testa femore sx", "Femur_Head_L"),
        ("Cabeza femoral I", "Femur_Head_L"),
        ("Caput femoris V", "Femur_Head_L"),
        ("Caput femoris hö", "Femur_Head_R"),
        ("Femurkop li.", "Femur_Head_L"),
        ("Rektum", "Rectum"),
        ("Enddarm", "Rectum"),
        ("Ampulla recti", "Rectum"),
        ("Ändtarm", "Rectum"),
        ("A\u0308ndtarm", "Rectum"),  # the same, decomposed
        ("Endeldarm", "Rectum"),
        ("OAR_RECTUM", "Rectum"),
        ("Bulbe pénien", "PenileBulb"),
        ("Vescichette seminali", "SeminalVes"),
        ("SVs", "SeminalVes"),
        ("Zaadblaasjes", "SeminalVes"),
        ("Paroi de la vessie", "Bladder_Wall"),
        ("Darmpakket", "Bag_Bowel"),
        ("Œsophage", "Esophagus"),
        ("Rein G", "Kidney_L"),
        ("Patientenkontur", "External"),
    ],
)
def test_clinic_names(clinic, wanted):
    assert names.load().tg263(clinic) == wanted


@pytest.mark.parametrize(
    "name",
    [
        *("PTV", "ptv 60", "GTV Prostate", "CTV_Prostata", "Femoral Head", "blob", "", "L", "zPTV", "Rein"),
        *(
            "Rectum ohne PTV",
            "PTV Rectum",
            "Prostata CTV",
            "Hüftkopf li re",
            "Fem Head V",
            "Bulbus li",
            "uPTV60",
        ),
    ],
)
def test_what_is_not_known_is_not_guessed(name):
    assert names.load().tg263(name) is None


def test_no_alias_of_any_language_means_two_things():
    found = {}
    for alias, wanted in names._listed():
        found.setdefault(alias, set()).add(wanted)
    assert {alias: wanted for alias, wanted in found.items() if len(wanted) > 1} == {}
    sided = {alias for alias, wanted in names.load().aliases.items() if wanted.endswith("*")}
    for alias in sided:  # a side written without a space never makes another organ
        for mark, side in names.load().sides.items():
            made = names.load().aliases.get(alias + mark)
            assert made is None or made in (
                names.load().aliases[alias],
                names.load().aliases[alias][:-1] + side,
            )


def test_every_organ_that_rtplan_knows_has_a_name_in_every_language():
    organs = {name.rstrip("LR") + "*" if name[-2:] in ("_L", "_R") else name for name in KINDS}
    for language in ("de", "en", "es", "fr", "it", "nl", "sv"):
        listed = {name for name, aliases in names._toml(language).items() if aliases}
        assert {name for name in organs if not name.startswith("z")} - listed == set(), language


def test_every_alias_leads_to_one_name_whatever_its_case():
    table = names.load()
    assert len(table.aliases) > 1000
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


@pytest.mark.parametrize("content", ["names = 3", "[names]\na = 3", "[names", "", '[names]\na = ""'])
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
    table = names.load()
    assert "Bladder" in table.candidates("Bladdr")
    assert table.candidates("Femoral Head")[:2] == ["Femur_Head_L", "Femur_Head_R"]
    assert table.candidates("Blase leer")[0] == "Bladder"
    assert table.candidates("qqq") == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("PTV Prostata 60 Gy", ["PTVp_6000"]),
        ("ptv_LN_45", ["PTVn_4500"]),
        ("CTV SV 57,6", ["CTVsv_5760"]),
        ("GTV", ["GTV", "GTVp"]),
        ("PTV 7700", ["PTV_7700", "PTVp_7700"]),
        ("Rectum", []),
    ],
)
def test_what_a_target_could_be_is_offered_and_never_used(name, wanted):
    assert names.target_candidates(name) == wanted
    assert names.load().tg263(name) in (None, "Rectum")


def test_the_clinics_map_holds_where_two_names_collide(tmp_path):
    path = tmp_path / "names.toml"
    path.write_text('[names]\n"Rectum neu" = "Rectum"\n"Boost" = "GTVp"\n', encoding="utf-8")
    wanted, notices = names.rename(["Rectum", "Rectum neu", "Rektum", "GTVp", "Boost"], names.load(path))
    assert wanted == {
        "Rectum": "Rectum (not mapped)",
        "Rectum neu": "Rectum",
        "Rektum": "Rektum",
        "GTVp": "GTVp (not mapped)",
        "Boost": "GTVp",
    }
    assert len(set(wanted.values())) == len(wanted)
    assert sorted((n.code, n.structure) for n in notices) == [
        ("NAME_DOUBLE", "GTVp"),
        ("NAME_DOUBLE", "Rectum"),
    ]


def test_two_lines_of_a_map_for_one_organ_decide_nothing(tmp_path):
    path = tmp_path / "names.toml"
    path.write_text('[names]\n"A" = "Rectum"\n"B" = "Rectum"\n', encoding="utf-8")
    wanted, notices = names.rename(["A", "B"], names.load(path))
    assert wanted == {"A": "A", "B": "B"}
    assert [n.code for n in notices] == ["NAME_DOUBLE"]


def test_names_of_the_nomenclatures_own_grammar_are_not_complained_of():
    listed = ["PTVp_7700", "Urethra_PRV02", "zRing", "z_opt"]
    assert names.rename(listed, names.load()) == ({name: name for name in listed}, [])


def test_what_is_drawn_as_a_target_is_named_by_the_map_alone(tmp_path):
    drawn = {"Prostata": "CTV", "Lt Lung": "GTV", "Blase": "ORGAN", "Prostate": "CTV"}
    wanted, notices = names.rename(drawn, names.load())
    assert wanted == {
        "Prostata": "Prostata",
        "Lt Lung": "Lt Lung",
        "Blase": "Bladder",
        "Prostate": "Prostate",
    }
    assert {(n.code, n.structure) for n in notices} == {("NAME_KEPT", "Prostata"), ("NAME_KEPT", "Lt Lung")}
    assert "CTVp" in next(n.message for n in notices if n.structure == "Prostata")
    path = tmp_path / "names.toml"
    path.write_text('[names]\n"Prostata" = "CTVp"\n', encoding="utf-8")
    assert names.rename(drawn, names.load(path))[0]["Prostata"] == "CTVp"


def test_no_alias_whatever_it_says_names_a_target():
    table = names.NameMap(aliases={"ptvrectum": "Rectum", "boostctv": "Bladder"})
    assert table.tg263("PTV Rectum") is None
    assert table.tg263("boost CTV") is None
