"""The shelf of networks: cards and checked weights in, cards and weights out."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rtplan import resources
from rtplan.errors import FormatError, ModelError
from rtplan.learning.card import Card, InputSpec, NetworkSpec, OutputSpec
from rtplan.networks.build import build


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready to be asked, its card, the SHA-256 of its weights, and the folder it lies in."""

    card: Card
    network: nn.Module
    sha256: str
    folder: Path | None = None


def load_card(path: Path) -> Card:
    """Read a ``model.toml``.

    Raises
    ------
    FormatError
        If it is no TOML or no card.
    """
    try:
        return Card.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise FormatError(f"The model's card is no TOML: {broken}.", where=path.name) from None
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FormatError(f"The model's card is wrong at {place}: {first['msg']}.", where=path.name) from None


def load_model(name: str) -> Model:
    """Return a network of the shelf, or of the ``model.toml`` whose path is given.

    Raises
    ------
    UnknownName
        If there is no such model.
    ModelError
        If the weights are missing, are not the ones that the card names, or are of another network.
    """
    path = resources.find("models", name)
    card = load_card(path)
    if Path(card.weights.file).name != card.weights.file or not card.weights.file.endswith(".safetensors"):
        raise ModelError(
            "The card names weights that are no safetensors file beside it.", where=path.parent.name
        )
    file = resources.checked(path.parent / card.weights.file, card.weights.sha256)
    network = network_of(card.network, card.inputs, card.outputs)
    try:
        network.load_state_dict({key: value.float() for key, value in load_file(file).items()})
    except (RuntimeError, SafetensorError) as other:
        raise ModelError("The weights do not fit the network of the card.", where=card.name) from other
    return Model(card, network.eval(), card.weights.sha256, path.parent)


def network_of(
    spec: NetworkSpec, inputs: tuple[InputSpec, ...], outputs: tuple[OutputSpec, ...]
) -> nn.Module:
    """Return the untrained network of a card or of training settings."""
    return build(spec.name, len(inputs), len(outputs) * len(spec.heads), **spec.settings())


def save_model(folder: Path, card: Card, state: Mapping[str, Tensor]) -> Path:
    """Write weights (in the card's dtype) and ``model.toml`` with their SHA-256; return the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.bfloat16 if card.weights.dtype == "bf16" else torch.float32
    file = folder / card.weights.file
    save_file({key: value.detach().cpu().to(dtype).contiguous() for key, value in state.items()}, file)
    weights = card.weights.model_copy(update={"sha256": resources.sha256(file), "bytes": file.stat().st_size})
    return save_card(folder, card.model_copy(update={"weights": weights}))


def save_card(folder: Path, card: Card) -> Path:
    """Write ``model.toml`` and return its path."""
    path = folder / "model.toml"
    plain = card.model_dump(by_alias=True, mode="json", exclude_none=True)
    path.write_text(_toml(plain), encoding="utf-8")
    return path


def _toml(plain: Mapping[str, Any]) -> str:
    """Return plain data as TOML: one line per key, a list of tables as ``[[key]]`` at the end."""
    lines, tables = [], []
    for key, value in plain.items():
        if key == "figure":
            for item in value:
                tables.append(f"\n[[{key}]]")
                tables += [f"{name} = {_value(entry)}" for name, entry in item.items()]
        else:
            lines.append(f"{key} = {_value(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
