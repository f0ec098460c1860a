"""Where a case's numbers come from: weights, data files; and whether it was finished before."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rtplan import resources
from rtplan.case.manifest import DataFile, Manifest, Weights
from rtplan.case.settings import CaseSettings
from rtplan.dosimetry.parameters import find_set
from rtplan.dosimetry.protocol import load_protocol
from rtplan.dosimetry.wall import load_levels
from rtplan.errors import OutputError
from rtplan.learning.residuals import FILE as RESIDUALS
from rtplan.learning.zoo import load_card
from rtplan.planning.beam import load_beam
from rtplan.steps.map_surface import MapSurface
from rtplan.steps.optimise_plan import OptimisePlan


def finished_before(out: Path, asked: Manifest) -> bool:
    """Whether a folder holds the finished results of the same inputs, settings and version.

    Raises
    ------
    OutputError
        If its manifest cannot be read.
    """
    path = out / "manifest.json"
    if not path.is_file():
        return False
    try:
        done = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        raise OutputError(
            "The manifest in the out folder cannot be read, so nothing can be resumed.",
            where=str(path),
            action="choose another --out.",
        ) from None
    return done.same_question(asked)


def weights_of(settings: CaseSettings, has_mr: bool) -> tuple[Weights, ...]:
    """Return the weights that make the synthetic CT of a case; none without an MR or without that arm."""
    if not has_mr or "SynCT" not in settings.arms:
        return ()
    card = load_card(resources.find("models", settings.model))
    return (Weights(name=card.name, sha256=card.weights.sha256),)


def data_files_of(settings: CaseSettings) -> tuple[DataFile, ...]:
    """Return the files that give numbers to this case: protocol, outcome models, bulk HU, beam, curve."""
    asked = [("protocols", settings.protocol)]
    asked += [("models/bulk", arm) for arm in settings.arms if arm in resources.names("models/bulk")]
    asked += [("models/beams", OptimisePlan.machine), ("models/curves", OptimisePlan.curve)]
    asked += kernels_of(OptimisePlan.machine, settings.algorithm)
    if load_protocol(settings.protocol).site in load_levels(MapSurface.levels).sites:
        asked.append(("models/surface", MapSurface.levels))
    found = [(shelf, resources.find(shelf, name)) for shelf, name in asked]
    models = [entry.model for entry in load_protocol(settings.protocol).outcome]
    found += [find_set(name) for name in dict.fromkeys((*models, *settings.outcome))]
    if settings.dose_samples:
        folder = resources.find("models", settings.model).parent
        found.append((f"models/{folder.name}", folder / RESIDUALS))
    return tuple(
        DataFile(path=f"{shelf}/{path.name}", sha256=resources.sha256(path), **said(path))
        for shelf, path in found
    )


def kernels_of(machine: str, algorithm: str) -> list[tuple[str, str]]:
    """Return shelf and name of the kernel that a dose by this algorithm rests on; none for the pencil."""
    cone = load_beam(machine).cone
    return [("models/kernels", cone.kernel)] if algorithm == "cone" and cone is not None else []


def said(path: Path) -> dict[str, Any]:
    """Return whether a file's numbers are verified, and their sources, as the file says."""
    plain = tomllib.loads(path.read_text(encoding="utf-8"))
    verified = plain.get("verified")
    said = "; ".join(dict.fromkeys(_sources(plain)))
    return {"verified": verified if isinstance(verified, bool) else None, "source": said}


def _sources(plain: Any) -> Iterator[str]:
    """Yield every source that a file names: of the whole, else of its groups of numbers."""
    if isinstance(plain, list):
        for item in plain:
            yield from _sources(item)
    if not isinstance(plain, dict):
        return
    found = plain.get("source")
    if isinstance(found, str) and found:
        yield found
    elif isinstance(found, dict):
        named = {"citation": "", "doi": "doi:"}
        yield from (f"{named.get(key, f'{key}: ')}{text}" for key, text in found.items() if text)
    else:
        for item in plain.values():
            yield from _sources(item)
