"""Who is in a batch: sub-folders, lists, mixed DICOM, digital patients; who is twice or unreadable."""

import shutil

import pytest

from rtplan.batch.members import members_of
from rtplan.errors import FormatError
from rtplan.io.index import pseudonym


def keys(members):
    return [member.key for member in members]


def expected(count, salt="rtplan"):
    return [pseudonym(f"HOSP-{number:04d}", salt) for number in range(1, count + 1)]


def test_each_sub_folder_is_a_patient_and_bears_his_pseudonym(four, asked):
    found = members_of(asked(four))
    assert [member.number for member in found] == [1, 2, 3, 4]
    assert keys(found) == expected(4)
    assert keys(members_of(asked(four, salt="secret"))) == expected(4, "secret")
    assert all(member.reachable for member in found)


def test_a_list_gives_the_order_and_names_who_is_not_there(four, asked, tmp_path):
    names = [f"{four}/Mustermann^Max{n}" for n in (3, 1)]
    (tmp_path / "list.txt").write_text("# two\n" + "\n".join([*names, "gone"]) + "\n", encoding="utf-8")
    first, second, third = members_of(asked(tmp_path / "list.txt"))
    assert keys((first, second)) == [expected(3)[2], expected(1)[0]]
    assert third.key == ""
    assert "not there" in third.fault
    rows = "".join(f"{n},{name}\n" for n, name in enumerate(names))
    (tmp_path / "list.csv").write_text("id,folder\n" + rows, encoding="utf-8")
    assert keys(members_of(asked(tmp_path / "list.csv"))) == keys((first, second))


def test_mixed_dicom_is_parted_by_person(clinic, asked, tmp_path):
    clinic(3, tmp_path / "in", mixed=True)
    for place in sorted((tmp_path / "in").iterdir()):
        for number, path in enumerate(sorted(place.rglob("*.dcm"))):
            path.rename(tmp_path / "in" / f"{place.name}_{number:03d}.dcm")
    found = members_of(asked(tmp_path / "in"))
    assert sorted(keys(found)) == sorted(expected(3))
    assert {member.kind for member in found} == {"files"}
    files = [path for member in found for path in member.files]
    assert len(files) == len(set(files)) == len(list((tmp_path / "in").glob("*.dcm")))


def test_nobody_is_run_twice_and_the_unreadable_are_named_by_number(clinic, asked, tmp_path):
    clinic(2, tmp_path)
    shutil.copytree(tmp_path / "Mustermann^Max2", tmp_path / "Z")
    (tmp_path / "zz bad").mkdir()
    (tmp_path / "zz bad" / "a.dcm").write_bytes(b"DICM" * 50)
    (tmp_path / "empty").mkdir()
    found = members_of(asked(tmp_path))  # Max1, Max2, Z, zz bad
    faults = [member.fault for member in found]
    assert faults[:2] == [None, None]
    assert "number 2 again" in faults[2]
    assert "readable" in faults[3]
    assert len(found) == 4


def test_digital_patients_need_no_source(asked):
    found = members_of(asked(None, phantoms=3))
    assert keys(found) == [pseudonym(f"study{seed:04d}") for seed in (1, 2, 3)]


def test_a_source_without_a_patient_is_refused(asked, tmp_path):
    with pytest.raises(FormatError, match="not there"):
        members_of(asked(tmp_path / "none"))
    with pytest.raises(FormatError, match="no patient"):
        members_of(asked(tmp_path))
    (tmp_path / "list.txt").write_text("\n# nobody\n", encoding="utf-8")
    with pytest.raises(FormatError, match="empty"):
        members_of(asked(tmp_path / "list.txt"))
