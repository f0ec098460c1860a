"""What one classic series mixes is parted by the first header fact that parts it; else it is refused."""

import numpy as np
import pytest

from rtplan.errors import DicomError
from rtplan.io.image import read_series
from rtplan.io.index import index
from rtplan.io.patient import read_patient
from rtplan.io.stack import differences, split

RNG = np.random.default_rng(31)


def twins(bare, folder, *facts, count=4, kind="MR"):
    """Write one series in which every position occurs once for each set of facts; return what is stored."""
    stored = RNG.integers(0, 900, (len(facts), count, 6, 7)).astype(np.uint16 if kind == "MR" else np.int16)
    for n, values in enumerate(facts):

        def change(ds, k, values=values, n=n):
            ds.EchoTime, ds.RepetitionTime, ds.ScanningSequence = 90, 4000, "SE"
            ds.SOPInstanceUID = f"1.2.826.0.1.99.3.{n}.{k}"
            for keyword, value in values.items():
                setattr(ds, keyword, value)

        bare.series(folder / str(n), stored[n], kind=kind, change=change)
    return stored


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", [80.0, 110.0]),
        ("DiffusionBValue", [0.0, 800.0]),
        ("TemporalPositionIdentifier", [1, 2, 3]),
        ("AcquisitionNumber", [1, 2]),
        ("InversionTime", [200.0, 900.0]),
        ("FlipAngle", [5.0, 15.0]),
        ("SequenceName", ["a", "b"]),
    ],
)
def test_the_fact_that_parts_is_named(bare, tmp_path, keyword, values):
    stored = twins(bare, tmp_path, *({keyword: value} for value in values))
    stacks = split(index(tmp_path).entries)
    assert [len(stack.entries) for stack in stacks] == [4] * len(values)
    assert differences(stacks) == (keyword,)
    with pytest.raises(DicomError, match=f"{len(values)} stacks that differ in {keyword}"):
        read_series(tmp_path)
    patient = read_patient(tmp_path)
    taken = patient.images["T2w"].array
    assert any(np.array_equal(taken, one) for one in stored)
    if keyword == "DiffusionBValue":
        np.testing.assert_array_equal(taken, stored[0])


def test_dixon_channels_of_one_series_are_two_images(bare, tmp_path):
    words = [{"ImageType": ["DERIVED", "PRIMARY", "M", w]} for w in ("IP", "OP", "W", "F")]
    stored = twins(bare, tmp_path, *words)
    images = read_patient(tmp_path).images
    for n, role in enumerate(("Dixon_IP", "Dixon_OP", "Dixon_W", "Dixon_F")):
        np.testing.assert_array_equal(images[role].array, stored[n])


def test_copies_that_nothing_parts_are_refused(bare, tmp_path):
    twins(bare, tmp_path, {}, {})
    with pytest.raises(DicomError, match="same position"):
        read_patient(tmp_path)


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_a_fact_that_runs_along_the_series_parts_nothing(bare, tmp_path, keyword):
    def change(ds, k):
        setattr(ds, keyword, 1 + k // 2)  # a long CT is taken in several goes

    stored = RNG.integers(0, 900, (6, 6, 7)).astype(np.int16)
    bare.series(tmp_path, stored, change=change)
    np.testing.assert_array_equal(read_series(tmp_path).array, stored)


def test_phase_images_are_no_anatomy(bare, tmp_path):
    words = [{"ImageType": ["ORIGINAL", "PRIMARY", w]} for w in ("M", "P")]
    stored = twins(bare, tmp_path, *words)
    np.testing.assert_array_equal(read_patient(tmp_path).images["T2w"].array, stored[0])
