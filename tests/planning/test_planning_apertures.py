"""Jaws and leaves become maps: areas, times and angles by closed forms, and by brute force."""

import itertools

import numpy as np
import pytest

from rtplan.domain import ClinicalPlan, ControlPoint, DeliveredBeam, Device, FractionGroup
from rtplan.errors import DoseError
from rtplan.planning.apertures import NEVER, ApertureSettings, Head, beams_of, head_of, left_out, turned_deg
from rtplan.planning.beam import Collimation, ExtraFocal, Output, load_beam

RNG = np.random.default_rng(5)
EDGES = (-40.0, -25.0, -15.0, -7.0, -2.0, 3.0, 8.0, 18.0, 40.0)
JAWS = {"ASYMX": [(-38.5, 41.0)], "ASYMY": [(-33.0, 27.0)]}


def point(share, openings, *, gantry=0.0, turn="NONE", energy=6.0):
    return ControlPoint(share, gantry, 15.0, 0.0, (1.0, 2.0, 3.0), JAWS | openings, turn, energy_mv=energy)


def plan(points, kind="MLCX", mu=200.0, position="HFS", obstacles=()):
    devices = [Device("ASYMX"), Device("ASYMY")] + ([Device(kind, EDGES)] if kind else [])
    beam = DeliveredBeam(1, "b", "LINAC", tuple(devices), tuple(points), mu, obstacles=obstacles)
    return ClinicalPlan(
        "P", {"PTV": 60.0}, (FractionGroup(1, 20, {1: 10.0}),), (beam,), patient_position=position
    )


def leaves():
    low = RNG.uniform(-35, 10, 8)
    return np.column_stack([low, low + RNG.uniform(0, 28, 8)])


def area_mm2(pairs, jaws_x=(-38.5, 41.0), jaws_y=(-33.0, 27.0)):
    widths = np.maximum(np.minimum(EDGES[1:], jaws_y[1]) - np.maximum(EDGES[:-1], jaws_y[0]), 0)
    lengths = np.maximum(np.minimum(pairs[:, 1], jaws_x[1]) - np.maximum(pairs[:, 0], jaws_x[0]), 0)
    return float(widths @ lengths)


def one(points, kind="MLCX", spacing=2.0, **more):
    (beam,) = beams_of(plan(points, kind, **more), "generic_6mv", 6.0, ApertureSettings(spacing))
    return beam


def total(fluence):
    return float(fluence.mu.sum(dtype=np.float64)) * fluence.spacing_mm**2


def test_jaws_alone_open_their_rectangle():
    beam = one([point(0, {}), point(1, {})], kind="")
    assert total(beam.fluence) == pytest.approx(200.0 * 79.5 * 60.0, rel=1e-6)
    fluence = beam.fluence
    u = fluence.corner_mm[0] + fluence.spacing_mm * np.arange(fluence.mu.shape[1])
    v = fluence.corner_mm[1] + fluence.spacing_mm * np.arange(fluence.mu.shape[0])
    inside = (np.abs(u - 1.25) < 38.75)[None, :] & (np.abs(v + 3.0) < 29.0)[:, None]
    np.testing.assert_allclose(fluence.mu[inside], 200.0, rtol=1e-6)
    assert (beam.name, beam.gantry_deg, beam.collimator_deg, beam.isocentre_mm) == ("b", 0.0, 15.0, (1, 2, 3))
    assert beam.machine == "generic_6mv"


@pytest.mark.parametrize("spacing", [1.0, 2.0, 3.7])
def test_the_area_of_a_standing_aperture_is_exact_whatever_the_pixel(spacing):
    pairs = leaves()
    beam = one([point(0, {"MLCX": pairs}), point(1, {"MLCX": pairs})], spacing=spacing)
    assert total(beam.fluence) == pytest.approx(200.0 * area_mm2(pairs), rel=1e-5)


