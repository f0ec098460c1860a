"""The TG-263 grammar: what it reads, and where its refusals point."""

import pytest

from rtplan.dosimetry.metric import parse
from rtplan.errors import FormatError

GOOD = [
    "D95%[Gy]",
    "D0.03cc[Gy]",
    "V20Gy[%]",
    "V95%[cc]",
    "V95%[%]",
    "DC700cc[Gy]",
    "CV17.5Gy[cc]",
    "Mean[Gy]",
    "Max[%]",
    "Min[Gy]",
    "Volume[cc]",
    "V50Gy[%]@EQD2(3)",
    "D2%[%]@EQD2(1.5)",
]
#: Text and the character, counted from 1, at which it goes wrong.
BAD = [
    ("", 1),
    ("X95%[Gy]", 1),
    ("D95[Gy]", 4),
    ("D-5%[Gy]", 2),
    ("D105%[Gy]", 2),
    ("D95%[cc]", 6),
    ("V20Gy[Gy]", 7),
    ("V20cc[%]", 4),
    ("Mean[Gy", 8),
    ("Mean[Gy] ", 9),
    ("Volume[cc]@EQD2(3)", 11),
    ("D2%[Gy]@EQD2(0)", 14),
    ("D2%[Gy]@EQD2", 8),
]


@pytest.mark.parametrize("text", GOOD)
def test_round_trip(text):
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(("text", "place"), BAD)
def test_refusals_point_at_the_character(text, place):
    with pytest.raises(FormatError, match=f"at character {place}:") as refused:
        parse(text)
    lines = str(refused.value).splitlines()
    assert lines[2].index("^") == place - 1


def test_percent_of_dose_needs_a_prescription():
    assert [parse(t).needs_prescription for t in ("V95%[cc]", "Max[%]", "V20Gy[%]", "D95%[Gy]")] == [
        True,
        True,
        False,
        False,
    ]
    assert parse("V50Gy[%]@EQD2(3)").dose_kind == "EQD2(3)"
