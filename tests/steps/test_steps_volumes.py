"""The steps that move and shape volumes: what they add, what they say, and what they refuse."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from rtplan import pipeline
from rtplan.domain import (
    Beam,
    Contours,
    Dose,
    Fluence,
    Grid,
    Image,
    Mask,
    Notice,
    Patient,
    Plan,
    Prescription,
    Structure,
)
from rtplan.dosimetry.protocol import Protocol
from rtplan.errors import GeometryMismatch
from rtplan.imaging.contour import contours_of, mask_on
from rtplan.steps.add_margins import AddMargins
from rtplan.steps.compare_arms import CompareArms
from rtplan.steps.correct_mr import CorrectMR
from rtplan.steps.find_body import FindBody
from rtplan.steps.make_bulk_arms import MakeBulkArms
from rtplan.steps.register import Register

SHAPE, SPACING = (16, 56, 70), (5.0, 3.0, 3.0)


def phantom(frame: str = "f", shift=(0.0, 0.0, 0.0), crop: bool = False) -> tuple[Image, Image]:
    """A limb as CT and MR; the MR's grid is smaller and finer and its patient moved by ``shift``."""
    ct_grid = Grid.axial(SHAPE, SPACING, (-105.0, -84.0, 0.0), "f")
    mr_grid = Grid.axial((20, 76, 96), (3.0, 2.0, 2.0), (-96.0, -76.0, 8.0), frame)

    def draw(grid: Grid, values, move) -> np.ndarray:
        points = grid.to_patient(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
        x, y, z = np.moveaxis(points - np.array(move), -1, 0)
        body = (x / 75) ** 2 + (y / 58) ** 2 < 1
        muscle = ((x - 5) / 60) ** 2 + ((y + 4) / 44) ** 2 < 1
        bone = np.hypot(x - 20, y - 5 - 0.2 * (z - 40)) < 13
        marrow = np.hypot(x - 20, y - 5 - 0.2 * (z - 40)) < 7
        gas = np.hypot(x + 30, y) < 7
        image = np.full(x.shape, values[0])
        for part, value in zip((body, muscle, bone, marrow, gas), values[1:], strict=True):
            image[part] = value
        return image

    ct = Image(ct_grid, draw(ct_grid, (-1000.0, -100.0, 40.0, 900.0, 60.0, -900.0), (0, 0, 0)), "CT")
    mr = Image(mr_grid, draw(mr_grid, (3.0, 900.0, 300.0, 60.0, 700.0, 20.0), shift), "MR")
    if crop:
        ct = Image(ct_grid.crop((0, 16, 20), (16, 44, 52)), ct.array[:, 16:44, 20:52], "CT")
    return ct, mr


def codes(patient: Patient) -> list[str]:
    return [notice.code for notice in patient.notices]


def target(grid: Grid, name: str = "GTV") -> Structure:
    box = np.zeros(grid.shape, bool)
    box[6:9, 22:30, 24:34] = True
    return Structure(name, "GTV", contours_of(Mask(grid, box)))


def test_an_mr_in_the_cts_frame_stays_where_it_is() -> None:
    ct, mr = phantom()
    conflict = Notice("FOR_POSITION_CONFLICT", "warn", "HFS and FFS")
    done = Register()(Patient(images={"CT": ct, "T1w": mr}, notices=(conflict,)))
    assert done.images["T1w"].grid.same_as(ct.grid)
    assert done.registrations == ()
    overlap = {finding.metric: finding.value for finding in done.findings}["BodyOverlap T1w"]
    assert overlap is not None
    assert overlap > 0.95
    assert "POSITION_DECIDED" in codes(done)
    assert "PARTIAL_SUPPORT" in codes(done)
    support = mask_on(done.structure("zSupport"), ct.grid).array
    assert support.any(axis=(1, 2)).tolist() == [2 <= k <= 13 for k in range(16)]
    assert not done.images["T1w"].array[~support].any()


def test_an_mr_of_another_frame_is_registered_and_its_structures_go_with_it() -> None:
    ct, mr = phantom("mr", (9.0, -6.0, 0.0))
    drawn = Structure(
        "CTV", "CTV", Contours((np.array([[9.0, -6, 35], [29, -6, 35], [29, 14, 35], [9, 14, 35]]),), "mr")
    )
    done = Register()(Patient(images={"CT": ct, "T2w": mr}, structures={"CTV": drawn}))
    assert codes(done)[0] == "MR_REGISTERED"
    (found,) = done.registrations
    assert found.apply([9.0, -6.0, 35.0])[:2] == pytest.approx([0.0, 0.0], abs=2.0)
    region = done.structure("CTV").region
    assert isinstance(region, Contours)
    assert region.frame_of_reference == "f"
    assert region.rings[0][0][:2] == pytest.approx([0.0, 0.0], abs=2.0)


def test_a_wrong_position_in_one_frame_is_repaired() -> None:
    ct, mr = phantom("f", (22.0, -12.0, 0.0))
    done = Register()(Patient(images={"CT": ct, "T1w": mr}))
    assert "MR_MOVED" in codes(done)
    assert done.registrations == ()  # nothing may move it a second time
    figures = {finding.metric: finding.value for finding in done.findings}
    assert figures["RegistrationShift[mm] T1w"] == pytest.approx(np.hypot(22.0, 12.0), abs=3.0)


def test_without_a_ct_the_mr_stay_as_they_came() -> None:
    _, mr = phantom()
    patient = Patient(images={"T2w": mr})
    assert Register()(patient) is patient


def test_the_bias_of_chosen_mr_is_corrected() -> None:
    _, mr = phantom()
    i = np.linspace(-0.4, 0.4, mr.grid.shape[2])
    biased = mr.with_array(mr.array * np.exp(i))
    done = CorrectMR(working_mm=8.0)(Patient(images={"T2w": biased, "Dixon_F": biased}))
    assert done.images["Dixon_F"] is biased
    muscle = mr.array == 300.0
    assert done.images["T2w"].array[muscle].std() < 0.6 * biased.array[muscle].std()


def test_the_body_is_found_or_kept_and_a_cut_one_is_reported() -> None:
    ct, mr = phantom()
    whole = FindBody()(Patient(images={"CT": ct, "T1w": mr}))
    assert whole.structure("External").kind == "EXTERNAL"
    assert codes(whole) == []
    own = whole.structure("External")
    assert FindBody()(whole).structure("External") is own
    cut = FindBody()(Patient(images={"CT": phantom(crop=True)[0]}))
    assert codes(cut) == ["BODY_TRUNCATED"]
    assert cut.absolute_withheld is not None
    assert "External" in cut.structures


def test_an_mr_without_skin_gets_no_external_and_so_no_arms() -> None:
    _, mr = phantom()
    inner = mr.grid.crop((0, 20, 25), (20, 56, 70))
    cut = Image(inner, mr.array[:, 20:56, 25:70], "MR")
    done = pipeline.run((FindBody(), MakeBulkArms()), Patient(images={"T2w": cut}))
    assert codes(done) == ["FOV_TRUNCATED", "STEP_SKIPPED"]
    assert done.arms == ()
    drawn = Structure("External", "EXTERNAL", Mask(inner, np.ones(inner.shape, bool)))
    given = FindBody()(Patient(images={"T2w": cut}, structures={"External": drawn}))
    assert "External" not in given.structures
    with pytest.raises(GeometryMismatch, match="no image"):
        FindBody()(Patient())


@pytest.mark.parametrize("gas", ["water", "as_reference"])
def test_arms_differ_from_the_reference_only_on_the_support(gas) -> None:
    ct, mr = phantom()
    steps = (Register(), FindBody(), MakeBulkArms(gas=gas))
    done = pipeline.run(steps, Patient(images={"CT": ct, "T1w": mr}))
    assert done.arms == ("CT", "CT0", "CTpop", "CTpop_bone", "CTstrat")
    support = mask_on(done.structure("zSupport"), ct.grid).array
    body = mask_on(done.structure("External"), ct.grid).array
    for arm in done.arms:
        array = done.images[arm].array
        np.testing.assert_array_equal(array[~support], done.images["CT"].array[~support])
        np.testing.assert_array_equal(array[~body], -1000.0)
        assert (array[body].min() >= -200.0) == (gas == "water")
    assert {"CLASSES_FROM_DENSITY", "GAS_RULE"} <= set(codes(done))


@pytest.mark.parametrize("skin_hu", [-500.0, -100.0])
def test_the_gas_notice_tells_gas_from_the_partial_volume_of_the_skin(skin_hu) -> None:
    """A column of gas of 4 x 4 voxels through 10 slices, in a body of 20 x 20 with a skin one voxel thick."""
    grid = Grid.axial((10, 30, 30), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), "f")
    body, inner, gas = (np.zeros(grid.shape, bool) for _ in range(3))
    body[:, 5:25, 5:25] = inner[:, 6:24, 6:24] = gas[:, 13:17, 13:17] = True
    hu = np.where(gas, -900.0, np.where(inner, 40.0, np.where(body, skin_hu, -1000.0)))
    outline = Structure("External", "EXTERNAL", Mask(grid, body))
    done = MakeBulkArms()(Patient(images={"CT": Image(grid, hu, "CT")}, structures={"External": outline}))
    (said,) = (notice.message for notice in done.notices if notice.code == "GAS_RULE")
    assert "1.9 cc of gas inside the body counts as water" in said  # 16 x 10 voxels of 0.012 cc
    assert ("9.1 cc within 2 voxels of the skin" in said) == (skin_hu < -300.0)  # 76 x 10 voxels


