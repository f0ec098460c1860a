"""Write docs/dicom-conformance.md from the code: ``python docs/conformance.py``.

What is read comes from the keywords in the readers, and from readings of our own objects without each of
them; what is written comes from two patients written; codes, profiles and actions come from their tables.
"""

from __future__ import annotations

import ast
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_description, dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS
from pydicom.tag import Tag
from pydicom.uid import UID

import rtplan.io
from rtplan.domain import (
    Beam,
    Dose,
    Finding,
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
    Volume,
)
from rtplan.errors import RtplanError
from rtplan.io import codec, codes, parametric, registration, rtdose, rtplan_delivery, rtstruct, seg, tps
from rtplan.io import deidentify as deidentifier
from rtplan.io import header as hd
from rtplan.io.confidentiality.profile import CLAIMS, EDITION, Rule, table
from rtplan.io.image import read_series
from rtplan.io.network.contexts import COMMITMENT, PLAIN, VERIFICATION, stored_classes, syntaxes_of
from rtplan.io.network.parties import Limits
from rtplan.io.network.references import CLASS_CONFLICT, NO_SUCH
from rtplan.io.patient_write import Export, write_patient
from rtplan.resources import names as on_shelf
from rtplan.service.node import courier, store

PAGE = Path(__file__).resolve().parent / "dicom-conformance.md"
TEMPLATE = PAGE.with_name("conformance.template")
IO = Path(rtplan.io.__file__).parent
#: Which modules read an object; the keywords of DICOM that stand in them are what is read.
READERS: dict[str, tuple[str, ...]] = {
    "CT and MR images": (
        *("index", "image", "pixels", "codec", "stack", "geometry", "acquisition", "contrast", "choose"),
        *("preflight_images", "preflight_mr", "preflight_pixels", "preflight_identity", "apart"),
    ),
    "Enhanced (multi-frame) CT and MR, beyond these": ("multiframe",),
    "RT Structure Set": ("rtstruct", "contour_faults"),
    "RT Dose": ("rtdose", "dose_course"),
    "RT Plan": ("rtplan", "rtplan_delivery", "plan_facts"),
    "Spatial Registration": ("registration",),
    "Segmentation": ("seg",),
}
#: What is written: title, file of the patient below, what it is.
WRITTEN = {
    "CT Image": "CT/0001.dcm",
    "Synthetic CT, an arm (CT Image)": "CT_SynCT/0001.dcm",
    "MR Image": "MR_T2w/0001.dcm",
    "RT Structure Set": "RS.dcm",
    "RT Plan": "RP.dcm",
    "RT Dose": "RD_CT.dcm",
    "Spatial Registration": "REG.dcm",
    "Segmentation": "SEG.dcm",
    "Parametric Map": "PM.dcm",
    "Comprehensive SR": "SR.dcm",
    "Encapsulated PDF": "PDF.dcm",
}
SHAPE = (4, 12, 14)


def patient(seed: int) -> Patient:
    """Return a small patient; two seeds differ in every value that comes from the patient."""
    rng = np.random.default_rng(seed)
    ct = Grid.axial(SHAPE, (2.0 + seed, 1.5, 1.25), (-9.0 - seed, -8.0, -7.0), f"2.25.{seed}1")
    mr = Grid(SHAPE, ct.affine, f"2.25.{seed}2")
    facts = {"echo_time_ms": 90.0 + seed, "repetition_time_ms": 4000.0 + seed, "scanning_sequence": "SE"}
    series = Source(f"2.25.{seed}3", f"2.25.{seed}4", tuple(f"2.25.{seed}5{k}" for k in range(SHAPE[0])))
    made = replace(series, sop_class_uid=hd.CLASS_UIDS["MR"], patient_position="HFS", description="network")
    hu = np.rint(rng.normal(0, 100, SHAPE))
    images = {
        "CT": Image(ct, hu, "CT", Source(acquisition={"kvp": 100.0 + seed}, patient_position="HFS")),
        "T2w": Image(mr, rng.integers(0, 900, SHAPE), "MR", Source(acquisition=facts)),
        "SynCT": Image(ct, hu, "CT", made),
    }
    ball = np.zeros(SHAPE, bool)
    ball[1:3, 3:9, 3 + seed : 10] = True
    structures = {n: Structure(n, k, Mask(ct, ball)) for n, k in (("PTVp_7700", "PTV"), ("Bladder", "ORGAN"))}
    fluence = Fluence(rng.uniform(0, 9, (5, 6)), 2.5, (-20.0 - seed, -17.5))
    beams = (Beam(f"G{seed}", float(seed), (seed, 1.0, -5.0), fluence),)
    found = Finding("D95%[Gy]", 70.0 + seed, "Gy", "dvh", arm="CT", structure="PTVp_7700")
    return Patient(
        f"p{seed}",
        images,
        structures,
        Plan(Prescription({"PTVp_7700": 70.0 + seed}, 30 + seed), beams),
        {"CT": Dose(ct, rng.uniform(0, 80, SHAPE), fractions=30 + seed)},
        (Registration(mr.frame_of_reference, ct.frame_of_reference, np.eye(4) + np.eye(4, k=3) * seed),),
        findings=(found,),
        identity=Identity(f"ID{seed}", f"NAME^{seed}", f"1950010{seed}", "MFO"[seed % 3], f"2.25.{seed}6"),
    )


