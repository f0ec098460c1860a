"""One object without its person: every element by the table, every item of every sequence too."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag

from rtplan.io import header as hd
from rtplan.io.confidentiality.keyed import Keyed
from rtplan.io.confidentiality.profile import Rule, is_removed, table
from rtplan.io.confidentiality.residue import Residue
from rtplan.io.confidentiality.words import cleaned, structure_name
from rtplan.io.names import NameMap

TEXT_VR = ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT")
#: The one sequence that must stand, and may stand empty (enhanced MR).
ACQUISITION_CONTEXT = 0x00400555
DAY_VR = ("DA", "DT")
#: What the characters of a value may be; anything else in such an element is a lie and goes.
GRAMMAR = {
    "DS": re.compile(rb"[0-9eE+\-. \\\0]*"),
    "IS": re.compile(rb"[0-9+\- \\\0]*"),
    "AS": re.compile(rb"(\d{3}[DWMY][ \0]?)?"),
    "TM": re.compile(rb"[0-9.:\-\\ \0]*"),
}
#: Dummies by VR; text else.
DUMMIES: dict[str, Any] = {
    "DA": "19000101",
    "DT": "19000101",
    "TM": "000000",
    "AS": "000Y",
    "DS": "0",
    "IS": "0",
}
DUMMY_TEXT = "DEIDENTIFIED"
#: Names of definitions, not of instances, though their VR is UI.
_DEFINITIONS = re.compile(
    r"(SOPClassUID|SOPClassesInStudy|SOPClassesSupported|TransferSyntaxUID|CodingSchemeUID)$"
)
#: Attributes beyond the table whose free text is cleaned in the same way.
_FREE_TEXT = re.compile(r"(Comments?|Descriptions?|Label|Notes)$")
_STRUCTURE_NAMES = ("ROIName", "DoseReferenceDescription", "ROIObservationLabel")


@dataclass
class Scrub:
    """The cleaning of one person's objects.

    Parameters
    ----------
    keyed : Keyed
        Where new UIDs and days come from.
    person : str
        Whose days move together.
    pseudonym : str
        Stands as PatientName and PatientID.
    residue : Residue
        What must not be left in any text.
    names : NameMap
        Structure names that name no person.
    """

    keyed: Keyed
    person: str
    pseudonym: str
    residue: Residue
    names: NameMap
    renamed: set[str] = field(default_factory=set)

    def clean(self, header: Dataset) -> None:
        """Clean an object in place."""
        for tag in list(header.keys()):
            if is_removed(tag):
                del header[tag]
                continue
            vr = hd.vr_of(header, tag)
            rule = table().get(tag)
            if vr == "SQ":
                self._sequence(header, tag, rule)
            elif vr == "UN" or vr == "UR":
                del header[tag]
            elif rule is not None:
                self._by_rule(header, tag, vr, rule)
            else:
                self._by_kind(header, tag, vr)

    def _sequence(self, header: Dataset, tag: BaseTag, rule: Rule | None) -> None:
        if rule is not None and tag == ACQUISITION_CONTEXT:
            header[tag].value = Items()
        elif rule is not None and rule.action != "U":  # where it may stand, one without items is an error
            del header[tag]
        else:
            for item in header[tag].value or ():
                self.clean(item)

    def _by_rule(self, header: Dataset, tag: BaseTag, vr: str, rule: Rule) -> None:
        if tag in (0x00100010, 0x00100020):
            header[tag].value = self.pseudonym
        elif rule.action == "U" or vr == "UI":
            self._uids(header, tag)
        elif rule.dates and vr in (*DAY_VR, "TM"):
            self._moved(header, tag, vr, rule)
        elif rule.words and vr in TEXT_VR:
            self._words(header, tag, rule)
        else:
            self._act(header, tag, vr, rule)

    def _act(self, header: Dataset, tag: BaseTag, vr: str, rule: Rule) -> None:
        if rule.action == "X":
            del header[tag]
        elif rule.action == "Z":
            header[tag].value = None
        elif vr in TEXT_VR or vr == "PN":
            header[tag].value = DUMMY_TEXT
        else:
            header[tag].value = DUMMIES.get(vr, b"\0\0" if vr.startswith("O") else 0)

    def _by_kind(self, header: Dataset, tag: BaseTag, vr: str) -> None:
        if vr == "PN":
            header[tag].value = None
        elif vr == "UI":
            self._uids(header, tag)
        elif vr in DAY_VR:
            self._moved(header, tag, vr, None)
        elif vr in GRAMMAR:
            raw = getattr(header.get_item(tag), "value", None)
            if isinstance(raw, bytes) and not GRAMMAR[vr].fullmatch(raw):
                header[tag] = hd.empty_element(tag, vr)
        elif vr in TEXT_VR:
            if vr != "CS" and _FREE_TEXT.search(header[tag].keyword):
                self._words(header, tag, None)
            elif self.residue.in_text(_joined(header, tag)):
                header[tag].value = None

    def _uids(self, header: Dataset, tag: BaseTag) -> None:
        element = header[tag]
        if _DEFINITIONS.search(element.keyword) or not element.value:
            return
        old = [element.value] if isinstance(element.value, str) else list(element.value)
        new = [self.keyed.uid(str(uid)) for uid in old]
        element.value = new[0] if len(new) == 1 else new

    def _moved(self, header: Dataset, tag: BaseTag, vr: str, rule: Rule | None) -> None:
        """Move days; times of the day stay, for whole days pass."""
        parts = _joined(header, tag).split("\\")
        if vr == "TM":
            moved = [part for part in parts if re.fullmatch(r"[0-9.:]{0,16}", part)]
        else:
            moved = [day for day in (self._day(part) for part in parts) if day]
        if len(moved) == len(parts):
            header[tag].value = moved[0] if len(moved) == 1 else moved
        elif rule is not None:
            self._act(header, tag, vr, rule)
        else:
            header[tag].value = None

    def _day(self, text: str) -> str:
        found = re.fullmatch(r"(\d{4})[.]?(\d{2})[.]?(\d{2})([0-9.+\-]{0,18})", text)
        try:
            day = dt.date(int(found[1]), int(found[2]), int(found[3])) if found else None
            return (
                f"{day + dt.timedelta(self.keyed.days(self.person)):%Y%m%d}{found[4]}"
                if day and found
                else ""
            )
        except (ValueError, OverflowError):
            return ""

    def _words(self, header: Dataset, tag: BaseTag, rule: Rule | None) -> None:
        said = _joined(header, tag)
        kept = self._structure(header, said) if header[tag].keyword in _STRUCTURE_NAMES else cleaned(said)
        if kept and self.residue.in_text(kept):
            kept = ""
        if kept == said:
            return
        if kept:
            header[tag].value = kept
        elif rule is not None:
            self._act(header, tag, header[tag].VR, rule)
        else:
            header[tag].value = None

    def _structure(self, header: Dataset, said: str) -> str:
        known = structure_name(said, self.names) if said else ""
        if known is not None or "ROINumber" not in header:
            return known or ""
        self.renamed.add(said)
        return f"ROI_{hd.whole(header, 'ROINumber')}"


def _joined(header: Dataset, tag: BaseTag) -> str:
    value = header[tag].value
    if value is None:
        return ""
    many = not isinstance(value, str) and hasattr(value, "__iter__")
    return "\\".join(str(part) for part in value) if many else str(value)