def test_a_window_that_slides_gives_its_share_of_the_time():
    """A gap of 10 mm that moves by 60 mm opens each point between for one sixth of the time."""
    a = np.tile([(-30.0, -20.0)], (8, 1))
    beam = one([point(0, {"MLCX": a}), point(1, {"MLCX": a + 60.0})], spacing=1.0)
    middle = beam.fluence.mu[beam.fluence.mu.shape[0] // 2]
    u = beam.fluence.corner_mm[0] + np.arange(middle.size)
    np.testing.assert_allclose(middle[(u > -19) & (u < 29)], 200.0 / 6, rtol=1e-5)
    assert total(beam.fluence) == pytest.approx(200.0 * 10.0 * 60.0, rel=1e-5)


def test_moving_leaves_agree_with_many_standing_ones():
    a, b = leaves(), leaves()
    moving = one([point(0, {"MLCX": a}), point(1, {"MLCX": b})]).fluence
    steps = np.linspace(0, 1, 2001)
    times = (steps[1:] + steps[:-1]) / 2
    brute = np.zeros(moving.mu.shape)
    for t in times:
        pairs = a + t * (b - a)
        standing = one([point(0, {"MLCX": pairs}), point(1, {"MLCX": pairs})]).fluence
        assert standing.corner_mm == moving.corner_mm
        brute += standing.mu / len(times)
    assert np.abs(brute - moving.mu).max() < 0.05  # of 200 MU


def test_leaves_along_y_are_leaves_along_x_turned():
    a, b = leaves(), leaves()
    jaws = {"X": [(-50.0, 50.0)], "Y": [(-50.0, 50.0)]}

    def with_jaws(kind):
        points = [
            ControlPoint(s, 0, 0, 0, (0, 0, 0), jaws | {kind: p}, energy_mv=6.0) for s, p in ((0, a), (1, b))
        ]
        return one(points, kind).fluence

    np.testing.assert_allclose(with_jaws("MLCY").mu, with_jaws("MLCX").mu.T, atol=1e-5)


def test_step_and_shoot_gives_nothing_while_the_leaves_move():
    a, b = leaves(), leaves()
    points = [point(s, {"MLCX": p}) for s, p in ((0, a), (0.3, a), (0.3, b), (1, b))]
    assert total(one(points).fluence) == pytest.approx(
        200.0 * (0.3 * area_mm2(a) + 0.7 * area_mm2(b)), rel=1e-5
    )


def test_moving_jaws_cut_what_they_pass():
    wide = np.tile([(-30.0, 30.0)], (8, 1))
    opened = point(0, {"MLCX": wide})
    closed = ControlPoint(
        1, 0, 15, 0, (1, 2, 3), {"ASYMX": [(-38.5, -20.0)], "ASYMY": JAWS["ASYMY"], "MLCX": wide}, energy_mv=6
    )
    beam = one([opened, closed], spacing=1.0)
    at = beam.fluence.corner_mm[0] + np.arange(beam.fluence.mu.shape[1])
    middle = beam.fluence.mu[30]
    np.testing.assert_allclose(middle[(at > -29) & (at < -21)], 200.0, rtol=1e-5)
    assert middle[np.abs(at - 10.5) < 0.1][0] == pytest.approx(
        200.0 * 0.5, abs=2.5
    )  # passed at half the time


@pytest.mark.parametrize(("turn", "start", "sign"), [("CW", 350.0, 1), ("CC", 10.0, -1)])
def test_an_arc_turns_the_way_that_it_says(turn, start, sign):
    pairs = [leaves() for _ in range(6)]
    angles = [(start + sign * 4.0 * n) % 360 for n in range(6)]
    turns = [turn] * 5 + ["NONE"]
    points = [point(n / 5, {"MLCX": pairs[n]}, gantry=angles[n], turn=turns[n]) for n in range(6)]
    beams = beams_of(plan(points), "generic_6mv", 6.0, ApertureSettings(2.0, 4.0))
    wanted = [(start + sign * (4.0 * n + 2.0)) % 360 for n in range(5)]
    np.testing.assert_allclose([b.gantry_deg for b in beams], wanted)
    given = sum(total(b.fluence) for b in beams)
    moved = [
        200.0 / 5 * (area_mm2(a + t * (b - a)))
        for a, b in itertools.pairwise(pairs)
        for t in np.linspace(0.0005, 0.9995, 1000)
    ]
    assert given == pytest.approx(sum(moved) / 1000, rel=1e-4)
    finer = beams_of(plan(points), "generic_6mv", 6.0, ApertureSettings(2.0, 1.0))
    assert len(finer) == 20
    assert sum(total(b.fluence) for b in finer) == pytest.approx(given, rel=1e-5)


def test_half_a_turn_takes_the_said_side():
    a, b = (point(s, {}, gantry=g, turn=t) for s, g, t in ((0, 0.0, "CC"), (1, 180.0, "NONE")))
    assert turned_deg(a, b) == -180.0
    unsaid = point(0, {}, gantry=0.0)
    with pytest.raises(DoseError, match="which way"):
        turned_deg(unsaid, b)


@pytest.mark.parametrize(
    ("more", "energy", "words"),
    [
        ({"obstacles": ("it has a wedge",)}, 6.0, "a wedge"),
        ({"position": "HFP"}, 6.0, "HFP"),
        ({}, 10.0, "of 10 MV"),
    ],
)
def test_what_cannot_be_recalculated_is_refused_by_name(more, energy, words):
    with pytest.raises(DoseError, match=words):
        beams_of(plan([point(0, {}), point(1, {})], "", **more), "generic_6mv", energy)


def test_a_real_sliding_window_plan_keeps_its_open_area(data):
    from dataclasses import replace

    from rtplan.io import rtplan_delivery

    read = rtplan_delivery.read(data / "dicompyler/example_data/rtplan.dcm")
    with pytest.raises(DoseError, match=r"'3 RAO' 10\.0 MV"):
        beams_of(read, "generic_6mv", 6.0)
    six = replace(read, beams=read.beams[1:3])
    for beam, made in zip(six.beams, beams_of(six, "generic_6mv", 6.0), strict=True):
        widths = np.diff(beam.devices[2].boundaries_mm)
        low, high = beam.devices[2].boundaries_mm[:-1], beam.devices[2].boundaries_mm[1:]
        (x0, x1), (y0, y1) = (beam.points[0].openings[k][0] for k in ("ASYMX", "ASYMY"))
        widths = np.maximum(np.minimum(high, y1) - np.maximum(low, y0), 0)
        wanted = 0.0
        for a, b in zip(beam.points[:-1], beam.points[1:], strict=True):
            for t in np.linspace(0.05, 0.95, 10):
                pairs = a.openings["MLCX"] + t * (b.openings["MLCX"] - a.openings["MLCX"])
                opened = np.maximum(np.minimum(pairs[:, 1], x1) - np.maximum(pairs[:, 0], x0), 0)
                wanted += beam.mu * (b.share - a.share) / 10 * float(widths @ opened)
        assert total(made.fluence) == pytest.approx(wanted, rel=1e-3)


def with_head(points, **more):
    head = Head(Collimation(**more))
    (beam,) = beams_of(plan(points), "generic_6mv", 6.0, ApertureSettings(2.0), head)
    return beam.fluence


def test_transmission_passes_behind_leaves_and_jaws():
    pairs = leaves()
    points = [point(0, {"MLCX": pairs}), point(1, {"MLCX": pairs})]
    plain = total(one(points).fluence)
    field = 200.0 * 79.5 * 60.0
    behind = with_head(points, leaf_transmission=0.02)
    assert total(behind) == pytest.approx(plain + 0.02 * (field - plain), rel=1e-5)
    both = with_head(points, leaf_transmission=0.02, jaw_transmission=0.005)
    assert total(both) == pytest.approx(total(behind) + 0.005 * (200.0 * 400.0**2 - field), rel=1e-4)
    assert both.mu.min() == pytest.approx(200.0 * 0.005)


def test_rounded_ends_open_more_and_blur():
    pairs = np.tile([[-10.0, 10.0]], (8, 1))
    pairs[3] = (0.0, 0.0)
    points = [point(0, {"MLCX": pairs}), point(1, {"MLCX": pairs})]
    ways = ({}, {"leaf_offset_mm": 0.7}, {"leaf_end_sigma_mm": 3.0})
    plain, wider, soft = (with_head(points, **way) for way in ways)
    assert total(wider) == pytest.approx(total(plain) * 21.4 / 20.0, rel=1e-5)  # touching pairs stay closed
    assert total(soft) == pytest.approx(total(plain), rel=1e-5)
    assert soft.mu.max() < plain.mu.max() * 1.001
    assert (soft.mu > 1.0).sum() > (plain.mu > 1.0).sum()


def test_collimator_scatter_goes_with_the_jaws():
    scatter = Output(side_mm=(40.0, 100.0), factor=(0.96, 1.0))
    (beam,) = beams_of(plan([point(0, {}), point(1, {})], kind=""), "m", 6.0, None, Head(scatter=scatter))
    side = 2.0 * 79.5 * 60.0 / 139.5
    assert total(beam.fluence) == pytest.approx(
        200.0 * 79.5 * 60.0 * (0.96 + 0.04 * (side - 40.0) / 60.0), rel=1e-5
    )
    assert scatter.of(10.0, 10.0) == 0.96
    assert scatter.of(300.0, 300.0) == 1.0
    with pytest.raises(ValueError, match="rise"):
        Output(side_mm=(100.0, 40.0), factor=(1.0, 0.96))


def test_what_the_head_knows_comes_from_the_beam_file():
    model = load_beam("generic_6mv")
    assert head_of(model) == Head()  # nothing was measured, nothing is assumed
    own = model.model_copy(update={"collimation": Collimation(leaf_transmission=0.01)})
    assert head_of(own).collimation.leaf_transmission == 0.01


def test_what_is_idealised_is_named_by_what_the_plan_has_and_the_file_lacks():
    model = load_beam("generic_6mv")
    bare, leafy = (plan([point(0, {}), point(1, {})], kind) for kind in ("", "MLCX"))
    assert left_out(bare, model) == ("transmission through jaws", "head scatter against the jaws' opening")
    assert len(left_out(leafy, model)) == 6
    some = model.model_copy(
        update={"collimation": Collimation(leaf_transmission=0.01, jaw_transmission=0.01)}
    )
    told = left_out(leafy, some)
    assert "transmission through leaves" not in told
    assert {"the offset of rounded leaf ends", "the penumbra of leaf ends", NEVER} < set(told)
    whole = {
        "collimation": Collimation(
            leaf_transmission=0.01, jaw_transmission=0.003, leaf_offset_mm=0.6, leaf_end_sigma_mm=1.5
        ),
        "extra_focal": ExtraFocal(weight=0.08, sigma_mm=18.0),
    }
    assert left_out(leafy, model.model_copy(update=whole)) == (NEVER,)
    assert left_out(bare, model.model_copy(update=whole)) == ()
