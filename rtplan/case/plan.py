"""A plan for one patient: read the folder, optimise, write, read back, calculate what was written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from rtplan import pipeline
from rtplan.case import export
from rtplan.case.assemble import clinical_steps, with_margins
from rtplan.case.outfolder import refuse_occupied, whole
from rtplan.case.plan_findings import (
    as_given,
    boost_finding,
    cover_findings,
    delivery_findings,
    gamma_finding,
    limit_findings,
    loss_findings,
)
from rtplan.case.plan_report import write_report
from rtplan.case.plan_settings import PlanSettings
from rtplan.case.run import Place, read
from rtplan.domain import Beam, ClinicalPlan, Dose, Finding, Grid, Patient, Record
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import Protocol, load_protocol
from rtplan.errors import DicomError, DoseError
from rtplan.imaging.contour import mask_on
from rtplan.io import header as hd
from rtplan.io import rtdose, rtdose_write, rtplan, rtplan_delivery
from rtplan.io.patient_write import identity_of
from rtplan.planning.apertures import ApertureSettings, beams_of, head_of
from rtplan.planning.around import dose_grid
from rtplan.planning.boost import boosted, raise_boost
from rtplan.planning.deliverable import DeliverSettings, deliverable
from rtplan.planning.device import one_thread
from rtplan.planning.machine import load_machine
from rtplan.planning.mimic import denied, wished
from rtplan.planning.optimise import Outcome, optimise
from rtplan.planning.prepare import Prepared, prepare, prescribed
from rtplan.planning.robust import RECALCULATED, Robust, evaluate, robust_findings
from rtplan.planning.second import calculated_by, other_than, second_opinion
from rtplan.planning.solved import aims_for, solved
from rtplan.planning.warnings import warnings_of
from rtplan.steps.estimate_outcome import EstimateOutcome
from rtplan.steps.evaluate_protocol import EvaluateProtocol
from rtplan.steps.optimise_plan import named

Say = Callable[[str], None]
#: Steps that come before a plan, where what they need is there.
BEFORE = ("Register", "CorrectMR", "FindBody", "SynthesiseCT", "AddMargins")
ONLY_FOR_MR = ("Register", "CorrectMR", "SynthesiseCT")
#: The other algorithm sees an arc in these steps (its control points), not in the reported dose's half steps.
COARSE = ApertureSettings(arc_step_deg=4.5)


@dataclass(frozen=True, eq=False)
class Made:
    """A plan with what was found on the way."""

    outcome: Outcome
    delivered: ClinicalPlan | None
    findings: tuple[Finding, ...]
    records: tuple[Record, ...]
    promised: Dose | None = None


def plan_case(place: Place, settings: PlanSettings, *, say: Say = lambda _: None) -> Patient:
    """Read, plan and write one patient.

    Parameters
    ----------
    place : Place
        Where from and where to.
    settings : PlanSettings
        What is asked.
    say : callable
        Gets a line of text before each part.

    Returns
    -------
    Patient
        With the plan, its dose as recalculated from what was written, findings and notices.

    Raises
    ------
    RtplanError
        If the input cannot be planned on or the out folder cannot be made; then nothing was written.
    """
    other_than(settings.algorithm)  # an unknown one is refused before anything is reckoned
    protocol = with_margins(load_protocol(settings.protocol), settings.margins)
    refuse_occupied(place.out, overwrite=place.overwrite)
    say("Read")
    patient = replace(read(place), plan=None, doses={}, clinical_plan=None)
    patient = pipeline.run(_before(patient, protocol, settings), patient, seed=settings.seed, report=say)
    if patient.absolute_withheld is not None:
        raise DoseError(
            f"No plan is made on images that are cut: {patient.absolute_withheld}",
            action="supply images that show the skin all round.",
        )
    prepared = prepare(patient, protocol, settings.means)
    promised = promise(prepared, patient, settings)
    made = make(prepared, protocol, settings, say, patient=patient, promised=promised)
    absent = prescribed(patient, protocol)[1]
    patient = patient.with_notices(*warnings_of(prepared, made.outcome, absent))
    patient = replace(
        patient,
        images={prepared.arm: patient.images[prepared.arm]},
        plan=named(made.outcome.plan, prepared.arm, protocol, settings.curve),
        history=(*patient.history, *made.records),
    )
    with whole(place.out, overwrite=place.overwrite) as folder:
        say("Write, read back and calculate what was written")
        patient, beams = _written(folder, patient, prepared, made, settings.algorithm)
        say("Evaluate")
        ledger = Ledger()
        patient = judged(patient, protocol, prepared, made, ledger)
        if settings.second:
            say(f"Calculate by the other algorithm ({other_than(settings.algorithm)})")
            seen, _ = read_back(folder / "dicom" / "RP.dcm", prepared, COARSE)
            patient = checked(patient, prepared, seen, settings.algorithm, again=len(seen) < len(beams))
        if settings.robust is not None:
            say("Evaluate in scenarios")
            patient = in_scenarios(patient, prepared, beams, settings.robust)
        say("Report")
        write_report(folder, patient, place, settings, ledger)
    return patient


def promise(prepared: Prepared, patient: Patient, settings: PlanSettings) -> Dose | None:
    """Return the dose to be mimicked on the planned grid; None where none is asked for.

    Raises
    ------
    DicomError
        If it is no RTDOSE, or of another patient.
    """
    if settings.mimic is None:
        return None
    who = hd.text(hd.read(settings.mimic, tags=("PatientID",)), "PatientID")
    if who != identity_of(patient).patient_id:
        raise DicomError(
            "The dose to be mimicked is of another patient.",
            where=settings.mimic.name,
            action="give a dose of the patient in the folder.",
        )
    return wished(rtdose.read(settings.mimic).dose, prepared)


def make(
    prepared: Prepared,
    protocol: Protocol,
    settings: PlanSettings,
    say: Say,
    *,
    patient: Patient | None = None,
    promised: Dose | None = None,
) -> Made:
    """Return the plan of a task: fluences, then the boost's climb, then leaf positions.

    Parameters
    ----------
    prepared, protocol, settings, say
        As in `plan_case`.
    patient : Patient, optional
        Whose contours are varied, where the plan shall serve scenarios.
    promised : Dose, optional
        To be mimicked (`promise`).
    """
    findings: list[Finding] = []
    done: list[Record] = []
    task, asked = prepared.task, settings.optimise
    say(f"Optimise {asked.beams} fields on {prepared.arm} at {asked.grid_mm:g} mm")
    with _timed("OptimisePlan", settings, done):
        robust = settings.robust if settings.serve else None
        if promised is None and robust is None:
            outcome = optimise(task, prepared.image, prepared.body, prepared.engine, asked)
        else:
            outcome = solved(prepared, asked, dose=promised, patient=patient, robust=robust)
    if promised is None and robust is None and settings.climb_gy > 0.0 and _has_boost(prepared):
        with _timed("RaiseBoost", settings, done):
            outcome, boost = raise_boost(
                prepared, outcome, asked, furthest_gy=settings.climb_gy, say=lambda text: say(f"  {text}")
            )
        source = next(e.source for e in protocol.prescription if e.target == boosted(task))
        findings.append(boost_finding(boost, source))
    leaves = None
    if settings.deliver:
        machine = load_machine(settings.mlc)
        say(f"Leaf positions of {machine.name} for {'an arc' if settings.arc else 'step and shoot'}")
        with _timed("DeliverPlan", settings, done):
            aims = None if promised is None else aims_for(prepared, promised)
            how = DeliverSettings(settings.arc)
            leaves = deliverable(prepared, outcome, machine, how, aims=aims, say=say)
        findings += delivery_findings(leaves, machine)
    return Made(outcome, leaves, tuple(findings), tuple(done), promised)


def _has_boost(prepared: Prepared) -> bool:
    return any(target.to == "up_to" for target in prepared.task.targets.values())


@contextmanager
def _timed(step: str, settings: PlanSettings, done: list[Record]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    done.append(Record(step, settings.plain(), seconds, pipeline.peak_mib(), version("rtplan")))


def _before(patient: Patient, protocol: Protocol, settings: PlanSettings) -> tuple[pipeline.Step, ...]:
    """Return the steps before the plan; those of the MR only where the plan is made on a synthetic CT."""
    wants_mr = settings.plan_on == "SynCT" or "CT" not in patient.images
    left = set(BEFORE) - (set() if wants_mr else set(ONLY_FOR_MR))
    return tuple(s for s in clinical_steps(protocol, settings.case) if type(s).__name__ in left)


def _written(
    folder: Path, patient: Patient, prepared: Prepared, made: Made, name: str
) -> tuple[Patient, tuple[Beam, ...]]:
    """Write structures and plan, read the plan back, calculate it, write the dose."""
    place = folder / "dicom"
    export.write_dicom(replace(patient, doses={}), place, export.Asked(delivered=made.delivered))
    beams, uid = read_back(place / "RP.dcm", prepared)
    dose = calculated(patient, prepared, beams, name)
    rtdose_write.write(
        dose,
        place / f"RD_{prepared.arm}.dcm",
        identity=identity_of(patient),
        plan_uid=uid,
        arm=prepared.arm,
    )
    return patient.with_doses(**{prepared.arm: dose}), beams


def read_back(
    path: Path, prepared: Prepared, settings: ApertureSettings | None = None
) -> tuple[tuple[Beam, ...], str]:
    """Return the beams of a written plan, of fluence maps or leaf positions, and its UID."""
    if rtplan.read_summary(path).ours:
        back = rtplan.read(path)
        return back.beams, back.source_uid
    whole = rtplan_delivery.read(path)
    model = prepared.engine.model
    beams = beams_of(whole, model.name, model.energy_mv, settings, head=head_of(model))
    return beams, whole.source_uid


def calculated(patient: Patient, prepared: Prepared, beams: tuple[Beam, ...], name: str = "pencil") -> Dose:
    """Return the dose of beams on the planned arm, on a grid that holds the organs near the targets whole."""
    with one_thread():
        return calculated_by(name, prepared, beams, whole_grid(patient, prepared))


def whole_grid(patient: Patient, prepared: Prepared) -> Grid:
    """Return the dose grid of the final calculation."""
    body = mask_on(patient.structure(EXTERNAL), prepared.image.grid)
    targets = [mask_on(patient.structure(name), body.grid) for name in prepared.task.targets]
    organs = [mask_on(s, body.grid) for s in patient.structures.values() if s.kind == "ORGAN"]
    spacing = next(iter(prepared.task.targets.values())).mask.grid.spacing_zyx_mm[0]
    return dose_grid(body, targets, spacing, organs)


def judged(
    patient: Patient, protocol: Protocol, prepared: Prepared, made: Made, ledger: Ledger | None = None
) -> Patient:
    """Add what the protocol asks of the dose, its risks, and what only a plan can say."""
    on_plan = _on_planned_grid(patient.doses[prepared.arm], prepared)
    own = [*made.findings, *limit_findings(prepared, on_plan), *cover_findings(prepared, on_plan)]
    if made.delivered is not None:
        own += loss_findings(prepared, made.outcome.dose, on_plan)
    if made.promised is not None:
        own += denied(prepared, made.promised, on_plan)
        own.append(gamma_finding("Gamma 2%/2mm given against promised", made.promised, on_plan))
    ledger = ledger or Ledger()
    patient = EvaluateProtocol(protocol, ledger=ledger)(patient)
    patient = EstimateOutcome(protocol, ledger=ledger)(patient)
    own = [as_given(f, patient.findings, prepared.arm) for f in own]
    told = (replace(f, patient=patient.key, arm=prepared.arm) for f in own)
    return patient.with_findings(*told)


def checked(
    patient: Patient, prepared: Prepared, beams: tuple[Beam, ...], name: str, *, again: bool = False
) -> Patient:
    """Add what the other algorithm gives for the written plan.

    ``again``: the beams are not those of the reported dose (an arc's coarser steps); both algorithms then
    calculate them, so that nothing but the algorithm differs.
    """
    if again:
        dose = calculated_by(name, prepared, beams)
    else:
        dose = _on_planned_grid(patient.doses[prepared.arm], prepared)
    found, notices = second_opinion(prepared, beams, dose, other_than(name))
    told = (replace(f, patient=patient.key, arm=prepared.arm) for f in found)
    return patient.with_findings(*told).with_notices(*notices)


def in_scenarios(patient: Patient, prepared: Prepared, beams: tuple[Beam, ...], robust: Robust) -> Patient:
    """Add what the written plan is worth where the patient lies otherwise or others drew the contours."""
    results = evaluate(prepared, beams, patient.doses[prepared.arm], patient, robust)
    told = robust_findings(results, robust, calculated=len(beams) <= RECALCULATED)
    return patient.with_findings(*(replace(f, patient=patient.key, arm=prepared.arm) for f in told))


def _on_planned_grid(dose: Dose, prepared: Prepared) -> Dose:
    from rtplan.imaging.resample import resample

    return resample(dose, prepared.leading.mask.grid)
