"""The examples of docs/outcome.md run in order, and what it says of forms and sets is so."""

import re
import shlex
from pathlib import Path

from rtplan.cli import _run
from rtplan.dosimetry.forms import FORMS
from rtplan.dosimetry.parameters import load_set, names
from rtplan.dosimetry.wall import load_levels

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outcome.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space, commands = {}, 0
    for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, PAGE.name, "exec"), space)
            continue
        for line in text.splitlines():
            program, *words = shlex.split(line)
            assert program == "rtplan"
            assert _run(words, debug=True) == 0, line
            commands += 1
    told = capsys.readouterr()
    assert commands == 3
    assert "EQD2 of each voxel" in told.out
    assert "NOT converted to EQD2" in told.out


def test_the_page_names_every_form_the_verified_sets_and_the_levels():
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in FORMS)
    verified = [load_set(name) for name in names() if load_set(name).verified]
    for item in verified:
        assert item.name in page or "bladder_acute_" in item.name
    levels = ", ".join(f"{gy:g}" for gy in load_levels().levels_gy)
    assert f"{levels} Gy EQD2(3)" in " ".join(page.split())
