"""rtplan deidentify on the command line."""

import json

import pytest

from rtplan.cli import main
from rtplan.io.index import index


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return left.value.code


def test_a_real_patient_without_a_name(data, tmp_path, capsys):
    given = data / "prostatex/ProstateX-0000/dicom_t2tra"
    (tmp_path / "key").write_text("the secret of this clinic")
    for out in ("a", "b"):
        call = ("deidentify", given, "--out", tmp_path / out, "--key", tmp_path / "key", "--json", "--quiet")
        assert run(*call) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["patients"] == 1
    assert len(said["outputs"]) == len(index(given).entries)
    assert [e.sop_uid for e in index(tmp_path / "a").entries] == [
        e.sop_uid for e in index(tmp_path / "b").entries
    ]
    assert run("deidentify", given, "--out", tmp_path / "a") == 1
    assert "not empty" in capsys.readouterr().err
