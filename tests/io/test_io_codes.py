"""Every code that the door can emit stands in the table, and every line of the table can be emitted."""

import ast
import re
from pathlib import Path

import pytest

import rtplan.io
from rtplan.errors import FormatError
from rtplan.io import codes as table

CODE = re.compile(r"[A-Z0-9]{2,}(_[A-Z0-9]+)+")
FOLDER = Path(rtplan.io.__file__).parent
#: Words of DICOM and of file formats that look like codes.
WORDS = {
    *("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "OPEN_PLANAR", "CONTRAST_AGENT", "DOSE_REGION", "IRRAD_VOLUME"),
    *("TREATED_VOLUME", "ROI_OVERRIDE", "SOURCE_SIDE", "TREATMENT_DEVICE"),
    *("IN_PHASE", "OPP_PHASE", "OUT_PHASE"),
}


def texts(path):
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    }


def given(path):
    """Return codes that stand first in the call of something that makes a notice, with their severity."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        first = node.args[0]
        if called == "Notice" or re.search("say|refus|notice", called):
            assert not isinstance(first, ast.JoinedStr), f"{path.name}:{node.lineno}: a code must stand whole"
            if isinstance(first, ast.Constant) and CODE.fullmatch(str(first.value)):
                second = node.args[1] if len(node.args) > 1 else None
                yield first.value, second.value if isinstance(second, ast.Constant) else None


def test_every_code_that_is_emitted_stands_in_the_table():
    files = sorted(FOLDER.rglob("*.py"))
    emitted = {(code, severity) for path in files for code, severity in given(path)}
    known = table.codes()
    assert len(emitted) > 30
    assert {code for code, _ in emitted} - set(known) == set()
    for code, severity in emitted:
        if severity in table.SEVERITIES:
            assert severity in known[code].severities, code


def test_every_line_of_the_table_can_be_emitted():
    said = set().union(*(texts(path) for path in FOLDER.rglob("*.py"))) - WORDS
    assert set(table.codes()) - said == set()


def test_the_table_speaks_in_sentences():
    for code in table.codes().values():
        assert CODE.fullmatch(code.name)
        assert code.meaning[0].isupper() or code.meaning.startswith("rtplan")
        assert code.meaning.endswith(".")
        assert not code.action or (code.action[0].isupper() or code.action.startswith("rtplan"))
        assert not code.action or code.action.endswith(".")
        if "refuse" in code.severities:
            assert code.action, f"{code.name} refuses and must say what to do"


def test_a_code_that_stands_twice_is_refused(tmp_path, monkeypatch):
    for part in ("a", "b"):
        (tmp_path / f"{part}.toml").write_text('[X_Y]\nseverity = "warn"\nmeaning = "M."\n')
    monkeypatch.setattr(table.resources, "shelf", lambda kind: tmp_path)
    table.codes.cache_clear()
    try:
        with pytest.raises(FormatError, match="stands twice"):
            table.codes()
    finally:
        table.codes.cache_clear()
