"""The bony pelvis: the shipped model, voxelising a mesh against closed forms, landmarks and sides."""

import numpy as np
import pytest

from rtplan import resources
from rtplan.errors import ModelError
from rtplan.phantom.bones import bone_distance, draw_pelvis, shape_model, warp
from rtplan.phantom.draws import Draws
from rtplan.phantom.field import even_axes
from rtplan.phantom.skeleton import draw_skeleton


def icosphere(radius, centre):
    from scipy.spatial import ConvexHull

    k = np.arange(900) + 0.5
    phi, theta = np.arccos(1 - 2 * k / 900), np.pi * (1 + 5**0.5) * k
    points = np.c_[np.cos(theta) * np.sin(phi), np.sin(theta) * np.sin(phi), np.cos(phi)]
    hull = ConvexHull(points)
    triangles = hull.simplices.copy()
    a, b, c = (points[triangles[:, i]] for i in range(3))
    turned = (np.cross(b - a, c - a) * (a + b + c)).sum(1) < 0
    triangles[turned] = triangles[turned][:, ::-1]
    return points * radius + centre, triangles


def test_mesh_of_a_sphere_gives_the_distance_of_a_sphere():
    centre = np.array([3.3, -4.1, 7.7])
    vertices, triangles = icosphere(20.0, centre)
    axes = even_axes(np.full(3, -40.0), np.full(3, 40.0), 1.9)
    box, distance = bone_distance(vertices, triangles, axes, 6.0)
    z, y, x = axes.cut(box).open()
    true = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) - 20.0
    assert np.abs(distance - true)[np.abs(true) < 3].max() < 0.5
    assert np.array_equal(distance < 0, true < 0) or np.mean((distance < 0) != (true < 0)) < 5e-3
    assert (distance < 0).sum() * 1.9**3 == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.02)


def test_a_hole_in_the_mesh_does_not_leak():
    vertices, triangles = icosphere(20.0, np.zeros(3))
    axes = even_axes(np.full(3, -30.0), np.full(3, 30.0), 1.9)
    whole = bone_distance(vertices, triangles, axes, 5.0)[1] < 0
    holed = bone_distance(vertices, np.delete(triangles, [10], axis=0), axes, 5.0)[1] < 0
    assert np.mean(whole != holed) < 2e-3


def test_model_is_small_and_checked(tmp_path):
    folder = resources.shelf("models") / "pelvis_bones"
    weights = folder / "pelvis_bones.safetensors"
    assert weights.stat().st_size < 600_000
    broken = tmp_path / weights.name
    broken.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError):
        resources.checked(broken, resources.sha256(weights))


def test_refit_lies_near_the_source(data):
    source = np.load(data / "pelvis_bones" / "shape_model.npz")
    from scipy.spatial import cKDTree

    gap = cKDTree(source["mean"]).query(shape_model().mean)[0]
    assert gap.max() < 0.02  # kept vertices are vertices of the source
    spread = np.sqrt((source["modes"].astype(float) ** 2).sum((0, 2)).mean())
    ours = np.sqrt((shape_model().modes ** 2).sum((0, 2)).mean())
    assert ours == pytest.approx(spread, rel=0.05)


def test_left_is_at_larger_x_and_heads_are_of_human_size():
    for seed in range(6):
        pelvis = draw_pelvis(np.random.default_rng(seed), 1.0, 1.0, 2.0)
        left, right = pelvis.heads
        assert left[0] > 60
        assert right[0] < -60
        assert 19 < left[3] < 30
        assert 19 < right[3] < 30


def test_warp_takes_the_mean_onto_the_patient_and_back():
    pelvis = draw_pelvis(np.random.default_rng(5), 1.0, 1.03, 2.0)
    mean = shape_model().mean
    there = warp(pelvis, to_template=False)(mean[::50])
    assert np.linalg.norm(there - pelvis.vertices[::50], axis=1).mean() < 4.0
    back = warp(pelvis, to_template=True)(there)
    assert np.linalg.norm(back - mean[::50], axis=1).mean() < 4.0


def test_landmarks_are_in_anatomical_order():
    for seed in range(5):
        skeleton = draw_skeleton(Draws("train", seed))
        marks = skeleton.landmarks
        assert marks["symphysis_front"][1] < marks["symphysis_back_lower"][1] < marks["sacrum_front_s3"][1]
        assert marks["tuberosity"][2] < marks["symphysis_back_lower"][2] < marks["sacrum_front_s3"][2]
        assert marks["acetabulum"][0] > 50
        assert skeleton.coccyx[0, 2] > skeleton.coccyx[-1, 2]
