"""Skin, fat with its septa, muscles with their streaks, vessels and nerves on the canvas."""

from __future__ import annotations

import numpy as np

from rtplan.phantom.canvas import Canvas
from rtplan.phantom.draws import table
from rtplan.phantom.field import Array, smooth_noise
from rtplan.phantom.soft import nearest_two

#: Course of the template to the tissue it is painted with.
COURSES = {"corpus": "corpus", "cord": "fascia", "nerve": "nerve", "vessel": "blood"}


def paint_body(canvas: Canvas) -> None:
    """Paint the outline and everything in it that is neither bone nor organ."""
    facts, skin = table("models/anatomy", "layout")["body"], canvas.skin
    canvas.mask("External", skin < 0)
    canvas.add("skin", skin)
    canvas.add("fat", skin + facts["skin"])
    rng = canvas.draws.stream("septa")
    canvas.add("fascia", skin + facts["skin"] + 2.0, strength=_threads(canvas, rng))
    first, second = nearest_two(canvas.soft, "muscle", canvas.axes)
    seams = facts["fascia_gap"] - 0.5 * (second - first)
    muscle = np.maximum(np.maximum(first, seams), skin + facts["least_fat"])
    canvas.add("muscle", muscle)
    canvas.add("fat", muscle, strength=_streaks(canvas, rng))
    for kind, tissue in COURSES.items():
        canvas.add(tissue, np.maximum(nearest_two(canvas.soft, kind, canvas.axes)[0], skin + facts["skin"]))


def _threads(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Share of septa and small vessels in the fat: where one or two smooth fields vanish."""
    facts = table("models/anatomy", "layout")["threads"]
    one, two = (smooth_noise(rng, canvas.axes, scale) for scale in facts["scales_mm"])
    sheet = np.clip(1.0 - np.abs(one) / facts["sheet_width"], 0.0, 1.0)
    line = np.clip(1.6 * (1.0 - np.sqrt(one * one + two * two) / facts["line_width"]), 0.0, 1.0)
    return np.asarray(np.maximum(facts["sheet_share"] * sheet, facts["line_share"] * line), np.float32)


def _streaks(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Share of fat between the fibres of the muscles: patches of fine streaks."""
    facts = table("models/anatomy", "layout")["streaks"]
    patch = np.clip(0.5 + 0.7 * smooth_noise(rng, canvas.axes, facts["patch_mm"]), 0.0, 1.6)
    fine = np.clip(smooth_noise(rng, canvas.axes, facts["fibre_mm"]) - facts["above"], 0.0, 2.0)
    share = np.float32(facts["strength"] * canvas.draws["muscle_fat"]) * patch * fine
    return np.asarray(np.clip(share, 0.0, facts["most"]), np.float32)
