"""Paths that the newcomer's pages name are there; every command's example parses."""

import re
from pathlib import Path

import pytest
import typer

from rtplan.cli import build

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("CONTRIBUTING.md", "README.md", "docs/house.md", "docs/install.md", "docs/planning-system.md")
#: A path of the repository: a folder at its root, then more; patterns and what is made by a command are none.
TREE = r"(?:rtplan|models|protocols|tests|docs|benchmarks|examples|bundle)/[\w./-]*"


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_the_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = set(re.findall(rf"[`(]({TREE})[`)#]", text))
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_the_walk_covers_what_newcomers_add():
    walk = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("newcomer's walk")[2]
    paths = re.findall(rf"`({TREE})`", walk)
    assert len(paths) >= 20
    for thing in ("an organ", "a protocol", "a network", "a beam", "a page"):
        assert f"| {thing} |" in walk


def leaves(words, command):
    if not hasattr(command, "commands"):
        return [(words, command)]
    return [leaf for name, sub in command.commands.items() for leaf in leaves([*words, name], sub)]


@pytest.mark.parametrize(
    ("words", "command"),
    leaves([], typer.main.get_command(build())),
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_every_command_has_an_example_with_options_that_it_has(words, command):
    example = " ".join((command.help or "").partition("Example: rtplan ")[2].split())
    assert example.startswith(" ".join(words)), f"rtplan {' '.join(words)} has no example"
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    assert {word for word in example.split() if word.startswith("--")} <= known
