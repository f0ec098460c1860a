"""SampleDoses: the one plan's dose on samples of the synthetic CT, for the dose's part of a budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

import numpy as np

from rtplan.domain import Dose, Image, Mask, Notice, Patient
from rtplan.domain.nomenclature import EXTERNAL, SUPPORT
from rtplan.domain.volume import Source
from rtplan.errors import DoseError
from rtplan.imaging.contour import mask_on
from rtplan.learning.residuals import load_residuals, samples
from rtplan.planning.algorithm import algorithm
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.device import one_thread

ARM = "SynCT"
#: Fewer samples do not show a 95 % interval.
LEAST = 40
#: So many samples are calculated at a time: what fits beside the patient in memory.
BATCH = 4


def demand_count(count: int) -> None:
    """Raise DoseError unless a number of samples is 0 or enough for an interval."""
    if count and count < LEAST:
        raise DoseError(
            f"{count} samples of the dose do not show a 95 % interval.",
            action=f"ask for {LEAST} or more, or for none (0).",
        )


@dataclass(frozen=True)
class SampleDoses:
    """Calculate the plan on samples of the arm ``SynCT``: same beams, MU, body, curve and dose grid.

    Parameters
    ----------
    count : int
        Number of samples; 0 for none, else 40 or more.
    residuals : str
        Which measured residuals are added: ``real`` or ``digital`` (a digital patient's).
    model : str
        The network that made the arm.
    sample_seed : int
        Of the samples.
    curve : str
        Name of the density curve.
    device : str
        Computing device.
    algorithm : str
        That of the arm's own dose.

    Notes
    -----
    The samples are no arms: their images are not kept, and their doses stand apart in
    ``patient.samples`` (``SynCT#000`` …). What is the same in every arm by rule (outside the body and the
    common support, gas) is so in the samples too.
    """

    count: int = 0
    residuals: str = "real"
    model: str = "synct_mr_pelvis"
    sample_seed: int = 1
    curve: str = "matrad_default"
    device: str = "cpu"
    algorithm: str = "pencil"

    needs: ClassVar[tuple[str, ...]] = ("doses", "plan", "external")
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the doses of the samples; without the arm, with a notice.

        Raises
        ------
        DoseError
            If fewer than 40 samples are asked for.
        ModelError
            If the network has no measured residuals.
        """
        demand_count(self.count)
        if not self.count:
            return patient
        if ARM not in patient.doses or ARM not in patient.images or patient.plan is None:
            return patient.with_notices(_nothing())
        residuals = load_residuals(self.model, self.residuals)
        image = patient.images[ARM]
        body = mask_on(patient.structure(EXTERNAL), image.grid)
        drawn = samples(image, Mask(image.grid, _guessed(patient, body)), residuals, self.sample_seed)
        source = Source(
            description=f"dose on {self.count} samples of the synthetic CT, seed {self.sample_seed} "
            f"(same MU; {residuals.described})"
        )
        doses: dict[str, Dose] = {}
        while len(doses) < self.count:
            batch = list(islice(drawn, min(BATCH, self.count - len(doses))))
            for dose in self._doses(patient, batch, body):
                doses[f"{ARM}#{len(doses):03d}"] = replace(dose, source=source)
        return patient.with_samples(doses)

    def _doses(self, patient: Patient, images: list[Image], body: Mask) -> list[Dose]:
        plan, nominal = patient.plan, patient.doses[ARM]
        assert plan is not None
        model, curve = load_beam(plan.beams[0].machine), load_curve(self.curve)
        engine = algorithm(self.algorithm, model, curve, self.device)
        with one_thread():
            made = engine.calculate(plan.beams, images, body, nominal.grid)
        return [replace(dose, fractions=nominal.fractions) for dose in made]


def _guessed(patient: Patient, body: Mask) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return the voxels whose density the network guessed: not those that are alike in all arms by rule."""
    arm = patient.images[ARM]
    guessed = body.array.copy()
    if SUPPORT in patient.structures:
        guessed &= mask_on(patient.structure(SUPPORT), arm.grid).array
    others = [patient.images[name].array for name in patient.arms if name != ARM]
    if others:
        guessed &= ~np.all([other == arm.array for other in others], axis=0)
    return guessed


def _nothing() -> Notice:
    return Notice(
        "DOSE_NOT_SAMPLED",
        "warn",
        "Samples of the dose were asked for, but there is no synthetic CT with a dose.",
        "supply an MR that a synthetic-CT network can read, or leave --dose-samples out.",
    )
