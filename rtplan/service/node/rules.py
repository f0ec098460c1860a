"""Which rule a study follows: data of the configuration against the series that came."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtplan.errors import DicomError
from rtplan.io.network.facts import description_of
from rtplan.service.node.config import RuleSettings


@dataclass(frozen=True)
class SeriesSeen:
    """One series: modality, description (compared, never shown), how many objects, and from whom."""

    modality: str
    description: str
    count: int
    peers: tuple[str, ...]


def series_of(folder: Path, rows: Iterable[dict[str, str]]) -> tuple[SeriesSeen, ...]:
    """Return the series of rows of the table of instances (``series_uid, modality, path, peer``)."""
    rows = list(rows)
    counts = Counter(row["series_uid"] for row in rows)
    first = {row["series_uid"]: row for row in reversed(rows)}
    peers: dict[str, set[str]] = {}
    for row in rows:
        peers.setdefault(row["series_uid"], set()).add(row["peer"])
    return tuple(
        SeriesSeen(
            row["modality"], _description(folder / row["path"]), counts[uid], tuple(sorted(peers[uid]))
        )
        for uid, row in first.items()
    )


def _description(path: Path) -> str:
    try:
        return description_of(path)
    except DicomError:
        return ""


def fits(rule: RuleSettings, series: SeriesSeen) -> bool:
    """Whether a series is one that a rule waits for.

    Examples
    --------
    >>> rule = RuleSettings(modality="MR", description="(?i)t2", protocol="p")
    >>> fits(rule, SeriesSeen("MR", "T2 tse", 30, ("SCANNER",))), fits(rule, SeriesSeen("CT", "T2", 30, ()))
    (True, False)
    """
    return (
        series.modality == rule.modality
        and series.count >= rule.min_instances
        and (not rule.calling or any(peer in rule.calling for peer in series.peers))
        and re.search(rule.description, series.description) is not None
    )


def rule_for(rules: Sequence[RuleSettings], series: Sequence[SeriesSeen]) -> RuleSettings | None:
    """Return the first rule that one of the series fits; None when there is none."""
    return next((rule for rule in rules if any(fits(rule, one) for one in series)), None)
