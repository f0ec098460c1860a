"""Shares of an organ by distance from a target: a slab before a plane."""

import numpy as np
import pytest

from rtplan.domain import Grid, Mask, Structure
from rtplan.errors import StructureError
from rtplan.planning.nearness import nearness

GRID = Grid.axial((16, 70, 20), (3.0, 1.5, 2.0), (0.0, 0.0, 0.0), "frame")


def slab(name: str, first: int, last: int) -> Structure:
    array = np.zeros(GRID.shape, bool)
    array[:, first:last] = True
    return Structure(name, "ORGAN", Mask(GRID, array))


def test_shares_of_a_slab_behind_a_plane() -> None:
    structures = {"PTV": slab("PTV", 5, 20), "Rectum": slab("Rectum", 16, 36)}  # 6 mm of 30 mm overlap
    found = nearness(structures, GRID, ("PTV",))
    assert found.share("PTV", 0.0) == pytest.approx(6.0 / 30.0, abs=0.03)
    assert found.share("PTV", 12.0) == pytest.approx(18.0 / 30.0, abs=0.04)
    assert found.share("PTV", 40.0) == pytest.approx(1.0)
    assert found.nearest_mm["PTV"] == pytest.approx(-5.25, abs=1.0)
    assert found.volumes_cc["Rectum"] == pytest.approx(16 * 20 * 20 * 9.0 / 1000.0)


def test_missing_and_empty_structures_are_named() -> None:
    with pytest.raises(StructureError, match="GTVp"):
        nearness({"Rectum": slab("Rectum", 1, 4)}, GRID, ("GTVp",))
    with pytest.raises(StructureError, match="no voxel"):
        nearness({"Rectum": slab("Rectum", 1, 4), "PTV": slab("PTV", 3, 3)}, GRID, ("PTV",))
