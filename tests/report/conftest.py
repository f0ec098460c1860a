"""Test patients made by hand for the report: small arrays, plain shapes, invented numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtplan.domain import (
    Beam,
    Contours,
    Dose,
    Finding,
    Fluence,
    Grid,
    Identity,
    Image,
    Mask,
    Notice,
    Patient,
    Plan,
    Prescription,
    Record,
    Source,
    Structure,
)
from rtplan.domain.nomenclature import kind_of
from rtplan.evaluation.agreement import Judging
from rtplan.evaluation.cohort import agree, risks_of_arms
from rtplan.evaluation.limits import Bootstrap
from rtplan.evaluation.study_file import StudyFile, StudyPatient
from rtplan.report.assemble import assemble
from rtplan.report.cohort import cohort_content
from rtplan.report.content import Content
from rtplan.report.document import document_of
from rtplan.report.page import page_of

FRAME = "1.2.826.0.1.3680043.10.9999.1"
ARMS = ("CT", "CT0", "CTpop", "CTpop_bone", "CTstrat", "SynCT")
SCALE = {"CT": 1.0, "CT0": 0.985, "CTpop": 0.992, "CTpop_bone": 0.996, "CTstrat": 1.002, "SynCT": 0.9985}
CASE: dict[str, Any] = json.loads((Path(__file__).parent / "report_case.json").read_text(encoding="utf-8"))
PROVENANCE: dict[str, Any] = CASE["manifest"]
GOALS: list[tuple[str, str, float, str, dict[str, Any]]] = [tuple(goal) for goal in CASE["goals"]]
NOTICES = tuple(Notice(**notice) for notice in CASE["notices"])
SOURCE = "test data, invented for the report's tests"


def grid_of() -> Grid:
    return Grid.axial((46, 104, 164), (4.0, 2.5, 2.5), (-204.0, -129.0, -92.0), FRAME)


@dataclass
class Body:
    """Points of a grid and the plain shapes in them."""

    grid: Grid

    def __post_init__(self) -> None:
        index = np.stack(np.meshgrid(*(np.arange(n) for n in self.grid.shape), indexing="ij"), axis=-1)
        self.x, self.y, self.z = np.moveaxis(self.grid.to_patient(index), -1, 0)

    def ball(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        a, b, c = radii
        x, y, z = centre
        return ((self.x - x) / a) ** 2 + ((self.y - y) / b) ** 2 + ((self.z - z) / c) ** 2 <= 1.0

    def tube(self, x: float, y: float, radius: float, low: float, high: float) -> np.ndarray:
        bend = y + 0.002 * (self.z - 10.0) ** 2
        return ((self.x - x) ** 2 + (self.y - bend) ** 2 <= radius**2) & (self.z > low) & (self.z < high)

    def masks(self) -> dict[str, np.ndarray]:
        prostate = self.ball((0, 8, 0), (25, 20, 22))
        return {
            "External": (self.x / 192) ** 2 + (self.y / 118) ** 2 <= 1.0,
            "PTVp_7700": self.ball((0, 8, 0), (31, 26, 29)),
            "GTVp_9500": self.ball((12, 17, 2), (7, 6, 8)),
            "Prostate": prostate,
            "Rectum": self.tube(0, 40, 15, -45, 70),
            "Bladder": self.ball((0, -18, 48), (38, 30, 30)),
            "Femur_Head_L": self.ball((96, 2, 18), (24, 24, 24)),
            "Femur_Head_R": self.ball((-96, 2, 18), (24, 24, 24)),
            "PenileBulb": self.ball((0, 10, -42), (9, 10, 10)),
        }


def ct_of(body: Body, masks: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    hu = np.full(body.grid.shape, -1000.0)
    inner = (body.x / 176) ** 2 + (body.y / 102) ** 2 <= 1.0
    hu[masks["External"]] = -95.0
    hu[inner] = 45.0
    for name, value in (("Bladder", 8.0), ("Rectum", 30.0), ("Prostate", 38.0)):
        hu[masks[name]] = value
    for side in (1, -1):
        hu[body.ball((side * 96, 2, 18), (24, 24, 24))] = 420.0
        hu[body.ball((side * 62, -55, -8), (34, 9, 14))] = 520.0
        hu[body.ball((side * 70, 78, 30), (20, 16, 60))] = 460.0
    hu[body.ball((-4, 36, 30), (7, 6, 14))] = -820.0
    return hu + rng.normal(0.0, 12.0, hu.shape) * masks["External"]


def dose_of(body: Body, masks: dict[str, np.ndarray]) -> np.ndarray:
    flat = np.zeros(body.grid.shape)
    for angle in np.radians([0, 51, 103, 154, 206, 257, 309]):
        across = body.x * np.cos(angle) + (body.y - 8) * np.sin(angle)
        along = -body.x * np.sin(angle) + (body.y - 8) * np.cos(angle)
        field = 1.0 / (1.0 + np.exp((np.abs(across) - 33.0) / 3.0))
        field = field / (1.0 + np.exp((np.abs(body.z) - 33.0) / 3.0))
        flat += field * np.exp(0.0022 * along)
    flat /= flat[body.ball((0, 8, 0), (10, 10, 10))].mean()
    boost = 0.22 * np.exp(-((body.x - 12) ** 2 + (body.y - 17) ** 2 + (body.z - 2) ** 2) / (2 * 11.0**2))
    return (78.0 * (flat + boost) * masks["External"]).astype(np.float32)


def plan_of(fractions: int = 35) -> Plan:
    rng = np.random.default_rng(3)
    beams = tuple(
        Beam(
            f"G{angle:03d}", float(angle), (0.0, 8.0, 0.0), Fluence(rng.random((12, 12)), 5.0, (-27.5, -27.5))
        )
        for angle in (0, 51, 103, 154, 206, 257, 309)
    )
    return Plan(Prescription({"PTVp_7700": 77.0, "GTVp_9500": 95.0}, fractions), beams, made_on="CT")


def cumulative(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dose = np.arange(0.0, 110.0, 0.25)
    return dose, np.array([100.0 * np.mean(values >= d) for d in dose])


def curves_of(patient: Patient) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    def region(name: str) -> np.ndarray:
        return patient.structures[name].region.array  # type: ignore[union-attr]

    wanted = [n for n in patient.structures if n not in ("External", "Prostate")]
    wanted = [n for n in wanted if isinstance(patient.structures[n].region, Mask)]
    return {
        arm: {n: cumulative(dose.array[region(n)]) for n in wanted} for arm, dose in patient.doses.items()
    }


def _goal(arm: str, structure: str, metric: str, value: float, unit: str, **more: Any) -> Finding:
    limit, wish = more.get("limit"), more.get("wish")

    def holds(text: str) -> bool:
        sign, number = text.split()
        return value <= float(number) if sign == "<=" else value >= float(number)

    judged = "none"
    if limit:
        judged = "missed" if not holds(limit) else "wish_met" if wish and holds(wish) else "met"
    verdict = judged if arm == "CT" and more.get("verified", True) else "none"
    more["detail"] = {"priority": 1, "would_be": judged}
    return Finding(
        metric, value, unit, "EvaluateProtocol", arm=arm, structure=structure, verdict=verdict,
        dose_kind="physical", covered_fraction=1.0, **{"verified": True, "source": SOURCE, **more},
    )  # fmt: skip


def goal_findings() -> list[Finding]:
    found = []
    for structure, metric, value, unit, more in GOALS:
        for arm in ARMS:
            mine = value * SCALE[arm] ** (1.0 if unit == "Gy" else 3.0)
            found.append(_goal(arm, structure, metric, mine, unit, **more))
            if arm != "CT":
                found.append(
                    Finding(
                        metric,
                        mine - value,
                        unit,
                        "CompareArms",
                        arm=arm,
                        reference_arm="CT",
                        structure=structure,
                        quantity="difference",
                        dose_kind="physical",
                    )
                )
    return found


def difference_findings() -> list[Finding]:
    return [
        Finding(
            metric, base * (SCALE[arm] - 1.0), "Gy", "CompareArms", arm=arm, reference_arm="CT",
            structure=structure, quantity="difference", dose_kind="physical",
        )
        for structure, metric, base in (("PTVp_7700", "D98%[Gy]", 74.2), ("PTVp_7700", "D2%[Gy]", 80.3))
        for arm in ARMS[1:]
    ]  # fmt: skip


def risk_findings(*, interval: bool = True) -> list[Finding]:
    found = []
    common: dict[str, Any] = {
        "structure": "Rectum", "dose_kind": "EQD2(3)", "model": "rectum_bleeding_g2_quantec2010",
        "source": "doi:10.1016/j.ijrobp.2009.03.078", "step": "EstimateOutcome", "unit": "1",
        "verified": interval,
        "interval_method": "2000 Sobol points, seed 1" if interval else "no published interval",
    }  # fmt: skip
    base = 0.0521
    for arm in ARMS:
        value = base * SCALE[arm] ** 9
        ends = (0.42 * value, 1.9 * value) if interval else None
        detail = {
            "endpoint": "late rectal toxicity, grade >= 2 or bleeding",
            "organ_definition": "whole organ with contents",
            "geud_gy": 61.43 * SCALE[arm],
            "dose_kind": "EQD2(3)",
            "alpha_beta_gy": 3.0,
            "warnings": ["2.2 Gy per fraction lies outside 1.8–2.0 Gy."],
        }
        found.append(Finding("NTCP", value, arm=arm, interval95=ends, detail=detail, **common))
        if arm != "CT":
            change = value - base
            spread = (change - 0.4 * abs(change) - 0.0002, change + 0.4 * abs(change) + 0.0002)
            more = (
                {**common, "interval_method": f"paired, {common['interval_method']}"} if interval else common
            )
            found.append(
                Finding("NTCP", change, arm=arm, reference_arm="CT", quantity="difference",
                        interval95=spread if interval else None, **more)
            )  # fmt: skip
    return found


def image_findings() -> list[Finding]:
    mae = {"CT0": 91.2, "CTpop": 74.8, "CTpop_bone": 52.3, "CTstrat": 44.1, "SynCT": 33.7}
    asked = (
        ("Body", "MAE[HU]", 1.0, 0.0),
        ("Bone", "MAE[HU]", 2.6, 0.0),
        ("Body", "ME[HU]", -0.2, 0.0),
        ("Body", "PSNR[dB]", -0.1, 35.0),
        (None, "IsocentreDose[%]", -0.015, 0.0),
        ("PTVp_7700", "MeanDose[%]", -0.016, 0.0),
        ("Body", "Gamma2%/2mm[%]", -0.05, 100.0),
    )
    return [
        Finding(
            metric, factor * mae[arm] + start, metric.split("[")[1][:-1], "CompareArms", arm=arm,
            reference_arm="CT", structure=region, quantity="difference",
            source="mean of dose differences, in % of the prescribed dose" if "Mean" in metric else None,
        )
        for region, metric, factor, start in asked
        for arm in ARMS[1:]
    ]  # fmt: skip


def full_patient() -> Patient:
    """Everything there: six arms, doses, goals, risks with intervals, notices."""
    rng = np.random.default_rng(11)
    grid = grid_of()
    body = Body(grid)
    masks = body.masks()
    hu = ct_of(body, masks, rng)
    inside = masks["External"]
    bone = (hu > 200) & inside
    fat = (hu < -40) & inside
    arms = {
        "CT": hu, "CT0": np.where(inside, 0.0, -1000.0), "CTpop": np.where(inside, -25.0, -1000.0),
        "CTpop_bone": np.where(bone, 350.0, np.where(inside, -30.0, -1000.0)),
        "CTstrat": np.where(bone, 400.0, np.where(fat, -95.0, np.where(inside, 40.0, -1000.0))),
        "SynCT": np.where(inside, 0.93 * hu + 2.0, -1000.0),
    }  # fmt: skip
    dose = dose_of(body, masks)
    depth = 1.0 + 0.004 * np.tanh(body.y / 60.0)
    doses = {arm: Dose(grid, dose * (1.0 + (SCALE[arm] - 1.0) * depth * 1.0), fractions=35) for arm in ARMS}
    mr = np.where(inside, 180.0 - 0.3 * np.clip(hu, -200, 500) + rng.normal(0, 9, hu.shape), 4.0)
    source = Source(
        "1.2.826.0.1.3680043.10.9999.2",
        "1.2.3",
        tuple(f"1.2.3.{n}" for n in range(46)),
        "",
        "HFS",
        "t2_tse_tra",
    )
    images = {arm: Image(grid, array) for arm, array in arms.items()}
    images["CT"] = Image(
        grid, hu, source=replace(source, series_uid=FRAME + ".7", description="Pelvis 2.0 B30f")
    )
    images["T2w"] = Image(grid, mr, "MR", source)
    return Patient(
        key="3f9a1c0b77de",
        images=images,
        structures={name: Structure(name, kind_of(name), Mask(grid, mask)) for name, mask in masks.items()},
        plan=plan_of(),
        doses=doses,
        findings=(
            *goal_findings(),
            *difference_findings(),
            *risk_findings(),
            *image_findings(),
            *missing_findings(),
        ),
        notices=NOTICES,
        history=(Record("Register", {"deformable": False}, 6.2, 812.0, "0.1.0", "", 1),),
        identity=Identity("HOSP-4711-X", "Doe^Jonathan", "19500203", "M"),
    )  # fmt: skip


def missing_findings() -> list[Finding]:
    return [
        Finding("V40.8Gy[cc]", None, "cc", "EvaluateProtocol", arm=arm, structure="Bag_Bowel", limit="<= 17",
                verdict="not_evaluable", reason="There is no structure Bag_Bowel.", verified=False)
        for arm in ARMS
    ]  # fmt: skip


def tilted_grid() -> Grid:
    turn = np.radians(18.5)
    axial = Grid.axial((19, 128, 128), (3.0, 1.5, 1.5), (0.0, 0.0, 0.0), FRAME)
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ axial.affine[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ (0.5 * (np.array(axial.shape) - 1.0)) + [5.0, 12.0, -30.0]
    return Grid(axial.shape, affine, FRAME)


def mr_only_patient() -> Patient:
    """A tilted T2w alone, without skin: no dose; one prostate as contours in its own slices."""
    grid = tilted_grid()
    body = Body(grid)
    rng = np.random.default_rng(5)
    centre = grid.to_patient(0.5 * (np.array(grid.shape) - 1.0))
    near = body.ball(tuple(centre), (26.0, 21.0, 24.0))
    fat = np.sin(body.x / 17.0) * np.cos(body.y / 23.0)
    values = 210.0 + 60.0 * fat + 120.0 * near + rng.normal(0.0, 12.0, grid.shape)
    rings = []
    for k in range(4, 15):
        radius = 24.0 * np.sqrt(max(1.0 - ((k - 9) / 7.0) ** 2, 0.05)) / 1.5
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        index = np.stack(
            [np.full(40, k), 63.5 + 0.8 * radius * np.sin(angles), 63.5 + radius * np.cos(angles)], 1
        )
        rings.append(grid.to_patient(index))
    action = "supply a larger series that shows the skin all round, or a structure External"
    reason = "There is no dose: the patient's skin is not in the image."
    return Patient(
        key="a61b20c4e9f3",
        images={"T2w": Image(grid, values, "MR", Source(FRAME + ".5", description="t2_tse_tra"))},
        structures={"Prostate": Structure("Prostate", "ORGAN", Contours(tuple(rings), FRAME))},
        findings=tuple(
            Finding(metric, None, unit, step, structure="Rectum", verdict="not_evaluable", reason=reason)
            for metric, unit, step in (("NTCP", "1", "EstimateOutcome"), ("V70Gy[%]", "%", "Evaluate"))
        ),
        notices=(
            Notice(
                "FOV_TRUNCATED",
                "warn",
                "The MR is 192 mm wide and 57 mm long and shows no skin: the body's outline is unknown.",
                f"{action} by --structures FILE.dcm",
            ),
            Notice(
                "STEP_SKIPPED",
                "warn",
                "OptimisePlan did not run: a density image and the patient's skin missing.",
                f"{action} by --structures FILE.dcm",
            ),
            Notice("STEP_SKIPPED", "warn", "RecalculateArms did not run: a plan missing."),
        ),
        history=(Record("CorrectMR", {"iterations": 50}, 3.3, 500.0, "0.1.0"),),
    )  # fmt: skip


def truncated_patient() -> Patient:
    """Cropped images: differences between arms, but no absolute dose, goal or risk."""
    whole = full_patient()
    reason = "Absolute dose is withheld: the body is cut by the image's border."
    kept = [f for f in whole.findings if f.quantity == "difference" and f.unit == "Gy"]
    gone = [
        Finding(metric, None, unit, "EvaluateProtocol", arm=arm, structure=structure,
                verdict="not_evaluable", reason=reason, limit=more["limit"])
        for structure, metric, _, unit, more in GOALS
        for arm in ARMS
    ]  # fmt: skip
    gone += [
        Finding("NTCP", None, "1", "EstimateOutcome", arm=arm, structure="Rectum", verdict="not_evaluable",
                reason="There is no structure Rectum.")
        for arm in ARMS
    ]  # fmt: skip
    notice = Notice(
        "BODY_TRUNCATED", "warn", "The CT is cropped: 31 % of the lateral surface is the image's border.",
        "supply a CT that shows the skin all round",
    )  # fmt: skip
    shown = ("CT", "CTpop", "SynCT")
    return replace(
        whole,
        key="77d0aa12bc34",
        images={name: whole.images[name] for name in shown},
        doses={name: whole.doses[name] for name in shown},
        findings=tuple(f for f in (*kept, *image_findings(), *gone) if f.arm in shown),
        notices=(notice, *NOTICES[:1]),
    )


@pytest.fixture(scope="session")
def full() -> Patient:
    return full_patient()


@pytest.fixture(scope="session")
def mr_only() -> Patient:
    return mr_only_patient()


@pytest.fixture(scope="session")
def truncated() -> Patient:
    return truncated_patient()


@dataclass(frozen=True)
class Made:
    """One report, assembled once for all tests of a session."""

    patient: Patient
    content: Content
    page: str
    document: bytes


def _made(patient: Patient) -> Made:
    content = assemble(patient, PROVENANCE, curves_of(patient))
    return Made(patient, content, page_of(content), document_of(content))


@pytest.fixture(scope="session")
def full_report(full: Patient) -> Made:
    return _made(full)


@pytest.fixture(scope="session")
def mr_only_report(mr_only: Patient) -> Made:
    return _made(mr_only)


@pytest.fixture(scope="session")
def truncated_report(truncated: Patient) -> Made:
    return _made(truncated)


RESAMPLES = 199
OUTCOME = ("rectum_bleeding_g2_quantec2010", "late rectal toxicity, grade >= 2 or bleeding <script>")


def cohort_findings(patients: int = 9) -> dict[str, tuple[Finding, ...]]:
    """Return invented findings of a cohort: risks, dose differences, image errors, one not evaluable."""
    rng = np.random.default_rng(8)
    found: dict[str, tuple[Finding, ...]] = {}
    for n in range(patients):
        base = 0.02 + 0.004 * n
        rows = [_cohort_risk("CT", base)]
        for arm in ("CTpop", "SynCT"):
            change = float(rng.normal(0.001 if arm == "CTpop" else 0.0002, 0.0003))
            rows += [_cohort_risk(arm, base + change), _cohort_risk(arm, change, "difference")]
            for structure, metric, unit, value in (
                ("PTVp_7700", "MeanDose[%]", "%", 0.8),
                (None, "IsocentreDose[%]", "%", 0.7),
                ("PTVp_7700", "D98%[Gy]", "Gy", 0.6),
                ("Body", "Gamma2%/2mm[%]", "%", 98.0),
                ("Body", "MAE[HU]", "HU", 40.0),
                ("Bone", "ME[HU]", "HU", -9.0),
            ):
                rows.append(
                    Finding(metric, value + float(rng.normal(0, 0.2)), unit, "CompareArms", arm=arm,
                            reference_arm="CT", structure=structure, quantity="difference")
                )  # fmt: skip
        if n == 3:
            rows.append(
                Finding("V70Gy[%]", None, "%", "x", structure="Bladder", verdict="not_evaluable",
                        reason="There is no structure Bladder.")
            )  # fmt: skip
        found[f"key{n:02d}"] = tuple(rows)
    return found


def _cohort_risk(arm: str, value: float, quantity: str = "value") -> Finding:
    return Finding(
        "NTCP", value, "1", "EstimateOutcome", arm=arm, reference_arm="CT", structure="Rectum",
        quantity=quantity, model=OUTCOME[0], verified=True, detail={"endpoint": OUTCOME[1]},
    )  # type: ignore[arg-type]  # fmt: skip


def study_of(found: dict[str, tuple[Finding, ...]], margin: float | None = 0.005) -> StudyFile:
    """Return a finished study of these findings, with one patient who failed."""
    rows = [StudyPatient(n + 1, key, "done", seconds=10.0 + n) for n, key in enumerate(found)]
    rows.append(StudyPatient(len(found) + 1, "key99", "failed", "The CT has <b>gaps</b>.", 1.0))
    judging = Judging(margin, None, Bootstrap(RESAMPLES, 3))
    return StudyFile(
        finished=True,
        rtplan_version="0.1.0",
        settings={
            "patients": "phantom",
            "scenario": {"registration_error_mm": 2.0, "gas_and_bladder_change": True},
            "protocol": "prostate_boost_flame",
            "arms": ["CT", "CTpop", "SynCT"],
            "seed": 3,
        },
        statistics={"seed": 3, "resamples": RESAMPLES, "margin_pp": None if margin is None else 100 * margin},
        patients=tuple(rows),
        cohort=agree(found, judging),
        risks=risks_of_arms(found),
        notices=(Notice("PATIENTS_FAILED", "warn", "1 of 10 patients failed."),),
    )


@dataclass(frozen=True)
class MadeStudy:
    """One study's report."""

    study: StudyFile
    rows: dict[str, tuple[Finding, ...]]
    content: Content
    page: str
    document: bytes


@pytest.fixture(scope="session")
def cohort_report() -> MadeStudy:
    rows = cohort_findings()
    study = study_of(rows)
    said = {"reader": "AB", "time": "2026-01-02", "structure": "Rectum", "remark": "", "decision": None}
    reviews = {key: [{**said, "score": 4 - n % 2, "kind": None}] for n, key in enumerate(rows)}
    plan = {**said, "structure": None, "score": None, "kind": None, "decision": "acceptable"}
    reviews["key00"].append(plan)
    content = cohort_content(study, rows, reviews)
    return MadeStudy(study, rows, content, page_of(content), document_of(content))


@pytest.fixture(scope="session")
def provenance() -> dict[str, Any]:
    return PROVENANCE


@pytest.fixture(scope="session")
def curves() -> Callable[[Patient], Any]:
    return curves_of
