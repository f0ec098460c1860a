"""Score a dose network on a folder of OpenKBP patients, and keep doses, scores and pictures when asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtplan.case.outfolder import whole
from rtplan.domain import Dose, Finding, Notice, Patient
from rtplan.evaluation.openkbp import PatientScore, Scores, masks_of, score, score_patient
from rtplan.evaluation.openkbp_spread import PatientSpread, spread_findings, spread_of
from rtplan.io.datasets.openkbp import openkbp_paths, read_openkbp, read_openkbp_folder
from rtplan.io.datasets.openkbp_write import write_openkbp_dose
from rtplan.learning.predict_dose import foresee, predict_dose
from rtplan.learning.spread import load_spread
from rtplan.learning.zoo import Model
from rtplan.report.openkbp import Shown, errors_picture, worst_picture

#: Patients that are shown with slices and DVHs.
WORST = 3


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores, the patients behind them, seconds of one prediction (mean), and how the stated spread held."""

    scores: Scores
    patients: tuple[PatientScore, ...]
    seconds_per_patient: float
    findings: tuple[Finding, ...]
    spread: tuple[PatientSpread, ...] = ()
    notices: tuple[Notice, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return the fields that ``rtplan evaluate openkbp --json`` prints beside the findings."""
        return {
            "dose_score": self.scores.dose_score,
            "dvh_score": self.scores.dvh_score,
            "dose_interval95": list(self.scores.dose_interval95),
            "dvh_interval95": list(self.scores.dvh_interval95),
            "n": self.scores.n,
            "per_metric": dict(self.scores.per_metric),
            "seconds_per_patient": self.seconds_per_patient,
            "unfamiliar": sum(one.unfamiliar for one in self.spread),
        }


def evaluate_openkbp(
    model: Model,
    folder: Path,
    *,
    tta: bool = False,
    only: Sequence[str] = (),
    save: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Predict every patient of a folder and score the predictions.

    Parameters
    ----------
    tta : bool
        Mean over four mirror images.
    only : sequence of str
        Patients to take; all by default.
    save : Path, optional
        New folder for the doses (the challenge's CSV), ``scores.json`` and the pictures.

    Raises
    ------
    FormatError, ModelError, StructureError
        From the first patient that cannot be read or must not be predicted.
    """
    if save is None:
        return _evaluate(model, folder, tta, lambda patient, dose: None, report, only)
    with whole(save) as out:
        doses = out / "doses"
        doses.mkdir()
        done = _evaluate(
            model,
            folder,
            tta,
            lambda patient, dose: write_openkbp_dose(dose, doses / f"{patient.key}.csv"),
            report,
            only,
        )
        (out / "scores.json").write_text(json.dumps(_scores(done, model, tta), indent=1), encoding="utf-8")
        report("drawing the pictures")
        _draw(done, model, folder, tta, out)
    return done


def _evaluate(
    model: Model,
    folder: Path,
    tta: bool,
    each: Callable[[Patient, Dose], None],
    report: Callable[[str], None],
    only: Sequence[str],
) -> Evaluation:
    scored, seconds = [], 0.0
    spread = load_spread(model)
    judged: list[PatientSpread] = []
    notices: list[Notice] = []
    for patient in read_openkbp_folder(folder, only=tuple(only)):
        start = time.perf_counter()
        foreseen = foresee(model, patient, tta=tta)
        seconds += time.perf_counter() - start
        scored.append(score_patient(patient, foreseen.dose))
        notices += foreseen.notices
        if spread is not None:
            judged.append(spread_of(foreseen, spread, scored[-1]))
        each(patient, foreseen.dose)
        report(f"{patient.key}: {scored[-1].dose_error:.2f} Gy")
    scores = score(scored)
    findings = scores.findings(model.card.name, folder.name)
    if spread is not None:
        findings += spread_findings(judged, spread, model.card.name, folder.name)
    each_seconds = seconds / len(scored)
    return Evaluation(scores, tuple(scored), each_seconds, findings, tuple(judged), tuple(notices))


def _scores(done: Evaluation, model: Model, tta: bool) -> dict[str, object]:
    patients = {
        one.key: {
            "dose_error": one.dose_error,
            "differences": {f"{metric} {roi}": gy for (metric, roi), gy in one.differences.items()},
        }
        for one in done.patients
    }
    return {
        "schema": 1,
        "model": {"name": model.card.name, "sha256": model.sha256, "tta": tta},
        **done.as_dict(),
        "patients": patients,
    }


def _draw(done: Evaluation, model: Model, folder: Path, tta: bool, out: Path) -> None:
    signed: dict[str, list[float]] = {}
    for one in done.patients:
        for (metric, roi), value in one.reference.items():
            signed.setdefault(f"{roi}|{metric}", []).append(one.predicted[metric, roi] - value)
    (out / "errors.png").write_bytes(errors_picture(signed).png)
    paths = openkbp_paths(folder)
    shown = []
    for one in sorted(done.patients, key=lambda p: -p.dose_error)[:WORST]:
        patient = read_openkbp(paths[one.key])
        dose = predict_dose(model, patient, tta=tta)
        shown.append(Shown(one.key, one.dose_error, patient.doses["CT"], dose, masks_of(patient)))
    (out / "worst.png").write_bytes(worst_picture(shown).png)
