"""A prostate boost's dose, goals and risk from contours: read, predict, write one RTDOSE; nothing planned."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rtplan import pipeline
from rtplan.case.assemble import clinical_steps, with_margins
from rtplan.case.boost import boost_levels, case_of, grid_of, plan_settings, prepare_boost
from rtplan.case.run import Place, read
from rtplan.case.settings import CaseSettings
from rtplan.domain import Dose, Finding, Grid, Notice, Patient, Record, Source
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import Protocol, load_protocol
from rtplan.dosimetry.reading import value
from rtplan.errors import DoseError, OutputError, RtplanError, StructureError
from rtplan.io import rtdose_write
from rtplan.io.patient_write import identity_of
from rtplan.learning.boost import BoostCase
from rtplan.learning.boost_familiar import judged_pelvis
from rtplan.learning.predict_boost import demand_boost_model, predicted_gy
from rtplan.learning.zoo import Model, load_model
from rtplan.planning.prepare import Prepared
from rtplan.steps.estimate_outcome import EstimateOutcome
from rtplan.steps.evaluate_protocol import EvaluateProtocol

if TYPE_CHECKING:
    from rtplan.case.boost_sweep import Stop

Say = Callable[[str], None]
STEP = "PredictDose"
MODEL = "dose_prostate_boost"
#: Steps before a prediction; those of the MR only where there is no CT.
BEFORE = ("FindBody", "AddMargins")
FROM_MR = ("Register", "CorrectMR", "SynthesiseCT")
#: What stands in every finding on a predicted dose.
TOLD = "predicted, not planned"
#: Metrics of the targets and of organs, beside the protocol's goals.
OF_TARGETS = ("D98%[Gy]", "D50%[Gy]", "D2%[Gy]")
OF_ORGANS = ("D2cc[Gy]", "Mean[Gy]")
ORGANS = ("Rectum", "Bladder")


@dataclass(frozen=True)
class PredictSettings:
    """Settings of `rtplan predict-dose`, beside the folder that is read and the file that is written.

    Parameters
    ----------
    protocol : str
        Name on the shelf, or path of a TOML file.
    beams : int
        Fields of the plan whose dose is predicted: 7 or 9.
    model : str
        Network: name on the shelf, or path of its ``model.toml``.
    plan_on : str or None
        Density image; None: the CT, else the synthetic CT.
    margins : mapping
        As in `CaseSettings`.
    risk, sweep : bool
        Whether goals and risk are wanted, and how they change with the boost.
    mirror : bool
        Mean over four views, mirrored and moved by a voxel.
    seed : int
        Of the draws of the outcome's parameters.
    """

    protocol: str
    beams: int = 7
    model: str = MODEL
    plan_on: str | None = None
    margins: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    risk: bool = False
    sweep: bool = False
    mirror: bool = True
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Predicted:
    """A patient with a predicted dose.

    Parameters
    ----------
    patient : Patient
        With the dose, findings and notices.
    arm : str
        Density image that it was predicted on.
    stops : tuple of Stop
        Other doses of the boost, from low to high; empty where not asked for.
    page : str
        On which the reader moves the boost (HTML); empty where not asked for.
    seconds : float
        Wall clock of all but reading and writing.
    """

    patient: Patient
    arm: str
    stops: tuple[Stop, ...]
    page: str
    seconds: float


def predict_case(place: Place, settings: PredictSettings, *, say: Say = lambda _: None) -> Predicted:
    """Read a patient, predict, and write the RTDOSE ``place.out``.

    Raises
    ------
    ModelError
        If the network has not seen such a site, prescription or number of fields.
    StructureError
        If a target, an organ that shapes the plan or the outline is missing.
    OutputError
        If the file is there already, or cannot be written.
    RtplanError
        If the input cannot be used; then nothing was written.
    """
    protocol = with_margins(load_protocol(settings.protocol), settings.margins)
    boost_levels(protocol)
    plan_settings(settings.beams)
    model = load_model(settings.model)
    demand_boost_model(model)
    demand_free(place.out, overwrite=place.overwrite, page=settings.sweep)
    say("Read")
    patient = replace(read(place), plan=None, doses={}, clinical_plan=None)
    start = time.perf_counter()
    patient = _before(patient, protocol, settings, say)
    say("Predict")
    done = predict_patient(patient, protocol, model, settings)
    done = replace(done, seconds=time.perf_counter() - start)
    say("Write")
    _write(done, place, model)
    return done


def predict_patient(
    patient: Patient, protocol: Protocol, model: Model, settings: PredictSettings
) -> Predicted:
    """Return a patient who has a density image, an outline and targets with the predicted dose."""
    start = time.perf_counter()
    prepared = prepare_boost(patient, protocol, settings.plan_on)
    grid = grid_of(patient, prepared)
    case = case_of(patient, protocol, prepared, settings.beams, grid=grid)
    strange = judged_pelvis(model, case)
    dose = dose_of(model, case, grid, mirror=settings.mirror)
    ledger = Ledger()
    told = judged(patient.with_doses(**{prepared.arm: dose}), protocol, prepared, ledger, settings)
    record = Record(
        STEP,
        _plain(settings),
        time.perf_counter() - start,
        pipeline.peak_mib(),
        version("rtplan"),
        model.sha256,
    )
    told = replace(told, history=(*told.history, record)).with_notices(
        _notice(model, settings), *((strange,) if strange else ())
    )
    stops: tuple[Stop, ...] = ()
    shown = ""
    if settings.sweep:
        from rtplan.case.boost_sweep import page, sweep  # draws: a second of imports

        stops = sweep(patient, protocol, prepared, model, (case, grid))
        shown = page(patient, protocol, prepared, stops, model.card)
    return Predicted(told, prepared.arm, stops, shown, time.perf_counter() - start)


def dose_of(model: Model, case: BoostCase, grid: Grid, *, mirror: bool = True) -> Dose:
    """Return the predicted dose of a case on its grid."""
    array = predicted_gy(model, case, tta=mirror)
    source = Source(description=f"predicted by {model.card.name}")
    return Dose(grid, array, fractions=case.fractions, source=source)


def judged(
    patient: Patient, protocol: Protocol, prepared: Prepared, ledger: Ledger, settings: PredictSettings
) -> Patient:
    """Add the metrics of targets and organs; where wanted the protocol's goals and risks."""
    patient = patient.with_findings(*metrics_of(patient, prepared, ledger))
    if settings.risk:  # structures that no goal names would take longer than all the rest
        asked = {*prepared.task.targets, *ORGANS, *(goal.structure for goal in protocol.goal)}
        few = replace(patient, structures={n: s for n, s in patient.structures.items() if n in asked})
        few = EvaluateProtocol(protocol, ledger=ledger)(few)
        patient = replace(patient, findings=few.findings)
        patient = EstimateOutcome(protocol, parameter_seed=settings.seed, ledger=ledger)(patient)
    told = tuple(replace(f, detail={**f.detail, "dose": TOLD}) for f in patient.findings)
    return replace(patient, findings=told)


