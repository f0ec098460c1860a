"""The TG-263 grammar: what it reads, and where its refusals point."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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
    ("V50Gy[%]@EQD2(-3)", 15),
    ("V50Gy[%]@BED(3)", 9),
    ("V20Gy", 6),
    ("V٣Gy[%]", 2),
    ("V1e3Gy[%]", 3),
    ("D0,03cc[Gy]", 3),
    ("V" + "9" * 400 + "Gy[%]", 2),
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


#: Pieces of the grammar, so that fuzzing gets past its first character.
_PIECES = st.sampled_from(
    [
        *"DV[]%3.- )٣e9\n\ud800",
        "DC",
        "CV",
        "Mean",
        "Max",
        "Min",
        "Volume",
        "Gy",
        "cc",
        "@EQD2(",
        "0.03",
        "100",
    ]
)


@given(st.one_of(st.text(max_size=30), st.lists(_PIECES, max_size=10).map("".join)))
@example("D99999999999999999999%[Gy]")
@example("V0.0000000001Gy[%]")
@settings(max_examples=600, deadline=None)
def test_any_text_is_a_metric_or_refused_by_name(text):
    try:
        metric = parse(text)
    except FormatError as refused:
        assert "at character" in refused.message  # noqa: PT017 (what is refused is refused so)
        return
    assert parse(str(metric)) == metric


@given(
    st.sampled_from(
        [("D", "%", "Gy"), ("D", "cc", "%"), ("DC", "cc", "Gy"), ("V", "Gy", "%"), ("CV", "%", "cc")]
    ),
    st.integers(0, 10**9 - 1),
    st.integers(0, 7),
)
@settings(max_examples=200, deadline=None)
def test_a_number_reads_back_as_it_was_written(form, digits, point):
    kind, unit, wanted = form
    amount = digits / 10**point
    if amount > (100.0 if kind == "D" and unit == "%" else 9_999_999):
        return
    written = f"{digits // 10**point}.{digits % 10**point:0{point}d}".rstrip(".") if point else str(digits)
    metric = parse(f"{kind}{written}{unit}[{wanted}]")
    assert metric.amount == pytest.approx(amount, rel=1e-15)
    assert parse(str(metric)) == metric
