"""Which source of uncertainty makes which share of a variance: first-order Sobol indices by pick and freeze.

References
----------
.. [1] Jansen MJW. Analysis of variance designs for model output. Comput Phys Commun 1999;117:35-43.
.. [2] Saltelli A, Annoni P, Azzini I, Campolongo F, Ratto M, Tarantola S. Variance based sensitivity
   analysis of model output. Comput Phys Commun 2010;181:259-270.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

Float = NDArray[np.float64]


def pair_of_designs(columns: int, samples: int, seed: int) -> tuple[Float, Float]:
    """Return two independent designs of one Sobol sequence, each shape (samples, columns), in (0, 1).

    Examples
    --------
    >>> first, second = pair_of_designs(3, 100, seed=1)
    >>> first.shape, bool(abs(first.mean() - 0.5) < 0.01), bool((first == second).any())
    ((100, 3), True, False)
    """
    power = int(np.ceil(np.log2(max(samples, 2))))
    points = qmc.Sobol(2 * columns, seed=seed).random_base2(power)[:samples]
    points = np.clip(points, 1e-12, 1.0 - 1e-12)
    return points[:, :columns], points[:, columns:]


def first_order(first: Float, second: Float, mixed: Mapping[str, Float]) -> dict[str, float | None]:
    """Return the first-order index of each source, by Jansen's estimator [1]_ [2]_.

    Parameters
    ----------
    first, second : ndarray, shape (n,)
        The answers on the two designs A and B of `pair_of_designs`.
    mixed : mapping of str to ndarray, shape (n,)
        By source the answers on A with the columns of that source taken from B.

    Returns
    -------
    dict
        ``1 - mean((f(B) - f(A_B))²) / (2 V)``, cut to 0…1; None where the answer does not vary. The shares
        of sources that only add up sum to 1; what is missing to 1 is their interaction.
    """
    variance = float(np.var(np.concatenate([first, second])))
    if not variance > 0.0:
        return dict.fromkeys(mixed, None)
    return {
        name: float(np.clip(1.0 - np.mean((second - answer) ** 2) / (2.0 * variance), 0.0, 1.0))
        for name, answer in mixed.items()
    }
