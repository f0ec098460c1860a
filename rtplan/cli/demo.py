"""rtplan demo: the whole chain on a digital patient, through real DICOM files."""

from __future__ import annotations

import gc
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rtplan.cli.options import Quiet, Seed, progress

#: What the demo prescribes, and the digital patient's structure that becomes its target.
PROTOCOL = "prostate_boost_flame"
TARGETS = {"PTVp": "PTVp_7700"}
#: Voxels of the digital patient, [z, y, x] mm: as fine as a planning CT needs for a 3 mm dose grid.
SPACING_ZYX_MM = (3.0, 2.0, 2.0)


def command(
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("out/demo"),
    seed: Seed = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole chain on a digital patient: MR and CT to synthetic CT, plan, dose, toxicity, report.

    Example: rtplan demo --out out/demo
    """
    from rtplan.case.outfolder import refuse_occupied
    from rtplan.case.run import Place, run_case
    from rtplan.case.settings import CaseSettings
    from rtplan.cli.summary import print_summary

    start, say = time.perf_counter(), progress(quiet)
    refuse_occupied(out, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="rtplan-demo-") as place:
        folder = Path(place) / "patient"
        say("Draw a digital patient and write it as DICOM")
        write_digital_patient(folder, seed)
        gc.collect()
        settings = CaseSettings(protocol=PROTOCOL, seed=seed)
        patient = run_case(Place(folder, out, overwrite=overwrite), settings, command="demo", say=say)
    print_summary(patient, out)
    typer.echo(f"Digital patient, not a person. {time.perf_counter() - start:.0f} s.")


def write_digital_patient(folder: Path, seed: int) -> None:
    """Write one digital patient (CT, T2w, structures) as DICOM files."""
    from rtplan.io.patient import write_patient
    from rtplan.phantom.cohort import make_patient

    patient = make_patient("valid", seed, spacing_zyx_mm=SPACING_ZYX_MM, contrasts=("T2w",))
    named = {TARGETS.get(s.name, s.name): s for s in patient.structures.values()}
    structures = {name: replace(structure, name=name) for name, structure in named.items()}
    write_patient(replace(patient, structures=structures), folder)
