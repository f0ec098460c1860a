"""Draw training samples: which pair, which contrast, which patch, changed how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.errors import ModelError
from rtplan.learning import augment, together
from rtplan.learning.channels import AIR_HU, BONE_HU, HU_SCALE, NORMALISE
from rtplan.learning.pairs import NOTHING, Pair, unit
from rtplan.learning.settings import TrainSettings

_CENTRES, _SAMPLES = 4000, 4096


@dataclass(frozen=True, eq=False)
class Sample:
    """One batch: inputs (b, c, z, y, x), CT in HU / 1000, weight of each voxel, and where both bodies are."""

    inputs: Tensor
    ct: Tensor
    weight: Tensor
    both: Tensor


@dataclass(frozen=True, eq=False)
class _Case:
    pair: Pair
    body_at: NDArray[np.int64]
    bone_at: NDArray[np.int64]
    signal: dict[str, NDArray[np.float32]] = field(default_factory=dict)


class Sampler:
    """Draws batches from pairs; the same seed and step give the same batch.

    Parameters
    ----------
    pairs : sequence of (share, pairs)
        Groups with their relative share of the samples; within a group every pair is as likely.
    settings : TrainSettings
        Patch, augmentation, loss weights and inputs.

    Raises
    ------
    ModelError
        If there is no pair, or one without body.
    """

    def __init__(self, pairs: Sequence[tuple[float, Sequence[Pair]]], settings: TrainSettings) -> None:
        groups = [(share, group) for share, group in pairs if group]
        if not groups:
            raise ModelError("There is no patient to train on.", action="check the data of the settings.")
        self.settings = settings
        self.normalise = NORMALISE[next(s.normalise for s in settings.inputs if s.kind == "mr")]
        self.shares = np.array([share for share, _ in groups]) / sum(share for share, _ in groups)
        self.groups = [[_prepare(pair) for pair in group] for _, group in groups]

    def draw(self, step: int) -> Sample:
        """Return the batch of a step; of several processes each draws its own part of one large batch."""
        places = together.shares(range(self.settings.optimise.batch))
        seeds = [[self.settings.seed, step, *([place] if place else [])] for place in places]
        ones = [self._one(np.random.default_rng(seed)) for seed in seeds]
        inputs, ct, weight, both = (torch.stack(parts) for parts in zip(*ones, strict=True))
        return Sample(inputs, ct, weight, both)

    def _one(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        settings, aug = self.settings, self.settings.augment
        group = self.groups[int(rng.choice(len(self.groups), p=self.shares))]
        case = group[int(rng.integers(len(group)))]
        cut = self._place(case, rng)
        weights = _mixture(case, rng, aug.mix_chance)
        mr = sum(w * unit(_patch(case.pair.mr[name], cut, NOTHING)) for name, w in weights.items())
        signal = torch.from_numpy(np.sum([w * case.signal[name] for name, w in weights.items()], axis=0))
        ct = (_patch(case.pair.ct, cut, AIR_HU) - AIR_HU) / np.float32(HU_SCALE)
        planes = [mr, ct, _patch(case.pair.body, cut), _patch(case.pair.both, cut)]
        stack = torch.from_numpy(np.stack([np.asarray(plane, np.float32) for plane in planes]))
        if rng.random() < aug.warp_chance:
            stack = augment.warp(stack, settings.spacing_zyx_mm, rng, aug)
        for chance, axis in ((aug.mirror_chance, -1), (aug.upside_chance, -3)):
            if chance > 0.0 and rng.random() < chance:
                stack = stack.flip(axis)
        curve = augment.draw_curve(rng, aug)
        body, both = (stack[2:3] >= 0.5).float(), (stack[3:4] >= 0.5).float()
        signal = curve(signal)
        x = augment.corrupt(curve(stack[0:1]), rng, aug)
        low, spread = self.normalise(signal.numpy())
        x = (x - low) / spread * body
        ct_plane = stack[1:2] + AIR_HU / HU_SCALE
        channels = [body if spec.kind == "body" else x for spec in settings.inputs]
        bone = (ct_plane >= BONE_HU / HU_SCALE).float() * both
        weight = both * (1.0 + (settings.loss.bone - 1.0) * bone) + settings.loss.air * (1.0 - body) * (
            ct_plane < -0.5
        )
        return torch.cat(channels), ct_plane, weight, both

    def _place(self, case: _Case, rng: np.random.Generator) -> list[tuple[int, int]]:
        bone = case.bone_at.size > 0 and rng.random() < self.settings.optimise.bone_centred
        where = case.bone_at if bone else case.body_at
        centre = np.unravel_index(int(where[rng.integers(where.size)]), case.pair.ct.shape)
        cut = []
        for at, size, patch in zip(centre, case.pair.ct.shape, self.settings.patch_zyx, strict=True):
            low, high = sorted((0, size - patch))
            cut.append((int(np.clip(int(at) - patch // 2 + rng.integers(-4, 5), low, high)), patch))
        return cut


def _prepare(pair: Pair) -> _Case:
    rng = np.random.default_rng(0)
    body_at, bone_at = np.flatnonzero(pair.both), np.flatnonzero(pair.bone)
    if body_at.size == 0:
        raise ModelError("A training pair shows no body.", where=pair.name)
    inside = rng.choice(np.flatnonzero(pair.body), _SAMPLES)
    signal = {name: pair.unit(name).ravel()[inside] for name in pair.mr}
    return _Case(pair, _few(body_at, rng), _few(bone_at, rng), signal)


def _few(where: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return where if where.size <= _CENTRES else rng.choice(where, _CENTRES, replace=False)


def _mixture(case: _Case, rng: np.random.Generator, chance: float) -> dict[str, float]:
    names = sorted(case.pair.mr)
    if len(names) > 1 and rng.random() < chance:
        parts = rng.dirichlet(np.ones(len(names)))
        return dict(zip(names, (float(part) for part in parts), strict=True))
    return {names[int(rng.integers(len(names)))]: 1.0}


def _patch(array: NDArray[np.generic], cut: list[tuple[int, int]], fill: float = 0.0) -> NDArray[np.float32]:
    out = np.full([size for _, size in cut], fill, np.float32)
    source = tuple(slice(max(0, a), min(n, a + p)) for (a, p), n in zip(cut, array.shape, strict=True))
    target = tuple(slice(s.start - a, s.stop - a) for s, (a, _) in zip(source, cut, strict=True))
    out[target] = array[source]
    return out
