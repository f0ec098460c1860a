"""What `rtplan dvh` and `rtplan outcome` read: a dose and structures, DICOM or volume files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rtplan.domain import Dose, Notice, Structure


def read_dose(path: Path, fractions: int | None) -> Dose:
    """Read an RTDOSE, NIfTI or MHA in Gy with its fractions; raise DoseError where two numbers contradict."""
    from rtplan.domain import Dose
    from rtplan.errors import DoseError
    from rtplan.io import rtdose
    from rtplan.io.nifti import is_volume_file, read_volume

    if is_volume_file(path):
        dose = read_volume(path, kind="dose")
        assert isinstance(dose, Dose)
    else:
        found = rtdose.read(path)
        dose = found.dose
        if found.summation not in rtdose.WHOLE:
            what = found.summation or "nothing"
            typer.echo(
                f"warn: {path.name} is not the dose of a whole plan: DoseSummationType says {what}.", err=True
            )
    if fractions is not None and dose.fractions not in (None, fractions):
        raise DoseError(
            f"The file says {dose.fractions} fractions, --fractions says {fractions}.", where=path.name
        )
    return replace(dose, fractions=fractions or dose.fractions)


def read_courses(paths: list[Path], fractions: list[int]) -> tuple[Dose, ...]:
    """Read one dose per course; fractions are given for none of them, or for each.

    Raises
    ------
    typer.BadParameter
        If there are several doses and another number of fractions.
    """
    if fractions and len(fractions) != len(paths):
        raise typer.BadParameter(
            f"{len(paths)} --dose and {len(fractions)} --fractions: give one --fractions per --dose."
        )
    each: list[int | None] = [*fractions] if fractions else [None] * len(paths)
    return tuple(read_dose(path, count) for path, count in zip(paths, each, strict=True))


def in_frame(dose: Dose, frame: str) -> Dose:
    """Take a dose that names no frame of reference (NIfTI, MHA) for one in the frame of its structures."""
    from rtplan.domain import Grid

    if dose.grid.frame_of_reference or not frame:
        return dose
    return replace(dose, grid=Grid(dose.grid.shape, dose.grid.affine, frame))


def frame_of(structures: tuple[Structure, ...]) -> str:
    """Return the frame of reference of the structures, empty where none is named."""
    from rtplan.domain import Mask

    for structure in structures:
        region = structure.region
        frame = region.grid.frame_of_reference if isinstance(region, Mask) else region.frame_of_reference
        if frame:
            return frame
    return ""


def read_structures(
    path: Path, wanted: list[str], frame: str, names: Path | None = None, *, rename: bool = False
) -> tuple[tuple[Structure, ...], tuple[Notice, ...]]:
    """Read structures of an RTSTRUCT, a SEG or a label map: the wanted ones, or all.

    Parameters
    ----------
    path : Path
        RTSTRUCT, SEG, NIfTI or MHA.
    wanted : list of str
        Names as in the file or, where they are mapped, in TG-263; all when empty.
    frame : str
        FrameOfReferenceUID of a label map.
    names : Path, optional
        A clinic's map of names; implies ``rename``.
    rename : bool
        Whether the structures bear TG-263 names where the aliases know them.

    Raises
    ------
    UnknownName
        If a wanted one is not there; the message lists those that are.
    """
    from rtplan.errors import UnknownName
    from rtplan.io import names as naming
    from rtplan.io import rtstruct, seg
    from rtplan.io.index import entry_of
    from rtplan.io.nifti import is_volume_file, read_labels

    notices: tuple[Notice, ...] = ()
    if is_volume_file(path):
        found = read_labels(path, frame_of_reference=frame)
    elif path.is_file() and entry_of(path).kind == "SEG":
        found = seg.read(path)
    else:
        whole = rtstruct.read(path)
        found, notices = whole.structures, whole.notices
    table = {structure.name: structure for structure in found}
    if rename or names is not None:
        new, said = naming.rename({s.name: s.kind for s in found}, naming.load(names))
        found = tuple(replace(structure, name=new[structure.name]) for structure in found)
        notices += tuple(said)
        table |= {structure.name: structure for structure in found}
        table |= {old: table[name] for old, name in new.items()}
    for name in wanted:
        if name not in table:
            raise UnknownName(
                f"There is no structure {name!r}. Known: {', '.join(sorted(table))}.", where=path.name
            )
    return tuple(table[name] for name in wanted) if wanted else found, notices


def own_names(path: Path, names: Path | None) -> dict[str, str]:
    """Return for each renamed structure of an RTSTRUCT or a label map the name that it bears in the file."""
    from rtplan.io import names as naming

    listed = {structure.name: structure.kind for structure in read_structures(path, [], "")[0]}
    return {new: old for old, new in naming.rename(listed, naming.load(names))[0].items()}
