"""How a study is printed: risks and their agreement per arm, then image and dose, then what went wrong."""

from __future__ import annotations

from pathlib import Path

import typer

from rtplan.evaluation.agreement import RISKS, Agreement
from rtplan.evaluation.study_file import StudyFile

#: Rows beside risks that are printed: metric, structure (None: any target, "": none), heading.
SHOWN = (
    ("MAE[HU]", "Body"),
    ("MAE[HU]", "SoftTissue"),
    ("MAE[HU]", "Bone"),
    ("ME[HU]", "Body"),
    ("IsocentreDose[%]", None),
    ("Mean[Gy]", "PTV"),
    ("D98%[Gy]", "PTV"),
    ("D2%[Gy]", "PTV"),
    ("Gamma", "Body"),
)


def print_study(study: StudyFile, out: Path) -> None:
    """Print the study's tables and where its files lie."""
    failed = [patient for patient in study.patients if patient.state == "failed"]
    typer.echo(f"\n{len(study.done)} of {len(study.patients)} patients, reference {study.reference_arm}.")
    for patient in failed:
        typer.echo(f"  failed: patient {patient.number} ({patient.key or 'no key'}): {patient.reason}")
    _print_risks(study)
    _print_others(study)
    for notice in study.notices:
        typer.echo(f"{notice.severity}: {notice.message} {notice.action}".rstrip())
    typer.echo(f"Report: {out / 'report.html'} (numbers: study.json, cohort.parquet)")


def _print_risks(study: StudyFile) -> None:
    margin = study.statistics.get("margin_pp")
    asked = [r for r in study.cohort if r.metric in RISKS and r.n]
    if study.done and not asked:
        typer.echo("\nNo risk is evaluable; the findings say why.")
    for metric, structure, model in dict.fromkeys((r.metric, r.structure, r.model) for r in asked):
        rows = [r for r in study.cohort if (r.metric, r.structure, r.model) == (metric, structure, model)]
        base = next((r for r in study.risks if (r.metric, r.model, r.arm) == (metric, model, "CT")), None)
        typer.echo(f"\n{metric} of {structure}, {model}; differences to CT in percentage points")
        if metric == "TCP":
            typer.echo("No TCP set is verified: read it relative to the CT alone.")
        elif base is not None:
            low, high = 100 * base.minimum, 100 * base.maximum
            typer.echo(f"On CT: {low:.2f} to {high:.2f} %, median {100 * base.median:.2f} %")
        typer.echo(
            f"{'arm':11} {'n':>3} {'mean':>7} {'limits of agreement':>19} {'their outer 95 % ends':>22} ",
            nl=False,
        )
        typer.echo(f"{'max':>6} {'95 %':>6}  verdict")
        for row in (r for r in rows if r.scale == "as_is"):
            typer.echo(_risk_line(row))
        if margin is None:
            typer.echo("No margin is set (--margin-pp): no verdict.")


def _risk_line(row: Agreement) -> str:
    if row.lower is None or row.upper is None:
        return f"{row.arm:11} {row.n:>3} not evaluable: {row.reason}"
    ends = "no interval"
    if row.lower_ci95 is not None and row.upper_ci95 is not None:
        ends = _pair(row.lower_ci95[0], row.upper_ci95[1])
    mean, most, often = (100 * (v or 0.0) for v in (row.mean, row.max_abs, row.p95_abs))
    limits = _pair(row.lower, row.upper)
    verdict = row.verdict if row.verdict != "none" else "–"
    return (
        f"{row.arm:11} {row.n:>3} {mean:>+7.3f} {limits:>19} {ends:>22} {most:>6.3f} {often:>6.3f}  {verdict}"
    )


def _pair(low: float, high: float) -> str:
    return f"{100 * low:+.3f} to {100 * high:+.3f}"


def _print_others(study: StudyFile) -> None:
    rows = [row for row in study.cohort if row.metric not in RISKS and row.n and _shown(row)]
    arms = list(dict.fromkeys(row.arm for row in rows))
    if not rows:
        return
    typer.echo("\nImage and dose, mean ± SD over patients (difference to CT; MAE and gamma: of each patient)")
    typer.echo(f"{'':32} " + " ".join(f"{arm:>16}" for arm in arms))
    for metric, structure, unit in dict.fromkeys((r.metric, r.structure, r.unit) for r in rows):
        cells = {r.arm: r for r in rows if (r.metric, r.structure) == (metric, structure)}
        line = " ".join(f"{_cell(cells.get(arm)):>16}" for arm in arms)
        name = metric if "[" in metric else f"{metric} [{unit}]"
        typer.echo(f"{(structure or 'isocentre') + ' ' + name:32} {line}")


def _shown(row: Agreement) -> bool:
    structure = row.structure or ""
    return any(
        row.metric.startswith(metric)
        and (wanted is None or structure == wanted or (wanted == "PTV" and structure.startswith("PTV")))
        for metric, wanted in SHOWN
    )


def _cell(row: Agreement | None) -> str:
    if row is None or row.mean is None:
        return "–"
    return f"{row.mean:+.2f} ± {row.sd:.2f}" if row.sd is not None else f"{row.mean:+.2f}"
