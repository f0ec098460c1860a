"""Open fields by pyRadPlan, run in its own environment; takes and gives npz files (see dose_peers.py)."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
import time
import warnings

import numpy as np
import SimpleITK
from pyRadPlan import PhotonPlan, calc_dose_forward, generate_stf
from pyRadPlan.cst import create_cst, create_voi
from pyRadPlan.ct import create_ct

#: Kernels and rays reach so far from the axis, mm.
REACH_MM = 200.0


def main() -> None:
    """Calculate every field of the given file; then the time of the seven-beam case."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    given = np.load(sys.argv[1])
    jobs = json.loads(str(given["jobs"]))
    doses = {f"dose_{n}": dose(given, field)[0] for n, field in enumerate(jobs["fields"])}
    wide = dose(given, jobs["timed"])[1]
    usual = dose(given, jobs["timed"], wide=False)[1]
    version = importlib.metadata.version("pyRadPlan")
    times = {
        "pyRadPlan SVDPB, its own cut-offs": [usual, usual],
        "pyRadPlan SVDPB, cut-off 200 mm": [wide, wide],
    }
    np.savez(sys.argv[2], times=json.dumps(times), version=version, **doses)


def dose(given: dict[str, np.ndarray], field: dict, wide: bool = True) -> tuple[np.ndarray, float]:
    """Return the dose, [z, y, x], and the seconds of the forward calculation."""
    scene = field["scene"]
    spacing = [float(x) for x in given[f"{scene}_spacing_zyx"][::-1]]
    origin = [float(x) for x in given[f"{scene}_origin_xyz"]]

    def image(array: np.ndarray) -> SimpleITK.Image:
        made = SimpleITK.GetImageFromArray(array)
        made.SetSpacing(spacing)
        made.SetOrigin(origin)
        return made

    body = given[f"{scene}_density"] > 0
    place = np.round((np.array(field["isocentre"]) - origin) / spacing).astype(int)[::-1]
    target = np.zeros(body.shape, np.uint8)
    target[tuple(slice(i - 2, i + 3) for i in place)] = 1
    ct = create_ct(cube_hu=image(given[f"{scene}_hu"]))
    kinds = {"TARGET": target, "EXTERNAL": body.astype(np.uint8)}
    vois = [create_voi(voi_type=k, name=k, ct_image=ct, mask=image(m)) for k, m in kinds.items()]
    structures = create_cst(vois, ct=ct)
    gantry = [float(g) for g in field["gantry"]]
    plan = PhotonPlan(machine="Generic")
    plan.prop_stf = {
        "generator": "photonOpenFields", "bixel_width": float(field["side"]), "gantry_angles": gantry,
        "couch_angles": [0.0] * len(gantry), "iso_center": [list(field["isocentre"])] * len(gantry),
    }  # fmt: skip
    resolution = {"resolution": dict(zip("xyz", spacing, strict=True))}
    plan.prop_dose_calc = {"engine": "SVDPB", "dose_grid": resolution}
    if wide:
        plan.prop_dose_calc |= {"geometric_lateral_cutoff": REACH_MM, "dosimetric_lateral_cutoff": 0.9999}
    start = time.perf_counter()
    fields = generate_stf(ct, structures, plan)
    found = calc_dose_forward(ct, structures, fields, plan, np.ones(fields.total_number_of_bixels))
    seconds = time.perf_counter() - start
    return SimpleITK.GetArrayFromImage(found["physical_dose"]), seconds


if __name__ == "__main__":
    main()
