"""A folder of DICOM without its persons: PS3.15 Basic Profile, new UIDs that still link, dates moved."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag

from rtplan.domain import Notice
from rtplan.errors import DicomError, FormatError, OutputError
from rtplan.io import header as hd
from rtplan.io import modules as md
from rtplan.io import names as naming
from rtplan.io.confidentiality.keyed import SHORTEST_KEY, Keyed
from rtplan.io.confidentiality.profile import CLAIMS, EDITION
from rtplan.io.confidentiality.residue import Residue
from rtplan.io.confidentiality.scrub import Scrub
from rtplan.io.index import Entry, Folder, index
from rtplan.io.patient_write import written_whole

#: Objects that are taken; of any other class nobody has checked where a name may stand.
CLASSES = ("CT", "enhanced CT", "MR", "enhanced MR", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "SEG", "PM")
#: Words of ImageType that say: a picture of a screen, with whatever was on it.
SCREENS = ("SCREEN SAVE", "SCREENSHOT", "SECONDARY CAPTURE", "PROTOCOL", "DOSE REPORT")
#: Parts of the body whose surface is a face.
FACES = ("HEAD", "BRAIN", "FACE", "SKULL", "NECK", "HEADNECK", "SINUS", "EYE", "ORBIT")
#: Element number of OverlayBitPosition: not 0 where the overlay lies in the pixels themselves.
OVERLAY_BIT = 0x0102
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Deidentified:
    """What was written: files, how many persons, and what was left out or is doubtful."""

    paths: tuple[Path, ...]
    people: int
    notices: tuple[Notice, ...]


def read_key(path: Path) -> bytes:
    """Return the secret of a key file, white space at its ends apart.

    Raises
    ------
    FormatError
        If it cannot be read or is shorter than 16 bytes.
    """
    try:
        key = Path(path).read_bytes().strip()
    except OSError:
        raise FormatError("The key cannot be read.", where=str(path), action="check the path.") from None
    if len(key) < SHORTEST_KEY:
        action = "make one of 32 random bytes and keep it as you keep the originals."
        raise FormatError(f"The key is shorter than {SHORTEST_KEY} bytes.", where=str(path), action=action)
    return key


def deidentify(
    folder: Path,
    out: Path,
    *,
    key: bytes | None = None,
    names: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Deidentified:
    """Write the objects of a folder without what names a person.

    Every element goes by PS3.15 Table E.1-1 with the options Clean Descriptors and Modified Dates, in items
    of sequences too. UIDs become others that depend on the key, so links hold within and between calls of one
    key. All dates of a person move by the same number of days; times of day stay. Private and unknown
    elements, curves, overlays and the preamble go.

    Parameters
    ----------
    folder : Path
        DICOM of any number of persons; other files are passed over.
    out : Path
        New folder ``<pseudonym>/<kind>_<n>/<nnnn>.dcm``; appears whole or not at all.
    key : bytes, optional
        Secret of at least 16 bytes. Without it a random one is used once and forgotten: nobody can
        make the same pseudonyms again.
    names : Path, optional
        Map of structure names: what stands in it is kept as a name.
    progress : callable, optional
        Called with the number of objects done, and of all.

    Raises
    ------
    DicomError
        If nothing can be taken.
    OutputError
        If the folder is not empty, lies within the one read, or cannot be written.
    """
    folder, out = Path(folder), Path(out)
    _demand_apart(folder, out)
    found = index(folder)
    keyed = Keyed(key or secrets.token_bytes(32))
    notices = [_left_out(path, why) for path, why in found.skipped]
    work = _Work(keyed, naming.load(names), notices, progress)
    work.total = len(found.entries)
    with written_whole(out) as part:
        paths = [path for entries in found.people.values() for path in work.person(entries, part)]
        if not paths:
            first = f" The first: {notices[0].message}" if notices else ""
            raise DicomError(f"No object can be taken.{first}", where=str(folder))
    return Deidentified(
        tuple(out / path.relative_to(part) for path in paths), len(work.pseudonyms), tuple(work.notices)
    )


def _demand_apart(folder: Path, out: Path) -> None:
    if out.resolve().is_relative_to(folder.resolve()):
        action = "choose a folder outside the originals."
        raise OutputError("The out folder lies within the originals.", where=str(out), action=action)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError("The out folder is not empty.", where=str(out), action="choose another --out.")


def _left_out(path: Path, why: str) -> Notice:
    action = "look at it, and take it by hand if it is needed."
    return Notice("DEIDENTIFY_LEFT_OUT", "warn", f"An object is left out: {why}", action, file=str(path))


class _Work:
    """The work of one call; ``notices`` grows."""

    def __init__(
        self,
        keyed: Keyed,
        names: naming.NameMap,
        notices: list[Notice],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.keyed, self.names, self.notices, self.progress = keyed, names, notices, progress
        self.pseudonyms: set[str] = set()
        self.parts: set[str] = set()
        self.count = self.total = 0

    def person(self, entries: tuple[Entry, ...], part: Path) -> Iterator[Path]:
        """Write the objects of one person; yield their paths."""
        person, residue = entries[0].person, Residue()
        entries = tuple(entry for entry in entries if self._learn(entry, residue))
        scrub = Scrub(self.keyed, person, self.keyed.pseudonym(person), residue, self.names)
        place = part / scrub.pseudonym
        for series, group in enumerate(Folder(part, entries).series(), start=1):
            name = f"{group.kind.split()[-1]}_{series:03d}" if group.kind in CLASSES else ""
            for number, entry in enumerate(group.entries, start=1):
                why = _doubt(entry)
                try:
                    path = None if why else self._object(entry, scrub, place / name / f"{number:04d}.dcm")
                except DicomError as wrong:
                    why = wrong.message
                if why:
                    self.notices.append(_left_out(entry.path, why))
                elif path:
                    self.pseudonyms.add(scrub.pseudonym)
                    yield path
                self.count += 1
                if self.progress is not None:
                    self.progress(self.count, self.total)
        self._say(scrub)

    def _learn(self, entry: Entry, residue: Residue) -> bool:
        try:
            with hd.guarded(entry.path):
                header = hd.read(entry.path)
                residue.learn(header)
        except DicomError as wrong:
            self.notices.append(_left_out(entry.path, wrong.message))
            return False
        residue.uids |= {entry.sop_uid, entry.series_uid, entry.study_uid, entry.frame} - {""}
        self.parts.add(hd.code(header, "BodyPartExamined").upper())
        return True

    def _object(self, entry: Entry, scrub: Scrub, path: Path) -> Path:
        header = hd.read(entry.path, pixels=True)
        with hd.guarded(entry.path, "de-identified"):
            bare_pixels(header)
            scrub.clean(header)
            state(header, scrub.keyed)
            _demand_clean(header, scrub.residue)
        return md.save(header, path)

    def _say(self, scrub: Scrub) -> None:
        if scrub.renamed:
            message = f"{len(scrub.renamed)} names of structures are not known and became ROI_<number>."
            action = "give a map of names by --names to keep them."
            self.notices.append(Notice("DEIDENTIFY_RENAMED", "info", message, action, uid=scrub.pseudonym))
        if self.parts & set(FACES):
            message = "A face can be drawn from the images; the pixels are as they were."
            action = "remove the face before the images leave the clinic."
            self.notices.append(Notice("DEIDENTIFY_FACE", "warn", message, action, uid=scrub.pseudonym))


def _doubt(entry: Entry) -> str:
    """Return why an object is not taken, empty when it is."""
    if entry.kind not in CLASSES:
        return f"it is {entry.kind}, where text may stand in the pixels or in free form."
    if hd.code(entry.header, "BurnedInAnnotation").upper() == "YES":
        return "its header says that text is burned into the pixels."
    said = "\\".join(hd.words(entry.header, "ImageType")).upper()
    if any(word in said for word in SCREENS) or (hd.number(entry.header, "SamplesPerPixel", 1) or 1) > 1:
        return "it looks like a picture of a screen, where text may stand in the pixels."
    return ""


def bare_pixels(header: Dataset) -> None:
    """Clear what an overlay hid in unused bits of the pixels, and what follows after the last pixel.

    Raises
    ------
    DicomError
        If an overlay lies in the bits of compressed pixels.
    """
    if not header.get("PixelData"):
        return
    allocated, stored = hd.whole(header, "BitsAllocated"), hd.whole(header, "BitsStored")
    if header.file_meta.TransferSyntaxUID.is_compressed:
        tags = list(header.keys())
        hidden = [t for t in tags if t.group & 0xFF00 == 0x6000 and t.element == OVERLAY_BIT]
        if any(header[tag].value for tag in hidden):
            raise DicomError("an overlay lies within compressed pixels.")
        return
    size = hd.whole(header, "Rows") * hd.whole(header, "Columns") * hd.whole(header, "NumberOfFrames", 1)
    size = size * hd.whole(header, "SamplesPerPixel", 1) * allocated // 8
    content = header.PixelData[:size]
    if allocated in (8, 16, 32) and 0 < stored < allocated and len(content) == size:
        kind = "i" if hd.whole(header, "PixelRepresentation") else "u"
        order = ">" if header.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2" else "<"
        values = np.frombuffer(content, f"{order}{kind}{allocated // 8}")
        spare = allocated - stored
        content = ((values << spare) >> spare).astype(values.dtype).tobytes()
    if content != header.PixelData:
        header["PixelData"].value = content + b"\0" * (len(content) % 2)


def state(header: FileDataset, keyed: Keyed) -> None:
    """Write into an object that and how it was de-identified, and a new file header without a preamble."""
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = f"rtplan {version('rtplan')}, {EDITION}"[:64]
    header.DeidentificationMethodCodeSequence = md.sequence(
        *(md.code(value, "DCM", meaning) for value, meaning in CLAIMS.items())
    )
    header.LongitudinalTemporalInformationModified = "MODIFIED"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = md.hashed_uid("rtplan", "implementation")
    meta.ImplementationVersionName = f"RTPLAN {version('rtplan')}"[:16]
    header.file_meta, header.preamble = meta, b"\0" * 128


def _demand_clean(header: FileDataset, residue: Residue) -> None:
    """Raise DicomError when an identifier is left in the bytes."""
    pixels = [header.pop(Tag(name)) for name in PIXELS if name in header]
    with io.BytesIO() as stream:
        header.save_as(stream, enforce_file_format=True)
        if residue.in_header(stream.getvalue()):
            raise DicomError("an identifier stands where none is foreseen.")
    for element in pixels:
        if residue.in_pixels(element.value):
            raise DicomError("an identifier stands within the pixel data.")
        header[element.tag] = element
