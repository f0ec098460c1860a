"""Pictures: the right side of the picture, the right colour in the right place, the same bytes every time."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pixels

from rtplan.domain import (
    Beam,
    Dose,
    Finding,
    Fluence,
    Grid,
    Image,
    Mask,
    Patient,
    Plan,
    Prescription,
    Structure,
)
from rtplan.dosimetry.bands import Band
from rtplan.report.content import Picture
from rtplan.report.figures import COLOURS, DIFFERENCE_COLOURS, drawable
from rtplan.report.maps import SPREAD_COLOURS, difference_picture, differences_on, spread_picture
from rtplan.report.plots import Axis, Drawing, curve_names, dvh_picture
from rtplan.report.risk_plots import risk_picture
from rtplan.report.scene import Scene, isodoses_of, scene_of
from rtplan.report.slices import CT_WINDOW_HU, key_picture, slices_picture, window_of
from rtplan.report.worst import worst_of

GRID = Grid.axial((30, 50, 60), (4.0, 3.0, 3.0), (-88.5, -73.5, -58.0))


def cube(low: tuple[float, float, float], high: tuple[float, float, float]) -> Mask:
    """A box in the patient, (x, y, z) in mm."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in GRID.shape), indexing="ij"), -1)
    points = GRID.to_patient(index)
    return Mask(GRID, ((points >= low) & (points <= high)).all(axis=-1))


def asymmetric() -> Patient:
    """Left, anterior, superior: one box; a dose in it alone; the middle of the view at the image's centre."""
    box = cube((20, -50, 15), (50, -20, 45))
    everywhere = Mask(GRID, np.ones(GRID.shape, bool))
    return Patient(
        images={"CT": Image(GRID, np.where(box.array, 60.0, -1000.0))},
        structures={
            "Rectum": Structure("Rectum", "ORGAN", box),
            "External": Structure("External", "EXTERNAL", everywhere),
        },
        doses={"CT": Dose(GRID, np.ones(GRID.shape)), "CT0": Dose(GRID, 1.0 + 2.0 * box.array)},
    )


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Pixels.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)


def panels(image: np.ndarray, paper: int = 250) -> list[tuple[int, int, int, int]]:
    """Columns and rows (left, right, top, bottom) of the three pictures on white paper."""
    inked = (image.min(axis=2) < paper).sum(axis=0) > 0.3 * image.shape[0]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inked.astype(int), [0]])))
    found = []
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        rows = np.flatnonzero((image[:, left:right].min(axis=2) < paper).mean(axis=1) > 0.9)
        found.append((int(left), int(right), int(rows[0]), int(rows[-1])))
    return [box for box in found if box[1] - box[0] > 50]


def where(image: np.ndarray, colour: str, box: tuple[int, int, int, int]) -> tuple[float, float]:
    """The middle of a colour's pixels inside a panel, 0 to 1 to the right and down."""
    wanted = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)])
    left, right, top, bottom = box
    hits = np.argwhere(np.abs(image[top:bottom, left:right] - wanted).sum(axis=2) < 12)
    assert len(hits) > 20
    down, across = 0.5 * (hits.min(axis=0) + hits.max(axis=0)) / (bottom - top, right - left)
    return float(across), float(down)


#: The box's middle is 35 mm left, 35 mm anterior, 30 mm superior of the origin, near the image's middle.
SHOULD = {"axial": (1, -1), "coronal": (1, -1), "sagittal": (-1, -1)}


def through_box(patient: Patient) -> Scene:
    """The scene through the middle of the box, by a target inside it."""
    target = Structure("GTVp", "GTV", cube((27, -43, 22), (43, -27, 38)))
    scene = scene_of(patient.with_structures(target))
    assert scene is not None
    return scene


def test_the_patient_s_left_is_on_the_right_of_the_picture() -> None:
    patient = asymmetric()
    scene = through_box(patient)
    picture = slices_picture(patient, "CT", "test", scene)
    assert picture is not None
    image = pixels(picture)
    boxes = panels(image)
    assert len(boxes) == 3
    colour = scene.looks["Rectum"][0]
    for (name, (right, down)), box in zip(SHOULD.items(), boxes, strict=True):
        across, along = where(image, colour, box)
        assert (across - 0.5) * right > 0.05, name
        assert (along - 0.5) * down > 0.05, name