def write(seed: int, folder: Path) -> None:
    """Write every object of one patient."""
    whole = patient(seed)
    document = b"%PDF-1.4\n" + str(seed).encode() + b"\n%%EOF\n"
    write_patient(whole, folder, export=Export(segmentation=True, findings=True, document=document))
    image = read_series(folder / "CT")
    spread = Volume(image.grid, np.full(SHAPE, float(seed), np.float32))
    parametric.write(spread, folder / "PM.dcm", image=image, identity=whole.identity)


def label(keyword: str) -> str:
    """Return tag and name of a keyword."""
    tag = Tag(keyword)
    return f"| ({tag.group:04X},{tag.element:04X}) | {dictionary_description(tag)} | {dictionary_VR(tag)} |"


def keywords(modules: tuple[str, ...]) -> set[str]:
    """Return the keywords of DICOM that stand as texts in modules of rtplan.io."""
    found: set[str] = set()
    for name in modules:
        for node in ast.walk(ast.parse((IO / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in keyword_dict:
                found.add(node.value)
    return found


def read_lines(folder: Path) -> Iterator[str]:
    """Yield what is read, object by object, and what happens without each attribute."""
    common = keywords(("index", "header"))
    for title, modules in READERS.items():
        wanted = keywords(modules) - (common if title.startswith(("RT", "Spatial", "Segm")) else set())
        yield from (f"### {title}", "")
        if common - wanted:
            yield "Besides, those of every object that stand in the index (see CT and MR images)."
            yield ""
        yield "| tag | name | VR | without it |"
        yield "|---|---|---|---|"
        for keyword in sorted(wanted, key=lambda word: int(Tag(word))):
            yield f"{label(keyword)} {without(keyword, title, folder)} |"
        yield ""


#: Reader of an object by title, and its files in the folder.
OBJECTS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "CT and MR images": ("CT", read_series),
    "RT Structure Set": ("RS.dcm", rtstruct.read),
    "RT Dose": ("RD_CT.dcm", rtdose.read),
    "RT Plan": ("RP.dcm", rtplan_delivery.read),
    "Spatial Registration": ("REG.dcm", registration.read),
    "Segmentation": ("SEG.dcm", seg.read),
}


def without(keyword: str, title: str, folder: Path) -> str:
    """Return ``refused`` or ``read`` for our own object without an attribute; a dash where it has none."""
    if title not in OBJECTS:
        return "–"
    name, read = OBJECTS[title]
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        target = Path(place) / name
        source = folder / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        gone = 0
        for path in sorted(target.iterdir()) if target.is_dir() else [target]:
            ds = pydicom.dcmread(path)
            gone += _remove(ds, keyword)
            ds.save_as(path, enforce_file_format=False)
        if not gone:
            return "–"
        try:
            read(target)
        except RtplanError:
            return "**refused**"
        return "read"


def _remove(ds: Dataset, keyword: str) -> int:
    count = int(keyword in ds)
    if count:
        del ds[Tag(keyword)]
    for element in ds:
        if element.VR == "SQ":
            count += sum(_remove(item, keyword) for item in element.value or ())
    return count


def written_lines(folders: tuple[Path, Path]) -> Iterator[str]:
    """Yield what is written, object by object: level, tag, name, VR, and what is always the same."""
    for title, name in WRITTEN.items():
        rows = [list(_rows(pydicom.dcmread(folder / name))) for folder in folders]
        others = dict(rows[1])
        syntax = pydicom.dcmread(folders[0] / name).file_meta.TransferSyntaxUID.name
        yield from (f"### {title}", "", f"Transfer syntax: {syntax}.", "")
        yield "| tag | name | VR | value |"
        yield "|---|---|---|---|"
        for place, value in rows[0]:
            keyword = place[-1]
            tag = Tag(keyword)
            deep = "&gt; " * (len(place) - 1)
            same = value if others.get(place) == value and value is not None else "of the patient"
            code = f"({tag.group:04X},{tag.element:04X})"
            yield f"| {deep}{code} | {dictionary_description(tag)} | {dictionary_VR(tag)} | {same} |"
        yield ""


#: Values that change with each export or version.
CHANGING = ("Date", "Time", "UID", "SoftwareVersions", "DeviceSerialNumber")


def _rows(ds: Dataset, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """Yield each attribute once: keywords from the top, and its text."""
    seen = set()
    for element in ds:
        here = (*place, element.keyword)
        if element.VR == "SQ":
            yield here, ""
            for item in element.value or ():
                for inner, value in _rows(item, here):
                    if inner not in seen:
                        seen.add(inner)
                        yield inner, value
        elif element.tag.group < 0x7FE0:
            yield here, _text(element)


def _text(element: Any) -> str | None:
    if element.keyword.endswith(CHANGING) and not element.keyword.endswith("ClassUID"):
        return None
    said = element.value.name if isinstance(element.value, UID) else str(element.value)
    if element.VR in ("OB", "OW", "OF") or len(said) > 100:
        return None
    return "empty" if said in ("", "None") else said.replace("|", "\\|")


def class_lines() -> Iterator[str]:
    """Yield the SOP classes, and whether they are read or written."""
    yield from ("| SOP class | UID | in rtplan | read | written |", "|---|---|---|---|---|")
    read = ("CT", "MR", "enhanced CT", "enhanced MR", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "SEG")
    written = ("CT", "MR", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "SEG", "PM", "SR", "PDF")
    for uid, name in hd.SOP_CLASSES.items():
        out = name in written and hd.CLASS_UIDS[name] == uid
        yield f"| {UID(uid).name} | {uid} | {name} | {_yes(name in read)} | {_yes(out)} |"


def _yes(said: bool) -> str:
    return "yes" if said else "–"


def syntax_lines() -> Iterator[str]:
    """Yield the transfer syntaxes of pixels that can be read here."""
    plain = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
    yield from ("| transfer syntax | UID | pixels |", "|---|---|---|")
    for uid in dict.fromkeys((*plain, *map(str, _PIXEL_DATA_DECODERS))):
        why = codec.undecodable(UID(uid))
        yield f"| {UID(uid).name} | {uid} | {'no decoder is installed' if why else 'read'} |"


def code_lines() -> Iterator[str]:
    """Yield the table of notices, part by part."""
    for part, group in groupby(codes.codes().values(), key=lambda code: code.part):
        yield from (f"### {part.capitalize()}", "")
        yield from ("| code | severity | meaning | what to do |", "|---|---|---|---|")
        for code in group:
            yield f"| `{code.name}` | {', '.join(code.severities)} | {code.meaning} | {code.action or '–'} |"
        yield ""


def profile_lines() -> Iterator[str]:
    """Yield what each profile of a planning system sets, and why."""
    for name in [name for name in on_shelf(tps.SHELF) if name != "common"]:
        profile = tps.load(name)
        settings = profile.model_dump(exclude={"rule", "name", "schema"})
        yield from (f"### `--tps {name}`", "")
        yield ", ".join(f"{key} `{value}`" for key, value in settings.items() if not _nested(value)) + "."
        yield from ("", "| rule | sets | source | seen there |", "|---|---|---|---|")
        for rule in profile.rule:
            yield f"| {rule.says} | {', '.join(rule.sets) or '–'} | {rule.source} | {_yes(rule.verified)} |"
        yield ""


def _nested(value: object) -> bool:
    return isinstance(value, list | tuple | dict)


def action_lines() -> Iterator[str]:
    """Yield all attributes of the table by what rtplan does with them."""
    rules = sorted(table().values(), key=lambda rule: (_done(rule), rule.keyword))
    for done, group in groupby(rules, key=_done):
        listed = [rule.keyword or "(newer than the dictionary)" for rule in group]
        yield from ("", f"**{done}** ({len(listed)}): {', '.join(dict.fromkeys(listed))}.")


def _done(rule: Rule) -> str:
    if rule.dates:
        return "dates moved"
    if rule.words:
        return "known words kept, else " + {"X": "removed", "Z": "emptied", "D": "dummy"}[rule.action]
    return {"X": "removed", "Z": "emptied", "D": "dummy", "U": "new UID"}[rule.action]


#: Services of the node beside storage, by UID, and our role.
SERVICES = {
    VERIFICATION: "SCP; SCU",
    COMMITMENT: "SCP; SCU",
    "1.2.840.10008.5.1.4.1.2.2.1": "SCU (C-FIND)",
    "1.2.840.10008.5.1.4.1.2.2.2": "SCU (C-MOVE)",
    "1.2.840.10008.5.1.4.1.2.2.3": "SCU (C-GET)",
}


def service_lines() -> Iterator[str]:
    """Yield the services of the node beside storage."""
    yield from ("| service | UID | role |", "|---|---|---|")
    for uid, role in SERVICES.items():
        yield f"| {UID(uid).name} | {uid} | {role} |"


def stored_lines() -> Iterator[str]:
    """Yield the classes that are stored, and in which transfer syntaxes."""
    yield from ("| SOP class | UID | transfer syntaxes |", "|---|---|---|")
    for uid, kind in stored_classes().items():
        more = " and compressed" if len(syntaxes_of(kind)) > len(PLAIN) else ""
        yield f"| {UID(uid).name} | {uid} | uncompressed{more} |"
    yield from ("", "Uncompressed: " + ", ".join(UID(syntax).name for syntax in PLAIN) + ".")
    compressed = [UID(syntax).name for syntax in syntaxes_of("MR") if syntax not in PLAIN]
    yield from ("", "Compressed: " + ", ".join(compressed) + ".")


def status_lines() -> Iterator[str]:
    """Yield the statuses of a C-STORE response."""
    yield from ("| status | comment |", "|---|---|")
    yield f"| {store.SUCCESS[0]:04X} | stored, or stored before with the same data set |"
    for code, comment in store.FAILURES:
        yield f"| {code:04X} | {comment} |"


def charset_lines() -> Iterator[str]:
    """Yield the character sets."""
    listed = ", ".join(f"`{name or '(none: ISO 646)'}`" for name in sorted(python_encoding))
    yield f"Read: {listed}; several with code extensions. Written: `ISO_IR 192` (UTF-8)."


def page() -> str:
    """Return the whole page: the template with its tables."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        folders = (Path(place) / "1", Path(place) / "2")
        for seed, folder in enumerate(folders, start=1):
            write(seed, folder)
        parts = {
            "classes": class_lines(),
            "syntaxes": syntax_lines(),
            "charsets": charset_lines(),
            "read": read_lines(folders[0]),
            "written": written_lines(folders),
            "codes": code_lines(),
            "profiles": profile_lines(),
            "claims": (f"- {meaning} ({code} DCM)" for code, meaning in CLAIMS.items()),
            "actions": action_lines(),
            "services": service_lines(),
            "stored": stored_lines(),
            "statuses": status_lines(),
        }
        text = TEMPLATE.read_text(encoding="utf-8")
        for name, lines in parts.items():
            text = text.replace(f"{{{{ {name} }}}}", "\n".join(lines).strip())
    facts = {"edition": EDITION, "count": str(len(table())), "taken": ", ".join(deidentifier.CLASSES)}
    facts |= {
        "pdu": str(Limits().pdu_bytes),
        "associations": str(Limits().associations),
        "together": str(courier.TOGETHER),
        "final": ", ".join(f"{code:04X}" for code in courier.FINAL if code > 0) + " and a refused context",
        "nosuch": f"{NO_SUCH:04X}",
        "conflict": f"{CLASS_CONFLICT:04X}",
    }
    for name, fact in facts.items():
        text = text.replace(f"{{{{ {name} }}}}", fact)
    return text


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
