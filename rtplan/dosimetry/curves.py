"""All DVHs of a patient: every structure under every arm's dose, each structure sampled once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Patient, Structure
from rtplan.domain.patient import ARMS
from rtplan.dosimetry.dvh import Dvh, Settings
from rtplan.dosimetry.ledger import Ledger
from rtplan.errors import RtplanError

Float = NDArray[np.float64]

#: Kinds of structures whose dose is of interest without being asked for.
SHOWN = ("GTV", "CTV", "PTV", "ORGAN", "AVOIDANCE")


def arms_with_dose(patient: Patient) -> tuple[str, ...]:
    """Return the arms that have a dose, in the order in which they are shown (samples are no arms)."""
    return tuple(name for name in ARMS if name in patient.doses)


def shown(patient: Patient) -> tuple[str, ...]:
    """Return the names of the structures whose dose is of interest: targets first, then organs."""
    names = [name for name, s in patient.structures.items() if s.kind in SHOWN]
    return tuple(sorted(names, key=lambda name: (not patient.structures[name].is_target, name)))


def histograms(
    structure: Structure, doses: Mapping[str, Dose], settings: Settings | None = None
) -> dict[str, Dvh] | RtplanError:
    """Return the DVH of a structure by arm, or the error that says why there is none."""
    return histograms_of([structure], doses, settings)[0]


def histograms_of(
    structures: Sequence[Structure],
    doses: Mapping[str, Dose],
    settings: Settings | None = None,
    threads: int = 0,
) -> list[dict[str, Dvh] | RtplanError]:
    """Return `histograms` of several structures, some at once (`rtplan.dosimetry.several`)."""
    return Ledger().histograms(structures, doses, settings, threads)


def curves(
    patient: Patient,
    structures: Iterable[str] | None = None,
    settings: Settings | None = None,
    *,
    nodes: int = 401,
    threads: int = 0,
    ledger: Ledger | None = None,
) -> dict[str, dict[str, tuple[Float, Float]]]:
    """Return cumulative DVHs for figures and files: ``curves[structure][arm] = (dose_gy, volume_percent)``.

    Parameters
    ----------
    patient : Patient
        With doses.
    structures : iterable of str, optional
        Names; all targets and organs by default. Those without a DVH (outside the dose grid, empty) are
        left out: the findings say why.
    nodes : int
        Points per curve, evenly from 0 Gy to the highest dose of any arm in the structure.
    threads : int
        How many structures are worked on at once; 0: by the number of cores.
    ledger : Ledger, optional
        With the DVHs that were made before.

    Returns
    -------
    dict
        Arrays of shape (nodes,), Gy and % of the structure's volume.
    """
    doses = {arm: patient.doses[arm] for arm in arms_with_dose(patient)}
    result: dict[str, dict[str, tuple[Float, Float]]] = {}
    if not doses:
        return result
    names = list(structures if structures is not None else shown(patient))
    asked = [patient.structure(name) for name in names]
    every = (ledger or Ledger()).histograms(asked, doses, settings, threads)
    for name, made in zip(names, every, strict=True):
        if isinstance(made, RtplanError):
            continue
        top = max(dvh.curve.max_gy for dvh in made.values())
        axis = np.linspace(0.0, max(top, 1e-6), nodes)
        result[name] = {arm: (axis, _percent(dvh, axis)) for arm, dvh in made.items()}
    return result


def _percent(dvh: Dvh, axis: Float) -> Float:
    percent: Float = np.interp(axis, dvh.dose_gy, dvh.volume_percent, left=100.0, right=0.0)
    return percent
