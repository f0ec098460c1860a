"""Structural similarity: closed forms, and the numbers of SynthRAD's own code on one made-up pair."""

import numpy as np
import pytest

from rtplan.errors import GeometryMismatch
from rtplan.evaluation.similarity import SCALES, ms_ssim, ssim

LIMITS_2023, LIMITS_2025 = (-1024.0, 3000.0), (-1024.0, 3071.0)


def volumes():
    """An oval with waves, a bone and metal above the range; and a paler, wavy copy."""
    z, y, x = np.indices((40, 60, 110)).astype(float)
    r = np.hypot((y - 30) / 26, (x - 54) / 48)
    ct = np.where(r < 1, np.round(40 + 60 * np.sin(x / 7) * np.cos(y / 5) * np.sin(z / 3)), -1000)
    ct = ct.astype(np.int16)
    bone = np.hypot(y - 32, x - 40) < 7
    ct[bone] = (700 + 20 * (z[bone] % 7)).astype(np.int16)
    made = np.round(ct * 0.93 + 25 * np.cos(z / 4 + x / 9)).astype(np.int16)
    made[np.hypot(y - 32, x - 40) < 4] = 3500
    return ct, made, r < 1.05


def test_the_numbers_are_those_of_synthrads_code():
    """Made by image_metrics.py of SynthRAD2023/metrics (fe7e385) and SynthRAD2025/evaluation (17cac47)."""
    ct, made, mask = volumes()
    assert ssim(ct, made, mask, LIMITS_2023) == pytest.approx(0.9688188132182994, abs=1e-14)
    official = {LIMITS_2023: 0.9487113980561815, LIMITS_2025: 0.9470550764279885}
    for limits, value in official.items():
        assert ms_ssim(ct, made, mask, limits, as_synthrad=True) == pytest.approx(value, abs=1e-14)


def test_equal_volumes_are_alike_and_what_lies_outside_the_mask_does_not_matter():
    ct, made, mask = volumes()
    other = np.where(mask, made, 777)
    for quirk in (False, True):
        assert ms_ssim(ct, ct, mask, LIMITS_2025, as_synthrad=quirk) == pytest.approx(1.0, abs=1e-12)
        assert ms_ssim(ct, other, mask, LIMITS_2025, as_synthrad=quirk) == ms_ssim(
            ct, made, mask, LIMITS_2025, as_synthrad=quirk
        )
    assert ssim(ct, ct, mask, LIMITS_2025) == pytest.approx(1.0, abs=1e-12)


def test_flat_volumes_have_the_luminance_of_the_closed_form():
    """Contrast and structure are 1; luminance is (2ab + c) / (a² + b² + c), at the coarsest scale only."""
    a, b = np.full((97, 97, 97), 0.0), np.full((97, 97, 97), 500.0)
    mask = np.ones(a.shape, bool)
    c = (0.01 * 4095.0) ** 2
    x, y = 1024.0, 1524.0
    luminance = (2 * x * y + c) / (x * x + y * y + c)
    assert ssim(a, b, mask, LIMITS_2025) == pytest.approx(luminance, abs=1e-9)
    assert ms_ssim(a, b, mask, LIMITS_2025) == pytest.approx(luminance ** SCALES[-1], abs=1e-6)
    quirk = ms_ssim(a, b, mask, LIMITS_2025, as_synthrad=True)  # luminance at every scale, borders darkened
    assert luminance ** sum(SCALES) - 0.03 < quirk < luminance ** sum(SCALES)


def test_a_mask_without_voxels_and_other_shapes_are_refused():
    ct, made, mask = volumes()
    with pytest.raises(GeometryMismatch, match="empty"):
        ms_ssim(ct, made, np.zeros_like(mask), LIMITS_2025)
    with pytest.raises(GeometryMismatch, match="one shape"):
        ssim(ct, made[1:], mask, LIMITS_2025)
