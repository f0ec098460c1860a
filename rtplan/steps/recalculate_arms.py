"""RecalculateArms: the one plan's dose on every density image; nothing but the density differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rtplan.domain import Mask, Notice, Patient, Plan
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.errors import DoseError, StructureError
from rtplan.imaging.contour import mask_on
from rtplan.planning.algorithm import algorithm
from rtplan.planning.around import dose_grid
from rtplan.planning.beam import load_beam
from rtplan.planning.density import Curve, load_curve
from rtplan.planning.device import one_thread
from rtplan.planning.prepare import beyond_curve
from rtplan.planning.warnings import curve_notices


@dataclass(frozen=True)
class RecalculateArms:
    """Calculate the plan on all arms at once: same beams, MU, body, curve and dose grid.

    Parameters
    ----------
    grid_mm : float
        Spacing of the dose grid.
    curve : str
        Name of the density curve.
    device : str
        Computing device.
    algorithm : str
        ``pencil``, or ``cone``: a plan optimised and normalised by the pencil beam keeps its monitor units.
    """

    grid_mm: float = 3.0
    curve: str = "matrad_default"
    device: str = "cpu"
    algorithm: str = "pencil"

    needs: ClassVar[tuple[str, ...]] = ("arms", "external", "plan")
    makes: ClassVar[tuple[str, ...]] = ("doses",)

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with one dose per arm, never normalised again."""
        plan = patient.plan
        if plan is None:
            raise DoseError("There is no plan to calculate.")
        images = [patient.images[arm] for arm in patient.arms]
        body = mask_on(patient.structure(EXTERNAL), images[0].grid)
        grid = dose_grid(body, _targets(patient, plan, body), self.grid_mm, _organs(patient, body))
        machines = {beam.machine for beam in plan.beams}
        if len(machines) != 1:
            raise DoseError(f"The plan's beams are of {len(machines)} machines; one is wanted.")
        model, curve = load_beam(machines.pop()), load_curve(self.curve)
        engine = algorithm(self.algorithm, model, curve, self.device)
        with one_thread():
            doses = engine.calculate(plan.beams, images, body, grid)
        fractions = plan.prescription.fractions
        named = zip(patient.arms, doses, strict=True)
        made = {arm: replace(dose, fractions=fractions) for arm, dose in named}
        return patient.with_doses(**made).with_notices(*_beyond(patient, plan.made_on, body, curve))


def _beyond(patient: Patient, told: str, body: Mask, curve: Curve) -> list[Notice]:
    """Return which arms have HU beyond the curve; what the plan was made on was told with the plan."""
    found: list[Notice] = []
    for arm in (name for name in patient.arms if name != told):
        found += curve_notices(beyond_curve(patient.images[arm], body, curve), curve, arm)
    return found


def _targets(patient: Patient, plan: Plan, body: Mask) -> list[Mask]:
    """Return the masks of the plan's targets that the patient has, else of all targets."""
    named = [name for name in plan.prescription.targets if name in patient.structures]
    names = named or [name for name, structure in patient.structures.items() if structure.is_target]
    if not names:
        raise StructureError("The plan's targets are not among the structures: no dose grid.")
    return [mask_on(patient.structure(name), body.grid) for name in names]


def _organs(patient: Patient, body: Mask) -> list[Mask]:
    organs = (s for s in patient.structures.values() if s.kind == "ORGAN")
    return [mask_on(organ, body.grid) for organ in organs]
