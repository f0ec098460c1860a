"""RayStation (CPython script): export the open case, run rtplan on it, import what it made.

NEVER RUN IN RAYSTATION by its authors, who have none: a template after public scripts and RaySearch's naming.
Try it on a phantom, in a research database. Research use only.

Steps: 1. open patient, case, beam set  2. export by ScriptableDicomExport  3. rtplan check, rtplan run
       4. import the synthetic CT, structures and doses into the same case  5. look; nothing is saved
"""

import subprocess
import tempfile
from pathlib import Path

from connect import get_current

#: Yours: where rtplan is, the protocol, the name of the MR's examination, the map of structure names.
RTPLAN = r"C:\rtplan-venv\Scripts\rtplan.exe"
PROTOCOL, MR, NAMES = "prostate_boost_flame", "MR 1", r"C:\rtplan\names.toml"


def export(folder):
    """Write CT, MR, structures, plan and dose of what is open, as DICOM files."""
    case, examination, beam_set = get_current("Case"), get_current("Examination"), get_current("BeamSet")
    case.ScriptableDicomExport(
        ExportFolderPath=str(folder),
        Examinations=[examination.Name, MR],
        RtStructureSetsForExaminations=[examination.Name],
        BeamSets=[beam_set.BeamSetIdentifier()],
        PhysicalBeamSetDoseForBeamSets=[beam_set.BeamSetIdentifier()],
        IgnorePreConditionWarnings=False,
    )


def run(folder, out):
    """Call rtplan; an exit code other than 0 stops the script with rtplan's own message."""
    subprocess.run([RTPLAN, "check", str(folder)], check=True)
    call = [RTPLAN, "run", str(folder), "--protocol", PROTOCOL, "--names", NAMES]
    subprocess.run([*call, "--tps", "raystation", "--out", str(out)], check=True)


def bring_in(folder):
    """Import all series of the results' folder into the open case."""
    database, patient, case = get_current("PatientDB"), get_current("Patient"), get_current("Case")
    (found,) = database.QueryPatientsFromPath(
        Path=str(folder), SearchCriterias={"PatientID": patient.PatientID}
    )
    series = []
    for study in database.QueryStudiesFromPath(Path=str(folder), SearchCriterias=found):
        series += database.QuerySeriesFromPath(Path=str(folder), SearchCriterias=study)
    patient.ImportDataFromPath(Path=str(folder), SeriesOrInstances=series, CaseName=case.CaseName)


def main():
    get_current("Patient").Save()  # RayStation exports and imports saved patients only
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "in", Path(place) / "out"
        folder.mkdir()
        export(folder)
        run(folder, out)
        bring_in(out / "dicom")


if __name__ == "__main__":
    main()
