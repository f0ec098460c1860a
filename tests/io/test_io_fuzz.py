"""Broken files: a correct volume, or an RtplanError that names the file; nothing else."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from rtplan.domain import (
    Beam,
    Dose,
    Fluence,
    Grid,
    Identity,
    Image,
    Mask,
    Patient,
    Plan,
    Prescription,
    Registration,
    Source,
    Structure,
)
from rtplan.errors import RtplanError
from rtplan.io import rtdose, rtplan, rtstruct
from rtplan.io.image import read_series
from rtplan.io.patient import read_patient, write_patient
from rtplan.io.patient_write import Export

HERE = Path(__file__).parent
#: Cases in ``make test`` and in ``make nightly``.
DAILY, NIGHTLY = 400, 20_000


def demand_good_words(refused, where):
    assert str(where) in str(refused)
    assert "SECRET" not in str(refused)


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


def patient():
    """Return a small patient with one object of each kind that rtplan writes."""
    rng, shape = np.random.default_rng(7), (4, 14, 16)
    ct = Grid.axial(shape, (3.0, 2.0, 1.5), (-6.0, -14.0, -12.0), "1.2.826.0.1.66.1")
    mr = Grid(shape, ct.affine, "1.2.826.0.1.66.2")
    facts = {"echo_time_ms": 100.0, "repetition_time_ms": 5000.0, "scanning_sequence": "SE"}
    images = {
        "CT": Image(ct, np.rint(rng.normal(0, 200, shape)), "CT", Source(acquisition={"kvp": 120.0})),
        "T2w": Image(mr, rng.integers(0, 900, shape), "MR", Source(acquisition=facts)),
    }
    ball = np.zeros(shape, bool)
    ball[1:3, 4:10, 5:12] = True
    structures = {n: Structure(n, k, Mask(ct, ball)) for n, k in (("PTVp_7700", "PTV"), ("Bladder", "ORGAN"))}
    fluence = Fluence(rng.uniform(0, 9, (6, 7)), 2.5, (-20.0, -17.5))
    beams = tuple(Beam(f"G{a}", a, (0.0, 1.0, -5.0), fluence) for a in (0.0, 90.0))
    return Patient(
        "abc",
        images,
        structures,
        Plan(Prescription({"PTVp_7700": 77.0}, 35), beams),
        {"CT": Dose(ct, rng.uniform(0, 80, shape), fractions=35)},
        (Registration(mr.frame_of_reference, ct.frame_of_reference, np.eye(4) + np.eye(4, k=3) * 1.5),),
        identity=Identity("SECRET-ID-77", "SECRETNAME^ANNA", "19500101", "F"),
    )


def compressed(ds, _):
    ds.compress(RLELossless)


def implicit(ds, _):
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def twelve(ds, _):
    ds.BitsStored, ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept = 12, 11, "0.5", "-1000"


def _enhanced():
    spec = importlib.util.spec_from_file_location("multiframe_phantoms", HERE / "test_io_multiframe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written_seeds(bare, place):
    """Write one seed of each object that rtplan reads; return (name, kind, paths)."""
    rng = np.random.default_rng(1)
    hu = rng.integers(-900, 1500, (4, 8, 9)).astype(np.int16)
    turned = {"row": (0.96, 0.28, 0.0), "column": (-0.28 * 0.8, 0.96 * 0.8, 0.6)}
    yield "ct", "series", bare.series(place / "ct", hu, uid="1.2.826.0.1.98.1")
    yield (
        "mr",
        "series",
        bare.series(
            place / "mr", hu.astype(np.uint16), kind="MR", uid="1.2.826.0.1.98.2", change=implicit, **turned
        ),
    )
    yield "rle", "series", bare.series(place / "rle", hu, uid="1.2.826.0.1.98.3", change=compressed)
    small = rng.integers(0, 4096, (3, 8, 9)).astype(np.uint16)
    yield "twelve", "series", bare.series(place / "twelve", small, uid="1.2.826.0.1.98.4", change=twelve)
    module = _enhanced()
    for kind in ("MR", "CT"):
        frames = [module.frame(k, kind=kind, slope=2.0 if kind == "MR" else None) for k in range(4)]
        stored = hu.astype(np.uint16 if kind == "MR" else np.int16)
        path = place / f"enhanced {kind}" / "whole.dcm"
        yield path.parent.name, "series", [module.enhanced(bare, path, stored, frames, kind=kind)]
    rings = [("CLOSED_PLANAR", bare.square(z, 0, 5)) for z in (-27, -24)]
    rois = [("Bladder", "ORGAN", rings), ("PTV", "PTV", rings)]
    yield "rs", "rtstruct", [bare.rtstruct(place / "rs.dcm", rois, images=("1.2.826.0.1.99.3.1",))]
    for bits in (16, 32):
        stored = rng.integers(0, 60000, (4, 5, 6)).astype(f"u{bits // 8}")
        yield f"rd{bits}", "rtdose", [bare.rtdose(place / f"rd{bits}.dcm", stored)]
    write_patient(patient(), place / "patient")
    write_patient(patient(), place / "more", export=Export(segmentation=True))
    yield "SEG", "seg", [place / "more" / "SEG.dcm"]
    whole = sorted((place / "patient").rglob("*.dcm"))
    yield "patient", "patient", whole
    for name, kind in (("RS", "rtstruct"), ("RP", "rtplan"), ("RD_CT", "rtdose"), ("REG", "reg")):
        shutil.copy(place / "patient" / f"{name}.dcm", place / f"{name}.dcm")
        yield name, kind, [place / f"{name}.dcm"]


#: Real objects that are seeds where they are there: name, kind, where, how many files.
REAL = (
    ("real mr", "series", "prostatex/ProstateX-0000/dicom_t2tra/*.dcm", 3),
    ("real ct", "series", "sts/dicom/STS_040/CT/image/*.dcm", 3),
    ("real plan", "rtplan", "dicompyler/example_data/rtplan.dcm", 1),
    ("real cone", "rtstruct", "nelms2015/structures/Cone_30_X15.dcm", 1),
    ("real dose", "rtdose", "nelms2015/dose/Linear_SupInf_3mm_Aligned.dcm", 1),
    ("real bare dose", "rtdose", "pymedphys/rtdose_non_square_pixels.dcm", 1),
)


def real_seeds(place):
    for name, kind, pattern, count in REAL:
        found = sorted((HERE.parents[2] / "shared" / "data").glob(pattern))[:count]
        (place / name).mkdir(exist_ok=True)
        paths = [Path(shutil.copyfile(path, place / name / path.name)) for path in found]
        if paths:
            yield name, kind, paths


@pytest.fixture
def seeds(bare, tmp_path):
    place = tmp_path / "seeds"
    place.mkdir()
    with warnings.catch_warnings(action="ignore"):
        found = [*written_seeds(bare, place), *real_seeds(place)]
    listed = [
        {"name": name, "kind": kind, "paths": [str(p) for p in paths], "folder": str(place / "patient")}
        for name, kind, paths in found
    ]
    names = {"SECRETNAME", "SECRET-ID-77"}
    with warnings.catch_warnings(action="ignore"):
        for _, _, paths in found:
            ds = pydicom.dcmread(paths[0], force=True, stop_before_pixels=True)
            names |= {str(ds.get(k, "")) for k in ("PatientName", "PatientID")}
    secrets = sorted(name for name in names if len(name) > 5)
    (place / "seeds.json").write_text(json.dumps({"seeds": listed, "secrets": secrets}))
    return place


def run(seeds, first, last):
    """Run cases in a process of their own; return its lines."""
    call = [sys.executable, str(HERE / "fuzz" / "worker.py"), str(seeds), str(first), str(last)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60 + 2 * (last - first), check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {len(lines)} cases: {done.stderr[-2000:]}"
    assert "SECRETNAME" not in done.stdout + done.stderr
    assert lines.pop()["peak_gib"] < 2
    return lines


def demand_allowed(lines, count):
    assert len(lines) == count
    broken = [line for line in lines if line["outcome"] == "broken"]
    assert not broken, "\n".join(json.dumps(line) for line in broken[:10])
    outcomes = Counter(line["outcome"] for line in lines)
    assert outcomes["refused"] > count / 10  # the mutations do break things
    assert outcomes["same"] > count / 20  # and not everything
    assert len({line["mutation"] for line in lines}) == 22
    return outcomes


def test_broken_files_are_read_right_or_refused(seeds):
    before = {path: path.read_bytes() for path in seeds.rglob("*") if path.is_file()}
    demand_allowed(run(seeds, 0, DAILY), DAILY)
    assert {path: path.read_bytes() for path in seeds.rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_broken_files_by_night(seeds, part):
    count = NIGHTLY // 4
    first = DAILY + part * count
    outcomes = demand_allowed(run(seeds, first, first + count), count)
    print(f"part {part}: {dict(outcomes)}")  # noqa: T201


@pytest.mark.parametrize(
    "name", ["a\nb.dcm", "\udcff\udc80.dcm", "x" * 250, " .dcm", "-rf.dcm", "%s{0}.dcm", "..dcm"]
)
def test_hostile_file_names(folder, name):
    victim = sorted((folder / "ct").iterdir())[1]
    wanted = read_series(folder / "ct")
    victim.rename(victim.with_name(name))
    assert same_measurement(read_series(folder / "ct"), wanted)
    victim.with_name(name).write_bytes(b"junk" * 99)
    if name.endswith("dcm"):
        with pytest.raises(RtplanError):
            read_series(folder / "ct")


def test_links_in_circles_pipes_and_dangling_links(folder):
    wanted = read_series(folder / "ct")
    (folder / "ct" / "again").symlink_to(folder)
    (folder / "ct" / "self").symlink_to("self")
    (folder / "ct" / "nowhere.dcm").symlink_to("not_there.dcm")
    os.mkfifo(folder / "ct" / "pipe.dcm")  # to open it would wait for ever
    assert same_measurement(read_series(folder / "ct"), wanted)


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
