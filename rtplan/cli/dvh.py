"""rtplan dvh: DVH metrics, goals and surface maps of one course or several, from DICOM or volume files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from rtplan.cli.options import AsJson, Threads, print_json

if TYPE_CHECKING:
    from rtplan.domain import Dose, Finding, Notice, Structure
    from rtplan.dosimetry.asking import Courses
    from rtplan.dosimetry.metric import Metric
    from rtplan.dosimetry.protocol import Protocol
    from rtplan.dosimetry.surface import SurfaceMap

#: Step of the findings that stand beside the other program's.
CHECKED = "dvh cross-check"


def command(
    dose: list[Path] = typer.Option(
        ..., "--dose", help="RTDOSE, NIfTI or MHA in Gy; again for each further course (a boost)."
    ),
    structures: Path = typer.Option(..., "--structures", help="RTSTRUCT, or a label map."),
    structure: list[str] = typer.Option([], "--structure", help="Name; may be given again. All by default."),
    names: Path | None = typer.Option(None, "--names", help="Map of clinic names to TG-263 (TOML)."),
    metric: list[str] = typer.Option(
        [], "--metric", help="TG-263: D95%[Gy], V20Gy[%] …; may be given again."
    ),
    protocol: str | None = typer.Option(None, "--protocol", help="Evaluate the goals of a protocol."),
    rx: float | None = typer.Option(None, "--rx", help="Prescription, Gy, that a % of dose refers to."),
    fractions: list[int] = typer.Option(
        [], "--fractions", help="Number of fractions, for EQD2; once per --dose.", min=1
    ),
    derive: list[str] = typer.Option(
        [], "--derive", help="'Ring = (PTV + 10) - PTV'; may be given again (docs/dosimetry)."
    ),
    caps: Literal["none", "half_slice", "rounded"] = typer.Option(
        "rounded", "--caps", help="Beyond the ends."
    ),
    interpolation: Literal["linear", "cubic"] = typer.Option("cubic", "--interpolation", help="Of the dose."),
    outside: Literal["refuse", "bounds", "zero"] = typer.Option(
        "refuse", "--outside", help="Off the dose grid."
    ),
    surface: bool = typer.Option(False, "--surface", help="Dose surface map of each --structure (a tube)."),
    level: list[float] = typer.Option(
        [], "--level", help="Dose level of the surface, Gy; may be given again."
    ),
    out: Path | None = typer.Option(
        None, "--out", help="CSV of the curve (FILE_NAME.csv each of several structures)."
    ),
    plot: Path | None = typer.Option(None, "--plot", help="PNG of the curves (and FILE_NAME_surface.png)."),
    cross_check: bool = typer.Option(False, "--cross-check", help="Print dicompyler-core beside."),
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Read DVH metrics and judge goals; each value with its error bound and cap bound.

    Example: rtplan dvh --dose RD.dcm --structures RS.dcm --structure Rectum --metric V50Gy[%]
    """
    from rtplan.cli import dvh_print, dvh_write
    from rtplan.dosimetry.asking import Courses
    from rtplan.dosimetry.dvh import Settings
    from rtplan.dosimetry.metric import parse
    from rtplan.dosimetry.protocol import load_protocol

    if rx is not None and not rx > 0:
        raise typer.BadParameter(f"--rx wants a prescription above 0 Gy, got {rx:g}.")
    if any(not gy > 0 for gy in level):
        raise typer.BadParameter("--level wants doses above 0 Gy.")
    if level and not surface:
        raise typer.BadParameter("--level goes with --surface.")
    if surface and not structure:
        raise typer.BadParameter("--surface wants the tube's name: add --structure Rectum.")
    metrics = [parse(text) for text in metric]
    goals = load_protocol(protocol) if protocol is not None else None
    case = _read(
        dose, fractions, _File(structures, names, goals is not None or names is not None), derive, goals
    )
    shown = _chosen(case, structure)
    courses = Courses(case.doses, Settings(caps=caps, interpolation=interpolation, outside=outside), threads)
    findings, notices = (
        _findings(
            case, shown, courses, _Wanted(metrics, goals, rx, [s.name for s in shown] if structure else [])
        ),
        case.notices,
    )
    maps, more = _maps(shown, courses, level) if surface else ([], [])
    findings += more
    if cross_check:
        peers, said = _peer(structures, dose, shown, courses, case.own)
        findings, notices = findings + peers, [*notices, *said]
    if out is not None or plot is not None:
        notices = [*notices, *dvh_write.write(out, plot, shown, courses, maps)]
    stated: dict[str, object] = {"caps": caps, "interpolation": interpolation, "outside": outside}
    stated["fractions"] = [read.fractions for read in case.doses]
    if as_json:
        print_json(findings, notices, settings=stated)
    else:
        dvh_print.show(findings, notices, stated)


