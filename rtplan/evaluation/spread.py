"""How one finding is spread over a cohort, by structure, metric and arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spread:
    """One finding over a cohort.

    Parameters
    ----------
    structure, metric, arm, quantity, unit, model : str
        What it is; ``quantity`` is ``value`` or ``difference`` (arm − reference).
    values : array of float
        Of the patients who have it, sorted, shape (n,), in ``unit``.
    absent : int
        Patients for whom it is not evaluable.
    judged, missed : int
        Patients whose value was held against its limit, and those who miss it.
    limit : str
        The limit, where there is one.
    """

    structure: str
    metric: str
    arm: str
    quantity: str
    unit: str
    model: str
    values: Float
    absent: int = 0
    judged: int = 0
    missed: int = 0
    limit: str = ""

    @property
    def quartiles(self) -> tuple[float, float, float] | None:
        """Lower quartile, median, upper quartile (linear between values); None without a value."""
        if not self.values.size:
            return None
        low, middle, high = np.percentile(self.values, (25.0, 50.0, 75.0))
        return float(low), float(middle), float(high)


#: Columns of the cohort's table that tell one finding from another.
ABOUT = ("structure", "metric", "arm", "quantity", "unit", "model")


def spreads(rows: Iterable[Mapping[str, Any]]) -> tuple[Spread, ...]:
    """Return the spread of every finding of a cohort.

    Parameters
    ----------
    rows : iterable of mapping
        Columns of ``cohort.parquet``: `ABOUT`, ``value``, ``verdict``, ``limit``.

    Returns
    -------
    tuple of Spread
        In the order in which they come first.

    Examples
    --------
    >>> row = {"structure": "Rectum", "metric": "Mean[Gy]", "arm": "CT", "quantity": "value", "unit": "Gy"}
    >>> row |= {"model": None, "limit": "<= 3", "verdict": "met", "value": 2.0}
    >>> spreads([row, row | {"value": 4.0, "verdict": "missed"}])[0].quartiles
    (2.5, 3.0, 3.5)
    """
    values: dict[tuple[str, ...], list[float]] = {}
    absent: dict[tuple[str, ...], int] = {}
    judged: dict[tuple[str, ...], int] = {}
    missed: dict[tuple[str, ...], int] = {}
    limits: dict[tuple[str, ...], str] = {}
    for row in rows:
        about = tuple(str(row[name] or "") for name in ABOUT)
        held = values.setdefault(about, [])
        if row["value"] is None:
            absent[about] = absent.get(about, 0) + 1
        else:
            held.append(float(row["value"]))
        if row["verdict"] in ("met", "wish_met", "missed"):
            judged[about] = judged.get(about, 0) + 1
        if row["verdict"] == "missed":
            missed[about] = missed.get(about, 0) + 1
        if row["limit"]:
            limits.setdefault(about, str(row["limit"]))
    return tuple(
        Spread(
            **dict(zip(ABOUT, about, strict=True)),
            values=np.sort(np.array(found)),
            absent=absent.get(about, 0),
            judged=judged.get(about, 0),
            missed=missed.get(about, 0),
            limit=limits.get(about, ""),
        )
        for about, found in values.items()
    )
