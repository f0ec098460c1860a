"""Names of structures: TG-263 and the few that rtplan adds, with their DICOM type."""

from __future__ import annotations

from types import MappingProxyType

from rtplan.domain.structure import Kind

#: The outline of the skin.
EXTERNAL = "External"
#: Voxels in which every density image was measured; outside it all arms take the reference's value.
SUPPORT = "zSupport"

#: Structures that rtplan knows: TG-263 name to RTROIInterpretedType. Any other name is an ORGAN unless
#: it begins as a target.
KINDS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "External": "EXTERNAL",
        "Prostate": "ORGAN",
        "SeminalVes": "ORGAN",
        "Urethra": "ORGAN",
        "Bladder": "ORGAN",
        "Bladder_Wall": "ORGAN",
        "Rectum": "ORGAN",
        "Rectal_Wall": "ORGAN",
        "PenileBulb": "ORGAN",
        "Femur_Head_L": "ORGAN",
        "Femur_Head_R": "ORGAN",
        "Bowel_Small": "ORGAN",
        "Bag_Bowel": "ORGAN",
        "Bone_Pelvic": "ORGAN",
        "Sacrum": "ORGAN",
        "Spacer": "AVOIDANCE",
        "zSupport": "CONTROL",
        "zGas": "CONTROL",
    }
)


def kind_of(name: str) -> Kind:
    """Return the DICOM type of a structure by its TG-263 name.

    Examples
    --------
    >>> kind_of("PTVp_7700"), kind_of("Rectum"), kind_of("External")
    ('PTV', 'ORGAN', 'EXTERNAL')
    """
    for prefix in ("GTV", "CTV", "PTV"):
        if name.startswith(prefix):
            return prefix
    if name.startswith("z"):
        return "CONTROL"
    return KINDS.get(name, "ORGAN")
