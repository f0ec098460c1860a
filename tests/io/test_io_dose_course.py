"""Of several doses the one of the whole course: taken, added up beam by beam, or refused with its reason."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from rtplan.io.patient import read_patient
from rtplan.io.preflight import preflight

RNG = np.random.default_rng(11)
PLAN, SECOND = "1.2.826.0.1.99.7", "1.2.826.0.1.99.8"
SHAPE = (4, 5, 6)


def item(**values):
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def write_plan(bare, path, *, uid=PLAN, groups=({1: 90.0, 2: 110.0},), fractions=(20, 5), setup=(9,)):
    """Write a plan with one fraction group per dict of MU by beam, and setup beams without MU."""
    ds = bare.start("RTPLAN", uid, uid + ".1")
    ds.RTPlanLabel = "clinical"
    numbers = sorted({n for group in groups for n in group})
    point = item(
        ControlPointIndex=0,
        CumulativeMetersetWeight=0,
        GantryAngle=0,
        BeamLimitingDeviceAngle=0,
        PatientSupportAngle=0,
        IsocenterPosition=[0, 0, 0],
    )
    last = item(ControlPointIndex=1, CumulativeMetersetWeight=1)
    ds.BeamSequence = Items(
        item(
            BeamNumber=n,
            BeamName=f"b{n}",
            RadiationType="PHOTON",
            FinalCumulativeMetersetWeight=1,
            TreatmentDeliveryType="SETUP" if n in setup else "TREATMENT",
            ControlPointSequence=Items([point, last]),
        )
        for n in (*numbers, *setup)
    )
    ds.FractionGroupSequence = Items(
        item(
            FractionGroupNumber=count,
            NumberOfFractionsPlanned=fractions[count - 1],
            ReferencedBeamSequence=Items(
                item(ReferencedBeamNumber=n, BeamMeterset=mu) for n, mu in group.items()
            ),
        )
        for count, group in enumerate(groups, start=1)
    )
    ds.save_as(path, enforce_file_format=True)


def refer(*plans, groups=(), beams=(), kind="PHYSICAL"):
    def change(ds):
        ds.DoseType = kind
        ds.ReferencedRTPlanSequence = Items()
        for plan in plans:
            entry = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.481.5", ReferencedSOPInstanceUID=plan)
            listed = groups or ((1,) if beams else ())
            entry.ReferencedFractionGroupSequence = Items(
                item(ReferencedFractionGroupNumber=n) for n in listed
            )
            if beams:
                entry.ReferencedFractionGroupSequence[0].ReferencedBeamSequence = Items(
                    item(ReferencedBeamNumber=n) for n in beams
                )
            ds.ReferencedRTPlanSequence.append(entry)

    return change


@pytest.fixture
def folder(bare, tmp_path):
    bare.series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))

    def dose(name, summation, *, values=None, change=None, **more):
        values = RNG.integers(0, 20000, SHAPE).astype(np.uint16) if values is None else values
        uid = f"1.2.826.0.1.99.5{len(list(tmp_path.glob('rd*')))}"
        bare.rtdose(tmp_path / f"rd{name}.dcm", values, summation=summation, uid=uid, change=change, **more)
        return values.astype(np.float64) * 1e-3

    return tmp_path, dose


def read(folder):
    patient = read_patient(folder)
    codes = [n.code for n in patient.notices if n.code.startswith("DOSE")]
    seen = [n.code for n in preflight(folder).notices if n.code.startswith("DOSE")]
    assert sorted(codes) == sorted(seen)  # both doors say the same
    return patient.doses.get("TPS"), codes


def test_all_beams_of_a_plan_are_added_up_once(bare, folder):
    path, dose = folder
    write_plan(bare, path / "rp.dcm")
    wanted = dose(1, "BEAM", change=refer(PLAN, beams=(1,))) + dose(2, "BEAM", change=refer(PLAN, beams=(2,)))
    total, codes = read(path)
    np.testing.assert_allclose(total.array, wanted, rtol=1e-6)
    assert (total.fractions, codes) == (20, ["DOSE_SUMMED"])


def test_one_object_may_hold_several_beams(bare, folder):
    path, dose = folder
    write_plan(bare, path / "rp.dcm")
    wanted = dose(1, "BEAM", change=refer(PLAN, beams=(1, 2)))
    total, codes = read(path)
    np.testing.assert_allclose(total.array, wanted, rtol=1e-6)
    assert codes == ["DOSE_SUMMED"]


@pytest.mark.parametrize(
    ("beams", "code", "words"),
    [
        (((1,),), "DOSE_PARTS_INCOMPLETE", "number 2 has no dose"),
        (((1,), (2,), (2,)), "DOSE_PARTS_INCOMPLETE", "number 2 has two doses"),
        (((1,), (2,), (9,)), "DOSE_PARTS_INCOMPLETE", "number 9 is not delivered"),
        (((1,), ()), "DOSE_PARTS_INCOMPLETE", "number 2 has no dose"),
    ],
)
def test_beams_that_are_missing_or_twice_are_not_added_up(bare, folder, beams, code, words):
    path, dose = folder
    write_plan(bare, path / "rp.dcm")
    for n, numbers in enumerate(beams):
        dose(n, "BEAM", change=refer(PLAN, beams=numbers))
    total, codes = read(path)
    assert total is None
    assert codes == [code] * len(beams)
    assert words in next(n.message for n in read_patient(path).notices if n.code == code)


def test_beams_on_two_grids_or_without_their_plan_are_not_added_up(bare, folder):
    path, dose = folder
    dose(1, "BEAM", change=refer(PLAN, beams=(1,)))
    dose(2, "BEAM", change=refer(PLAN, beams=(2,)), origin=(-9.0, 20.0, -30.0))
    assert read(path) == (None, ["DOSE_PLAN_ABSENT"] * 2)
    write_plan(bare, path / "rp.dcm")
    assert read(path) == (None, ["DOSE_GRIDS_DIFFER"] * 2)


def test_fraction_groups_are_added_up_and_have_no_common_fraction(bare, folder):
    path, dose = folder
    write_plan(bare, path / "rp.dcm", groups=({1: 90.0}, {2: 50.0}))
    wanted = sum(dose(n, "FRACTION", change=refer(PLAN, groups=(n,))) for n in (1, 2))
    total, codes = read(path)
    np.testing.assert_allclose(total.array, wanted, rtol=1e-6)
    assert (total.fractions, codes) == (None, ["DOSE_SUMMED"])


def test_the_dose_of_the_plan_is_taken_and_its_beams_must_agree(bare, folder):
    path, dose = folder
    write_plan(bare, path / "rp.dcm")
    one, two = (RNG.integers(0, 20000, SHAPE).astype(np.uint16) for _ in range(2))
    dose(1, "BEAM", values=one, change=refer(PLAN, beams=(1,)))
    dose(2, "BEAM", values=two, change=refer(PLAN, beams=(2,)))
    dose(3, "PLAN", values=one + two, change=refer(PLAN))
    total, codes = read(path)
    assert (total.fractions, codes) == (20, ["DOSE_CHOSEN"] * 2)
    dose(3, "PLAN", values=one + two + np.uint16(2000), change=refer(PLAN))
    assert sorted(read(path)[1]) == ["DOSE_CHOSEN", "DOSE_CHOSEN", "DOSE_PARTS_DIFFER"]


def test_doses_of_two_plans_need_their_sum(bare, folder):
    path, dose = folder
    one = dose(1, "PLAN", change=refer(PLAN))
    two = dose(2, "PLAN", change=refer(SECOND))
    assert read(path) == (None, ["DOSE_SEVERAL"] * 2)
    dose(3, "MULTI_PLAN", values=np.rint((one + two) * 1000).astype(np.uint16), change=refer(PLAN, SECOND))
    total, codes = read(path)
    np.testing.assert_allclose(total.array, one + two, rtol=1e-6)
    assert total.fractions is None
    assert sorted(codes) == ["DOSE_CHOSEN", "DOSE_CHOSEN", "DOSE_MULTI_PLAN"]


@pytest.mark.parametrize("summation", ["CONTROL_POINT", "BEAM_SESSION", "RECORD", ""])
def test_a_dose_of_a_part_is_no_course(folder, summation):
    path, dose = folder
    dose(1, summation, change=refer(PLAN))
    assert read(path) == (None, ["DOSE_NOT_WHOLE"])


def test_effective_dose_is_never_mixed_with_physical(bare, folder):
    path, dose = folder
    write_plan(bare, path / "rp.dcm")
    dose(1, "BEAM", change=refer(PLAN, beams=(1,)))
    dose(2, "BEAM", change=refer(PLAN, beams=(2,), kind="EFFECTIVE"))
    total, codes = read(path)
    assert total is None
    assert sorted(codes) == ["DOSE_EFFECTIVE", "DOSE_PARTS_INCOMPLETE"]
    wanted = dose(3, "PLAN", change=refer(PLAN))
    dose(4, "PLAN", change=refer(PLAN, kind="EFFECTIVE"))
    np.testing.assert_allclose(read(path)[0].array, wanted, rtol=1e-6)


def test_centigray_under_the_name_of_gray_is_noticed(folder):
    path, dose = folder
    dose(1, "PLAN", values=np.full(SHAPE, 7000, np.uint16), change=refer(PLAN), scaling=1.0)
    assert read(path)[1] == ["DOSE_IMPLAUSIBLE"]


def test_a_difference_of_doses_is_refused(folder):
    path, dose = folder
    dose(1, "PLAN", change=refer(PLAN, kind="ERROR"))
    (notice,) = [n for n in read_patient(path).notices if n.code.startswith("DOSE")]
    assert (notice.code, "ERROR" in notice.message) == ("DOSE_LEFT_OUT", True)
    assert [n.code for n in preflight(path).notices if "DOSE" in n.code] == ["RTDOSE_BROKEN"]


def test_a_comment_of_another_system_is_not_taken_for_fractions(folder):
    path, dose = folder

    def change(ds):
        ds.DoseComment = "boost; 35 fx"

    dose(1, "PLAN", change=change)
    assert read(path)[0].fractions is None
