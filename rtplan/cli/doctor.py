"""rtplan doctor: versions, CPU and GPU, memory, disk, model hashes, optional peers."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from rtplan import resources
from rtplan.errors import ModelError

LIBRARIES = (
    "torch",
    "monai",
    "pydicom",
    "SimpleITK",
    "numpy",
    "scipy",
    "matplotlib",
    "pydantic",
    "safetensors",
)
PEERS = ("dicompyler-core", "rt-utils", "pymedphys")
PROGRAMS = ("dciodvfy", "dcmdump", "plastimatch")


def command(as_json: bool = typer.Option(False, "--json", help="Print one JSON object.")) -> None:
    """Show what this machine has and whether the shipped models are whole.

    Example: rtplan doctor
    """
    facts = collect()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for heading, rows in facts.items():
        typer.echo(f"{heading}")
        for name, value in rows.items():
            typer.echo(f"  {name:24} {value}")


def collect() -> dict[str, dict[str, Any]]:
    """Return the facts by heading."""
    return {
        "versions": {"rtplan": _version("rtplan"), "python": platform.python_version()}
        | {name: _version(name) for name in LIBRARIES},
        "machine": _machine(),
        "models": _models(),
        "optional peers": {name: _version(name) for name in PEERS}
        | {name: "found" if shutil.which(name) else "not here" for name in PROGRAMS},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not here"


def _machine() -> dict[str, Any]:
    from rtplan.planning import device

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory GiB": round(memory, 1),
        "free disk GiB": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "accelerators": ", ".join(device.accelerators()) or "none",
    }


def _models() -> dict[str, str]:
    return {name: _state_of(name) for name in resources.names("models")}


def _state_of(name: str) -> str:
    path = resources.find("models", name)
    weights = tomllib.loads(path.read_text(encoding="utf-8")).get("weights")
    if not weights:
        return "no weights"
    try:
        resources.checked(path.parent / weights["file"], weights["sha256"])
    except ModelError as wrong:
        return wrong.message
    return f"whole, SHA-256 {weights['sha256'][:12]}…"
