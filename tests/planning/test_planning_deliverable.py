"""Deliverable plans: limits of the machine hold, the written plan is the plan, the loss is small."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtplan.domain import Grid, Identity, Image, Mask
from rtplan.dosimetry.protocol import TargetDose
from rtplan.errors import DoseError
from rtplan.io import rtplan, rtplan_delivery, rtplan_delivery_write
from rtplan.planning.aims import Target
from rtplan.planning.apertures import beams_of
from rtplan.planning.arc import arc_from
from rtplan.planning.beam import load_beam
from rtplan.planning.deliverable import DeliverSettings, deliverable
from rtplan.planning.delivery import Labels, delivered, faults, seconds_of
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.machine import load_machine
from rtplan.planning.optimise import OptimiseSettings, Outcome, Task, optimise
from rtplan.planning.prepare import Prepared
from rtplan.planning.refine import RefineSettings, Static
from rtplan.planning.sequence import sequenced

ENGINE = Engine(load_beam("generic_6mv"), load_curve("matrad_default"))
GRID = Grid.axial((20, 40, 50), (4.0, 4.0, 4.0), (-98.0, -78.0, -38.0), frame_of_reference="1.2.3")
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
BODY = Mask(GRID, (X / 95) ** 2 + (Y / 75) ** 2 < 1)
IMAGE = Image(GRID, np.where(BODY.array, 10.0, -1000.0))
PTV = Mask(GRID, X**2 + Y**2 + Z**2 < 22**2)
MACHINE = load_machine("generic_mlc120")
WANTED = (TargetDose(target="PTV", dose_gy=60.0, to="median", source="test", verified=True),)
PREPARED = Prepared(
    Task({"PTV": Target(PTV, 60.0)}, {}, 20, (0.0, 0.0, 0.0)), IMAGE, BODY, ENGINE, "CT", WANTED
)
QUICK = RefineSettings(first=10, further=6, rounds=2)


@pytest.fixture(scope="module")
def ideal() -> Outcome:
    return optimise(
        PREPARED.task, IMAGE, BODY, ENGINE, OptimiseSettings(beams=5, first=30, further=10, rounds=2)
    )


def dose_of(plan, folder: Path) -> np.ndarray:  # type: ignore[no-untyped-def, type-arg]
    """The dose of a plan that was written and read back."""
    path = folder / "RP.dcm"
    rtplan_delivery_write.write(plan, path, identity=Identity(patient_id="x", name="X^Y"), image=IMAGE)
    back = rtplan_delivery.read(path)
    assert not rtplan.read_summary(path).ours
    return ENGINE.calculate(beams_of(back, "generic_6mv", 6.0), [IMAGE], BODY, GRID)[0].array


@pytest.mark.parametrize("arc", [False, True])
def test_the_written_plan_gives_the_dose_and_the_machine_can_give_it(
    ideal: Outcome, arc: bool, tmp_path: Path
) -> None:
    wide = MACHINE.model_copy(update={"shape": MACHINE.shape.model_copy(update={"arc_step_deg": 10.0})})
    plan = deliverable(
        PREPARED, ideal, wide, DeliverSettings(arc=arc, refine=replace(QUICK, rounds=1 if arc else 2))
    )
    assert faults(plan, MACHINE) == []
    assert not plan.obstacles
    assert all(beam.is_arc is arc for beam in plan.beams)
    dose = dose_of(plan, tmp_path)
    assert np.median(dose[PTV.array]) == pytest.approx(60.0, rel=2e-3)  # normalised as the ideal plan
    assert (dose[PTV.array] >= 57.0).mean() > 0.9
    assert abs(dose[PTV.array].mean() - ideal.dose.array[PTV.array].mean()) < 1.0
    assert seconds_of(plan, MACHINE) > (356 / 6.0 - 1 if arc else 10)


def test_a_plan_reads_back_as_it_was_written(ideal: Outcome, tmp_path: Path) -> None:
    plan = deliverable(PREPARED, ideal, MACHINE, DeliverSettings(refine=QUICK))
    path = tmp_path / "RP.dcm"
    rtplan_delivery_write.write(plan, path, identity=Identity(patient_id="x"), image=IMAGE)
    back = rtplan_delivery.read(path)
    assert back.fractions == plan.fractions == 20
    assert dict(back.targets) == {"PTV": 60.0}
    for a, b in zip(plan.beams, back.beams, strict=True):
        assert b.mu == pytest.approx(a.mu, rel=1e-9)
        assert (b.name, b.machine, len(b.points)) == (a.name, a.machine, len(a.points))
        for p, q in zip(a.points, b.points, strict=True):
            assert q.share == pytest.approx(p.share, abs=1e-12)
            assert q.gantry_deg == p.gantry_deg
            assert q.energy_mv == 6.0
            for kind in ("ASYMX", "ASYMY", "MLCX"):
                np.testing.assert_allclose(q.openings[kind], p.openings[kind], atol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize("arc", [False, True])
def test_dciodvfy_finds_no_error_in_a_plan_of_leaves(ideal: Outcome, arc: bool, tmp_path: Path) -> None:
    layout = (
        arc_from(ideal.plan.beams, MACHINE)
        if arc
        else Static(tuple(sequenced(b, MACHINE) for b in ideal.plan.beams), MACHINE, 20)
    )
    plan = delivered(layout, Labels("x", {"PTV": 60.0}, 20, 6.0, 1000.0))
    path = tmp_path / "RP.dcm"
    rtplan_delivery_write.write(plan, path, identity=Identity(patient_id="x", name="X^Y"), image=IMAGE)
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not [line for line in done.stderr.splitlines() if "Error" in line or "Warning" in line]


def test_monitor_units_are_kept_from_layout_to_plan(ideal: Outcome) -> None:
    layout = Static(tuple(sequenced(b, MACHINE) for b in ideal.plan.beams), MACHINE, 20)
    labels = Labels("x", {"PTV": 60.0}, 20, 6.0, 1000.0)
    plan = delivered(layout, labels)
    wanted = [float(s.mu.sum()) for s in layout.segments]
    assert [beam.mu for beam in plan.beams] == pytest.approx(wanted)
    assert sum(plan.groups[0].mu.values()) * 20 == pytest.approx(sum(wanted))
    apertures = beams_of(plan, "generic_6mv", 6.0)
    rasters = layout.rasters(torch.as_tensor(layout.start()))
    for made, raster in zip(
        apertures, rasters, strict=True
    ):  # MU x area; shut pairs leak nothing in the plan
        area = made.fluence.mu.sum(dtype=float) * made.fluence.spacing_mm**2
        assert area <= float(raster.sum()) * 2.5**2 * 1.0001
        assert area >= float(raster.sum()) * 2.5**2 * 0.95


def test_faults_are_named(ideal: Outcome) -> None:
    plan = delivered(arc_from(ideal.plan.beams, MACHINE), Labels("x", {"PTV": 60.0}, 20, 6.0, 1000.0))
    assert faults(plan, MACHINE) == []
    leaves = MACHINE.leaves
    for part, change, word in (
        ("leaves", {"min_gap_mm": 5.0}, "gap"),
        ("leaves", {"max_position_mm": 5.0}, "too far from"),
        ("leaves", {"max_span_mm": 2.0}, "too far apart"),
        ("leaves", {"interdigitation": False}, "interdigitate"),
        ("leaves", {"speed_mm_per_s": leaves.speed_mm_per_s / 50}, "too slow"),
    ):
        strict = MACHINE.model_copy(update={part: getattr(MACHINE, part).model_copy(update=change)})
        assert any(word in fault for fault in faults(plan, strict)), word


def test_without_interdigitation_the_plan_has_none(ideal: Outcome) -> None:
    strict = MACHINE.model_copy(
        update={
            "leaves": MACHINE.leaves.model_copy(update={"interdigitation": False}),
            "shape": MACHINE.shape.model_copy(update={"arc_step_deg": 10.0}),
        }
    )
    for arc in (False, True):
        plan = deliverable(PREPARED, ideal, strict, DeliverSettings(arc=arc, refine=replace(QUICK, rounds=1)))
        assert faults(plan, strict) == []


def test_a_plan_that_no_file_can_say_is_refused(ideal: Outcome, tmp_path: Path) -> None:
    plan = deliverable(PREPARED, ideal, MACHINE, DeliverSettings(refine=replace(QUICK, rounds=1)))
    path = tmp_path / "RP.dcm"
    for bad in (replace(plan, beams=()), replace(plan, groups=())):
        with pytest.raises(DoseError, match="needs beams"):
            rtplan_delivery_write.write(bad, path, identity=Identity())
    none = replace(plan, beams=(replace(plan.beams[0], mu=None),))
    with pytest.raises(DoseError, match="without monitor units"):
        rtplan_delivery_write.write(none, path, identity=Identity())
    assert not path.exists()