def metrics_of(patient: Patient, prepared: Prepared, ledger: Ledger) -> list[Finding]:
    """Return D98%, D50%, D2% of the targets, D2cc and mean of rectum and bladder."""
    asked = [(name, OF_TARGETS) for name in prepared.task.targets] + [(name, OF_ORGANS) for name in ORGANS]
    structures = [patient.structure(name) for name, _ in asked]
    found = []
    arm = prepared.arm
    for (name, metrics), made in zip(
        asked, ledger.histograms(structures, {arm: patient.doses[arm]}), strict=True
    ):
        for metric in metrics:
            common = {"step": STEP, "patient": patient.key, "arm": arm, "structure": name}
            if isinstance(made, RtplanError):
                found.append(
                    Finding(metric, None, "Gy", verdict="not_evaluable", reason=str(made), **common)  # type: ignore[arg-type]
                )
                continue
            read_ = value(made[arm], metric)
            found.append(
                Finding(
                    metric,
                    read_.value,
                    "Gy",
                    error_bound=read_.error_bound,
                    dose_kind="physical",
                    **common,  # type: ignore[arg-type]
                )
            )
    return found


def page_of(out: Path) -> Path:
    """Return where the page of a sweep lies beside a predicted dose."""
    return out.with_name(f"{out.stem}_sweep.html")


def demand_free(out: Path, *, overwrite: bool, page: bool = False) -> None:
    """Raise OutputError where a file (or a sweep's page) is in the way, or the name is no DICOM file's."""
    if out.suffix.lower() != ".dcm":
        raise OutputError("The predicted dose is one file.", where=out.name, action="give --out NAME.dcm.")
    for path in (out, page_of(out)) if page else (out,):
        if path.is_dir() or (path.exists() and not overwrite):
            raise OutputError(
                "The file is there already.", where=path.name, action="choose another --out, or --overwrite."
            )


def _before(patient: Patient, protocol: Protocol, settings: PredictSettings, say: Say) -> Patient:
    wants_mr = settings.plan_on == "SynCT" or "CT" not in patient.images
    names = {*BEFORE, *(FROM_MR if wants_mr else ())}
    case = CaseSettings(settings.protocol, arms=("SynCT",) if wants_mr else ("CT",), margins=settings.margins)
    steps = tuple(s for s in clinical_steps(protocol, case) if type(s).__name__ in names)
    patient = pipeline.run(steps, patient, seed=settings.seed, report=say)
    if not patient.arms:
        raise StructureError(
            "There is no density image to predict on.",
            action="supply a CT, or an MR that a network can read.",
        )
    if patient.absolute_withheld is not None:
        raise DoseError(
            f"No dose is predicted on images that are cut: {patient.absolute_withheld}",
            action="supply images that show the skin all round.",
        )
    return patient


def _write(done: Predicted, place: Place, model: Model) -> None:
    """Write the dose beside its place, then put it there: whole or not at all."""
    partial = place.out.with_name(f".partial-{uuid.uuid4().hex[:12]}.dcm")
    try:
        place.out.parent.mkdir(parents=True, exist_ok=True)
        rtdose_write.write(
            done.patient.doses[done.arm],
            partial,
            identity=identity_of(done.patient),
            plan_uid="",
            arm=done.arm,
            form=rtdose_write.Form(predicted_by=model.card.name),
        )
        if done.page:
            page_of(place.out).write_text(done.page, encoding="utf-8")
        partial.replace(place.out)
    except OSError as failed:
        raise OutputError(f"The dose cannot be written ({failed.strerror}).", where=place.out.name) from None
    finally:
        partial.unlink(missing_ok=True)


def _plain(settings: PredictSettings) -> dict[str, object]:
    return {**vars(settings), "margins": {name: dict(sides) for name, sides in settings.margins.items()}}


def _notice(model: Model, settings: PredictSettings) -> Notice:
    return Notice(
        "DOSE_PREDICTED",
        "warn",
        f"The dose is predicted by {model.card.name} for {settings.beams} fields of rtplan's own planner; "
        "no plan gives it.",
        "plan before anything is decided (rtplan plan --mimic turns it into a plan).",
    )
