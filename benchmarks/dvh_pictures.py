"""Draws the worst cases of the DVH benchmark for docs/dvh.md: what the contours say and what they do not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from shapes.solids import Case, all_cases, answers, defined_radius, true_radius

from rtplan.dosimetry.dvh import dvh, value

DOCS = Path(__file__).resolve().parents[1] / "docs"
STYLES = {"none": ":", "half_slice": "--", "rounded": "-"}


def worst(shape: str, against: str) -> tuple[Case, float]:
    """Return the case with the gradient along z whose D98 is farthest off, and by how much, Gy."""
    found: tuple[Case, float] | None = None
    for case in all_cases(("z",)):
        if case.shape == shape:
            made = dvh(case.structure(), case.dose())
            solid = true_radius(case) if against == "true" else defined_radius(case, "rounded")
            off = value(made, "D98%[Gy]").value - answers(case, *solid)["D98"]
            if found is None or abs(off) > abs(found[1]):
                found = (case, off)
    assert found is not None
    return found


def draw(case: Case, title: str, name: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), dpi=80)
    z, r = true_radius(case)
    left.fill_betweenx(z, -r, r, color="0.88", label="true shape")
    for height in case.planes():
        rho = float(case.radius_at(np.array(height)))
        left.plot([-rho, rho], [height, height], color="k", lw=0.6)
    for caps, style in STYLES.items():
        z, r = defined_radius(case, caps)
        outline = np.concatenate([[0], r, [0]]), np.concatenate([z[:1], z, z[-1:]])
        left.plot(*outline, "C0" + style, lw=1.4, label=caps)
    top = case.half_mm
    left.set(xlim=(-1, case.radius_mm * 1.1), ylim=(top - 4 * case.slice_mm, top + 1.2 * case.slice_mm))
    left.set(xlabel="mm from the axis", ylabel="mm along z", title="the upper end; black: contours")
    left.legend(fontsize=8, loc="lower left")
    made = dvh(case.structure(), case.dose())
    for caps, style in STYLES.items():
        curve = made.curves[caps]
        right.plot(curve.dose_gy, 100 * curve.volume_cc / curve.total_cc, "C0" + style, label=caps)
    z, r = true_radius(case)
    disc = r**2
    right.plot(50 + z, 100 * (1 - np.cumsum(disc) / disc.sum()), color="0.6", lw=3, zorder=0, label="true")
    low = 50 - case.half_mm
    right.set(xlim=(low - case.slice_mm, low + 4 * case.slice_mm), ylim=(88, 100.5))
    right.set(xlabel="dose, Gy", ylabel="volume, %", title="the cold end of the DVH")
    right.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(DOCS / name, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    case, off = worst("cylinder", "true")
    draw(
        case,
        f"Worst cylinder end: r {case.radius_mm:g} mm, slices {case.slice_mm:g} mm; "
        f"D98 {off:+.2f} Gy from the true shape",
        "dvh_cylinder.png",
    )
    case, off = worst("sphere", "defined")
    draw(
        case,
        f"Worst sphere: r {case.radius_mm:g} mm, slices {case.slice_mm:g} mm; "
        f"D98 {off:+.3f} Gy from the defined solid",
        "dvh_sphere.png",
    )


if __name__ == "__main__":
    main()