def test_the_contour_is_drawn_around_what_it_outlines() -> None:
    patient = asymmetric()
    scene = through_box(patient)
    picture = slices_picture(patient, "CT", "test", scene)
    assert picture is not None
    image = pixels(picture)
    for box, plane in zip(panels(image), scene.planes, strict=True):
        across, down = where(image, scene.looks["Rectum"][0], box)
        x0, x1, y1, y0 = plane.extent
        at = (x0 + across * (x1 - x0), y0 + down * (y1 - y0))
        assert at == pytest.approx(plane.cross_mm, abs=2.5)  # the planes go through the box's middle


def test_a_difference_is_shown_where_it_is() -> None:
    patient = asymmetric()
    scene = through_box(patient)
    maps = differences_on(patient, "CT0", "CT", scene)
    assert maps is not None
    picture = difference_picture("CT0", "CT", maps, 5.0, scene)
    assert "0.00 to +2.00 Gy" in picture.caption
    image = pixels(picture)
    wide = image.shape[1]
    colour = DIFFERENCE_COLOURS[8]  # 0.25 to 0.5 of the scale
    across, down = where(image, colour, (0, int(0.32 * wide), 0, image.shape[0]))
    assert across > 0.55
    assert down < 0.45


def test_the_planes_go_through_the_target_of_the_highest_dose() -> None:
    boost = Structure("GTVp", "GTV", cube((27, -43, 22), (43, -27, 38)))
    other = Structure("PTV", "PTV", cube((-60, -43, -40), (60, 40, 38)))
    patient = asymmetric().with_structures(boost, other)
    beam = Beam("G000", 0.0, (0.0, 0.0, 0.0), Fluence(np.ones((2, 2)), 5.0, (0.0, 0.0)))
    scene = scene_of(replace(patient, plan=Plan(Prescription({"PTV": 77.0, "GTVp": 95.0}, 35), (beam,))))
    assert scene is not None
    assert scene.centre_mm == pytest.approx((35.0, -35.0, 30.0), abs=2.5)
    assert scene.centre_words == "the centre of GTVp (the boost)"
    absent = replace(patient, structures={}, plan=Plan(Prescription({"PTV": 77.0}, 35), (beam,)))
    seen = scene_of(absent)
    assert seen is not None
    assert seen.centre_words == "the isocentre"


def test_the_worst_place_is_the_largest_difference_inside_the_body() -> None:
    patient = asymmetric()
    array = np.ones(GRID.shape)
    inside, outside = (10, 20, 30), (2, 2, 2)
    array[inside], array[outside] = -0.5, 9.0
    body = np.ones(GRID.shape, bool)
    body[:, :5, :] = False
    skin = Structure("External", "EXTERNAL", Mask(GRID, body))
    patient = patient.with_doses(CT0=Dose(GRID, array)).with_structures(skin)
    (worst,) = worst_of(patient, ["CT0"], "CT")
    assert worst.change_gy == pytest.approx(-1.5)
    assert worst.point_mm == pytest.approx(GRID.to_patient(inside))
    assert worst.words(GRID.to_patient(inside)) == "CT0: −1.50 Gy at L 0 mm, P 0 mm, S 0 mm"
    free = replace(patient, structures={})
    (worst,) = worst_of(free, ["CT0"], "CT")
    assert worst.change_gy == pytest.approx(8.0)


def test_a_spread_is_shown_where_it_is() -> None:
    patient = asymmetric()
    spread = Dose(GRID, 2.0 * cube((20, -50, 15), (50, -20, 45)).array)
    scene = through_box(patient)
    picture = spread_picture(patient, "SynCT", spread, scene)
    assert picture is not None
    assert "Up to 2.00 Gy" in picture.caption
    image = pixels(picture)
    wide = image.shape[1]
    across, down = where(image, SPREAD_COLOURS[-1], (0, int(0.32 * wide), 0, image.shape[0]))
    assert across > 0.55
    assert down < 0.45


def test_a_band_says_what_it_is_and_how_wide() -> None:
    axis = np.linspace(0.0, 60.0, 7)
    band = Band(axis, np.full(7, 40.0), np.full(7, 52.5), "95 % of 40 dose samples")
    drawn = Drawing(CURVES, ("CT", "CT0"), ("Rectum",), Axis(), "SynCT", {"Rectum": band})
    picture = dvh_picture(drawn)
    assert "Band on SynCT: 95 % of 40 dose samples; widest 12.5 pp (Rectum)." in picture.caption
    bare = dvh_picture(replace(drawn, bands={}))
    assert "No band" in bare.caption
    assert not np.array_equal(pixels(picture), pixels(bare))


