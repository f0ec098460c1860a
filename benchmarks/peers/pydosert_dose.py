"""Open fields by PyDoseRT, run in its own environment; takes and gives npz files (see dose_peers.py)."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
import warnings

import numpy as np
import torch
from pydosert import BeamSequence, DoseEngine, MachineConfig, PencilDepthEngine

#: Kernel of the doses in voxels: +-150 mm at 3 mm. Its documentation takes 51.
WIDE, USUAL = 101, 51


def main() -> None:
    """Calculate every field of the given file; then the time of the seven-beam case."""
    warnings.simplefilter("ignore")
    given = np.load(sys.argv[1])
    jobs = json.loads(str(given["jobs"]))
    torch.set_num_threads(jobs["threads"])
    machine = MachineConfig(
        tpr_20_10=jobs["tpr_20_10"], number_of_leaf_pairs=60, penumbra_fwhm=[jobs["source_fwhm_mm"]]
    )
    doses = {
        f"dose_{number}": Case(given, machine, field).dose(PencilDepthEngine, WIDE)
        for number, field in enumerate(jobs["fields"])
    }
    timed = Case(given, machine, jobs["timed"])
    times = {
        f"PyDoseRT {engine.__name__}, kernel {size} voxels": timed.times(engine, size)
        for engine in (PencilDepthEngine, DoseEngine)
        for size in (USUAL, WIDE)
        if (engine, size) != (DoseEngine, WIDE)
    }
    version = importlib.metadata.version("pydosert") + ", torch " + torch.__version__
    np.savez(sys.argv[2], times=json.dumps(times), version=version, **doses)


class Case:
    """A density image and a field of one or several gantry angles."""

    def __init__(self, given: dict[str, np.ndarray], machine: MachineConfig, field: dict) -> None:
        self.machine = machine
        self.spacing = tuple(float(x) for x in given[f"{field['scene']}_spacing_zyx"])
        origin = given[f"{field['scene']}_origin_xyz"]
        self.density = torch.as_tensor(given[f"{field['scene']}_density"])[None]
        centre = tuple(float(a - b) for a, b in zip(field["isocentre"], origin, strict=True))[::-1]
        side = float(field["side"])
        self.beams = BeamSequence.create(
            field["gantry"], 60, (400, 400), centre, open_field_size=side, device="cpu", requires_grad=False
        )

    def engine(self, kind: type, size: int) -> DoseEngine:
        """Return an engine of this kind for the case; the kernel's size in voxels."""
        shape = tuple(self.density.shape[1:])
        return kind(
            machine_config=self.machine, kernel_size=size, dose_grid_spacing=self.spacing,
            dose_grid_shape=shape, beam_template=self.beams, device="cpu",
        )  # fmt: skip

    def dose(self, kind: type, size: int) -> np.ndarray:
        """Return the dose, [z, y, x]."""
        with torch.no_grad():
            return self.engine(kind, size).compute_dose(self.beams, density_image=self.density)[0].numpy()

    def times(self, kind: type, size: int) -> list[float]:
        """Return the seconds of the first call with its set-up, and of the best of two further ones."""
        start = time.perf_counter()
        engine = self.engine(kind, size)
        seconds = []
        with torch.no_grad():
            for _ in range(3):
                engine.compute_dose(self.beams, density_image=self.density)
                seconds.append(time.perf_counter() - start)
                start = time.perf_counter()
        return [seconds[0], min(seconds[1:])]


if __name__ == "__main__":
    main()
