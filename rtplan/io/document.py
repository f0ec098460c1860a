"""A report as an Encapsulated PDF."""

from __future__ import annotations

from pathlib import Path

from rtplan.domain import Identity
from rtplan.errors import FormatError
from rtplan.io import modules as md


def write(
    pdf: bytes,
    path: Path,
    *,
    identity: Identity,
    title: str = "rtplan research report",
    stamp: md.Stamp | None = None,
) -> Path:
    """Write a PDF into a DICOM object of the patient.

    Parameters
    ----------
    pdf : bytes
        The document; rtplan's reports bear a pseudonym only.
    path : Path
        New file.
    identity : Identity
        Patient and study.
    title : str
        DocumentTitle.

    Raises
    ------
    FormatError
        If the bytes are not a PDF.
    OutputError
        If the file cannot be written.
    """
    if not pdf.startswith(b"%PDF-"):
        raise FormatError("The document is not a PDF.", where=str(path))
    stamp = stamp or md.Stamp()
    header = md.start("PDF", identity, stamp, series_uid=stamp.uid("series", "PDF"), sop_uid=stamp.uid("PDF"))
    del header.OperatorsName  # not of this object
    header.SeriesDescription = "rtplan report NOT FOR CLINICAL USE"
    header.InstanceNumber = 1
    header.ConversionType = "WSD"
    header.ContentDate, header.ContentTime = stamp.date, stamp.time
    header.AcquisitionDateTime = ""
    header.BurnedInAnnotation = "NO"
    header.DocumentTitle = md.clipped(title, 1024)
    header.ConceptNameCodeSequence = md.sequence(md.code("18748-4", "LN", "Diagnostic imaging report"))
    header.MIMETypeOfEncapsulatedDocument = "application/pdf"
    header.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    header.EncapsulatedDocumentLength = len(pdf)
    return md.save(header, path)
