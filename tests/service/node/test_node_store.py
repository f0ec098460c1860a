"""Taking objects: at the same time, from several, onto a disk that fails, larger than memory should hold."""

import errno
import os
import random
import socket
import struct
import threading
import time
from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from .conftest import (
    NodeProcess,
    Sender,
    entity,
    mr_object,
    running,
    stored,
    wait_for,
    write_config,
    write_objects,
)
from .test_node_faults import request_pdu

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def test_the_same_objects_at_the_same_time_are_kept_once(tmp_path, objects):
    with running(write_config(tmp_path)) as node:
        senders = [Sender(node.port, objects) for _ in range(6)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert [len(sender.answered) for sender in senders] == [len(objects)] * 6
        found = stored(node.folder)
        assert len(found) == len(set(found)) == len(objects)


def test_of_two_data_sets_under_one_uid_at_the_same_time_one_wins(tmp_path):
    variants = []
    for number in range(6):
        (path,) = write_objects(tmp_path / str(number), 1, size=20 + number)
        variants.append(path)
    with running(write_config(tmp_path)) as node:
        senders = [Sender(node.port, [path], deadline_s=1.0) for path in variants]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        winners = [sender for sender in senders if sender.answered]
        assert len(winners) == 1
        assert {status for sender in senders for status in sender.statuses} == {0x0000, 0xC111}
        (kept,) = (node.folder / "received").glob("*/*.dcm")
        assert kept.stat().st_size == pytest.approx(winners[0].paths[0].stat().st_size, abs=200)
        row = node.database.one("SELECT sha256, path FROM instance")
        assert node.store.kept([]) == ([], [])
        assert (node.folder / row["path"]) == kept


@pytest.mark.parametrize(
    ("call", "thread"), [("fsync", "Acceptor"), ("fsync", "committer"), ("rename", "Acceptor")]
)
def test_what_the_disk_does_not_take_is_not_answered_with_success(
    tmp_path, objects, monkeypatch, call, thread
):
    """The system's own call fails, as on a broken disk: the object is refused, and nothing of it stays.

    The file is forced onto the disk by the association's thread, its folder by the committer.
    """
    with running(write_config(tmp_path)) as node:
        association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
        assert association.send_c_store(objects[0]).Status == 0x0000
        sound = getattr(os, call)

        def broken(*arguments, **more):
            if thread in threading.current_thread().name:
                raise OSError(errno.EIO, "broken")
            return sound(*arguments, **more)

        monkeypatch.setattr(os, call, broken)
        assert association.send_c_store(objects[1]).Status == 0xA700
        monkeypatch.undo()
        assert len(stored(node.folder)) == 1
        assert not list((node.folder / "incoming").iterdir())
        assert association.send_c_store(objects[1]).Status == 0x0000
        association.release()
        assert len(stored(node.folder)) == 2


def test_a_stop_waits_for_nobody(tmp_path):
    """A half-open connection, one that hangs within a PDU, and an idle association hold up no stop."""
    path = write_config(tmp_path)
    text = path.read_text().replace("stop_s = 1.0", "stop_s = 0.2")
    for name in ("association_s = 1.0", "pdu_s = 1.0", "idle_s = 1.5"):
        text = text.replace(name, name.split("=")[0] + "= 60.0")
    path.write_text(text)
    with running(path) as node:
        half_open = socket.create_connection(("127.0.0.1", node.port))
        hanging = socket.create_connection(("127.0.0.1", node.port))
        hanging.sendall(struct.pack(">BBL", 1, 0, 500) + b"abc")
        idle = entity(patience_s=60.0).associate("127.0.0.1", node.port, ae_title="RTPLAN")
        assert idle.is_established
        wait_for(lambda: node._listener.active == 3)
        began = time.monotonic()
    assert time.monotonic() - began < 5.0
    wait_for(lambda: idle.is_aborted)
    for connection in (half_open, hanging):
        connection.close()


def resident_mib(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as stream:
        (line,) = (line for line in stream if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@pytest.mark.slow
def test_large_objects_are_never_held_in_memory(tmp_path):
    node = NodeProcess(write_config(tmp_path)).start()
    association = entity(patience_s=60.0).associate("127.0.0.1", node.port, ae_title="RTPLAN")
    assert association.send_c_store(mr_object(1, 1)).Status == 0x0000
    before = resident_mib(node.process)
    large = mr_object(1, 2, size=8000)
    large.save_as(tmp_path / "large.dcm", enforce_file_format=True)
    assert (tmp_path / "large.dcm").stat().st_size > 120 * 2**20
    assert association.send_c_store(tmp_path / "large.dcm").Status == 0x0000
    association.release()
    assert resident_mib(node.process) < before + 20
    assert node.stop() == 0


@pytest.mark.slow
def test_sessions_with_changed_bytes_never_end_the_node(tmp_path, objects):
    """400 sessions of a true sender, each with some bytes changed, cut or repeated."""
    rng = random.Random(7)
    asking, ds = request_pdu(), mr_object(9, 1)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    request.DataSet = BytesIO(encode(ds, False, True))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    pdus = [asking]
    for primitive in message.encode_msg(1, 1024):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        pdus.append(pdu.encode())
    whole = [b"".join(pdus[:1]), b"".join(pdus[1:])]
    path = write_config(tmp_path)
    text = path.read_text().replace("association_s = 1.0", "association_s = 0.2")
    path.write_text(text.replace("pdu_s = 1.0", "pdu_s = 0.2").replace("idle_s = 1.5", "idle_s = 0.3"))
    with running(path) as node:
        for _ in range(400):
            parts = [bytearray(part) for part in whole]
            victim = parts[rng.random() < 0.7]
            for _ in range(rng.choice([1, 1, 2, 8, 60])):
                victim[rng.randrange(len(victim))] = rng.randrange(256)
            if rng.random() < 0.2:
                del victim[rng.randrange(len(victim)) :]
            try:
                with socket.create_connection(("127.0.0.1", node.port), 2.0) as connection:
                    connection.settimeout(0.05)
                    for part in parts:
                        connection.sendall(part)
                        try:
                            connection.recv(4096)
                        except TimeoutError:
                            continue
            except OSError:
                continue
        wait_for(lambda: node._listener.active == 0)
        assert node.workshop.alive()
        assert node._listener.alive
        association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
        assert association.is_established
        assert [association.send_c_store(path).Status for path in objects] == [0x0000] * len(objects)
        association.release()
        assert not list((node.folder / "incoming").iterdir())
    assert "Secret" not in (tmp_path / "log.txt").read_text()
