"""What the pages' blocks work on, made once a session: a digital patient, a finished run, pairs …"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from rtplan.case.run import Place, run_case
from rtplan.case.settings import CaseSettings
from rtplan.domain import Grid, Image, Mask, Structure
from rtplan.io.datasets.npz import read_npz
from rtplan.io.nifti import write_labels, write_volume
from rtplan.io.patient_write import write_patient
from rtplan.phantom.cohort import make_patient
from rtplan.planning.beam import load_beam
from rtplan.planning.commission import predicted
from rtplan.planning.measured import Measured

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
COARSE = (7.0, 5.0, 5.0)
#: Fine enough for a gel of some 12 mm: on voxels of 7 mm it comes out too small to be believed.
FINER = (4.0, 3.0, 3.0)
#: Of the digital patient's structures, those that the pages speak of.
KEPT = ("External", "Prostate", "Rectum", "GTVp")


def _drawn(seed: int, cohort: str = "valid", spacing_zyx_mm=COARSE):
    patient = make_patient(cohort, seed, spacing_zyx_mm=spacing_zyx_mm, contrasts=("T2w",))
    target = replace(patient.structure("PTVp"), name="PTVp_7700")
    return patient, {name: patient.structure(name) for name in KEPT} | {"PTVp_7700": target}


def make_patient_folder(place: Path, _) -> None:
    """Write a digital patient: CT, T2w and structures with the FLAME boost's target."""
    patient, structures = _drawn(5)
    write_patient(replace(patient, structures=structures), place)


def make_finer_folder(place: Path, _) -> None:
    """Write the same patient on a finer grid."""
    patient, structures = _drawn(5, spacing_zyx_mm=FINER)
    write_patient(replace(patient, structures=structures), place)


def make_boost(place: Path, _) -> None:
    """Write this patient with a bladder, and the gland's target under both boost protocols' names."""
    patient, structures = _drawn(5)
    structures["Bladder"] = patient.structure("Bladder")
    structures["PTVp_4000"] = replace(structures["PTVp_7700"], name="PTVp_4000")
    write_patient(replace(patient, structures=structures), place)


def make_run(place: Path, ready) -> None:
    """Run this patient with three fields on a coarse grid: what the pages' own runs take a minute for."""
    arms = ("CT", "SynCT")
    settings = CaseSettings(protocol="prostate_boost_flame", arms=arms, beams=3, grid_mm=8.0, gamma=())
    run_case(Place(ready("patient"), place), settings)


def make_export(place: Path, ready) -> None:
    """Put together what a planning system exports: the patient with its plan and the dose on the CT."""
    shutil.copytree(ready("patient"), place)
    for name in ("RP.dcm", "RD_CT.dcm"):
        shutil.copy(ready("run") / "dicom" / name, place / name)


def make_cohort(place: Path, ready) -> None:
    """Write two digital patients, a folder each."""
    for seed in (5, 6):
        patient, structures = _drawn(seed)
        write_patient(replace(patient, structures=structures), place / f"case{seed}")


def make_pairs(place: Path, _) -> None:
    """Write two pairs of CT and MR as npz, as data sets come."""
    place.mkdir()
    for seed in (1, 2):
        patient, _structures = _drawn(seed, "train")
        ct, mr = patient.images["CT"].array, patient.images["T2w"].array
        np.savez_compressed(place / f"case{seed}.npz", ct=ct, mr=mr, spacing_zyx=np.array(COARSE))


def make_synthrad(place: Path, ready) -> None:
    """Write the same pairs in SynthRAD's layout, with the body as mask."""
    for path in sorted(ready("pairs").glob("*.npz")):
        pair = read_npz(path, role="MR")
        folder = place / path.stem
        folder.mkdir(parents=True)
        for name, image in (("ct", pair.images["CT"]), ("mr", pair.images["MR"])):
            write_volume(image, folder / f"{name}.nii.gz")
        ct = pair.images["CT"]
        body = Structure("mask", "CONTROL", Mask(ct.grid, ct.array > -300))
        write_labels([body], ct.grid, folder / "mask.nii.gz")


