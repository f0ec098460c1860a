"""The boost network's own error by its card: how its figures are named, and what the page tells of them."""

from __future__ import annotations

import re

from rtplan.learning.card import Card
from rtplan.report.own_error import OwnError

#: Names of two of the card's figures (mean absolute error); the first holds a set of NTCP parameters.
NTCP_FIGURE = "mean absolute rectal NTCP by {model}[pp]"
D98_FIGURE = "mean absolute GTV D98[Gy]"


def own_error(card: Card) -> OwnError:
    """Return the errors that a card states: of several sets of patients the largest."""
    ntcp: dict[str, float] = {}
    boost: list[float] = []
    sets: list[str] = []
    named = re.compile(re.escape(NTCP_FIGURE).replace(re.escape("{model}"), r"(?P<model>\w+)"))
    for figure in card.figure:
        found = named.fullmatch(figure.metric)
        if found:
            ntcp[found["model"]] = max(figure.value, ntcp.get(found["model"], 0.0))
        elif figure.metric == D98_FIGURE:
            boost.append(figure.value)
        else:
            continue
        sets.append(figure.data)
    return OwnError(ntcp, max(boost, default=None), tuple(dict.fromkeys(sets)))
