"""What `rtplan outcome` reads: an organ's histogram from doses and structures, or from a DVH file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtplan.domain import Dose, Notice, Structure
    from rtplan.dosimetry.parameters import ParameterSet
    from rtplan.dosimetry.single import Seen


@dataclass(frozen=True)
class Asked:
    """Of what organ the histogram is wanted, and for which set."""

    parameters: ParameterSet
    structure: str | None
    names: Path | None
    plan: str
    use_eqd2: bool

    @property
    def organ(self) -> str:
        """The organ's name as given, else that of the set."""
        return self.structure or self.parameters.structure


@dataclass(frozen=True)
class Organ:
    """An organ's histogram, its TG-263 name (empty where the file names none), and what was noticed."""

    name: str
    seen: Seen
    notices: tuple[Notice, ...] = ()


def from_dvh(path: Path, fractions: list[int], asked: Asked) -> Organ:
    """Read a table of rtplan (``# type: …``), or a planning system's export."""
    from rtplan.dosimetry.single import Seen
    from rtplan.dosimetry.table import is_table, read_table
    from rtplan.errors import DoseError
    from rtplan.io.dvh_text.read import read_dvh_text, structures_of

    count = next(iter(fractions), None)
    if path.is_file() and is_table(path):
        return Organ(_tg263(asked.structure, asked.names), Seen(read_table(path), count))
    alone = asked.structure is None and len(structures_of(path)) == 1
    found = read_dvh_text(path, "" if alone else asked.organ, plan=asked.plan, names=asked.names)
    if None not in (count, found.fractions) and count != found.fractions:
        raise DoseError(
            f"The file says {found.fractions} fractions, --fractions says {count}.", where=path.name
        )
    return Organ(found.structure, Seen(found, count or found.fractions))


def _tg263(name: str | None, names: Path | None) -> str:
    from rtplan.io import names as naming

    return "" if name is None else naming.load(names).tg263(name) or name


def from_dose(paths: list[Path], fractions: list[int], structures: Path, asked: Asked) -> Organ:
    """Return the organ's DVH; several courses are summed in the EQD2 of the set, each with its fractions."""
    from rtplan.cli.readings import frame_of, in_frame, read_courses, read_structures
    from rtplan.dosimetry.dvh import dvh
    from rtplan.dosimetry.single import Seen

    doses = read_courses(paths, fractions)
    frame = doses[0].grid.frame_of_reference
    found, notices = read_structures(structures, [asked.organ], frame, asked.names, rename=True)
    doses = tuple(in_frame(dose, frame_of(found)) for dose in doses)
    if len(doses) == 1:
        return Organ(found[0].name, Seen(dvh(found[0], doses[0]), doses[0].fractions), notices)
    seen = Seen(_summed(found[0], doses, asked), None, _cautions(found[0], doses))
    return Organ(found[0].name, seen, notices)


def _summed(structure: Structure, doses: tuple[Dose, ...], asked: Asked) -> Any:
    from rtplan.dosimetry.courses import eqd2_sum, physical_sum
    from rtplan.dosimetry.dvh import dvh

    kind = asked.parameters.dose
    if asked.use_eqd2 and kind.kind == "EQD2" and kind.alpha_beta_gy is not None:
        return dvh(structure, eqd2_sum(doses, kind.alpha_beta_gy))
    return dvh(structure, physical_sum(doses))


def _cautions(structure: Structure, doses: tuple[Dose, ...]) -> tuple[str, ...]:
    """Return where a course's dose per fraction leaves the range of the linear-quadratic model."""
    from rtplan.dosimetry.dvh import dvh
    from rtplan.dosimetry.radiobiology import LQ_CAUTION_GY

    words = []
    for number, dose in enumerate(doses, 1):
        if dose.kind != "physical" or not dose.fractions:
            continue
        per_fraction = dvh(structure, dose).curve.max_gy / dose.fractions
        if per_fraction > LQ_CAUTION_GY:
            words.append(
                f"course {number}: {per_fraction:.1f} Gy per fraction; linear-quadratic model extrapolated "
                f"above {LQ_CAUTION_GY:g} Gy per fraction"
            )
    return tuple(words)
