"""What a network is judged by while it learns: masked L1, its gradients, features, the critic's verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

#: Makes of one process's sum of weights the mean over the processes that share a batch.
Over = Callable[[Tensor], Tensor]


def _alone(weight: Tensor) -> Tensor:
    return weight


def masked_l1(prediction: Tensor, target: Tensor, weight: Tensor, over: Over = _alone) -> Tensor:
    """Return the weighted mean absolute difference; 0 where no voxel has weight.

    With ``over`` the mean of several processes' results is the weighted mean of the whole batch.

    Examples
    --------
    >>> import torch
    >>> a, b = torch.tensor([1.0, 5.0]), torch.tensor([3.0, 0.0])
    >>> float(masked_l1(a, b, torch.tensor([1.0, 0.0])))
    2.0
    """
    return ((prediction - target).abs() * weight).sum() / over(weight.sum()).clamp(min=1.0)


def masked_square(prediction: Tensor, target: Tensor, weight: Tensor, over: Over = _alone) -> Tensor:
    """Return the weighted mean squared difference; 0 where no voxel has weight."""
    return ((prediction - target) ** 2 * weight).sum() / over(weight.sum()).clamp(min=1.0)


def bone_entropy(
    prediction: Tensor, target: Tensor, weight: Tensor, edge: tuple[float, float], over: Over = _alone
) -> Tensor:
    """Return the weighted cross-entropy of "this is bone", read off the predicted density.

    Its pull on bone that is taken for soft tissue does not fade with the distance, while an L1 is content
    with the median of what a signal can mean, and that is never bone.

    Parameters
    ----------
    prediction, target, weight : Tensor
        Densities of one shape, and how much a voxel counts.
    edge : (float, float)
        Density from which on a voxel is bone (there the chance is one half), and the density over which the
        odds change by e.
    over : callable
        As in `masked_l1`.

    Examples
    --------
    >>> import torch
    >>> at = torch.tensor([0.2])
    >>> round(float(bone_entropy(at, at, torch.ones(1), (0.2, 0.1))), 4)
    0.6931
    """
    bone, width = edge
    odds = (prediction - bone) / width
    entropy = functional.binary_cross_entropy_with_logits(odds, (target >= bone).float(), reduction="none")
    return (entropy * weight).sum() / over(weight.sum()).clamp(min=1.0)


def gradient_l1(prediction: Tensor, target: Tensor, weight: Tensor, over: Over = _alone) -> Tensor:
    """Return the weighted mean absolute difference of the neighbour differences along z, y and x.

    Parameters
    ----------
    prediction, target, weight : Tensor, shape (batch, 1, z, y, x)
        A neighbour difference counts with the smaller weight of its two voxels.
    """
    terms = []
    for axis in (2, 3, 4):
        both = torch.minimum(weight.narrow(axis, 1, weight.shape[axis] - 1), _head(weight, axis))
        terms.append(masked_l1(prediction.diff(dim=axis), target.diff(dim=axis), both, over))
    return torch.stack(terms).mean()


def _head(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)


def feature_l1(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Return the mean absolute difference of feature maps, level by level (the last one is left out).

    References
    ----------
    Wang T-C et al. High-resolution image synthesis with conditional GANs. CVPR 2018, eq. 4.
    """
    return torch.stack(
        [functional.l1_loss(f, r.detach()) for f, r in zip(fake[:-1], real[:-1], strict=True)]
    ).mean()


@dataclass(frozen=True)
class Game:
    """The two sides of an adversarial loss, on the critic's patch verdicts."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


#: Adversarial losses by name: hinge (Lim and Ye 2017) and least squares (Mao et al. 2017).
GAMES: dict[str, Game] = {
    "hinge": Game(
        lambda real, fake: functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean(),
        lambda fake: -fake.mean(),
    ),
    "lsgan": Game(
        lambda real, fake: 0.5 * ((real - 1.0) ** 2).mean() + 0.5 * (fake**2).mean(),
        lambda fake: 0.5 * ((fake - 1.0) ** 2).mean(),
    ),
}
