"""DVH metrics of parts: brute force on many equal voxels, complements, numpy and torch alike."""

import numpy as np
import pytest

from rtplan.dosimetry.metric import parse
from rtplan.dosimetry.partmetric import demand_of_parts, value_of
from rtplan.errors import FormatError

DRAW = np.random.default_rng(3)
DOSES = DRAW.uniform(0.0, 70.0, 40)
COUNTS = DRAW.integers(1, 9, 40)
VOLUMES = 0.25 * COUNTS
VOXELS = np.sort(np.repeat(DOSES, COUNTS))[::-1]
CC = VOLUMES.sum()


@pytest.mark.parametrize("share", [0.5, 2.0, 35.0, 50.0, 98.0, 100.0])
def test_d_and_v_are_those_of_the_voxels(share):
    count = int(np.ceil(share / 100.0 * len(VOXELS) - 1e-9))
    hottest, coldest = VOXELS[count - 1], VOXELS[::-1][count - 1]
    for text, wanted in (
        (f"D{share:g}%[Gy]", hottest),
        (f"D{share / 100 * CC:.6g}cc[Gy]", hottest),
        (f"DC{share:g}%[Gy]", coldest),
    ):
        assert value_of(parse(text), DOSES, VOLUMES) == wanted
    above = np.mean(hottest <= VOXELS)
    level = f"{hottest - 1e-6:.6f}"
    assert value_of(parse(f"V{level}Gy[%]"), DOSES, VOLUMES) == pytest.approx(100.0 * above)
    assert value_of(parse(f"V{level}Gy[cc]"), DOSES, VOLUMES) == pytest.approx(CC * above)
    assert value_of(parse(f"CV{level}Gy[cc]"), DOSES, VOLUMES) == pytest.approx(CC * (1.0 - above))


@pytest.mark.parametrize(
    "text", ["Mean[Gy]", "Max[Gy]", "Min[Gy]", "Volume[cc]", "V30Gy[%]", "CV30Gy[cc]", "D2cc[Gy]", "DC5%[Gy]"]
)
def test_numpy_and_torch_agree_and_an_empty_part_changes_nothing(text):
    torch = pytest.importorskip("torch")
    metric = parse(text)
    ours = float(value_of(metric, DOSES, VOLUMES))
    theirs = value_of(metric, torch.tensor(DOSES), torch.tensor(VOLUMES))
    assert float(theirs) == pytest.approx(ours, rel=1e-12)
    padded = value_of(metric, np.append(DOSES, [0.0, 99.0]), np.append(VOLUMES, [0.0, 0.0]))
    assert float(padded) == pytest.approx(ours, rel=1e-12)


@pytest.mark.parametrize("text", ["D95%[%]", "V95%[%]", "Mean[%]", "V50Gy[%]@EQD2(3)"])
def test_a_metric_of_a_prescription_or_with_its_own_eqd2_is_no_term(text):
    with pytest.raises(FormatError, match="cannot be a term"):
        demand_of_parts(parse(text))
