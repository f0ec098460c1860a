"""What is spoken on the network: SOP classes and, for each, the transfer syntaxes."""

from __future__ import annotations

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from rtplan.io.codec import DECODERS, undecodable
from rtplan.io.header import SOP_CLASSES

#: Kinds of objects that are received, by rtplan's name; the rest of `SOP_CLASSES` is refused.
RECEIVED = (
    *("CT", "enhanced CT", "MR", "enhanced MR", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "SEG", "PM"),
    *("SR", "PDF"),
)
#: Kinds whose pixels may be compressed.
IMAGES = ("CT", "enhanced CT", "MR", "enhanced MR")
#: What every class is taken in, the best first.
PLAIN = tuple(
    map(
        str,
        (
            ExplicitVRLittleEndian,
            ImplicitVRLittleEndian,
            DeflatedExplicitVRLittleEndian,
            ExplicitVRBigEndian,
        ),
    )
)
#: UIDs of the services beside storage.
VERIFICATION, COMMITMENT = str(Verification), str(StorageCommitmentPushModel)


def stored_classes() -> dict[str, str]:
    """Return the SOP classes that are received: UID to rtplan's name."""
    return {uid: kind for uid, kind in SOP_CLASSES.items() if kind in RECEIVED}


def syntaxes_of(kind: str) -> tuple[str, ...]:
    """Return the transfer syntaxes that objects of a kind are received in.

    Examples
    --------
    >>> "1.2.840.10008.1.2.4.70" in syntaxes_of("MR"), "1.2.840.10008.1.2.4.70" in syntaxes_of("RTDOSE")
    (True, False)
    """
    compressed = [str(uid) for uid in DECODERS if not undecodable(uid)] if kind in IMAGES else []
    return (*PLAIN, *compressed)


def supported(*, commitment: bool) -> list[PresentationContext]:
    """Return what the listener accepts."""
    contexts = [build_context(VERIFICATION, list(PLAIN[:2]))]
    contexts += [build_context(uid, list(syntaxes_of(kind))) for uid, kind in stored_classes().items()]
    if commitment:
        both = build_context(COMMITMENT, list(PLAIN[:2]))
        both.scu_role = both.scp_role = True  # asked of us, and answered to us
        contexts.append(both)
    return contexts
