"""Gather the patients that the training of a dose network names, as compact cases in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rtplan.io.datasets.openkbp import openkbp_paths, read_openkbp
from rtplan.learning.dose_job import DoseJob
from rtplan.learning.dose_settings import DoseData, DoseSettings
from rtplan.learning.doses import DoseCase, dose_case_of
from rtplan.learning.loop import learn


def train_dose_from(
    settings: DoseSettings,
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Gather the patients of the settings and train; return the path of the new ``model.toml``."""
    learned, held_out = [], []
    for data in settings.data:
        kept, apart = gather_cases(data, report)
        learned += kept
        held_out += apart
    job = DoseJob(settings, learned, held_out)
    return learn(settings, job, out, resume=resume, device=device, report=report)


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
    for index, (name, path) in enumerate(openkbp_paths(Path(data.folder)).items()):
        if index % 20 == 0:
            report(f"preparing {name} …")
        case = dose_case_of(read_openkbp(path))
        apart = index % data.hold_out_every == data.hold_out_every - 1
        (held_out if apart else learned).append(case)
    return learned, held_out
