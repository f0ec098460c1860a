"""References to instances, as storage commitment exchanges them (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

#: FailureReason: there is no such instance; the class is not the one that is stored.
NO_SUCH, CLASS_CONFLICT = 0x0112, 0x0119


@dataclass(frozen=True)
class Reference:
    """One instance by class and UID; ``why`` is the FailureReason where it is not kept."""

    class_uid: str
    sop_uid: str
    why: int = 0


def references_of(content: Any, keyword: str) -> tuple[Reference, ...]:
    """Return the references of a sequence; none when it is absent."""
    return tuple(
        Reference(
            str(item.ReferencedSOPClassUID),
            str(item.ReferencedSOPInstanceUID),
            int(item.get("FailureReason", 0) or 0),
        )
        for item in content.get(keyword, None) or ()
    )


def as_sequence(references: Sequence[Reference]) -> list[Dataset]:
    """Return the items of a sequence of references."""
    items = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.class_uid
        item.ReferencedSOPInstanceUID = reference.sop_uid
        if reference.why:
            item.FailureReason = reference.why
        items.append(item)
    return items
