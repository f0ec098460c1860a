"""Gather the patients that a training names: the digital population and folders of pairs, kept in a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rtplan.domain import Patient
from rtplan.errors import FormatError
from rtplan.imaging.laid import laid_on
from rtplan.io.datasets.matched import read_pairs
from rtplan.learning import together
from rtplan.learning.pairs import Pair, load_pair, pair_of, save_pair
from rtplan.learning.settings import DataSpec, TrainSettings
from rtplan.learning.train import train
from rtplan.phantom.cohort import make_patient


def train_from(
    settings: TrainSettings,
    out: Path,
    *,
    cache: Path | None = None,
    resume: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Gather the patients of the settings and train; return the path of the new ``model.toml``.

    Started by ``torchrun`` on several processes, these train together.

    Parameters
    ----------
    out : Path
        Folder of the training.
    cache : Path, optional
        Where prepared patients are kept for the next time; ``out/cache`` by default.
    """
    cache = cache or out / "cache"
    with together.joined():
        report = report if together.rank() == 0 else _nothing
        with together.first_alone():
            pairs = [(spec.share, gather(spec, settings, cache, report)) for spec in settings.data]
            held_out = [
                pair for spec in settings.validation for pair in gather(spec, settings, cache, report)
            ]
        return train(settings, pairs, held_out, out, resume=resume, report=report)


def _nothing(_: str) -> None:
    return


def gather(
    spec: DataSpec, settings: TrainSettings, cache: Path, report: Callable[[str], None] = lambda _: None
) -> list[Pair]:
    """Return the training pairs of one source, from the cache where they are there.

    Raises
    ------
    FormatError
        If the folder of the source is not there or holds no pair.
    """
    folder = cache / _key(spec, settings)
    pairs = []
    for name, make in _cases(spec):
        path = folder / f"{name}.npz"
        if not path.is_file():
            report(f"preparing {name}")
            patient = aligned(make()) if spec.align else make()
            pair = pair_of(patient, settings.spacing_zyx_mm, spec.roles, spec.words)
            save_pair(pair, path)
        pairs.append(load_pair(path))
    return pairs


def aligned(patient: Patient) -> Patient:
    """Return the patient with its CT laid on its first MR; see `imaging.laid.laid_on`."""
    ct = laid_on(patient.images["CT"], next(iter(patient.mr.values()))).ct
    return patient.with_images(CT=ct)


def _cases(spec: DataSpec) -> Iterator[tuple[str, Callable[[], Patient]]]:
    if spec.kind == "phantom":
        for seed in range(spec.seed, spec.seed + spec.patients):
            yield (
                f"{spec.cohort}_{seed:04d}",
                partial(make_patient, spec.cohort, seed, contrasts=spec.contrasts),
            )
        return
    folder = Path(spec.folder)
    if not folder.is_dir():
        raise FormatError(
            "The folder of the training pairs is not there.",
            where=spec.folder,
            action="run from the folder that the settings are relative to, or correct them.",
        )
    for patient in read_pairs(folder, only=spec.only):
        if patient.key not in spec.exclude:
            yield patient.key, partial(_given, patient)


def _given(patient: Patient) -> Patient:
    return patient


def _key(spec: DataSpec, settings: TrainSettings) -> str:
    """Return a folder name that differs where prepared pairs would differ."""
    said = repr(
        (
            spec.kind,
            spec.cohort,
            spec.roles,
            spec.native_zyx_mm,
            Path(spec.folder).name,
            settings.spacing_zyx_mm,
        )
        + (("aligned",) if spec.align else ())
    )
    return f"{spec.kind}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
