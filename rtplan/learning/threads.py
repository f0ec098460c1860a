"""How many processor threads the networks may use."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Set the number of threads for all that follows in this process; 0 leaves it as it is."""
    if count > 0:
        torch.set_num_threads(count)
