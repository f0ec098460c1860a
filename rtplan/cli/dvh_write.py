"""What `rtplan dvh` writes: tables of curves and surfaces, and pictures; all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtplan.domain import Notice, Structure
    from rtplan.dosimetry.asking import Courses
    from rtplan.dosimetry.dvh import Dvh
    from rtplan.dosimetry.surface import SurfaceMap

#: Curves in one picture: each has a colour of its own.
MOST_CURVES = 6


def write(
    out: Path | None,
    plot: Path | None,
    shown: Sequence[Structure],
    courses: Courses,
    maps: Sequence[tuple[SurfaceMap, list[float]]],
) -> list[Notice]:
    """Write the files that are asked for; return notices about structures that have no curve.

    Raises
    ------
    OutputError
        If a file is there already, or no structure has a curve; then nothing is written.
    """
    from rtplan.errors import OutputError

    curves, notices = _curves(shown, courses)
    if not curves:
        raise OutputError("No structure has a DVH: nothing is written.", action="see the findings for why.")
    jobs: dict[Path, Callable[[Path], object]] = {}
    if out is not None:
        jobs |= _tables(out, curves, [drawn for drawn, _ in maps], several=len(shown) > 1)
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise OutputError("A plot is a .png file.", where=str(plot), action="name it FILE.png.")
        targets = {structure.name for structure in shown if structure.is_target}
        order = sorted(curves, key=lambda name: name not in targets)  # targets first, else as asked
        names = order[:MOST_CURVES]
        if len(names) < len(order):
            notices.append(_left_out(order[MOST_CURVES:]))
        jobs[plot] = partial(_picture, {name: curves[name] for name in names})
        for drawn, levels in maps:
            jobs[_beside(plot, f"{drawn.structure}_surface")] = partial(_surface, drawn, levels)
    _do(jobs)
    return notices


def _do(jobs: dict[Path, Callable[[Path], object]]) -> None:
    """Write every file, or none: what was written is taken away when a later one fails."""
    from rtplan.errors import OutputError

    for path in jobs:
        if path.exists():
            raise OutputError("The file is there already.", where=str(path), action="choose another name.")
    done: list[Path] = []
    try:
        for path, job in jobs.items():
            done.append(path)
            job(path)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise


def _curves(shown: Sequence[Structure], courses: Courses) -> tuple[dict[str, Dvh], list[Notice]]:
    from rtplan.domain import Notice
    from rtplan.errors import DoseError, StructureError

    curves: dict[str, Dvh] = {}
    notices = []
    courses.make(shown)
    for structure in shown:
        try:
            curves[structure.name] = courses.dvh(structure)
        except (DoseError, StructureError) as wrong:
            notices.append(Notice("NO_CURVE", "warn", wrong.message, structure=structure.name))
    return curves, notices


def _left_out(names: Sequence[str]) -> Notice:
    from rtplan.domain import Notice

    text = f"The plot shows {MOST_CURVES} curves; left out: {', '.join(names)}."
    return Notice("CURVES_LEFT_OUT", "info", text, "choose by --structure.")


def _tables(
    out: Path, curves: dict[str, Dvh], maps: Sequence[SurfaceMap], *, several: bool
) -> dict[Path, Callable[[Path], object]]:
    from rtplan.dosimetry.table import write_surface, write_table

    jobs: dict[Path, Callable[[Path], object]] = {}
    for name, made in curves.items():
        jobs[_beside(out, name) if several else out] = partial(write_table, made)
    for drawn in maps:
        place = _beside(out, f"{drawn.structure}_surface")
        jobs[place] = partial(write_surface, drawn)
    return jobs


def _beside(path: Path, name: str) -> Path:
    """Return ``FILE_NAME.ext``; signs that a file name may not hold become ``_``."""
    safe = "".join(sign if sign.isalnum() or sign in "-_.~+ " else "_" for sign in name)
    return path.with_name(f"{path.stem}_{safe}{path.suffix}")


def _picture(curves: dict[str, Dvh], path: Path) -> None:
    from rtplan.report.plots import Axis, Drawing, dvh_picture

    shown = {name: (made.dose_gy, made.volume_percent) for name, made in curves.items()}
    kinds = {made.kind for made in curves.values()} - {"physical"}
    title = f"dose [Gy], {', '.join(sorted(kinds))}" if kinds else "dose [Gy]"
    path.write_bytes(dvh_picture(Drawing({"dose": shown}, ("dose",), tuple(shown), Axis(title))).png)


def _surface(drawn: SurfaceMap, levels: list[float], path: Path) -> None:
    from rtplan.report.surface_map import surface_png

    path.write_bytes(surface_png(drawn, levels))
