"""Ways to break a DICOM file: bytes, elements, values, structure. Each takes and gives bytes."""

import io
import struct
import warnings
from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

LONG_VR = {b"OB", b"OD", b"OF", b"OL", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"OV", b"SV", b"UV"}
VRS = [*LONG_VR, *(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US ZZ \0\0".split())]
HOSTILE = (
    *(
        "../../../../tmp/evil",
        "/etc/passwd",
        "a\0b",
        "\x1b[31mred",
        "%s%n{0}{x.__class__}",
        "x" * 5000,
        "",
        " ",
    ),
    *("1e400", "NaN", "inf", "-inf", "-0", "1.5.5", "1e-400", "0x10", "٣", "9" * 400, "\\" * 100, "1\\2\\3"),
    *("\r\n", "ünïcödé", "${HOME}", "`id`", "2147483648", "-1", "65536", "0"),
)
HUGE = {
    "Rows": (65535, 0, 1),
    "Columns": (65535, 0, 1),
    "NumberOfFrames": ("2147483647", "-1", "0", "1000000", "2"),
    "BitsAllocated": (64, 1, 0, 8, 32, 65535),
    "BitsStored": (0, 1, 12, 17, 65535),
    "HighBit": (0, 31, 65535),
    "SamplesPerPixel": (3, 0, 65535),
    "PixelRepresentation": (1, 0, 7),
    "NumberOfContourPoints": ("2147483647", "-1", "0"),
    "CompensatorRows": ("2147483647", "0"),
    "NumberOfControlPoints": ("2147483647", "0"),
    "NumberOfBeams": ("2147483647",),
    "NumberOfFractionsPlanned": ("2147483647", "0", "-3"),
    "DoseGridScaling": ("1e308", "-1", "0", "nan"),
    "RescaleSlope": ("1e308", "0", "-1", "nan"),
    "PixelSpacing": (["1e-300", "1e-300"], ["0", "0"], ["1e300", "1"], ["1"]),
    "ImagePositionPatient": (["1e300", "0", "0"], ["nan", "0", "0"], ["1", "2"]),
    "ImageOrientationPatient": ([0] * 6, [1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 2, 0], [1, 0, 0]),
    "GridFrameOffsetVector": ([0], ["0", "1e300"], ["5", "4", "9"]),
    "SliceThickness": ("1e300", "-3"),
}


@dataclass(frozen=True)
class Element:
    """Where one element of the top level lies in the bytes."""

    tag: int
    start: int
    vr_at: int
    length_at: int
    length_size: int
    value: int
    end: int


def elements(data):
    """Return the top-level elements of a little endian file; a simple walk of its own, not pydicom's."""
    place = 132 if data[128:132] == b"DICM" else 0
    found, explicit = [], True
    while place + 8 <= len(data):
        group, number = struct.unpack_from("<HH", data, place)
        if group > 2 and found and found[-1].tag >> 16 <= 2:
            explicit = data[place + 4 : place + 6].isalpha()
        vr = data[place + 4 : place + 6]
        if explicit and vr in LONG_VR:
            length_at, size = place + 8, 4
        elif explicit:
            length_at, size = place + 6, 2
        else:
            length_at, size = place + 4, 4
        if length_at + size > len(data):
            break
        length = int.from_bytes(data[length_at : length_at + size], "little")
        value = length_at + size
        end = value + length if length != 0xFFFFFFFF else _close(data, value)
        found.append(
            Element(group << 16 | number, place, place + 4 if explicit else 0, length_at, size, value, end)
        )
        if end > len(data):
            break
        place = end
    return found


def _close(data, place):
    """Return the end of a value of undefined length: after the delimiter of its own level."""
    depth = 1
    while place + 8 <= len(data):
        group, number = struct.unpack_from("<HH", data, place)
        if (group, number) == (0xFFFE, 0xE0DD):
            depth -= 1
            if not depth:
                return place + 8
            place += 8
        elif data[place + 4 : place + 6] == b"SQ" and data[place + 8 : place + 12] == b"\xff\xff\xff\xff":
            depth += 1
            place += 12
        else:
            place += 2
    return len(data)


def head(data):
    """Return where the pixels begin: a flipped pixel is another measurement, not a broken file."""
    return next((e.value for e in elements(data) if e.tag == 0x7FE00010), len(data))


def flip_bits(data, rng):
    mutated = bytearray(data)
    for place in rng.integers(128, head(data), rng.integers(1, 6)):
        mutated[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(mutated)


def cut_short(data, rng):
    return data[: int(rng.integers(0, len(data)))]


def double_a_piece(data, rng):
    a, b = sorted(int(x) for x in rng.integers(132, head(data), 2))
    return data[:b] + data[a:b] + data[b:]


def lose_a_piece(data, rng):
    a = int(rng.integers(0, head(data)))
    return data[:a] + data[a + int(rng.integers(1, 40)) :]


def overwrite(data, rng):
    a, n = int(rng.integers(128, head(data))), int(rng.integers(1, 24))
    fill = rng.bytes(n) if rng.random() < 0.5 else bytes([int(rng.choice([0, 255, 32, 92]))]) * n
    return data[:a] + fill + data[a + n :]


def append_junk(data, rng):
    return data + rng.bytes(int(rng.integers(1, 300)))


def _one(data, rng):
    found = elements(data)
    return found[int(rng.integers(0, len(found)))]


def remove_element(data, rng):
    e = _one(data, rng)
    return data[: e.start] + data[e.end :]


def double_element(data, rng):
    """The same tag twice; the second with another value of the same length."""
    e = _one(data, rng)
    copy = bytearray(data[e.start : e.end])
    for place in range(e.value - e.start, len(copy)):
        if e.tag != 0x7FE00010 and rng.random() < 0.3:
            copy[place] = copy[place] ^ 1
    return data[: e.end] + bytes(copy) + data[e.end :]


def move_element(data, rng):
    e, other = _one(data, rng), _one(data, rng)
    rest = data[: e.start] + data[e.end :]
    place = other.start if other.start < e.start else other.start - (e.end - e.start)
    return rest[:place] + data[e.start : e.end] + rest[max(place, 0) :]


def lie_about_a_length(data, rng):
    e = _one(data, rng)
    top = 256**e.length_size - 1
    said = int.from_bytes(data[e.length_at : e.length_at + e.length_size], "little")
    lies = (0, 1, top, top - 1, top >> 1, said + 1, said + 2, said - 2, said * 2, said // 2, len(data))
    lie = int(rng.choice([max(0, min(v, top)) for v in lies]))
    return data[: e.length_at] + lie.to_bytes(e.length_size, "little") + data[e.length_at + e.length_size :]


def change_vr(data, rng):
    found = [e for e in elements(data) if e.vr_at]
    e = found[int(rng.integers(0, len(found)))]
    return data[: e.vr_at] + VRS[int(rng.integers(0, len(VRS)))].ljust(2, b" ")[:2] + data[e.vr_at + 2 :]


def change_meta(data, rng):
    """Another transfer syntax than the bytes are in."""
    syntaxes = (
        *(b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"),
        *(b"1.2.840.10008.1.2.1.99\0", b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.4.70\0"),
        *(b"1.2.840.10008.1.2.4.90\0", b"1.2.840.10008.1.2.4.102\0", b"1.2.3\0", b"../../x\0", b""),
    )
    new = syntaxes[int(rng.integers(0, len(syntaxes)))]
    new += b"\0" * (len(new) % 2)
    e = next((e for e in elements(data) if e.tag == 0x00020010), None)
    if e is None:
        return flip_bits(data, rng)
    return data[: e.length_at] + len(new).to_bytes(2, "little") + new + data[e.end :]


def _parsed(data):
    return pydicom.dcmread(io.BytesIO(data), force=True)


def _bytes_of(ds):
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def _places(ds, depth=0):
    for element in ds:
        yield ds, element
        if element.VR == "SQ" and element.value and depth < 8:
            for item in list(element.value)[:40]:
                yield from _places(item, depth + 1)


def _pick(ds, rng):
    found = list(_places(ds))
    return found[int(rng.integers(0, len(found)))]


def remove_nested(ds, rng):
    holder, element = _pick(ds, rng)
    del holder[element.tag]


def empty_nested(ds, rng):
    _, element = _pick(ds, rng)
    element.value = None


def hostile_value(ds, rng):
    holder, element = _pick(ds, rng)
    text = HOSTILE[int(rng.integers(0, len(HOSTILE)))]
    vr = (
        element.VR
        if rng.random() < 0.5 and element.VR in ("LO", "SH", "CS", "UI", "DS", "IS", "PN", "ST")
        else "LT"
    )
    raw = text.encode("utf-8", "replace")
    tag = element.tag
    holder[tag] = pydicom.dataelem.RawDataElement(
        tag, vr, len(raw), raw + b" " * (len(raw) % 2), 0, False, True
    )


def huge_value(ds, rng):
    found = [(holder, e) for holder, e in _places(ds) if e.keyword in HUGE]
    if not found:
        return remove_nested(ds, rng)
    holder, element = found[int(rng.integers(0, len(found)))]
    choices = HUGE[element.keyword]
    setattr(holder, element.keyword, choices[int(rng.integers(0, len(choices)))])
    return None


def double_item(ds, rng):
    found = [e for _, e in _places(ds) if e.VR == "SQ" and e.value]
    if not found:
        return hostile_value(ds, rng)
    sequence = found[int(rng.integers(0, len(found)))].value
    sequence.append(sequence[int(rng.integers(0, len(sequence)))])
    return None


def deep_sequence(ds, rng):
    """Items within items, from a few to more than Python's stack holds."""
    depth = int(rng.choice([10, 60, 300, 1500]))
    inner = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = struct.pack("<HHI", 0x3006, 0x0010, len(item)) + item
    keywords = (
        "ReferencedFrameOfReferenceSequence",
        "StructureSetROISequence",
        "BeamSequence",
        "ReferencedImageSequence",
    )
    tag = pydicom.tag.Tag(keywords[int(rng.integers(0, len(keywords)))])
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    ds[tag] = pydicom.dataelem.RawDataElement(tag, "SQ", len(item), item, 0, True, True)


def recursive_links(ds, rng):
    """References that point at the object itself, or all at one."""
    own = str(ds.get("SOPInstanceUID", "1.2"))
    for _, element in _places(ds):
        if element.VR == "UI" and element.value and rng.random() < 0.5 and "ClassUID" not in element.keyword:
            element.value = own


def swap_values(ds, rng):
    """Two elements of one VR exchange their values."""
    found = [e for _, e in _places(ds) if e.VR not in ("SQ", "OW", "OB")]
    first = found[int(rng.integers(0, len(found)))]
    alike = [e for e in found if e.VR == first.VR]
    second = alike[int(rng.integers(0, len(alike)))]
    first.value, second.value = second.value, first.value


def other_class(ds, rng):
    classes = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.481.3")
    classes += (
        "1.2.840.10008.5.1.4.1.1.481.2",
        "1.2.840.10008.5.1.4.1.1.4.1",
        "1.2.840.10008.5.1.4.1.1.66.1",
        "1.2.3",
    )
    ds.SOPClassUID = classes[int(rng.integers(0, len(classes)))]


def junk_sequence(ds, rng):
    """A sequence where none belongs, or text where a sequence belongs."""
    holder, element = _pick(ds, rng)
    tag = element.tag
    if element.VR == "SQ":
        raw = rng.bytes(40)
        holder[tag] = pydicom.dataelem.RawDataElement(tag, "UN", len(raw), raw, 0, True, True)
    else:
        holder[tag] = pydicom.dataelem.DataElement(tag, "SQ", Items([Dataset()]))


def _by_dataset(change):
    def mutate(data, rng):
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            try:
                ds = _parsed(data)
                change(ds, rng)
                return _bytes_of(ds)
            except Exception:  # pydicom will not write what we ask for: break the bytes instead
                return overwrite(data, rng)

    return mutate


BY_BYTES = (
    *(flip_bits, cut_short, double_a_piece, lose_a_piece, overwrite, append_junk, remove_element),
    *(double_element, move_element, lie_about_a_length, change_vr, change_meta),
)
BY_DATASET = (
    *(remove_nested, empty_nested, hostile_value, huge_value, double_item, deep_sequence, recursive_links),
    *(swap_values, other_class, junk_sequence),
)
MUTATIONS = {f.__name__: f for f in BY_BYTES} | {f.__name__: _by_dataset(f) for f in BY_DATASET}
