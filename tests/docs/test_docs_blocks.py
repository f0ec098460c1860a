"""Every fenced block of the documentation runs: commands and Python, in order, in a folder of the page's own.

A comment above a block (`<!-- docs: … -->`, parts by `;`) says what a test must know:

========================  ==============================================================================
`given THING as PATH`      THING of tests/docs/conftest.py, or a file in it, lies at PATH (as a copy)
`nightly`                  takes long: run by `make nightly`; here its words are checked
`gives PATH from THING`    and what it would have made is that THING
`not run, REASON`          cannot run here; its words are checked against the command line
`exit N`                   its last command ends with this exit code
`says TEXT`, `makes FILE`  its output holds the text, the file is there afterwards
========================  ==============================================================================
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
import typer

from rtplan.cli import _run, build

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
TOLD = re.compile(r"<!-- docs: ((?:(?!-->).)*) -->\s*\Z", re.S)
DIRECTIVE = re.compile(r"given|nightly|gives|not run|exit|says|makes")
RUN_KINDS = ("sh", "bash", "console", "python")
#: What may stand in other fences: data, drawings and what programs print.
OTHER_KINDS = ("", "text", "json", "toml", "csv", "html", "yaml", "ini", "csharp")
#: Blocks that nothing here can run, over all pages. A new one needs a reason, and this number a good one.
MOST_NOT_RUN = 15
SHELL = re.compile(r"[|<>$;&`]|\*")
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    kind: str
    text: str
    told: tuple[str, ...]

    def all(self, word: str) -> list[str]:
        return [part[len(word) :].strip(" ,") for part in self.told if part.startswith(word)]

    @property
    def at(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[tuple[str, str]]:
        """Return its commands, each with what it is said to print (console blocks; else nothing)."""
        if self.kind == "console":
            parts = re.split(r"^\$ ", self.text, flags=re.M)[1:]
            return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]
        lines = self.text.replace("\\\n", " ").splitlines()
        return [(line, "") for line in lines if line.strip() and not line.lstrip().startswith("#")]


def blocks_of(page: Path) -> list[Block]:
    text, blocks = page.read_text(encoding="utf-8"), []
    for found in FENCE.finditer(text):
        told = TOLD.search(text[: found.start()])
        parts = tuple(" ".join(part.split()) for part in told[1].split(";")) if told else ()
        line = text.count("\n", 0, found.start()) + 1
        blocks.append(Block(page, line, found["kind"], dedent(found["text"]), parts))
    return blocks


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN_PAGES = [page for page in PAGES if any(b.kind in RUN_KINDS and b.page == page for b in BLOCKS)]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def words_of(command: str) -> list[str]:
    words = shlex.split(command, comments=True)
    return [words[0].rpartition("/bin/")[2], *words[1:]]


class Page:
    """One page being run: its folder, its Python names, where the shared things are."""

    def __init__(self, folder: Path, ready, capfd, long: bool) -> None:
        self.folder, self.ready, self.capfd, self.long = folder, ready, capfd, long
        self.names: dict[str, object] = {"__name__": "__main__"}

    def run(self, block: Block) -> None:
        for given in block.all("given"):
            self.put(*reversed(given.split(" as ")))
        if block.all("not run") or (block.all("nightly") and not self.long):
            check_words(block)
            for given in block.all("gives"):
                self.put(*given.split(" from "))
            return
        said = self.python(block) if block.kind == "python" else self.shell(block)
        for text in block.all("says"):
            assert text in said, f"{block.at} did not say {text!r} but:\n{said}"
        for path in block.all("makes"):
            assert (self.folder / path).exists(), f"{block.at} did not make {path}"

    def put(self, path: str, thing: str) -> None:
        name, _, part = thing.partition("/")
        source, place = self.ready(name) / part, self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            shutil.rmtree(place)
        shutil.copytree(source, place, symlinks=True) if source.is_dir() else shutil.copy(source, place)

    def python(self, block: Block) -> str:
        self.capfd.readouterr()
        exec(compile("\n" * block.line + block.text, str(block.page), "exec"), self.names)
        return self.capfd.readouterr().out

    def shell(self, block: Block) -> str:
        commands, said = block.commands(), ""
        for number, (command, wanted) in enumerate(commands, 1):
            code, out, err = self.call(command)
            expected = int(*block.all("exit")) if block.all("exit") and number == len(commands) else 0
            assert code == expected, f"{block.at}: {command} ended with {code}:\n{out}{err}"
            if wanted:
                self.compare(block, command, wanted, out + err)
            said += out + err
        return said

    def call(self, command: str) -> tuple[int, str, str]:
        self.capfd.readouterr()
        words = words_of(command)
        if words[0] == "rtplan" and not SHELL.search(command.split(" #")[0]):
            code = _run(words[1:], debug=False)
        else:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            places = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
            code = subprocess.run(["bash", "-c", command], env=places).returncode
        return (code, *self.capfd.readouterr())

    @staticmethod
    def compare(block: Block, command: str, wanted: str, found: str) -> None:
        wanted = wanted.replace("…", "...").strip() + "\n"
        fits = doctest.OutputChecker().check_output(wanted, found.strip() + "\n", LOOSE)
        assert fits, f"{block.at}: {command} is said to print\n{wanted}and printed\n{found}"


def check_words(block: Block) -> None:
    """Hold a block that is not run to the command line: the command is there, and so is each option."""
    if block.kind == "python":
        compile(block.text, block.at, "exec")
        return
    for command, _ in block.commands():
        words = words_of(command)
        if words[0] == "make":
            targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
            assert [w for w in words[1:] if "=" not in w and w not in targets] == [], f"{block.at}: {command}"
        elif words[0] == "rtplan" or words[1:2] == ["run"]:  # also podman run … rtplan …
            check_call(block, words[words.index("rtplan") + 1 :])


def check_call(block: Block, words: list[str]) -> None:
    here, rest = typer.main.get_command(build()), list(words)
    known = {"--help"}
    while hasattr(here, "commands") and rest:
        known |= {option for param in here.params for option in param.opts}
        if rest[0].startswith("-"):
            rest.pop(0)
            continue
        assert rest[0] in here.commands, f"{block.at}: there is no rtplan {' '.join(words)}"
        here = here.commands[rest.pop(0)]
    known |= {option for param in here.params for option in (*param.opts, *param.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{block.at}: {here.name} has no {word}"


def run_page(page: Path, ready, capfd, folder: Path, *, long: bool) -> None:
    running = Page(folder, ready, capfd, long)
    for block in BLOCKS:
        if block.page == page and block.kind in RUN_KINDS:
            running.run(block)


@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_the_blocks_of_the_page_run(page, ready, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, ready, capfd, tmp_path, long=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in RUN_PAGES if any(b.all("nightly") for b in blocks_of(p))], ids=name_of
)
def test_the_long_blocks_of_the_page_run_too(page, ready, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, ready, capfd, tmp_path, long=True)


def test_few_blocks_are_not_run_and_each_says_why():
    left = [block for block in BLOCKS if any(part.startswith("not run") for part in block.told)]
    assert all(len(reason) > 10 for block in left for reason in block.all("not run"))
    assert len(left) <= MOST_NOT_RUN, [block.at for block in left]


def test_every_fence_is_of_a_known_kind_and_every_remark_is_understood():
    for block in BLOCKS:
        assert block.kind in RUN_KINDS + OTHER_KINDS, f"{block.at}: a block of kind {block.kind!r} is not run"
        assert all(DIRECTIVE.match(part) for part in block.told), f"{block.at}: {block.told}"
    remarks = sum(page.read_text(encoding="utf-8").count("<!-- docs:") for page in PAGES)
    assert remarks == sum(bool(block.told) for block in BLOCKS), "a remark stands above no block"


def test_words_that_are_not_on_the_command_line_are_found():
    def block(text):
        return Block(PAGES[0], 1, "sh", text, ())

    check_words(block("rtplan run FOLDER --protocol P --out DIR \\\n   --dry-run  # in order\nmake demo\n"))
    for text in ("rtplan fly\n", "rtplan run F --colour red\n", "make tea\n", "rtplan evaluate weather\n"):
        with pytest.raises(AssertionError):
            check_words(block(text))
