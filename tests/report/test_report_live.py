"""The planes of the interactive page: every value, line and letter at its place in the patient."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import (
    Dose,
    Finding,
    Grid,
    Identity,
    Image,
    Mask,
    Notice,
    Patient,
    Plan,
    Prescription,
    Registration,
    Structure,
)
from rtplan.errors import OutputError, StructureError, UnknownName
from rtplan.report.live import page
from rtplan.report.live.cut import Cut, cut_of, layer_names, packed
from rtplan.report.live.facts import facts_of
from rtplan.report.live.stage import Stage, on_plane, stage_of
from rtplan.report.planes import VIEWS, sample

FRAME = "1.2.826.0.1.3680043.10.9999.77"
#: A value at each point, LPS mm: HU and Gy that no two points along an axis share.
SLOPE, OFFSET = np.array([3.0, -2.0, 1.5]), 40.0
#: The grids' middle lies beside the ball's.
SHIFT = np.array([1.3, -0.4, 2.1])
CENTRE, RADIUS = np.array([12.0, -7.0, 55.0]), 14.0


def turned(angles_deg: tuple[float, float]) -> np.ndarray:
    a, b = np.radians(angles_deg)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


def grid_of(shape, spacing, turn=(0.0, 0.0), flips=(1, 1, 1), frame=FRAME) -> Grid:
    """Return a grid around the ball: array axes to superior, posterior, left, then flipped and turned."""
    affine = np.eye(4)
    directions = turned(turn) @ np.array([[0, 0, 1.0], [0, 1.0, 0], [1.0, 0, 0]])
    affine[:3, :3] = directions * (np.array(spacing) * np.array(flips))
    affine[:3, 3] = CENTRE + SHIFT - affine[:3, :3] @ (0.5 * (np.array(shape) - 1.0))
    return Grid(shape, affine, frame)


def points_of(grid: Grid) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return grid.to_patient(index)


def value_at(points: np.ndarray) -> np.ndarray:
    return points @ SLOPE + OFFSET


GRIDS = {
    "axial": grid_of((19, 50, 56), (3.0, 1.1, 1.4)),
    "reversed": grid_of((19, 50, 56), (3.0, 1.1, 1.4), flips=(-1, -1, -1)),
    "tilted": grid_of((19, 50, 56), (3.0, 1.1, 1.4), turn=(9.0, 17.0)),
}


def patient_of(grid: Grid) -> Patient:
    inside = np.linalg.norm(points_of(grid) - CENTRE, axis=-1) <= RADIUS
    coarse = grid_of((20, 26, 24), (3.5, 2.5, 3.0), turn=(-6.0, 4.0))
    dose = value_at(points_of(coarse)) + 300.0
    return Patient(
        key="3f9a1c0b77de",
        identity=Identity(name="Somebody^Known", patient_id="ID-4711"),
        images={
            "CT": Image(grid, value_at(points_of(grid)), "CT"),
            "SynCT": Image(coarse, value_at(points_of(coarse)) - 5.0, "CT"),
        },
        structures={
            "PTVp_7700": Structure("PTVp_7700", "PTV", Mask(grid, inside)),
            "External": Structure("External", "EXTERNAL", Mask(grid, np.ones(grid.shape, bool))),
        },
        plan=Plan(Prescription({"PTVp_7700": 77.0}, 35), (), made_on="CT"),
        doses={"CT": Dose(coarse, dose), "SynCT": Dose(coarse, 1.01 * dose)},
        findings=(
            Finding("Mean[Gy]", 76.1, "Gy", "EvaluateProtocol", arm="CT", structure="PTVp_7700"),
            Finding("NTCP", 0.0412, "1", "EstimateOutcome", arm="CT", structure="Rectum", model="a"),
        ),
    )


@pytest.fixture(scope="module", params=GRIDS)
def stage(request) -> Stage:
    patient = patient_of(GRIDS[request.param])
    return stage_of(patient, {"SynCT": patient.doses["CT"].with_array(0.01 * patient.doses["CT"].array)})


def places(stage: Stage, view: str, k: int, cut: Cut) -> np.ndarray:
    """Return the point of each pixel, LPS mm, from what the page is told alone: shape (rows, columns, 3)."""
    facts = facts_of(stage, {}, {}, {})
    told = facts["views"][view]
    rows, columns = next(iter(cut.layers.values())).shape
    along = np.zeros((rows, columns, 3))
    x = cut.x_mm[0] + (np.arange(columns) + 0.5) * (cut.x_mm[1] - cut.x_mm[0]) / columns
    y = cut.y_mm[0] + (np.arange(rows) + 0.5) * (cut.y_mm[1] - cut.y_mm[0]) / rows
    along[..., told["x_axis"]], along[..., told["y_axis"]] = x, y[:, None]
    along[..., told["axis"]] = told["first"] + k * told["step"]
    return along @ np.array(facts["axes"]).T


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("layer", "scale", "shift"),
    [
        ("image:CT", 1.0, 0.0),
        ("image:SynCT", 1.0, -5.0),
        ("dose:CT", 1.0, 300.0),
        ("spread:SynCT", 0.01, 3.0),
        ("difference:SynCT-CT", 0.01, 3.0),
    ],
)
def test_every_pixel_shows_what_is_at_its_point_in_the_patient(stage, view, layer, scale, shift):
    slices = stage.slices(view)
    for k in (slices.count // 3, slices.count // 2):
        cut = cut_of(stage, view, k, (layer,))
        found = cut.layers[layer]
        wanted = scale * value_at(places(stage, view, k, cut)) + shift
        inner = np.isfinite(found)
        inner[:6], inner[-6:], inner[:, :6], inner[:, -6:] = False, False, False, False  # half-voxel rims
        assert inner.mean() > 0.3
        worst = np.abs(found - wanted)[inner].max()
        assert np.median(np.abs(found - wanted)[inner]) < 0.01
        assert worst < (0.01 if layer == "image:CT" else 8.0 * scale)  # a rim of the other, turned grid


@pytest.mark.parametrize("view", VIEWS)
def test_a_slice_of_the_image_lies_on_its_voxels(stage, view):
    grid, slices = stage.grid, stage.slices(view)
    index = grid.to_index(stage.axes @ _on_axis(stage, slices.axis, slices.at(4)))
    axis = int(np.abs(stage.axes[:, slices.axis] @ grid.direction).argmax())
    assert index[axis] == pytest.approx(round(index[axis]), abs=1e-6)
    assert slices.count == grid.shape[axis]
    assert slices.nearest(slices.at(4) + 0.4 * slices.step_mm) == 4
    assert slices.nearest(1e6) == slices.count - 1


def _on_axis(stage, axis, place):
    point = stage.axes.T @ stage.centre_mm
    point[axis] = place
    return point


@pytest.mark.parametrize("view", VIEWS)
def test_an_outline_lies_on_the_ball(stage, view):
    slices = stage.slices(view)
    middle = stage.axes.T @ CENTRE
    k = slices.nearest(middle[slices.axis])
    cut = cut_of(stage, view, k, ())
    (line,) = cut.outlines["PTVp_7700"]
    told = facts_of(stage, {}, {}, {})["views"][view]
    across = line[:, 0] - middle[told["x_axis"]]
    other = line[:, 1] - middle[told["y_axis"]]
    radius = np.sqrt(RADIUS**2 - (slices.at(k) - middle[slices.axis]) ** 2)
    assert np.abs(np.hypot(across, other) - radius).max() < 2.2  # voxels of 3 mm
    assert abs(np.hypot(across, other).mean() - radius) < 0.4
    assert np.allclose(line[0], line[-1])


def test_isodoses_lie_where_the_dose_is(stage):
    patient = stage.patient
    cut = cut_of(stage, "coronal", stage.slices("coronal").count // 2, ("dose:CT",))
    high = replace(stage.isodoses, levels_gy=(380.0, 420.0))
    moved = replace(stage, isodoses=high)
    cut = cut_of(moved, "coronal", stage.slices("coronal").count // 2, ("dose:CT",))
    found = 0
    for level, lines in zip((380.0, 420.0), cut.isodoses["dose:CT"], strict=True):
        for line in lines:
            points = np.zeros((len(line), 3))
            points[:, 0], points[:, 2] = line.T
            points[:, 1] = stage.slices("coronal").at(stage.slices("coronal").count // 2)
            dose = value_at(points @ stage.axes.T) + 300.0
            assert np.median(np.abs(dose - level)) < 0.05
            found += len(line)
    assert found > 20
    assert patient.doses["CT"].array.min() < 380.0


@pytest.mark.parametrize("view", VIEWS)
def test_a_slab_gives_what_the_whole_volume_gives(stage, view):
    plane = stage.plane(view, stage.slices(view).count // 3)
    for volume in (*stage.patient.images.values(), *stage.patient.doses.values()):
        assert np.allclose(on_plane(volume, plane), sample(volume, plane), atol=1e-3, equal_nan=True)


def test_an_image_in_another_frame_is_brought_there_by_its_registration():
    grid = GRIDS["axial"]
    shift = np.eye(4)
    shift[:3, 3] = [4.0, -3.0, 2.0]
    other = grid_of((19, 50, 56), (3.0, 1.1, 1.4), frame=FRAME + ".2")
    patient = patient_of(grid).with_images(T2w=Image(other, value_at(points_of(other)), "MR"))
    unlinked = cut_of(stage_of(patient), "axial", 9, ("image:T2w",)).layers["image:T2w"]
    assert np.isnan(unlinked).all()
    linked = replace(patient, registrations=(Registration(FRAME + ".2", FRAME, shift, "rigid", {}),))
    stage = stage_of(linked)
    cut = cut_of(stage, "axial", 9, ("image:T2w",))
    wanted = value_at(places(stage, "axial", 9, cut) - shift[:3, 3])
    inner = np.s_[12:-12, 12:-12]
    assert np.allclose(cut.layers["image:T2w"][inner], wanted[inner], atol=0.05)


def test_what_is_sent_can_be_read_back(stage):
    layers = ("image:CT", "dose:CT")
    cut = cut_of(stage, "axial", 9, layers)
    sent = packed(cut)
    (length,) = struct.unpack("<I", sent[:4])
    assert length % 4 == 0
    head = json.loads(sent[4 : 4 + length])
    pixels = np.frombuffer(sent[4 + length :], "<f4").reshape(2, *head["shape"])
    assert head["layers"] == list(layers)
    assert np.array_equal(pixels[1], cut.layers["dose:CT"], equal_nan=True)
    xs, ys = head["outlines"]["PTVp_7700"][0]
    assert np.allclose(np.transpose([xs, ys]), cut.outlines["PTVp_7700"][0], atol=0.006)


def test_what_is_not_there_is_refused(stage):
    assert set(layer_names(stage)) >= {"image:CT", "dose:SynCT", "difference:SynCT-CT", "spread:SynCT"}
    for layer in ("image:MR", "dose:../CT", "difference:CT-CT", "spread:CT", "", "x"):
        with pytest.raises(UnknownName):
            cut_of(stage, "axial", 0, (layer,))
    for k in (-1, stage.slices("axial").count):
        with pytest.raises(UnknownName):
            cut_of(stage, "axial", k, ())
    with pytest.raises(StructureError, match="no image"):
        stage_of(Patient())


def test_absolute_dose_stays_withheld():
    why = "The body is cut."
    patient = patient_of(GRIDS["axial"]).with_notices(Notice("BODY_TRUNCATED", "warn", why))
    patient = replace(patient, findings=())
    stage = stage_of(patient)
    curves = {"CT": {"PTVp_7700": (np.array([0.0, 400.0, 500.0]), np.array([100.0, 90.0, 0.0]))}}
    facts = facts_of(stage, curves, {}, {})
    assert facts["doses"]["unit"] == "%"
    assert facts["doses"]["withheld"] == why
    assert not any("Gy" in level["words"] for level in facts["doses"]["levels"])
    base = stage.isodoses.base_gy
    assert base > 150.0
    assert facts["dvh"]["dose"][-1] == pytest.approx(1.02 * 100.0 * 500.0 / base, rel=1e-3)
    plain, held = (
        cut_of(made, "axial", 9, ("dose:CT",)).layers["dose:CT"]
        for made in (stage_of(patient_of(GRIDS["axial"])), stage)
    )
    assert np.allclose(held, 100.0 * plain / base, equal_nan=True)
    differences = cut_of(stage, "axial", 9, ("difference:SynCT-CT",)).layers["difference:SynCT-CT"]
    assert np.nanmax(differences) == pytest.approx(0.01 * np.nanmax(plain), rel=1e-3)  # those are reported


def test_a_withheld_dose_of_nothing_has_no_curves_and_no_pixels():
    patient = patient_of(GRIDS["axial"]).with_notices(Notice("BODY_TRUNCATED", "warn", "The body is cut."))
    nothing = {arm: dose.with_array(0.0 * dose.array) for arm, dose in patient.doses.items()}
    stage = stage_of(replace(patient, findings=(), doses=nothing))
    curves = {"CT": {"PTVp_7700": (np.array([0.0, 1.0]), np.array([100.0, 0.0]))}}
    facts = facts_of(stage, curves, {}, {})
    assert (facts["doses"], facts["dvh"]["curves"]) == (None, {})
    json.dumps(facts, allow_nan=False)
    assert np.isnan(cut_of(stage, "axial", 9, ("dose:CT",)).layers["dose:CT"]).all()


def test_the_page_is_told_names_of_structures_and_findings_but_not_whose_they_are(stage):
    facts = facts_of(stage, {}, {}, {"settings": {"protocol": "prostate_boost_flame"}})
    said = json.dumps(facts, allow_nan=False)
    assert "Somebody" not in said
    assert "4711" not in said
    assert facts["key"] == "3f9a1c0b77de"
    assert [item["name"] for item in facts["structures"]] == ["PTVp_7700", "External"]
    ball = 4.0 / 3.0 * np.pi * RADIUS**3 / 1000.0
    assert facts["structures"][0]["cc"] == pytest.approx(ball, rel=0.03)
    point = stage.axes @ np.array(facts["structures"][0]["point"])
    assert np.linalg.norm(point - CENTRE) <= RADIUS
    rows = {row["metric"]: row for row in facts["findings"]}
    assert rows["Mean[Gy]"]["values"] == {"CT": "76.10"}
    assert rows["NTCP"]["values"] == {"CT": "4.12 %"}


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    page.library_files.cache_clear()
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(OutputError, match=r"pip install 'rtplan\[view\]'"):
        page.library_files()
    monkeypatch.undo()
    assert set(page.library_files()) == set(page.LIBRARY)


def test_every_script_that_a_script_imports_is_there():
    files = page.own_files()
    imported = {
        line.split('"')[1].removeprefix("./")
        for kind, content in files.values()
        if kind.startswith("text/javascript")
        for line in content.decode().splitlines()
        if line.startswith("import ")
    }
    assert imported
    assert imported <= set(files)