@dataclass(frozen=True)
class _File:
    """A file of structures, a clinic's map of their names, and whether they are renamed."""

    path: Path
    names: Path | None
    renamed: bool


@dataclass(frozen=True)
class _Case:
    """What was read: the courses' doses, all structures (derived ones included), their names in the file."""

    doses: tuple[Dose, ...]
    structures: tuple[Structure, ...]
    notices: list[Notice]
    own: dict[str, str]


@dataclass(frozen=True)
class _Wanted:
    """What is asked of the structures."""

    metrics: list[Metric]
    protocol: Protocol | None
    rx_gy: float | None
    names: list[str]


def _read(
    paths: list[Path], fractions: list[int], file: _File, derive: list[str], protocol: Protocol | None
) -> _Case:
    from rtplan.cli.readings import frame_of, in_frame, own_names, read_courses, read_structures
    from rtplan.dosimetry.courses import physical_sum
    from rtplan.dosimetry.derived import follow
    from rtplan.dosimetry.recipe import parse_recipe

    recipes = [parse_recipe(text) for text in derive]
    doses = read_courses(paths, fractions)
    frame = doses[0].grid.frame_of_reference
    found, said = read_structures(file.path, [], frame, file.names, rename=file.renamed)
    own = own_names(file.path, file.names) if file.renamed else {}
    doses = tuple(in_frame(dose, frame_of(found)) for dose in doses)
    table = {structure.name: structure for structure in found}
    notices = [*said, *_by_protocol(protocol, table)]
    for recipe in recipes:
        dose = physical_sum(doses) if recipe.levels_gy else None
        table[recipe.make] = follow(recipe, table, dose)
        notices.append(_derived(recipe.make, recipe.text, ""))
    return _Case(doses, tuple(table.values()), notices, own)


def _by_protocol(protocol: Protocol | None, table: dict[str, Structure]) -> list[Notice]:
    """Add what the protocol derives and is not there yet, in its order; say what was done."""
    from rtplan.domain import Notice
    from rtplan.dosimetry.derived import follow
    from rtplan.dosimetry.recipe import recipe_of

    notices = []
    for rule in protocol.derive if protocol is not None else ():
        recipe = recipe_of(rule)
        lacking = [name for name in recipe.names if name not in table]
        if rule.make in table:
            text = f"{rule.make} is there already and is kept as drawn."
            notices.append(Notice("STRUCTURE_KEPT", "info", text, structure=rule.make))
        elif lacking:
            text = f"{rule.make} is not derived: {', '.join(lacking)} missing."
            notices.append(Notice("STRUCTURE_NOT_DERIVED", "warn", text, structure=rule.make))
        else:
            table[rule.make] = follow(recipe, table)
            unsure = "" if rule.verified else " (the source of this rule is not verified)"
            notices.append(_derived(rule.make, recipe.text, unsure))
    return notices


def _derived(name: str, text: str, more: str) -> Notice:
    from rtplan.domain import Notice

    return Notice("STRUCTURE_DERIVED", "info", f"{text}{more}.", structure=name)


def _chosen(case: _Case, wanted: list[str]) -> tuple[Structure, ...]:
    """Return the wanted structures, by their names here or in the file; all where none is wanted."""
    from rtplan.errors import UnknownName

    table = {structure.name: structure for structure in case.structures}
    here = {old: new for new, old in case.own.items()} | {name: name for name in table}
    for name in wanted:
        if here.get(name) not in table:
            raise UnknownName(f"There is no structure {name!r}. Known: {', '.join(sorted(table))}.")
    return (
        tuple(table[name] for name in dict.fromkeys(here[w] for w in wanted)) if wanted else case.structures
    )


