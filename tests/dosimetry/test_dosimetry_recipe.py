"""The grammar of derived structures: precedence, refusals at the character, any text parsed or refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtplan.dosimetry.protocol import Derive
from rtplan.dosimetry.recipe import Grown, Isodose, Joined, Name, Wall, parse_recipe, recipe_of
from rtplan.errors import FormatError

PTV, CTV, ORGAN = Name("PTV"), Name("CTV"), Name("Rectum")


def ten(tree, mm=10.0):
    return Grown(tree, (mm,) * 6)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("PTV", PTV),
        ("(PTV + 10) - PTV", Joined("-", ten(PTV), PTV)),
        ("PTV+10-PTV", Joined("-", ten(PTV), PTV)),
        ("PTV - 3", ten(PTV, -3.0)),
        ("PTV - 3 mm", ten(PTV, -3.0)),
        ("PTV | CTV & Rectum", Joined("|", PTV, Joined("&", CTV, ORGAN))),
        ("PTV - CTV - Rectum", Joined("-", Joined("-", PTV, CTV), ORGAN)),
        ("PTV - (CTV - Rectum)", Joined("-", PTV, Joined("-", CTV, ORGAN))),
        ("CTV + (7, P 5)", Grown(CTV, (7.0, 7.0, 7.0, 5.0, 7.0, 7.0))),
        ("CTV + (L 1, R 2, A 3, P 4, S 5, I 6)", Grown(CTV, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))),
        ("CTV - (L 1,R 2,A 3,P 4,S 5,I 6)", Grown(CTV, (-1.0, -2.0, -3.0, -4.0, -5.0, -6.0))),
        ("PTV & Rectum + 5", Joined("&", PTV, ten(ORGAN, 5.0))),
        ("isodose(57 Gy) - PTV", Joined("-", Isodose(57.0), PTV)),
        ("wall(Rectum, 3) & PTV", Joined("&", Wall(ORGAN, 3.0), PTV)),
        ('"Organ 1-2" | isodose', Joined("|", Name("Organ 1-2"), Name("isodose"))),
    ],
)
def test_precedence(text, tree):
    recipe = parse_recipe(f"  zNew = {text} ")
    assert (recipe.make, recipe.tree, recipe.text) == ("zNew", tree, f"zNew = {text}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", 1),
        ("Ring", 5),
        ("Ring = ", 8),
        ("Ring = PTV +", 13),
        ("Ring = PTV + CTV", 14),
        ("Ring = PTV + 101", 14),
        ("Ring = (PTV", 12),
        ("Ring = PTV)", 11),
        ("Ring = PTV CTV", 12),
        ("Ring = PTV + (P 5)", 18),
        ("Ring = PTV + (5, P 3, P 4)", 23),
        ("Ring = PTV + (5, X 3)", 18),
        ("Ring = isodose(0)", 16),
        ("Ring = wall(PTV)", 16),
        ('Ring = "PTV', 8),
        ("Ring = PTV ** 2", 12),
        ("Ring = " + "(" * 40, 39),
    ],
)
def test_refusals_point_at_the_character(text, place):
    with pytest.raises(FormatError, match=f"at character {place}:") as refused:
        parse_recipe(text)
    lines = str(refused.value).splitlines()
    assert lines[2].index("^") == place - 1


_PIECES = st.sampled_from([*' ()|&-+=,"35LP\n', "PTV", "isodose(", "wall(", "mm", "Gy", "0.5", "é", "\ud800"])


@given(st.one_of(st.text(max_size=20), st.lists(_PIECES, max_size=14).map(lambda p: "A = " + "".join(p))))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_recipe_or_refused_by_name(text):
    try:
        recipe = parse_recipe(text)
    except FormatError as refused:
        assert "at character" in refused.message  # noqa: PT017 (what is refused is refused so)
        return
    assert parse_recipe(recipe.text) == recipe


@pytest.mark.parametrize(
    "rule",
    [
        {"make": "PTV", "from": "CTV", "margin_mm": {"L": 5, "R": 5, "A": 5, "P": 3, "S": 5, "I": 5}},
        {"make": "PTV", "from": ["CTV", "GTV"], "within": "External", "minus": "Rectum"},
        {"make": "A", "from": ["B", "C"], "margin_mm": dict.fromkeys("LRAPSI", 2), "minus": "D"},
    ],
)
def test_a_protocols_rule_is_a_recipe_whose_words_parse_to_it(rule):
    recipe = recipe_of(Derive.model_validate(rule))
    assert parse_recipe(recipe.text) == recipe
    assert recipe.make == rule["make"]
