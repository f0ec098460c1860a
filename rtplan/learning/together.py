"""One training on several processes of ``torchrun``: each draws its share, gradients are averaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from rtplan.errors import ModelError

Said = TypeVar("Said")
#: A process may wait so long for the others: the first one validates and writes alone.
PATIENCE = timedelta(hours=6)


@contextmanager
def joined(device: str = "cpu") -> Iterator[str]:
    """Join the other processes of ``torchrun`` for the length of the block; alone, do nothing.

    Parameters
    ----------
    device : str
        ``cpu`` (gloo) or ``cuda`` (NCCL).

    Yields
    ------
    str
        The device of this process: each takes the card of its place on its machine.
    """
    if not distributed.is_torchelastic_launched() or distributed.is_initialized():
        yield device
        return
    on_card = device.split(":")[0] == "cuda"
    if on_card:
        device = f"cuda:{distributed.get_node_local_rank()}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_card else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def size() -> int:
    """Return how many processes train together; 1 alone."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the place of this process among them, from 0; the first one validates and writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def mean(value: Tensor) -> Tensor:
    """Return the mean of a number over the processes; no gradient goes through it."""
    if size() == 1:
        return value
    shared = value.detach().clone()
    distributed.all_reduce(shared)
    return shared / size()


def average_gradients(network: nn.Module, total: Tensor) -> Tensor:
    """Put the mean of every gradient over the processes in its place; return the mean of the loss.

    What `torch.nn.parallel.DistributedDataParallel` does, in one message, and for a generator and a critic
    that take turns. A loss or gradient that is not finite on one process is so on all afterwards.
    """
    if size() == 1:
        return total
    found = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([total.detach().reshape(1).float(), *(grad.reshape(-1).float() for grad in found)])
    distributed.all_reduce(flat)
    flat /= size()
    at = 1
    for grad in found:
        grad.copy_(flat[at : at + grad.numel()].view_as(grad))
        at += grad.numel()
    return flat[0]


def told(said: Said) -> Said:
    """Return what the first process says."""
    if size() == 1:
        return said
    held = [said]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


@contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process through the block before the others: it prepares what they then find."""
    if rank() > 0:
        distributed.barrier()
    yield
    if rank() == 0 and size() > 1:
        distributed.barrier()


def demand_steps(hours: float | None) -> None:
    """Raise ModelError where several processes would each end by their own clock."""
    if size() > 1 and hours is not None:
        raise ModelError(
            "Several processes cannot train for hours: their clocks differ.",
            action="give optimise.steps instead of hours.",
        )


def shares(values: Iterable[int]) -> tuple[int, ...]:
    """Return this process's share of the places of a batch.

    Examples
    --------
    >>> shares(range(3))  # alone: all of them
    (0, 1, 2)
    """
    own = tuple(values)
    return tuple(rank() * len(own) + place for place in own)
