"""Broken files: a correct volume, or an RtplanError that names the file; nothing else."""

import shutil
import warnings

import numpy as np
import pydicom
import pytest

from rtplan.errors import RtplanError
from rtplan.io import rtdose, rtplan, rtstruct
from rtplan.io.image import read_series
from rtplan.io.patient import read_patient

COUNT = 60  # mutations of each kind below and each object; 6 kinds in all


def flip_bits(data, rng):
    mutated = bytearray(data)
    for place in rng.integers(132, len(data), rng.integers(1, 6)):
        mutated[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(mutated)


def cut_short(data, rng):
    return data[: int(rng.integers(0, len(data)))]


def double_a_piece(data, rng):
    a, b = sorted(rng.integers(132, len(data), 2))
    return data[:b] + data[a:b] + data[b:]


def lie_about_a_length(data, rng):
    mutated = bytearray(data)
    place = int(rng.integers(140, len(data) - 4))
    mutated[place : place + 4] = b"\xff\xff\xff\x7f"
    return bytes(mutated)


MUTATIONS = {f.__name__: f for f in (flip_bits, cut_short, double_a_piece, lie_about_a_length)}


def demand_good_words(refused, where):
    assert str(where) in str(refused)
    assert "SECRET" not in str(refused)


def header_length(data):
    """Return where the pixels begin: a flipped pixel is a different measurement, not a broken file."""
    place = data.rfind(b"\xe0\x7f\x10\x00")
    return place if place > 0 else len(data)


@pytest.fixture
def folder(bare, tmp_path):
    rng = np.random.default_rng(1)
    bare.series(tmp_path / "ct", rng.integers(-900, 1500, (4, 8, 9)).astype(np.int16))
    rings = [("CLOSED_PLANAR", bare.square(z, 0, 5)) for z in (-27, -24)]
    bare.rtstruct(tmp_path / "rs.dcm", [("Bladder", "ORGAN", rings), ("PTV", "PTV", rings)])
    bare.rtdose(tmp_path / "rd.dcm", rng.integers(0, 60000, (4, 5, 6)).astype(np.uint16))
    return tmp_path


def same_measurement(image, wanted):
    """Whether the values are those of the phantom; a header may say another place, and then it does."""
    return image.array.shape == wanted.array.shape and np.array_equal(image.array, wanted.array)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_slice(folder, name):
    wanted = read_series(folder / "ct")
    victim = sorted((folder / "ct").iterdir())[1]
    data = victim.read_bytes()
    head = header_length(data)
    rng = np.random.default_rng(2)
    outcomes = {"whole": 0, "refused": 0}
    for _ in range(COUNT):
        broken = MUTATIONS[name](data[:head], rng)
        victim.write_bytes(broken + (b"" if name == "cut_short" else data[head:]))
        try:
            image = read_series(folder / "ct")
        except RtplanError as refused:
            demand_good_words(refused, folder)
            outcomes["refused"] += 1
        else:
            assert same_measurement(image, wanted) or _says_otherwise(victim, wanted)
            outcomes["whole"] += 1
    assert outcomes["refused"] > 0


def _says_otherwise(victim, wanted):
    """Whether the mutated header itself, still valid, states another rescale, matrix or bit depth."""
    with warnings.catch_warnings(action="ignore"):
        ds = pydicom.dcmread(victim)
    facts = (ds.get("RescaleSlope", 1), ds.get("RescaleIntercept", 0), ds.BitsStored, ds.PixelRepresentation)
    return facts != (1, 0, 16, 1) or (ds.Rows, ds.Columns) != wanted.grid.shape[1:]


READERS = {"rs.dcm": rtstruct.read, "rd.dcm": rtdose.read}


@pytest.mark.parametrize("victim", READERS)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rt_object(folder, victim, name):
    data = (folder / victim).read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(COUNT):
        (folder / victim).write_bytes(MUTATIONS[name](data, rng))
        try:
            READERS[victim](folder / victim)
        except RtplanError as refused:
            demand_good_words(refused, victim)


def test_every_tag_removed_or_emptied(folder):
    source = sorted((folder / "ct").iterdir())[2]
    wanted = read_series(folder / "ct")
    original = pydicom.dcmread(source)
    for tag in [element.tag for element in original]:
        for emptied in (True, False):
            ds = pydicom.dcmread(source)
            if emptied:
                ds[tag].value = None
            else:
                del ds[tag]
            broken = shutil.copytree(folder / "ct", folder / "copy")
            ds.save_as(broken / source.name)
            try:
                image = read_series(broken)
            except RtplanError as refused:
                demand_good_words(refused, broken)
            else:
                assert same_measurement(image, wanted)
                assert image.grid.same_as(wanted.grid)
            shutil.rmtree(broken)


@pytest.mark.parametrize("value", ["../../evil", "a\x00b", "x" * 5000, "\x1b[31m", "%s{0}"])
def test_hostile_identifiers_write_nothing_outside(folder, tmp_path, value):
    from rtplan.io.patient import write_patient

    for path in (*(folder / "ct").iterdir(), folder / "rs.dcm", folder / "rd.dcm"):
        with warnings.catch_warnings(action="ignore"):
            ds = pydicom.dcmread(path)
            ds.PatientID = value
            ds.save_as(path)
    before = set(tmp_path.parent.rglob("*"))
    patient = read_patient(folder)
    assert patient.key.isalnum()
    out = tmp_path / "out"
    write_patient(patient, out)
    new = set(tmp_path.parent.rglob("*")) - before
    assert all(out == p or out in p.parents for p in new)


def test_impossible_sizes_take_no_memory(folder):
    source = sorted((folder / "ct").iterdir())[0]
    for keyword, value in (
        ("Rows", 65535),
        ("Columns", 65535),
        ("NumberOfFrames", 2**30),
        ("BitsAllocated", 64),
    ):
        ds = pydicom.dcmread(source)
        setattr(ds, keyword, value)
        target = folder / "huge.dcm"
        ds.save_as(target)
        with pytest.raises(RtplanError):
            read_series([target, *sorted((folder / "ct").iterdir())[1:]])
    ds = pydicom.dcmread(folder / "rd.dcm")
    ds.NumberOfFrames = 2**31 - 1
    ds.save_as(folder / "rd2.dcm")
    with pytest.raises(RtplanError, match=r"rd2\.dcm"):
        rtdose.read(folder / "rd2.dcm")


def test_a_plan_is_no_structure_set_and_junk_is_nothing(folder):
    with pytest.raises(RtplanError, match="not an RTPLAN but RTSTRUCT"):
        rtplan.read_summary(folder / "rs.dcm")
    (folder / "junk.dcm").write_bytes(b"\0" * 4096)
    with pytest.raises(RtplanError, match=r"junk\.dcm"):
        rtstruct.read(folder / "junk.dcm")
