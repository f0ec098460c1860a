"""Put the results of studies that were run into docs/study.md, between its marks, with the figures.

Run: python docs/study_results.py FOLDER [--margin-pp 0.5], where FOLDER holds the studies `flame`, `chhip`,
`flame-clinic`, `sts-npz` and `sts-held-out` (the calls stand in docs/study.md). Each is judged again on a
copy; nobody is run.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from rtplan.case.cohort_table import read_cohort
from rtplan.cli.study_print import print_study
from rtplan.evaluation.agreement import Agreement, Judging
from rtplan.evaluation.study_file import StudyFile, read_study
from rtplan.report.cohort import cohort_content
from rtplan.study.judge import judge_again

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "study.md"
DIGITAL = {"flame": "FLAME boost", "chhip": "CHHiP 60 Gy", "flame-clinic": "FLAME boost, as in a clinic"}
REAL = ("sts-npz", "sts-held-out")
FIGURES = {"flame": "study_flame.png", "flame-clinic": "study_flame_clinic.png"}
#: Arms beside the founding study's, with its largest error, pp (doi 10.1093/bjro/tzae014).
FOUNDING = (
    ("CT0", "–", "–"),
    ("CTpop", "bulk density", "0.6"),
    ("CTpop_bone", "bulk density", "0.6"),
    ("CTstrat", "tissue stratification", "0.3"),
    ("SynCT", "deep learning", "0.1"),
)


def judged(folder: Path, name: str, margin: float) -> tuple[StudyFile, str, Path | None]:
    """Judge a study on a copy; return it, what the command prints, and where its figure was put."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / name
        shutil.copytree(folder / name, copy, ignore=shutil.ignore_patterns(".partial-*", "*.html", "*.pdf"))
        protocol = read_study(copy).settings["protocol"]
        study = judge_again(copy, Judging(margin=margin, precision=0.0005), protocol)
        said = io.StringIO()
        with redirect_stdout(said):
            print_study(study, Path(name))
        figure = None
        if name in FIGURES:
            content = cohort_content(study, read_cohort(copy / "cohort.parquet"))
            block = next(b for b in content.blocks if b.name == "agreement-1")
            figure = PAGE.parent / FIGURES[name]
            figure.write_bytes(block.pictures[0].png)
    return study, said.getvalue().strip(), figure


def table(studies: dict[str, StudyFile]) -> str:
    """Return the founding study's figures beside those of the digital ones."""
    names = list(studies)
    lines = [
        "| arm | founding study | largest error, pp | " + " | ".join(DIGITAL[n] for n in names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for arm, kind, largest in FOUNDING:
        cells = [_largest(studies[name], arm) for name in names]
        lines.append(f"| {arm} | {kind} | {largest} | " + " | ".join(cells) + " |")
    risks = [next(r for r in studies[n].risks if (r.arm, r.metric) == ("CT", "NTCP")) for n in names]
    ranges = [f"{100 * r.minimum:.2f} – {100 * r.maximum:.2f} % (n = {r.n})" for r in risks]
    lines.append("| risk on CT | | 1.6 – 6.1 % (n = 36) | " + " | ".join(ranges) + " |")
    return "\n".join(lines)


def _row(study: StudyFile, arm: str) -> Agreement:
    return next(r for r in study.cohort if (r.arm, r.metric, r.scale) == (arm, "NTCP", "as_is"))


def _largest(study: StudyFile, arm: str) -> str:
    row = _row(study, arm)
    base = next(r.mean for r in study.risks if (r.arm, r.metric) == ("CT", "NTCP"))
    assert row.max_abs is not None
    assert row.mean is not None
    assert row.sd is not None
    return f"{100 * row.max_abs:.2f} (mean {100 * row.mean:+.2f}, {100 * row.mean / base:+.0f} % of the risk)"


def sizes(study: StudyFile) -> str:
    """Return how many patients a precision of ± 0.05 pp of the limits needs, by arm."""
    return ", ".join(f"{arm} {_row(study, arm).sample_size}" for arm, *_ in FOUNDING)


def put(text: str, name: str, content: str) -> str:
    """Replace what stands between the marks of a name."""
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"docs/study.md has no marks {begin} … {end}")
    return f"{head}{begin}\n{content}\n{end}{tail}"


def main() -> None:
    """Judge, and write the page."""
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("--margin-pp", type=float, default=0.5)
    options = asked.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    studies: dict[str, StudyFile] = {}
    for name in (*DIGITAL, *REAL):
        study, said, _ = judged(options.folder, name, options.margin_pp / 100.0)
        text = put(text, name, f"```text\n{said}\n```")
        if name in DIGITAL:
            studies[name] = study
    text = put(text, "founding", table(studies))
    text = put(text, "sizes", f"Flame boost, ideal: {sizes(studies['flame'])}.")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
