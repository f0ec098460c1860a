"""Every error that rtplan raises on purpose, under one RtplanError."""


class RtplanError(Exception):
    """Base of all errors that speak to the user: what was found, where, what was wanted, what to do.

    Parameters
    ----------
    message : str
        What was found and what was wanted.
    where : str, optional
        File, UID or structure. Never a patient's name or identifier.
    action : str, optional
        What the user can do.
    """

    def __init__(self, message: str, *, where: str = "", action: str = "") -> None:
        self.message = message
        self.where = where
        self.action = action
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.message]
        if self.where:
            parts.append(f"Where: {self.where}.")
        if self.action:
            parts.append(f"What to do: {self.action}")
        return " ".join(parts)

    @property
    def without_place(self) -> str:
        """The error without its place: a path may bear a person's name."""
        return f"{self.message} What to do: {self.action}" if self.action else self.message


class GeometryMismatch(RtplanError):
    """Two volumes, or a volume and its array, do not lie on the same grid."""


class DicomError(RtplanError):
    """A DICOM object is missing, broken or contradicts another one."""


class FormatError(RtplanError):
    """A file of rtplan's own formats, or a grammar, does not parse."""


class UnknownName(RtplanError):
    """A name is not in its table; the message lists the known ones."""


class StructureError(RtplanError):
    """A structure is missing, empty or cannot be used as asked."""


class DoseError(RtplanError):
    """A dose cannot be calculated or evaluated as asked."""


class ModelError(RtplanError):
    """Weights, a network or a parameter set cannot be used as asked."""


class RegistrationError(RtplanError):
    """Two images cannot be brought onto each other with the stated quality."""


class OutputError(RtplanError):
    """Results cannot be written: the folder is not empty, not writable, or the disk is full."""


class DiskFull(OutputError):
    """There is not enough free space for the results."""


class BatchError(RtplanError):
    """A cohort cannot be begun or gone on with: another process runs it, its workers or its disk are gone."""


class NetworkError(RtplanError):
    """Another system cannot be reached, refuses, or breaks off."""
