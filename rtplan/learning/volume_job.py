"""What all jobs of dose networks share: order of the patients, batches, the mean loss, sorted doses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rtplan.errors import ModelError
from rtplan.learning import together
from rtplan.learning.dose_terms import Course
from rtplan.learning.run import Run
from rtplan.learning.volume_settings import VolumeSettings

#: Voxels per structure whose doses are sorted.
SORTED_MAX = 4096


class Case(Protocol):
    """A patient that can be learned from."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def dose(self) -> Any:
        """Planned dose, or None."""


C = TypeVar("C", bound=Case)
S = TypeVar("S", bound=VolumeSettings)


@dataclass(frozen=True, eq=False)
class VolumeSample:
    """One sample: channels (1, c, z, y, x), dose (1, 1, z, y, x) as the network speaks of it, the course.

    Patients may differ in size, so that a batch is a tuple of samples.
    """

    inputs: Tensor
    dose: Tensor
    course: Course

    def to(self, device: torch.device) -> VolumeSample:
        """Return the sample on a device."""
        return VolumeSample(self.inputs.to(device), self.dose.to(device), self.course)


class VolumeJob(ABC, Generic[C, S]):
    """Draws samples, says the loss, scores on held-out patients; the loop does the rest.

    Parameters
    ----------
    settings : VolumeSettings
        From ``train.toml``.
    cases, held_out : sequence of cases
        What is learned from, and what chooses the weights.

    Raises
    ------
    ModelError
        If there is no case, or one without dose.
    """

    score_name: str
    #: Parts of the loss in the log, what the network's 1 is there, and the unit.
    terms: ClassVar[tuple[str, ...]] = ("l1", "dvh")
    scale: ClassVar[float]
    unit: ClassVar[str]

    def __init__(self, settings: S, cases: Sequence[C], held_out: Sequence[C]) -> None:
        if not cases:
            raise ModelError("There is no patient to train on.", action="check the data of the settings.")
        for case in (*cases, *held_out):
            if case.dose is None:
                raise ModelError("A training patient has no dose.", where=case.name)
        self.settings = settings
        self.cases = list(cases)
        self.held_out = list(held_out)

    def draw(self, step: int) -> tuple[VolumeSample, ...]:
        """Return the batch of a step: each patient once per epoch, in another order, changed at random."""
        places = together.shares(range(self.settings.optimise.batch))
        whole = self.settings.optimise.batch * together.size()
        return tuple(self._numbered(step * whole + place) for place in places)

    def _numbered(self, number: int) -> VolumeSample:
        epoch, at = divmod(number, len(self.cases))
        order = np.random.default_rng([self.settings.seed, epoch, 7]).permutation(len(self.cases))
        rng = np.random.default_rng([self.settings.seed, number])
        return self.sample(self.cases[int(order[at])], rng)

    def loss(self, run: Run, batch: Sequence[VolumeSample]) -> tuple[Tensor, dict[str, float]]:
        """Return what is minimised (the mean over the samples) and its parts in `unit`."""
        device = next(run.generator.parameters()).device
        parts = [
            self.parts(run, one.to(device), place)
            for place, one in zip(together.shares(range(len(batch))), batch, strict=True)
        ]
        total, *seen = (torch.stack(terms).mean() for terms in zip(*parts, strict=True))
        told = zip(self.terms, seen, strict=True)
        return total, {f"{name}_{self.unit}": part.item() * self.scale for name, part in told}

    def sorted_loss(
        self, run: Run, found: Tensor, one: VolumeSample, least: Mapping[int, float], turn: int
    ) -> Tensor:
        """Return the sorted-dose term of a sample, unweighted; 0 before its time."""
        plan = self.settings.loss
        if plan.dvh <= 0.0 or run.step < plan.dvh_from:
            return found.new_zeros(())
        return sorted_l1(found, one, least, np.random.default_rng([self.settings.seed, run.step, 3 + turn]))

    @abstractmethod
    def sample(self, case: C, rng: np.random.Generator) -> VolumeSample:
        """Return a case as a sample, changed at random."""

    @abstractmethod
    def parts(self, run: Run, one: VolumeSample, turn: int) -> tuple[Tensor, ...]:
        """Return a sample's loss and, detached, its `terms`.

        ``turn`` is the sample's place in the batch.
        """

    @abstractmethod
    def validate(self, network: nn.Module) -> float:
        """Return the error on the held-out patients; NaN without any."""


def sorted_l1(
    prediction: Tensor, sample: VolumeSample, least: Mapping[int, float], rng: np.random.Generator
) -> Tensor:
    """Return the mean over the structures of the mean absolute difference of their sorted doses.

    Parameters
    ----------
    prediction : Tensor, shape (1, 1, z, y, x)
        Dose.
    least : mapping of int to float
        Channel of a structure to the part of a voxel from which on the voxel is one of it.
    rng : numpy.random.Generator
        Draws at most `SORTED_MAX` voxels per structure.

    Notes
    -----
    Two doses with the same DVH differ by 0.
    """
    terms = []
    for at, part in least.items():
        where = torch.nonzero(sample.inputs[0, at].flatten() >= part, as_tuple=True)[0]
        if where.numel() == 0:
            continue
        if where.numel() > SORTED_MAX:
            some = torch.from_numpy(rng.choice(where.numel(), SORTED_MAX, replace=False))
            where = where[some.to(where.device)]
        ours, true = prediction.flatten()[where], sample.dose.flatten()[where]
        terms.append((ours.sort().values - true.sort().values).abs().mean())
    return torch.stack(terms).mean() if terms else prediction.new_zeros(())
