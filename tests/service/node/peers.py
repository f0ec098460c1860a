"""A small archive on real sockets, made with pynetdicom: it lists what came, and fails where told."""

import threading

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    MRImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)


def item(sop_class, sop_uid, why=0):
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class, sop_uid
    if why:
        ds.FailureReason = why
    return ds


class Archive:
    """Listens as PACS.

    ``refuse``: statuses to give first, by UID; ``refuse_for_ever``: UIDs of which it says that their class
    is not supported; ``loses``: UIDs that it says once it does not keep.
    """

    def __init__(self, port, *, refuse=None, refuse_for_ever=(), loses=()):
        self.port, self.refuse, self.never, self.loses = port, dict(refuse or {}), refuse_for_ever, set(loses)
        self.got, self.bytes_of, self.reports, self.answers_to = [], {}, [], None
        self.ae = AE("PACS")
        self.ae.add_supported_context(MRImageStorage, ExplicitVRLittleEndian)
        self.ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self.ae.acse_timeout = self.ae.dimse_timeout = 5.0

    def __enter__(self):
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_N_EVENT_REPORT, self._report),
        ]
        self.server = self.ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_):
        self.server.shutdown()

    def _store(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in self.never:
            return 0x0122
        if self.refuse.get(uid):
            return self.refuse[uid].pop()
        self.got.append(uid)
        self.bytes_of[uid] = event.request.DataSet.getvalue()
        return 0x0000

    def _action(self, event):
        threading.Thread(target=self._answer, args=(event.action_information,), daemon=True).start()
        return 0x0000, None

    def _answer(self, asked):
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        pairs = [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in asked.ReferencedSOPSequence]
        lost = [pair for pair in pairs if pair[1] in self.loses]
        self.loses -= {uid for _, uid in lost}
        report.ReferencedSOPSequence = [item(*pair) for pair in pairs if pair not in lost]
        if lost:
            report.FailedSOPSequence = [item(*pair, 0x0112) for pair in lost]
        ae = AE("PACS")
        ae.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = ae.associate("127.0.0.1", self.answers_to, ae_title="RTPLAN", ext_neg=[role])
        association.send_n_event_report(
            report, 2 if lost else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        association.release()

    def ask(self, port, references):
        """Ask a node to keep; return the status."""
        ae = AE("PACS")
        ae.add_requested_context(StorageCommitmentPushModel)
        asked = Dataset()
        asked.TransactionUID = generate_uid()
        asked.ReferencedSOPSequence = [item(*pair) for pair in references]
        association = ae.associate("127.0.0.1", port, ae_title="RTPLAN")
        status, _ = association.send_n_action(
            asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        association.release()
        return status.Status

    def _report(self, event):
        told = event.event_information
        self.reports.append(
            {
                "kept": [str(i.ReferencedSOPInstanceUID) for i in told.get("ReferencedSOPSequence", ())],
                "lost": {
                    str(i.ReferencedSOPInstanceUID): i.FailureReason
                    for i in told.get("FailedSOPSequence", ())
                },
            }
        )
        return 0x0000, None