def test_from_an_mr_alone_only_arms_without_classes_are_made() -> None:
    _, mr = phantom()
    done = pipeline.run((FindBody(), MakeBulkArms()), Patient(images={"T2w": mr}))
    assert done.arms == ("CT0", "CTpop")
    assert "ARM_LEFT_OUT" in codes(done)
    assert done.images["CT0"].grid.same_as(mr.grid)


def protocol(**derive) -> Protocol:
    margin = dict.fromkeys("LRAPSI", 6.0)
    rule = {
        "make": "PTV_50",
        "from": "GTV",
        "margin_mm": margin,
        "source": "test",
        "verified": True,
        **derive,
    }
    raw = {
        "schema": 1,
        "name": "t",
        "site": "limb",
        "fractions": 25,
        "source": {"citation": "t"},
        "prescription": [{"target": "PTV_50", "dose_gy": 50.0}],
        "derive": [rule],
    }
    return Protocol.model_validate(raw)


def test_derived_structures_follow_the_protocol() -> None:
    ct, _ = phantom()
    patient = Patient(images={"CT": ct}, structures={"GTV": target(ct.grid)})
    done = AddMargins(protocol())(patient)
    grown = mask_on(done.structure("PTV_50"), ct.grid).array
    assert done.structure("PTV_50").kind == "PTV"
    assert grown[7, 26].sum() == 10 + 4
    assert codes(done) == ["STRUCTURE_DERIVED"]
    assert codes(AddMargins(protocol())(done)) == ["STRUCTURE_DERIVED", "STRUCTURE_KEPT"]
    assert codes(AddMargins(protocol(**{"from": "CTV"}))(patient)) == ["STRUCTURE_NOT_DERIVED"]
    within = AddMargins(protocol(within="GTV"))(patient).structure("PTV_50")
    np.testing.assert_array_equal(mask_on(within, ct.grid).array, mask_on(target(ct.grid), ct.grid).array)
    rest = AddMargins(protocol(minus="GTV"))(patient).structure("PTV_50")
    assert not (mask_on(rest, ct.grid).array & mask_on(target(ct.grid), ct.grid).array).any()


