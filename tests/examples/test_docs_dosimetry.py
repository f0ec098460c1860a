"""The examples of docs/dosimetry.md run in order, as they stand."""

import re
import shlex
from pathlib import Path

from rtplan.cli import _run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dosimetry.md"
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
    assert commands >= 8
    assert "physical sum" in told.out
    assert "Ring = (PTVp_6000 + 8) - PTVp_6000" in told.err
    assert {"curves.png", "rectum_Rectum_surface.png", "gamma.mha", "change.mha"} <= {
        path.name for path in tmp_path.iterdir()
    }
