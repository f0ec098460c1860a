"""The command line's exit codes."""

import json

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


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_help_with_an_example(name, capsys):
    assert leave(name, "--help") == 0
    assert "Example" in capsys.readouterr().out


def test_doctor_prints_one_json_object(capsys):
    assert leave("doctor", "--json") == 0
    assert json.loads(capsys.readouterr().out)["versions"]["rtplan"]
