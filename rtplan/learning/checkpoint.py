"""Checkpoints of a training: safetensors for what is a tensor, JSON for what is a number. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from rtplan.errors import ModelError

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
    numbers: Mapping[str, Any],
) -> None:
    """Write the state of a training; the JSON is written last and names the step of the tensors.

    Parameters
    ----------
    folder : Path
        Gets ``state-<a or b>.safetensors`` in turn and ``state.json``.
    numbers : mapping
        Plain numbers with ``step``.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {
            f"{name}/{key}": value.detach().contiguous() for key, value in module.state_dict().items()
        }
    for name, optimiser in optimisers.items():
        tensors |= _moments(name, optimiser)
    previous = _numbers(folder).get("file", "")
    file = "state-b.safetensors" if previous == "state-a.safetensors" else "state-a.safetensors"
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, folder / file)
    partial = folder / "state.json.partial"
    partial.write_text(json.dumps({**numbers, "file": file}, indent=1), encoding="utf-8")
    partial.replace(folder / "state.json")


def load(
    folder: Path, modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]
) -> dict[str, Any]:
    """Bring modules and optimisers to the saved state and return the saved numbers.

    Raises
    ------
    ModelError
        If there is no checkpoint, or it is of another network.
    """
    numbers = _numbers(folder)
    if not numbers:
        raise ModelError("There is no checkpoint to resume from.", where=folder.name)
    tensors = load_file(folder / str(numbers["file"]))
    for name, module in modules.items():
        part = {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}
        try:
            module.load_state_dict(part)
        except RuntimeError as other:
            raise ModelError(
                f"The checkpoint is of another network ({name}).",
                where=folder.name,
                action="train into another folder, or resume with the settings it began with.",
            ) from other
    for name, optimiser in optimisers.items():
        _restore(name, optimiser, tensors)
    return numbers


def _numbers(folder: Path) -> dict[str, Any]:
    path = folder / "state.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _parameters(optimiser: Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _moments(name: str, optimiser: Optimizer) -> dict[str, Tensor]:
    found = {}
    for index, parameter in enumerate(_parameters(optimiser)):
        for key in _MOMENTS:
            if key in optimiser.state.get(parameter, {}):
                found[f"{name}/{index}/{key}"] = optimiser.state[parameter][key]
    return found


def _restore(name: str, optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    for index, parameter in enumerate(_parameters(optimiser)):
        state = {
            key: tensors[f"{name}/{index}/{key}"] for key in _MOMENTS if f"{name}/{index}/{key}" in tensors
        }
        if state:
            optimiser.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device, torch.float32)
                for key, value in state.items()
            }
