"""A user's table of pseudonyms: read only, strict, and silent about IDs."""

from pathlib import Path

import pytest

from rtplan.case import pseudonym
from rtplan.errors import FormatError, UnknownName

SECRET = "HOSP-4711-X"


def table(tmp_path, text):
    path = tmp_path / "key.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_pseudonym_is_found_by_id_with_other_columns_and_a_byte_order_mark(tmp_path):
    path = table(tmp_path, f"\ufeffremark,patient_id,pseudonym\nx, {SECRET} ,P 01\n\ny,B-2,P 02\n")
    assert pseudonym.of(pseudonym.load(path), SECRET) == "P 01"
    assert pseudonym.of(pseudonym.load(path), "B-2 ") == "P 02"


def test_an_unknown_patient_is_refused_without_the_id(tmp_path):
    found = pseudonym.load(table(tmp_path, "patient_id,pseudonym\nA,P1\n"))
    with pytest.raises(UnknownName, match="not in the table") as refused:
        pseudonym.of(found, SECRET)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no row"),
        ("patient_id,pseudonym\n", "no row"),
        (f"id,name\n{SECRET},P1\n", "no row"),
        (f"patient_id,pseudonym\n{SECRET},\n", "row 2 needs"),
        (f"patient_id,pseudonym\n,{SECRET}\n", "row 2 has no"),
        (f"patient_id,pseudonym\n{SECRET},P1\n{SECRET},P2\n", "row 3 repeats a patient"),
        (f"patient_id,pseudonym\n{SECRET},P1\nB,P1\n", "row 3 repeats a pseudonym"),
        (f'patient_id,pseudonym\n{SECRET},"P\n1"\n', "in one line"),
        (f"patient_id,pseudonym\n{SECRET},{'P' * 41}\n", "1 to 40 signs"),
        (f"patient_id,pseudonym\n{SECRET},study {SECRET.lower()}\n", "contains a patient's ID"),
        (f"patient_id,pseudonym\nB,{SECRET} two\n{SECRET},P1\n", "contains a patient's ID"),
        (f'patient_id,pseudonym\n"{SECRET},P1\n', "no CSV"),
    ],
)
def test_a_table_that_would_mislead_is_refused_and_no_id_is_said(tmp_path, text, why):
    with pytest.raises(FormatError, match=why) as refused:
        pseudonym.load(table(tmp_path, text))
    assert SECRET not in str(refused.value)
    assert SECRET.lower() not in str(refused.value)


def test_a_table_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(FormatError, match="cannot be opened"):
        pseudonym.load(Path(tmp_path / "absent.csv"))
    (tmp_path / "key.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="no CSV"):
        pseudonym.load(tmp_path / "key.csv")
