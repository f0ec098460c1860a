"""Gather the digital pelves that the training of a boost network names, planned once, and train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rtplan.case.boost_cohort import gather_boost
from rtplan.learning import together
from rtplan.learning.boost_job import BoostJob
from rtplan.learning.boost_settings import BoostSettings
from rtplan.learning.loop import learn
from rtplan.learning.zoo import load_model


def train_boost_from(
    settings: BoostSettings,
    out: Path,
    *,
    cache: Path | None = None,
    resume: bool = False,
    begin_with: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Gather the pelves of the settings and train; return the path of the new ``model.toml``.

    Parameters
    ----------
    cache : Path, optional
        Where planned cases are kept for the next time; ``out/cache`` by default.
    begin_with : str, optional
        Model of the shelf, or ``model.toml``, whose weights come first.

    Raises
    ------
    FormatError
        If the cache was begun by another version of the planner and is not complete.
    ModelError
        If the weights to begin with are of another network.
    """
    kept = cache or out / "cache"
    weights = None if begin_with is None else load_model(begin_with).network.state_dict()
    with together.joined():
        report = report if together.rank() == 0 else _nothing
        with together.first_alone():
            learned = [case for data in settings.data for case in gather_boost(data, kept, report)]
            held_out = [case for data in settings.validation for case in gather_boost(data, kept, report)]
        job = BoostJob(settings, learned, held_out)
        return learn(settings, job, out, resume=resume, weights=weights, report=report)


def _nothing(_: str) -> None:
    return