def _findings(case: _Case, shown: Sequence[Structure], courses: Courses, wanted: _Wanted) -> list[Finding]:
    from rtplan.dosimetry.asking import goal_findings, metric_findings, standard_metrics, target_findings

    found: list[Finding] = []
    if wanted.protocol is not None:
        found += goal_findings(case.structures, courses, wanted.protocol, wanted.names)
    if wanted.metrics or wanted.protocol is None:
        metrics = wanted.metrics or standard_metrics(courses)
        found += metric_findings(shown, courses, metrics, wanted.rx_gy)
    if wanted.rx_gy is not None and wanted.protocol is None:
        found += target_findings(shown, courses, wanted.rx_gy)
    return found


def _maps(
    shown: Sequence[Structure], courses: Courses, levels: list[float]
) -> tuple[list[tuple[SurfaceMap, list[float]]], list[Finding]]:
    """Unwrap each structure; those that are no tube, or leave the dose grid, are not evaluable."""
    from rtplan.domain import Finding
    from rtplan.dosimetry.surface import level_findings, surface_map
    from rtplan.errors import DoseError, StructureError

    maps, findings = [], []
    for structure in shown:
        try:
            dose = courses.dose()
            drawn = surface_map(dose, structure)
        except (DoseError, StructureError) as wrong:
            findings.append(
                Finding(
                    "Surface Mean[Gy]",
                    None,
                    "Gy",
                    "dvh surface",
                    structure=structure.name,
                    verdict="not_evaluable",
                    reason=str(wrong),
                )
            )
            continue
        at = sorted(levels) or [10.0 * n for n in range(1, int(drawn.dose_gy.max() / 10.0) + 1)]
        findings.append(
            Finding("Surface Mean[Gy]", drawn.mean_gy, "Gy", "dvh surface", structure=structure.name)
        )
        findings += level_findings(drawn, at, dose.kind)
        maps.append((drawn, at))
    return maps, findings


def _peer(
    structures: Path, doses: list[Path], shown: Sequence[Structure], courses: Courses, own: dict[str, str]
) -> tuple[list[Finding], list[Notice]]:
    """Run dicompyler-core beside, and read the same metrics ourselves; it knows one DICOM dose."""
    import importlib.util

    from rtplan.domain import Notice
    from rtplan.dosimetry.asking import metric_findings
    from rtplan.dosimetry.metric import parse
    from rtplan.io.crosscheck import METRICS
    from rtplan.io.nifti import is_volume_file

    if importlib.util.find_spec("dicompylercore") is None:
        words = "dicompyler-core is not installed: no cross-check."
        return [], [Notice("PEER_MISSING", "info", words, "pip install 'rtplan[interop]'.")]
    if len(doses) > 1 or is_volume_file(doses[0]) or is_volume_file(structures):
        words = "dicompyler-core reads one RTDOSE and one RTSTRUCT: no cross-check."
        return [], [Notice("PEER_LEFT_OUT", "info", words)]
    ours = metric_findings(shown, courses, [parse(text) for text in METRICS])
    ours = [replace(finding, step=CHECKED) for finding in ours]
    names = {structure.name: own.get(structure.name, structure.name) for structure in shown}
    return ours + [f for pair in names.items() for f in _theirs(structures, doses[0], *pair)], []


def _theirs(structures: Path, dose: Path, name: str, own: str) -> list[Finding]:
    from rtplan.domain import Finding
    from rtplan.errors import RtplanError
    from rtplan.io.crosscheck import METRICS, peer_dvh

    common = {"step": CHECKED, "structure": name, "source": "dicompyler-core"}
    try:
        found = peer_dvh(structures, dose, own)
    except RtplanError as wrong:
        reason = {"verdict": "not_evaluable", "reason": str(wrong)}
        return [Finding(metric, None, metric[-3:-1], **common, **reason) for metric in METRICS]  # type: ignore[arg-type]
    return [Finding(metric, found[metric], metric[-3:-1], **common) for metric in METRICS]  # type: ignore[arg-type]