@pytest.mark.parametrize(
    ("derive", "promised"),
    [
        ({}, ("target",)),
        ({"from": "CTV"}, ()),
        ({"within": "Prostate"}, ()),
        ({"within": "External"}, ("target",)),
    ],
)
def test_what_a_dry_run_is_told_of_targets_depends_on_what_the_patient_has(derive, promised) -> None:
    ct, _ = phantom()
    patient = Patient(images={"CT": ct}, structures={"GTV": replace(target(ct.grid), kind="ORGAN")})
    assert AddMargins(protocol(**derive)).would_make(patient) == promised
    steps = (AddMargins(protocol(**derive)), NeedTarget())
    assert [lacks for _, lacks in pipeline.forecast(steps, patient)][1] == (() if promised else ("target",))


@dataclass(frozen=True)
class NeedTarget:
    needs: ClassVar[tuple[str, ...]] = ("target",)
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient):
        raise AssertionError("must not run")


def with_doses(patient: Patient, **scale: float) -> Patient:
    grid = Grid.axial((20, 40, 40), (4.0, 4.0, 4.0), (-80.0, -80.0, 0.0), "f")
    beam = Beam("1", 0.0, (0.0, 0.0, 40.0), Fluence(np.ones((2, 2)), 10.0, (-5.0, -5.0)))
    plan = Plan(Prescription({"GTV": 50.0}, 25), (beam,))
    doses = {
        arm: Dose(grid, np.full(grid.shape, 50.0 * factor), fractions=25) for arm, factor in scale.items()
    }
    return replace(patient.with_doses(**doses), plan=plan)


def test_arms_are_compared_with_the_reference_in_pairs() -> None:
    ct, mr = phantom()
    steps = (Register(), FindBody(), MakeBulkArms())
    made = pipeline.run(steps, Patient(images={"CT": ct, "T1w": mr}, structures={"GTV": target(ct.grid)}))
    before = len(made.findings)
    done = CompareArms()(with_doses(made, CT=1.0, CT0=1.015))
    found = {(f.arm, f.structure, f.metric): f for f in done.findings[before:]}
    assert found["CT0", None, "IsocentreDose[%]"].value == pytest.approx(1.5, abs=1e-3)
    assert found["CT0", "GTV", "MeanDose[%]"].value == pytest.approx(1.5, abs=1e-3)
    assert found["CT0", "Body", "Gamma2%/2mm[%]"].value == 100.0
    assert found["CT0", "Body", "Gamma1%/1mm[%]"].value == 0.0
    assert found["CTstrat", "Bone", "MAE[HU]"].value < found["CT0", "Bone", "MAE[HU]"].value
    assert found["CTstrat", "Body", "MAE[HU]"].value < found["CT0", "Body", "MAE[HU]"].value
    assert all(f.reference_arm == "CT" for f in found.values())
    assert ("CTstrat", None, "IsocentreDose[%]") not in found  # it has no dose


def test_without_a_reference_the_spread_is_given_and_no_verdict() -> None:
    _, mr = phantom()
    made = pipeline.run(
        (FindBody(), MakeBulkArms()), Patient(images={"T2w": mr}, structures={"GTV": target(mr.grid)})
    )
    done = CompareArms()(with_doses(made, CT0=1.0, CTpop=1.01))
    (finding,) = done.findings
    assert (finding.metric, finding.verdict) == ("MeanDoseSpread[%]", "none")
    assert finding.value == pytest.approx(1.0, abs=1e-3)
    assert "NO_REFERENCE" in codes(done)
