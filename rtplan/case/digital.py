"""A digital patient for a cohort: the scenario between CT and MR, and targets as a protocol names them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

from rtplan.domain import Grid, Patient, Structure
from rtplan.dosimetry.protocol import Protocol
from rtplan.errors import FormatError, StructureError
from rtplan.imaging.margin import expand, union
from rtplan.phantom.cohort import GAS_AND_BLADDER, make_patient
from rtplan.phantom.displace import demand_error, displaced
from rtplan.phantom.draws import table

#: Population that the digital patients come from.
COHORT: Literal["study"] = "study"
_PHANTOM = re.compile(r"phantom:(\d+)")
#: Most digital patients of one cohort.
MOST = 10_000
#: Site of the digital patients.
SITE = "prostate"
#: The digital patient's targets by the letters before the dose of a TG-263 name.
GLAND, WITH_VESICLES = "PTVp", "PTVpsv"
CLINICAL = {"CTVp": ("Prostate",), "CTVpsv": ("Prostate", "SeminalVes")}
#: Draws of the registration error lie apart from those of the anatomy.
_ERROR_STREAM = 7000


@dataclass(frozen=True)
class Scenario:
    """What differs between CT and MR of the digital patients beside the scanner.

    Parameters
    ----------
    registration_error_mm : float
        Rigid error between MR and CT (`rtplan.phantom.displace`).
    gas_and_bladder_change : bool
        Whether gas in the rectum and filling of the bladder are another day's in the MR.
    """

    registration_error_mm: float = 0.0
    gas_and_bladder_change: bool = False

    def __post_init__(self) -> None:
        demand_error(self.registration_error_mm)

    def plain(self) -> dict[str, Any]:
        """Return the scenario as plain data."""
        return {
            "registration_error_mm": self.registration_error_mm,
            "gas_and_bladder_change": self.gas_and_bladder_change,
        }


def patient_id(seed: int) -> str:
    """Return the PatientID of a digital patient."""
    return f"{COHORT}{seed:04d}"


def digital_patient(
    seed: int,
    protocol: Protocol,
    scenario: Scenario,
    spacing_zyx_mm: tuple[float, float, float],
    own_margins: Collection[str] = (),
    *,
    with_mr: bool = True,
) -> Patient:
    """Return the patient of a seed with CT, T2w and the targets that the protocol prescribes to.

    Parameters
    ----------
    own_margins : collection of str
        Targets for which the user gives a margin: they get the CTV they grow from instead.
    with_mr : bool
        Whether an MR is wanted: only the synthetic CT needs it.

    Raises
    ------
    StructureError
        If the protocol is for another site.
    """
    demand_site(protocol)
    contrasts = ("T2w",) if with_mr else ()
    anew = GAS_AND_BLADDER if scenario.gas_and_bladder_change and with_mr else ()
    patient = make_patient(COHORT, seed, spacing_zyx_mm=spacing_zyx_mm, contrasts=contrasts, mr_anew=anew)
    patient = displaced(patient, scenario.registration_error_mm, _ERROR_STREAM + seed)
    return with_targets(patient, protocol, own_margins)


def demand_site(protocol: Protocol) -> None:
    """Raise StructureError unless a protocol is for the site of the digital patients."""
    if protocol.site != SITE:
        raise StructureError(
            f"The digital patients have a {SITE}; the protocol {protocol.name} is for {protocol.site}.",
            action="choose a protocol of the prostate (see rtplan protocols).",
        )


def with_targets(patient: Patient, protocol: Protocol, own_margins: Collection[str] = ()) -> Patient:
    """Return a digital patient with PTV and CTV under the protocol's names.

    The first prescribed ``PTVp_…`` is the digital PTV (prostate with the margin of
    ``models/anatomy/layout.toml``), the first ``PTVpsv_…`` has the same margin round prostate and seminal
    vesicles. A second level in the same PTV has no volume of its own and is left out: the planning step
    says so. A ``CTV…`` that a goal, a prescription or a margin names is the prostate (with vesicles).
    """
    made: list[Structure] = []
    given: set[str] = set()
    for name in (entry.target for entry in protocol.prescription):
        letters = name.split("_")[0]
        if name in patient.structures or name in own_margins or letters in given:
            continue
        given.add(letters)
        if letters == GLAND:
            made.append(replace(patient.structure("PTVp"), name=name))
        elif letters == WITH_VESICLES:
            made.append(expand(_clinical(patient, "CTVpsv", "CTVpsv"), _grid(patient), _margin(), name=name))
    asked = [goal.structure for goal in protocol.goal] + [e.target for e in protocol.prescription]
    asked += [name.replace("PTV", "CTV", 1) for name in own_margins]
    for name in dict.fromkeys(asked):
        letters = name.split("_")[0]
        if letters in CLINICAL and name not in patient.structures:
            made.append(_clinical(patient, letters, name))
    kept = {name: s for name, s in patient.structures.items() if name != "PTVp"}
    return replace(patient, structures={**kept, **{s.name: s for s in made}})


def _clinical(patient: Patient, letters: str, name: str) -> Structure:
    parts = [patient.structure(part) for part in CLINICAL[letters] if part in patient.structures]
    if len(parts) == 1:
        return replace(parts[0], name=name, kind="CTV")
    return union(name, parts[0], parts[1], _grid(patient))


def _grid(patient: Patient) -> Grid:
    return patient.images["CT"].grid


def _margin() -> dict[str, float]:
    m = table("models/anatomy", "layout")["ptv"]
    return {
        "L": m["lateral"],
        "R": m["lateral"],
        "A": m["anterior"],
        "P": m["posterior"],
        "S": m["superior"],
        "I": m["inferior"],
    }


def parse_patients(text: str) -> int:
    """Read ``phantom:N``: the number of digital patients.

    Raises
    ------
    FormatError
        If the text is not of this form.

    Examples
    --------
    >>> parse_patients("phantom:36")
    36
    """
    found = _PHANTOM.fullmatch(text.strip())
    if found is None or not 1 <= int(found[1]) <= MOST:
        raise FormatError(
            f"Digital patients are written phantom:N with N from 1 to {MOST}, got {text!r}.",
            action="for example --patients phantom:36; real patients are given as a folder.",
        )
    return int(found[1])


def parse_spacing(text: str) -> tuple[float, float, float]:
    """Read ``Z,Y,X`` in mm, each from 1 to 10.

    Raises
    ------
    FormatError
        If the text is not of this form.

    Examples
    --------
    >>> parse_spacing("3,2,2")
    (3.0, 2.0, 2.0)
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or any(not 1.0 <= number <= 10.0 for number in numbers):
        raise FormatError(f"Voxels are written Z,Y,X, each 1 to 10 mm, got {text!r}.")
    return numbers[0], numbers[1], numbers[2]
