"""DVHs that are remembered: to the bit those made anew, each made once, and never those of something else."""

import dataclasses

import numpy as np
import pytest

from rtplan.domain import Contours, Dose, Grid, Image, Mask, Patient, Structure
from rtplan.dosimetry import ledger as module
from rtplan.dosimetry.bands import bands
from rtplan.dosimetry.curves import curves, histograms_of
from rtplan.dosimetry.dvh import Settings
from rtplan.dosimetry.judging import judge
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import load_protocol
from rtplan.dosimetry.risk import Ask, estimate
from rtplan.errors import RtplanError
from rtplan.pipeline import settings_of
from rtplan.steps.evaluate_protocol import EvaluateProtocol

FLAME = load_protocol("prostate_boost_flame")
GRID = Grid.axial((22, 26, 30), (3.0, 2.5, 2.0), (-31.0, -30.0, -33.0), "1.2.3")


def drum(name, kind, radius, centre):
    t = np.arange(40) * 2 * np.pi / 40
    flat = np.stack([radius * np.cos(t), 0.8 * radius * np.sin(t)], axis=1) + centre
    rings = [np.column_stack([flat, np.full(40, z)]) for z in np.arange(-radius, radius + 0.1, 2.5)]
    return Structure(name, kind, Contours(tuple(rings), "1.2.3"))


