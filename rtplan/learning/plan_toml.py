"""A plan as settings that ``rtplan train`` takes, with its reasons as comments."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtplan.learning.plan import CaseFacts, Plan

#: What a plan does not choose: normalisation and length of the training.
NORMALISATION, STEPS = "zscore_body", 20000


def settings_toml(
    plan: Plan, cases: Sequence[CaseFacts], name: str, folder: str, *, kind: str = "npz"
) -> str:
    """Return settings of a synthetic CT that ``rtplan train`` takes, with the reasons as comments.

    Our U-Net halves all axes alike: what an axis is halved less often stays out of its levels, and the others
    are folded by two before the first level (``stem``).
    """
    least = min(plan.pools_zyx)
    stem = tuple(2 if pools > least else 1 for pools in plan.pools_zyx)
    features = list(plan.features[: least + 1])
    spacings = np.array([case.spacing_zyx_mm for case in cases])
    signal = np.array([case.percentiles for case in cases])
    return "\n".join(
        [
            f"# Planned from {len(cases)} pairs; change what you know better, then rtplan train THIS_FILE",
            f"# spacing {_range(spacings)} mm; median body {list(plan.median_zyx)} voxels as planned",
            f"# signal in the body, 0.5th, 50th, 99.5th percentile: {_range(signal)}",
            f"# halvings {list(plan.pools_zyx)}; kernels {[list(k) for k in plan.kernels]}",
            "schema = 1",
            f"name = {json.dumps(name)}",
            'site = "unknown"',
            f'network = {{name = "unet", channels = {features}, norm = "group", stem = {list(stem)}}}',
            "inputs = [",
            f'    {{name = "mr", kind = "mr", normalise = "{NORMALISATION}", roles = ["T1w", "T2w", "MR"]}},',
            '    {name = "body", kind = "body"},',
            "]",
            'outputs = [{name = "hu", unit = "HU", clip = [-1024, 3071]}]',
            f"spacing_zyx_mm = {[round(mm, 4) for mm in plan.spacing_zyx_mm]}",
            f"patch_zyx = {list(plan.patch_zyx)}",
            "",
            "[[data]]",
            f"kind = {json.dumps(kind)}",
            f"folder = {json.dumps(folder)}",
            'roles = ["T1w", "T2w", "MR"]',
            "",
            "[optimise]",
            f"steps = {STEPS}",
            f"batch = {plan.batch}",
            "",
        ]
    )


def _range(rows: NDArray[np.float64]) -> str:
    low, high = rows.min(axis=0), rows.max(axis=0)
    return " x ".join(f"{a:.4g}" if a == b else f"{a:.4g}..{b:.4g}" for a, b in zip(low, high, strict=True))