def test_grey_is_stretched_for_each_modality() -> None:
    ct = Image(GRID, np.zeros(GRID.shape))
    assert window_of(ct, [np.zeros((2, 2))]) == CT_WINDOW_HU
    mr = Image(GRID, np.zeros(GRID.shape), modality="MR")
    low, high = window_of(mr, [np.linspace(1.0, 1000.0, 1000)])
    assert low == 0.0
    assert high == pytest.approx(995.0, abs=1.0)
    assert window_of(mr, [np.full((2, 2), np.nan)]) == (0.0, 1.0)


def test_isodoses_are_per_cent_of_the_prescription_and_relative_when_withheld(
    full: Patient, truncated: Patient
) -> None:
    known = isodoses_of(full, np.array([0.0, 8.0, 0.0]))
    assert known is not None
    assert known.words[3] == "95 % · 73.2 Gy"
    assert known.base == "77 Gy prescribed to PTVp_7700"
    relative = isodoses_of(truncated, np.array([0.0, 8.0, 0.0]))
    assert relative is not None
    assert relative.words[3] == "95 %"
    assert "absolute dose is withheld" in relative.base
    assert isodoses_of(replace(full, doses={}), np.zeros(3)) is None


def test_the_key_names_what_is_drawn(full: Patient) -> None:
    scene = scene_of(full)
    assert scene is not None
    key = key_picture(scene, with_dose=True)
    assert key is not None
    assert "Rectum" in key.alt
    assert "95 % · 73.2 Gy" in key.alt
    colours = list(scene.looks.values())
    assert len(set(colours)) == len(colours)  # colour and dash together tell every structure apart


def test_a_structure_in_an_unknown_frame_is_named_not_drawn(full: Patient) -> None:
    other = Grid(GRID.shape, GRID.affine, "another frame")
    odd = Structure("Odd", "ORGAN", Mask(other, np.ones(GRID.shape, bool)))
    scene = scene_of(full.with_structures(odd))
    assert scene is not None
    assert "Odd" not in scene.looks
    assert "another frame of reference" in scene.left_out["Odd"]


CURVES = {
    "CT": {"Rectum": (np.array([0.0, 40.0, 80.0]), np.array([100.0, 50.0, 0.0]))},
    "CT0": {"Rectum": (np.array([0.0, 38.0, 79.0]), np.array([100.0, 50.0, 0.0])), "$b_d$": ([], [])},
}


def test_plots_have_the_same_bytes_every_time_and_tell_no_date() -> None:
    one, two = (dvh_picture(Drawing(CURVES, ("CT", "CT0"), ("Rectum", "$b_d$"), Axis())) for _ in range(2))
    assert one.svg == two.svg
    assert one.png == two.png
    assert "date" not in one.svg.lower()
    assert "Rectum" in one.alt
    assert curve_names(CURVES, ("Bladder", "Rectum")) == ("Rectum", "$b_d$")


def test_risks_are_said_in_words_too() -> None:
    value = {"CT": Finding("NTCP", 0.05, "1", "x", arm="CT", interval95=(0.02, 0.09))}
    change = {"CT0": Finding("NTCP", -0.004, "1", "x", arm="CT0", quantity="difference")}
    picture = risk_picture("NTCP: bleeding", ("CT", "CT0"), value, change)
    assert "CT 5.00 %" in picture.alt
    assert "CT0 −0.40 pp" in picture.alt
    assert risk_picture("NTCP", ("CT", "CT0"), {}, change).svg.startswith("<?xml")


def test_pictures_keep_their_colours_in_a_palette() -> None:
    patient = asymmetric()
    scene = through_box(patient)
    picture = slices_picture(patient, "CT", "test", scene)
    assert picture is not None
    assert Pixels.open(io.BytesIO(picture.png)).mode == "P"
    seen = {tuple(colour) for colour in pixels(picture).reshape(-1, 3)}
    for name in scene.looks:
        colour = scene.looks[name][0]
        assert colour in COLOURS
        assert tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5)) in seen


def test_letters_the_font_lacks_become_boxes() -> None:
    assert drawable("膜\x00\u202eA") == "□A"
