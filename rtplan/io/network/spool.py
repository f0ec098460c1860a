"""A data set on its way from the network to the disk: written as it comes, never held in memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dsutils import create_file_meta
from pynetdicom.pdu_primitives import P_DATA

#: What temporary files end in.
SUFFIX = ".part"
#: Bytes of a data set of any other request than C-STORE.
MOST_HELD = 2**23


@dataclass(frozen=True)
class SpoolPlace:
    """Where data sets are written to while they come.

    Parameters
    ----------
    folder : Path
        On the file system of their last place.
    most_bytes : int
        Of one data set.
    reserve_bytes : int
        That stay free on the disk.
    """

    folder: Path
    most_bytes: int
    reserve_bytes: int = 0


class Spool(BytesIO):
    """Takes the fragments of one data set; pynetdicom takes it for the buffer of its own.

    Parameters
    ----------
    place : SpoolPlace
        Where, and how much.
    head : bytes
        Preamble and file meta information.

    Attributes
    ----------
    failure : str
        Empty; ``size`` when the data set is too large, ``disk`` when it cannot be written.
    size : int
        Bytes of the data set so far.
    """

    def __init__(self, place: SpoolPlace, head: bytes) -> None:
        super().__init__()
        self.place, self.size, self.failure = place, 0, ""
        self.path: Path | None = None
        self._file = -1
        self._hash = hashlib.sha256()
        with self._writing():
            if shutil.disk_usage(place.folder).free < place.reserve_bytes + len(head):
                raise OSError("reserve")
            self._file, name = tempfile.mkstemp(SUFFIX, dir=place.folder)
            self.path = Path(name)
            self._write_all(head)

    @property
    def sha256(self) -> str:
        """SHA-256 of the data set, without its file meta information."""
        return self._hash.hexdigest()

    def write(self, data: Any, /) -> int:
        """Append a fragment; after a failure it is let go by."""
        self.size += len(data)
        if self.size > self.place.most_bytes:
            self._give_up("size")
        if not self.failure:
            with self._writing():
                self._write_all(data)
                self._hash.update(data)
        return len(data)

    def sync(self) -> None:
        """Bring the whole file onto the disk and close it.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        try:
            os.fsync(self._file)
        finally:
            self._close()

    def taken(self, path: Path) -> None:
        """Move the file to its last place; the caller makes its folder durable."""
        assert self.path is not None
        os.rename(self.path, path)
        self.path = None

    def discard(self) -> None:
        """Remove the file unless it was taken."""
        self._close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None

    def close(self) -> None:
        """Discard what nobody took: an association that broke off."""
        self.discard()
        super().close()

    def _write_all(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._give_up("disk")

    def _give_up(self, why: str) -> None:
        self.failure = self.failure or why
        self.discard()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def demand_small(held: BytesIO) -> None:
    """Raise ValueError when a data set that is held in memory (a request, not an object) gets too large."""
    if held.tell() > MOST_HELD:
        raise ValueError("request too large")


def head_of(class_uid: str, sop_uid: str, syntax: str) -> bytes:
    """Return preamble and file meta information of an object."""
    head = BytesIO()
    head.write(b"\0" * 128 + b"DICM")
    meta = create_file_meta(
        sop_class_uid=UID(class_uid), sop_instance_uid=UID(sop_uid), transfer_syntax=UID(syntax)
    )
    write_file_meta_info(head, meta)
    return head.getvalue()


class SpoolingProvider(DIMSEServiceProvider):
    """Puts a `Spool` into the place of the buffer of each C-STORE request."""

    def __init__(self, assoc: Any, place: SpoolPlace) -> None:
        super().__init__(assoc)
        self.place = place

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments one by one: the command may stand in one PDU with the first of its data."""
        try:
            for fragment in primitive.presentation_data_value_list:
                self._receive(list(fragment))
        except Exception:  # what does not decode; pynetdicom's thread would die of it with a traceback
            self.dul.socket.refused = self.dul.socket.refused or "no DIMSE message"
            self.dul.event_queue.put("Evt19")

    def _receive(self, fragment: list[Any]) -> None:
        single = P_DATA()
        single.presentation_data_value_list = [fragment]
        super().receive_primitive(single)
        message: Any = self.message
        if isinstance(message, C_STORE_RQ) and type(message.data_set) is BytesIO:
            message.data_set = Spool(self.place, self._head(message))
        elif message is not None and not isinstance(message.data_set, Spool):
            demand_small(message.data_set)

    def discard(self) -> None:
        """Let go of a data set whose association broke off."""
        message: Any = self.message
        if message is not None and isinstance(message.data_set, Spool):
            message.data_set.close()

    def _head(self, message: C_STORE_RQ) -> bytes:
        command = message.command_set
        accepted = self.assoc._accepted_cx.get(message.context_id)
        syntax = str(accepted.transfer_syntax[0]) if accepted else ""
        return head_of(str(command.AffectedSOPClassUID), str(command.AffectedSOPInstanceUID), syntax)
