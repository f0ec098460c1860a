"""Pixels come in exactly, bare or compressed, or the file is refused and what it lacks is named."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import uid as uids
from pydicom.data import get_testdata_file

from rtplan.errors import DicomError
from rtplan.io import apart, pixels
from rtplan.io.image import read_series, read_stack
from rtplan.io.index import entry_of, index
from rtplan.io.preflight import preflight
from rtplan.io.stack import split

RNG = np.random.default_rng(21)


def stored_as(kind, shape=(3, 40, 36)):
    limits = np.iinfo(kind)
    noise = RNG.integers(max(limits.min, -1024), min(limits.max, 3000), shape)
    smooth = np.linspace(0, 40, shape[2])[None, None, :] + np.arange(shape[1])[None, :, None]
    return np.clip(np.where(RNG.random(shape) < 0.5, noise, smooth), limits.min, limits.max).astype(kind)


def recode(path, encode):
    ds = pydicom.dcmread(path)
    encode(ds)
    ds.save_as(path)


def by_pydicom(syntax):
    return lambda ds: ds.compress(syntax, generate_instance_uid=False)


def jpeg_lossless(ds):
    """Encode by ITK: its one JPEG for 16 bits is process 14, selection value 1."""
    path = ds.filename + ".itk.dcm"
    writer = sitk.ImageFileWriter()
    writer.SetFileName(path)
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(ds.pixel_array[None]))
    other = pydicom.dcmread(path)
    assert other.file_meta.TransferSyntaxUID == uids.JPEGLosslessSV1
    ds.PixelData, ds.file_meta.TransferSyntaxUID = other.PixelData, uids.JPEGLosslessSV1
    ds["PixelData"].is_undefined_length = True
    Path(path).unlink()


def deflated(ds):
    ds.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize("kind", [np.int16, np.uint16])
@pytest.mark.parametrize(
    "encode",
    [
        by_pydicom(uids.RLELossless),
        by_pydicom(uids.JPEGLSLossless),
        by_pydicom(uids.JPEG2000Lossless),
        jpeg_lossless,
        deflated,
    ],
    ids=["RLE", "JPEG-LS", "JPEG 2000", "JPEG lossless", "deflated"],
)
def test_lossless_codecs_give_every_value_back(bare, tmp_path, encode, kind):
    stored = stored_as(kind)
    for path in bare.series(tmp_path, stored, kind="CT" if kind == np.int16 else "MR"):
        recode(path, encode)
    np.testing.assert_array_equal(read_series(tmp_path).array, stored)


def test_loss_is_said(bare, tmp_path):
    stored = np.clip(stored_as(np.uint16), 0, 255).astype(np.uint16)

    def near(ds):
        ds.compress(uids.JPEGLSNearLossless, jls_error=3, generate_instance_uid=False)

    for path in bare.series(tmp_path, stored, kind="MR"):
        recode(path, near)
    off = np.abs(read_series(tmp_path).array - stored)
    assert 0 < off.max() <= 3
    assert "PIXELS_LOSSY" in [n.code for n in preflight(tmp_path).notices]


@pytest.mark.parametrize("syntax", [uids.MPEG4HP41, "1.2.3.4.5", "1.r.840.10008.1.2.4.50"])
def test_what_has_no_decoder_is_named_before_and_at_reading(bare, tmp_path, syntax):
    for path in bare.series(tmp_path, stored_as(np.int16)):
        recode(path, by_pydicom(uids.RLELossless))
        raw = path.read_bytes()
        at = (
            raw.index(b"\x02\x00\x10\x00UI") + 6
        )  # the element of the transfer syntax: its length, and its value
        length = int.from_bytes(raw[at : at + 2], "little")
        value = syntax.encode().ljust(length, b"\0")  # no longer than what stands there, but for the films
        raw = raw[:at] + len(value).to_bytes(2, "little") + value + raw[at + 2 + length :]
        size = int.from_bytes(raw[140:144], "little") + len(value) - length  # of the file's meta information
        path.write_bytes(raw[:140] + size.to_bytes(4, "little") + raw[144:])
    with pytest.raises(DicomError) as refused:
        read_series(tmp_path)
    assert ".dcm" in str(refused.value)
    looked = preflight(tmp_path, pixels=False)
    assert not looked.usable
    if syntax == uids.MPEG4HP41:
        assert "MPEG-4" in str(refused.value)
        assert "uncompressed" in str(refused.value)
        assert "PIXELS_UNDECODABLE" in [n.code for n in looked.notices]


def test_a_damaged_code_stream_is_refused_by_file(bare, tmp_path):
    paths = bare.series(tmp_path, stored_as(np.int16))
    for path in paths:
        recode(path, by_pydicom(uids.JPEG2000Lossless))
    ds = pydicom.dcmread(paths[1])
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 60])
    ds["PixelData"].is_undefined_length = True
    ds.save_as(paths[1])
    with pytest.raises(DicomError, match=paths[1].name):
        read_series(tmp_path)


def test_a_decoder_that_dies_or_hangs_is_survived_and_the_file_is_named(bare, tmp_path, monkeypatch):
    paths = bare.series(tmp_path / "ct", stored_as(np.int16))
    for path in paths:
        recode(path, jpeg_lossless)
    (tmp_path / "dying.py").write_text("import os, sys\nsys.stdin.readline()\nos.abort()\n")
    (tmp_path / "silent.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "cut.py").write_text(
        "import sys\nsys.stdin.readline()\n"
        'sys.stdout.write(\'{"shape": [1, 40, 36], "dtype": "<i2"}\\n\' + \'x\' * 100)\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(apart, "PATIENCE_S", 1.0)
    for program in ("dying", "silent", "cut"):
        monkeypatch.setattr(apart, "PROGRAM", program)
        with pytest.raises(DicomError, match=r"died or hung.*\.dcm"):
            read_series(tmp_path / "ct")


def bits(allocated, stored, *, signed):
    def change(ds, k):
        kind = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
        low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
        plane = np.random.default_rng(k).integers(low, high, (ds.Rows, ds.Columns)).astype(kind)
        if allocated - stored >= 2:  # an overlay in a spare bit
            plane = (plane.view(f"u{allocated // 8}") & (2**stored - 1)) | 2 ** (allocated - 1)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, stored - 1
        ds.PixelRepresentation = int(signed)
        ds.RescaleSlope, ds.RescaleIntercept = (1, -1024) if k % 2 else (0.3, 7.5)
        ds.add_new(0x7FE00010, "OW" if allocated > 8 else "OB", plane.tobytes() + b"\0" * (plane.nbytes % 2))

    return change


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 16), (16, 12), (32, 32), (32, 20)])
def test_bare_pixels_are_what_pydicom_reads(bare, tmp_path, monkeypatch, allocated, stored, signed):
    bare.series(tmp_path, np.zeros((4, 7, 9), np.int16), change=bits(allocated, stored, signed=signed))
    straight = read_series(tmp_path).array
    monkeypatch.setattr(pixels, "BARE", ())
    decoded = read_series(tmp_path).array
    np.testing.assert_array_equal(straight, decoded)
    for k in range(4):  # and by hand
        low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
        plane = np.random.default_rng(k).integers(low, high, (7, 9))
        slope, intercept = (1, -1024) if k % 2 else (0.3, 7.5)
        np.testing.assert_allclose(straight[k], plane * slope + intercept, rtol=1e-6, atol=1e-4)


def test_bare_pixels_do_not_go_through_a_decoder(bare, tmp_path, monkeypatch):
    bare.series(tmp_path, stored_as(np.int16))

    def never(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(pixels, "_decode", never)
    read_series(tmp_path)


def test_a_file_that_changed_since_it_was_listed_is_not_taken_for_another(bare, tmp_path):
    paths = bare.series(tmp_path, stored_as(np.int16))
    (stack,) = split(index(tmp_path).entries)
    paths[0].write_bytes(paths[1].read_bytes())
    with pytest.raises(DicomError, match="changed while it was read"):
        read_stack(stack)


def test_palette_colours_are_no_values(bare, tmp_path):
    def palette(ds, k):
        ds.PhotometricInterpretation = "PALETTE COLOR"

    bare.series(tmp_path, stored_as(np.int16), change=palette)
    with pytest.raises(DicomError, match="not grey"):
        read_series(tmp_path)


@pytest.mark.parametrize("twin", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless"])
def test_one_real_slice_in_every_encoding_of_others(twin):
    plain = Path(get_testdata_file("MR_small.dcm", download=False))
    other = Path(get_testdata_file(f"MR_small_{twin}.dcm", download=False))
    ours = np.empty((2, 64, 64), np.float32)
    pixels.fill(ours, [entry_of(plain), entry_of(other)])
    np.testing.assert_array_equal(ours[0], pydicom.dcmread(plain).pixel_array)
    np.testing.assert_array_equal(ours[1], ours[0])
