"""Padding of volumes to multiples of a unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def padded(shape: Sequence[int], unit: Sequence[int], rng: np.random.Generator | None = None) -> list[int]:
    """Return the padding, last axis first, to multiples of a unit: behind, or on both sides at random.

    Examples
    --------
    >>> padded((3, 4, 5), (4, 4, 4))
    [0, 3, 0, 0, 0, 1]
    """
    pads: list[int] = []
    for size, whole in zip(reversed(shape), reversed(unit), strict=True):
        free = -size % whole
        before = 0 if rng is None else int(rng.integers(free + 1))
        pads += [before, free - before]
    return pads
