"""The command line's exit codes."""

import json
import subprocess
import sys

import pytest

from rtplan import cli


def leave(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return left.value.code


def test_help_is_done_and_a_wrong_call_is_two():
    assert leave("--help") == 0
    assert leave("nosuch") == 2
    assert leave("doctor", "--nosuch") == 2


SUBJECTS = [f"{group} {name}" for group, (_, names) in cli.GROUPS.items() for name in names]


@pytest.mark.parametrize("name", [*sorted(cli.COMMANDS), *SUBJECTS])
def test_every_command_has_help_with_an_example(name, capsys):
    assert leave(*name.split(), "--help") == 0
    assert "Example" in capsys.readouterr().out


def test_doctor_prints_one_json_object(capsys):
    assert leave("doctor", "--json") == 0
    assert json.loads(capsys.readouterr().out)["versions"]["rtplan"]


def test_an_error_that_nobody_foresaw_is_one_message_without_its_text(monkeypatch, capsys):
    from rtplan.cli import doctor

    def broken(*_):
        raise ZeroDivisionError("Doe^John")

    monkeypatch.setattr(doctor, "collect", broken)
    assert leave("doctor") == 1
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "Doe" not in told
    with pytest.raises(ZeroDivisionError):
        cli.main(["--debug", "doctor"])


def test_doctor_finds_the_shipped_weights_whole(capsys):
    assert leave("doctor", "--json") == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert models
    assert all(state.startswith("whole") for state in models.values())


def test_python_m_is_the_same_command_line():
    called = subprocess.run(
        [sys.executable, "-m", "rtplan", "protocols", "--json"], capture_output=True, text=True, check=False
    )
    assert called.returncode == 0, called.stderr
    assert "prostate_boost_flame" in called.stdout