def make_prostate(place: Path, _) -> None:
    """Write one ellipsoid gland with zones and a lesion, as the PI-CAI masks are kept."""
    z, y, x = np.meshgrid(*(np.arange(n) - n / 2 for n in (20, 60, 64)), indexing="ij")
    gland = (z * 3 / 22) ** 2 + (y / 20) ** 2 + (x / 26) ** 2 < 1
    lesion = gland & ((z * 3) ** 2 + (y - 12) ** 2 + (x - 8) ** 2 < 25)
    zones = np.where(gland, np.where(y > 4, 1, 2), 0)
    spacing = np.array([3.0, 1.0, 1.0])
    with place.open("wb") as file:
        np.savez_compressed(file, gland=gland, zones=zones, lesion_isup=2 * lesion, spacing_zyx=spacing)


def make_curve(place: Path, _) -> None:
    """Write the cumulative DVH of a rectum as CSV: dose falling evenly to 60 Gy."""
    rows = "".join(f"{dose},{100 - dose / 0.6:.4f}\n" for dose in range(61))
    place.write_text(f"# type: cumulative\ndose_gy,volume_percent\n{rows}", encoding="utf-8")


def make_openkbp(place: Path, _) -> None:
    """Link one real patient of OpenKBP's validation set; skip where the set is not here."""
    source = DATA / "openkbp" / "valid"
    if not source.is_dir():
        pytest.skip("the real data (../shared/data/openkbp) are not here")
    place.mkdir()
    first = min(source.iterdir())
    (place / first.name).symlink_to(first)


def make_water(place: Path, _) -> None:
    """Write a small tank of water, its surface at y = 0, as NIfTI."""
    grid = Grid.axial((24, 26, 24), (8.0, 8.0, 8.0), (-92.0, -12.0, -92.0))
    inside = np.zeros(grid.shape, bool)
    inside[1:-1, 2:-1, 1:-1] = True
    place.mkdir()
    write_volume(Image(grid, np.where(inside, 0.0, -1000.0)), place / "ct.nii.gz")


def make_measured(place: Path, _) -> None:
    """Write the commissioning CSV of a machine: TMR, output factors and one profile."""
    model = load_beam("generic_6mv")
    rows = ["quantity,field_mm,depth_mm,offset_mm,value"]
    for quantity, sides, depths, offsets in (
        ("tmr", (40.0, 100.0, 200.0), (15.0, 50.0, 100.0, 200.0), (0.0,)),
        ("output_factor", (40.0, 100.0, 200.0), (100.0,), (0.0,)),
        ("profile", (100.0,), (100.0,), (0.0, 20.0, 40.0, 46.0, 50.0, 54.0, 60.0)),
    ):
        for side, depth, offset in itertools.product(sides, depths, offsets):
            asked = Measured(np.array([quantity]), *(np.array([x]) for x in (side, depth, offset, 0.0)))
            rows.append(f"{quantity},{side},{depth},{offset},{predicted(model, asked, 900.0)[0]:.4f}")
    place.write_text("\n".join(rows) + "\n", encoding="utf-8")


MADE = {
    "patient": make_patient_folder,
    "finer": make_finer_folder,
    "boost": make_boost,
    "run": make_run,
    "export": make_export,
    "cohort": make_cohort,
    "pairs": make_pairs,
    "synthrad": make_synthrad,
    "prostate": make_prostate,
    "curve": make_curve,
    "openkbp": make_openkbp,
    "water": make_water,
    "measured": make_measured,
}


@pytest.fixture(scope="session")
def ready(tmp_path_factory, worker_id):
    """Return a function that gives the place of a thing by its name; made at most once for all workers."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def place(name: str) -> Path:
        path = base / f"docs-{name}"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                MADE[name](path, place)
        return path

    return place
