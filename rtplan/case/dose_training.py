"""Gather the patients that the training of a dose network names, as compact cases in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rtplan.io.datasets.openkbp import openkbp_paths, read_openkbp
from rtplan.learning import together
from rtplan.learning.dose_job import DoseJob
from rtplan.learning.dose_settings import DoseData, DoseSettings
from rtplan.learning.doses import DoseCase, dose_case_of
from rtplan.learning.loop import learn
from rtplan.learning.zoo import load_model


def train_dose_from(
    settings: DoseSettings,
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    begin_with: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Gather the patients of the settings and train; return the path of the new ``model.toml``.

    Started by ``torchrun`` on several processes, these train together, each on its own card with ``cuda``.

    Parameters
    ----------
    begin_with : str, optional
        Model of the shelf, or ``model.toml``, whose weights come first.

    Raises
    ------
    FormatError
        If a folder holds no patient.
    ModelError
        If the weights to begin with are of another network.
    """
    weights = None if begin_with is None else load_model(begin_with).network.state_dict()
    with together.joined(device) as own:
        report = report if together.rank() == 0 else _nothing
        learned, held_out = [], []
        for data in settings.data:
            kept, apart = gather_cases(data, report)
            learned += kept
            held_out += apart
        job = DoseJob(settings, learned, held_out)
        return learn(settings, job, out, resume=resume, device=own, weights=weights, report=report)


def _nothing(_: str) -> None:
    return


def gather_cases(
    data: DoseData, report: Callable[[str], None] = lambda _: None
) -> tuple[list[DoseCase], list[DoseCase]]:
    """Return the cases of a folder that are learned from, and those that are held out.

    Raises
    ------
    FormatError
        If there is no patient in the folder.
    """
    learned: list[DoseCase] = []
    held_out: list[DoseCase] = []
    paths = openkbp_paths(Path(data.folder))
    apart = held_out_names(data)
    for index, (name, path) in enumerate(paths.items()):
        if index % 20 == 0:
            report(f"preparing {name} …")
        (held_out if name in apart else learned).append(dose_case_of(read_openkbp(path)))
    return learned, held_out


def held_out_names(data: DoseData) -> tuple[str, ...]:
    """Return the patients of a folder that are not learned from: every so-manieth by number."""
    every = data.hold_out_every
    return tuple(openkbp_paths(Path(data.folder)))[every - 1 :: every]
