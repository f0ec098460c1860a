"""Pages that nobody writes by hand (a hook of MkDocs): command line, Python, validation, changelog."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from rtplan.cli import build

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
#: Rooms in the reference, with what they are; each page shows the public names of all files of the room.
ROOMS = {
    "domain": "the types",
    "pipeline": "what a step is, and running steps",
    "steps": "one step per file",
    "io": "DICOM, NIfTI and other files",
    "imaging": "moving and shaping volumes",
    "phantom": "the digital pelvis",
    "dosimetry": "reading a dose",
    "planning": "making a dose",
    "evaluation": "against a reference",
    "learning": "from patients to weights and back",
    "networks": "tensor in, tensor out",
    "report": "what a person reads",
    "case": "one patient: read, run, write",
    "study": "a cohort over arms",
    "batch": "many patients",
    "service": "servers: review, view, the DICOM node",
    "resources": "where protocols and models lie",
    "errors": "every error that rtplan raises",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages where the navigation names their section."""
    for entry in config.nav or []:
        for section, pages in entry.items():
            if section == "Reference":
                pages.append({"Command line": "reference/cli.md"})
                pages.append({"Python": ["reference/rtplan.md", *(f"reference/{r}.md" for r in rooms())]})
            if section == "Validation":
                pages += [f"validation/{path.name}" for path in results()]
            if section == "About":
                pages += [{"Contributing": "contributing.md"}, {"Changelog": "changelog.md"}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def pages() -> dict[str, str]:
    """Return each generated page by its path in the site."""
    made = {
        "reference/cli.md": command_line(),
        "reference/rtplan.md": _python("rtplan", "the public face"),
        "validation/index.md": validation(),
        "contributing.md": _moved(ROOT / "CONTRIBUTING.md"),
        "changelog.md": _moved(ROOT / "CHANGELOG.md"),
    }
    made |= {f"reference/{room}.md": _room(room) for room in rooms()}
    return made | {f"validation/{path.name}": path.read_text(encoding="utf-8") for path in results()}


def rooms() -> list[str]:
    """Return the rooms that are there."""
    return [room for room in ROOMS if importlib.util.find_spec(f"rtplan.{room}")]


def results() -> list[Path]:
    """Return the tables that the benchmarks wrote, by name."""
    return sorted(RESULTS.glob("*.md"))


def command_line() -> str:
    """Return the reference of the command line, from its own help."""
    app = typer.main.get_command(build())
    text = ["# Command line", "", "Made from `rtplan --help`. Exit codes:", "", *EXIT_CODES, ""]
    for name, command in sorted(app.commands.items()):
        for words, leaf in _leaves(f"rtplan {name}", command):
            text += _command(words, leaf)
    return "\n".join(text)


EXIT_CODES = (
    "| code | means |",
    "|---|---|",
    "| 0 | done; what could not be evaluated is named |",
    "| 1 | refused or failed, nothing written; one message says what, where and what to do |",
    "| 2 | wrong call |",
    "| 3 | finished with failed patients, or a must-goal missed under `--strict` |",
    "| 130 | interrupted |",
)


def _leaves(words: str, command: Any) -> list[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        return [(words, command)]
    return [
        leaf for name, sub in sorted(command.commands.items()) for leaf in _leaves(f"{words} {name}", sub)
    ]


def _command(words: str, command: Any) -> list[str]:
    said, _, example = inspect.cleandoc(command.help or "").partition("Example:")
    text = [f"## {words}", "", _options_as_code(said.strip()), ""]
    if example:
        text += ["```text", " ".join(example.split()), "```", ""]
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    text += ["| argument or option | default | |", "|---|---|---|"]
    return [*text, *(_parameter(param) for param in shown), ""]


def _parameter(param: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    if param.param_type_name == "argument":
        names = f"`{(param.metavar or param.name or '').upper()}`".replace("|", "\\|")
    default = param.default
    shown = "" if default in (None, False, (), "", []) or callable(default) else f"`{default}`"
    shown = "**required**" if param.required else shown
    return f"| {names} | {shown} | {_cell(getattr(param, 'help', None))} |"


def _cell(text: str | None) -> str:
    return _options_as_code((text or "").replace("|", "\\|").replace("\n", " "))


def _options_as_code(text: str) -> str:
    return re.sub(r"(?<![`\w-])(--[a-z][a-z-]*)", r"`\1`", text)


def _python(module: str, what: str) -> str:
    return f"# `{module}`\n\n{what[0].upper()}{what[1:]}.\n\n::: {module}\n"


def _room(room: str) -> str:
    """Return one page for a room: a heading and the public names of each of its files."""
    place = ROOT / "rtplan" / room
    if not place.is_dir():
        return _python(f"rtplan.{room}", ROOMS[room])
    text = f"# `rtplan.{room}`\n\n{ROOMS[room][0].upper()}{ROOMS[room][1:]}.\n\n"
    modules = sorted(path for path in place.rglob("*.py") if path.stem != "__init__")
    for path in modules:
        if re.match(r'"""', path.read_text(encoding="utf-8")):
            text += f"::: {'.'.join(path.relative_to(ROOT).with_suffix('').parts)}\n\n"
    return text


def validation() -> str:
    """Return the list of the benchmarks' tables with the call that writes each."""
    text = [
        "# Validation",
        "",
        "What was measured, as the scripts in `benchmarks/` wrote it: nothing here is copied by hand.",
        "Each page says how it was made and on which machine, and can be made again by the call named there.",
        "How far a number carries, and what is not known, stands on the page of the concept.",
        "",
        "| what | written by |",
        "|---|---|",
    ]
    for path in results():
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        call = re.search(r"python (benchmarks/\w+\.py)", path.read_text(encoding="utf-8"))
        text.append(f"| [{title}]({path.name}) | {f'`{call[1]}`' if call else ''} |")
    return "\n".join(text) + "\n"


def _moved(path: Path) -> str:
    """Return a page from the repository's root with its links into docs/ set right."""
    text = path.read_text(encoding="utf-8").replace("](docs/", "](")
    return re.sub(r"\]\((?:benchmarks|models|rtplan|protocols)/[^)]*\)", "]", text)