@pytest.fixture(scope="module")
def patient():
    points = GRID.to_patient(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    dose = 80.0 * np.exp(-0.5 * (points**2).sum(axis=-1) / 22.0**2)
    structures = [
        drum("PTVp_7700", "PTV", 11.0, (0, 0)),
        drum("GTVp", "GTV", 5.0, (2, 1)),
        drum("Rectum", "ORGAN", 7.0, (0, 14)),
        Structure("Bladder", "ORGAN", Mask(GRID, points[..., 1] < -12)),
        Structure("Empty", "ORGAN", Mask(GRID, np.zeros(GRID.shape, bool))),
    ]
    arms = {"CT": 1.0, "CT0": 1.01, "SynCT": 0.997}
    return Patient(
        "P1",
        {arm: Image(GRID, np.zeros(GRID.shape)) for arm in arms},
        {s.name: s for s in structures},
        doses={arm: Dose(GRID, dose * scale, fractions=35) for arm, scale in arms.items()},
    )


@pytest.fixture
def made(monkeypatch):
    """Return the names of the structures whose DVHs were really made, as they are made."""
    names, real = [], module.dvhs_of_all

    def noting(structures, doses, *rest, **more):
        names.extend(s.name for s in structures)
        return real(structures, doses, *rest, **more)

    monkeypatch.setattr(module, "dvhs_of_all", noting)
    return names


def content(thing):
    if dataclasses.is_dataclass(thing):
        return [content(getattr(thing, f.name)) for f in dataclasses.fields(thing)]
    if isinstance(thing, np.ndarray):
        return thing.dtype, thing.shape, thing.tobytes()
    if isinstance(thing, dict):
        return [(key, content(item)) for key, item in thing.items()]
    if isinstance(thing, tuple | list):
        return [content(item) for item in thing]
    return (type(thing), str(thing)) if isinstance(thing, RtplanError) else thing


def test_everything_that_reads_dvhs_shares_them_and_says_the_same(patient, made):
    apart = (
        judge(patient, FLAME),
        estimate(patient, FLAME),
        curves(patient),
        bands(patient, ["PTVp_7700", "Rectum"]),
    )
    apart_count = len(made)
    made.clear()
    ledger = Ledger()
    shared = (
        judge(patient, FLAME, ledger=ledger),
        estimate(patient, FLAME, Ask(ledger=ledger)),
        curves(patient, ledger=ledger),
        bands(patient, ["PTVp_7700", "Rectum"], ledger=ledger),
    )
    assert content(shared) == content(apart)
    assert sorted(made) == sorted(patient.structures)  # each of them once
    assert apart_count > 2 * len(made)


def test_what_is_remembered_is_what_is_made_anew(patient):
    ledger, structures = Ledger(), list(patient.structures.values())
    first = ledger.histograms(structures, patient.doses)
    assert content(first) == content(histograms_of(structures, patient.doses))
    assert content(ledger.histograms(structures[::-1], patient.doses)) == content(first[::-1])
    (fewer,) = ledger.histograms(structures[:1], {arm: patient.doses[arm] for arm in ("CT", "SynCT")})
    assert content(fewer["SynCT"]) == content(first[0]["SynCT"])


def test_another_name_and_other_fractions_are_those_of_the_asker(patient, made):
    ledger = Ledger()
    rectum = patient.structures["Rectum"]
    ledger.histograms([rectum], patient.doses)
    told = {arm: dataclasses.replace(dose, fractions=20) for arm, dose in patient.doses.items()}
    (found,) = ledger.histograms([dataclasses.replace(rectum, name="Hidden")], told)
    assert made == ["Rectum"]
    assert {(dvh.name, dvh.fractions) for dvh in found.values()} == {("Hidden", 20)}
    (again,) = ledger.histograms([rectum], patient.doses)
    assert {(dvh.name, dvh.fractions) for dvh in again.values()} == {("Rectum", 35)}


@pytest.mark.parametrize(
    "other",
    [
        lambda s, d: (dataclasses.replace(s, region=Contours(s.region.rings, "1.2.3")), d, None),
        lambda s, d: (s, {a: x.with_array(x.array + np.float32(0)) for a, x in d.items()}, None),
        lambda s, d: (s, {a: dataclasses.replace(x, kind="EQD2(3)") for a, x in d.items()}, None),
        lambda s, d: (s, dict(reversed(d.items())), None),  # refined on another dose
        lambda s, d: (s, d, Settings(caps="none")),
        lambda s, d: (s, d | {"More": d["CT"].with_array(1.02 * d["CT"].array)}, None),
    ],
)
def test_anything_else_is_made_anew(patient, made, other):
    ledger, rectum = Ledger(), patient.structures["Rectum"]
    ledger.histograms([rectum], patient.doses)
    structure, doses, settings = other(rectum, patient.doses)
    (found,) = ledger.histograms([structure], doses, settings)
    assert made == ["Rectum", "Rectum"]
    assert content(found) == content(histograms_of([structure], doses, settings)[0])


def test_an_array_that_is_gone_is_never_taken_for_a_new_one_in_its_place(patient):
    """The ledger holds what it knows, so that no other array can come to lie where it lay."""
    ledger, rectum = Ledger(), patient.structures["Rectum"]
    base = patient.doses["CT"]
    for scale in np.linspace(0.9, 1.1, 12):
        dose = {"CT": base.with_array((scale * base.array).astype(np.float32))}
        (found,) = ledger.histograms([rectum], dose)
        (wanted,) = histograms_of([rectum], dose)
        assert found["CT"].curve.mean_gy == wanted["CT"].curve.mean_gy
        del dose, found


def test_errors_are_remembered_with_the_name_they_bear(patient, made):
    ledger, empty = Ledger(), patient.structures["Empty"]
    (first,) = ledger.histograms([empty], patient.doses)
    (again,) = ledger.histograms([empty], patient.doses)
    assert isinstance(first, RtplanError)
    assert first is again
    (renamed,) = ledger.histograms([dataclasses.replace(empty, name="Hidden")], patient.doses)
    assert "Hidden" in str(renamed)
    assert made == ["Empty", "Hidden"] or made == ["Empty", "Empty"]


def test_no_dose_makes_nothing(patient, made):
    assert Ledger().histograms(list(patient.structures.values()), {}) == [{}] * len(patient.structures)
    assert made == []


def test_a_ledger_is_no_setting_of_a_step():
    step = EvaluateProtocol(FLAME)
    assert "ledger" not in settings_of(step)
    assert step == EvaluateProtocol(FLAME, ledger=Ledger())
