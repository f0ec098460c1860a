"""Coded concepts: what each structure is (SNOMED CT, DICOM), what each finding is (private scheme), units."""

from __future__ import annotations

import hashlib

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from rtplan.domain import Structure

#: Coding scheme of concepts that no public scheme has.
PRIVATE = "99RTPLAN"

#: Category of a structure by kind.
_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_TARGET = Code("49755003", "SCT", "Morphologically Altered Structure")
_SPATIAL = Code("309825002", "SCT", "Spatial and Relational Concept")

#: Type of a structure by kind, where the kind says all (DICOM PS3.16 CID 9501 and 9502).
_KINDS = {
    "GTV": Code("228791009", "SCT", "Gross Tumor Volume"),
    "CTV": Code("228792002", "SCT", "Clinical Target Volume"),
    "PTV": Code("228793007", "SCT", "Planning Target Volume"),
    "EXTERNAL": Code("130047", "DCM", "External Body Model"),
    "AVOIDANCE": Code("130058", "DCM", "Avoidance Volume"),
}
#: Type of an organ by its TG-263 name.
_ORGANS = {
    "Prostate": Code("41216001", "SCT", "Prostate"),
    "SeminalVes": Code("64739004", "SCT", "Seminal Vesicle"),
    "Urethra": Code("13648007", "SCT", "Urethra"),
    "Bladder": Code("89837001", "SCT", "Bladder"),
    "Bladder_Wall": Code("89837001", "SCT", "Bladder"),
    "Rectum": Code("34402009", "SCT", "Rectum"),
    "Rectal_Wall": Code("34402009", "SCT", "Rectum"),
    "PenileBulb": Code("18911002", "SCT", "Penis"),
    "Femur_Head_L": Code("2812003", "SCT", "Head of Femur"),
    "Femur_Head_R": Code("2812003", "SCT", "Head of Femur"),
    "Bowel_Small": Code("30315005", "SCT", "Small Intestine"),
    "Bone_Pelvic": Code("118645006", "SCT", "Bone Structure of Pelvis"),
    "Sacrum": Code("54735007", "SCT", "Sacrum"),
}
_OTHER = Code("130046", "DCM", "Non-Specific Volume")

_UNITS = {
    "Gy": Code("Gy", "UCUM", "Gray"),
    "cc": Code("cm3", "UCUM", "cubic centimeter"),
    "%": Code("%", "UCUM", "Percent"),
    "HU": Code("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "mm": Code("mm", "UCUM", "millimeter"),
    "dB": Code("dB", "UCUM", "decibel"),
    "MU": Code("{MU}", "UCUM", "monitor units"),
    "1": Code("1", "UCUM", "no units"),
}


def of_structure(structure: Structure) -> tuple[Code, Code]:
    """Return category and type of a structure.

    Examples
    --------
    >>> from rtplan.domain import Contours
    >>> of_structure(Structure("PTVp_7700", "PTV", Contours(())))[1].meaning
    'Planning Target Volume'
    """
    if structure.kind in _KINDS:
        spatial = structure.kind in ("PTV", "EXTERNAL", "AVOIDANCE")
        return (_SPATIAL if spatial else _TARGET), _KINDS[structure.kind]
    return _ANATOMY, _ORGANS.get(structure.name, _OTHER)


def unit(name: str) -> Code:
    """Return a unit of findings in UCUM."""
    return _UNITS.get(name, Code(f"{{{name}}}"[:16], "UCUM", name[:64] or "no units"))


def scheme() -> Dataset:
    """Return the item that says what the private coding scheme is."""
    item = Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeName = PRIVATE, "Findings and structures of rtplan"
    item.CodingSchemeResponsibleOrganization = "rtplan"
    return item


def private(text: str) -> Code:
    """Return a private concept: the text itself as value where it fits (16 characters), else a hash of it.

    Examples
    --------
    >>> private("NTCP").value, len(private("V65Gy[%]@EQD2(3) difference").value)
    ('NTCP', 16)
    """
    value = text if len(text) <= 16 else hashlib.sha256(text.encode("utf-8")).hexdigest()[:16].upper()
    return Code(value, PRIVATE, text[:64])
