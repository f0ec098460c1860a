"""docs/batch.md: every call parses, the ones of the laptop run, and what it names is there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from rtplan.batch.settings import Limits
from rtplan.cli import _run, build

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def calls(*kinds):
    lines = [line for kind, text in BLOCK.findall(PAGE) if kind in kinds for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("rtplan ")]


def test_every_call_of_the_page_parses():
    app = typer.main.get_command(build())
    asked = calls("sh", "text")
    assert len(asked) >= 5
    for name, *words in asked:
        app.commands[name].make_context(name, list(words))


def test_what_the_page_says_of_limits_is_so():
    told = Limits()
    for name, value in (
        ("attempts", told.attempts),
        ("patience-s", told.patience_s),
        ("memory-mib", told.memory_mib),
    ):
        assert re.search(rf"`--{name}`?[^|\n]*\({value:g}\)", PAGE), name
    for path in re.findall(r"`((?:examples|benchmarks|tests)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists() or path.startswith("benchmarks/results"), path


def test_the_scripts_of_slurm_are_sound():
    for script in (ROOT / "examples" / "slurm").glob("*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.slow
def test_the_calls_of_the_laptop_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in calls("sh"):
        assert _run(words, debug=True) == 0, words
    told = capsys.readouterr()
    assert "Dashboard" in told.err
    assert "Batch of 2 patients" in told.out
    assert len(list((tmp_path / "cohort" / "patients").iterdir())) == 2
