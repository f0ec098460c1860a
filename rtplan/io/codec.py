"""Codecs of pixel data: which are read, by what, and the program that decodes in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from rtplan.errors import DicomError
from rtplan.io import header as hd

#: Which decoder reads a transfer syntax. GDCM only where there is no other: a damaged stream makes it abort.
DECODERS = {
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
    RLELossless: "pydicom",
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "gdcm",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
}
#: Transfer syntaxes that lose values by nature.
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
#: What is advised where a decoder lacks.
UNCOMPRESSED = "export it uncompressed (explicit VR little endian)."

#: What the decoding of a slice needs.
PIXEL_TAGS = (
    "SpecificCharacterSet",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelData",
    "FloatPixelData",
)


def frames(header: Dataset, numbers: Sequence[int] | None = None) -> Iterator[NDArray[Any]]:
    """Return the decoded frames of an object, all when no numbers are given."""
    decoder = DECODERS.get(syntax_of(header), "")
    yield from iter_pixels(header, indices=numbers, raw=True, decoding_plugin=decoder)


def runs_apart(syntax: UID | None) -> bool:
    """Whether a transfer syntax is decoded in a process of its own: all whose decoder is no Python."""
    return DECODERS.get(syntax, "pydicom") != "pydicom"


def syntax_of(header: Dataset) -> UID | None:
    """Return the transfer syntax of a file's header; None where it does not say."""
    with hd.quiet():
        said = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
        return UID(said) if said and isinstance(said, str) else None


def undecodable(syntax: UID) -> str:
    """Return why pixels of a transfer syntax cannot be decoded here; empty when they can.

    Examples
    --------
    >>> undecodable(UID("1.2.840.10008.1.2.5")), undecodable(UID("1.2.840.10008.1.2.4.102"))
    ('', 'MPEG-4 AVC/H.264 High Profile / Level 4.1')
    """
    if not syntax.is_transfer_syntax:
        return f"transfer syntax {syntax}" if syntax.is_valid else "a damaged transfer syntax"
    if not syntax.is_compressed or syntax.is_deflated:
        return ""
    known = syntax in DECODERS and get_decoder(syntax).is_available
    return "" if known else str(syntax.name)


def bits(header: Dataset) -> tuple[int, int, int]:
    """Return BitsAllocated, BitsStored and PixelRepresentation."""
    allocated, stored = hd.whole(header, "BitsAllocated"), hd.whole(header, "BitsStored")
    high, signed = hd.whole(header, "HighBit", stored - 1), hd.whole(header, "PixelRepresentation")
    fit = allocated in (8, 16, 32) and 0 < stored <= allocated and high == stored - 1
    if not fit or signed not in (0, 1):
        message = f"Bits allocated {allocated}, stored {stored}, high bit {high}, sign {signed} do not fit."
        raise DicomError(message, where=hd.place(header))
    return allocated, stored, signed


def demand_sense(header: Dataset) -> None:
    """Raise DicomError unless there are grey pixels of the length that the header says, and a decoder."""
    where = hd.place(header)
    if "PixelData" not in header:
        raise DicomError("The object has no pixels.", where=where, action="export it again.")
    allocated, _, _ = bits(header)
    frames = hd.whole(header, "NumberOfFrames", 1)
    wanted = hd.whole(header, "Rows") * hd.whole(header, "Columns") * frames * allocated // 8
    syntax = syntax_of(header)
    if syntax is None:
        raise DicomError("The file does not say its transfer syntax.", where=where)
    codec = undecodable(syntax)
    if codec:
        message = f"The pixels are compressed as {codec}; no decoder for it is installed."
        raise DicomError(message, where=where, action=UNCOMPRESSED)
    if frames < 1 or wanted < 1 or wanted > hd.LARGEST_OBJECT:
        raise DicomError("Rows, Columns or NumberOfFrames is impossible.", where=where)
    got = len(header.PixelData)
    if not syntax.is_compressed and not wanted <= got <= wanted + 1:
        message = f"The pixels are {got} bytes, {wanted} are wanted: the file is cut or its header is wrong."
        raise DicomError(message, where=where, action="export it again.")
    demand_grey(header)


def demand_grey(header: Dataset) -> None:
    """Raise DicomError unless the pixels are grey values."""
    if hd.text(header, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        message = "The image is not grey (PhotometricInterpretation)."
        raise DicomError(message, where=hd.place(header), action="export the grey image.")


def main() -> None:
    """Answer each line ``[path, [frame, …]]`` of stdin: a line that says shape and dtype, then the values."""
    _limit_memory()
    for line in sys.stdin:
        path, numbers = json.loads(line)
        try:
            values = _decoded(Path(path), numbers)
        except DicomError as wrong:
            answer: dict[str, Any] = {"message": wrong.message, "action": wrong.action}
            content = b""
        else:
            answer, content = {"shape": values.shape, "dtype": values.dtype.str}, values.tobytes()
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + content)
        sys.stdout.buffer.flush()


def _decoded(path: Path, numbers: Sequence[int]) -> NDArray[Any]:
    header = hd.read(path, tags=PIXEL_TAGS, pixels=True)
    with hd.guarded(path, "decoded"):
        demand_sense(header)
        return np.stack(list(frames(header, numbers)))


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # no POSIX
        return
    limit = 2 * hd.LARGEST_OBJECT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
