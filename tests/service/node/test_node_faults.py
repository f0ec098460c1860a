"""Strangers, broken bytes and greed: each is refused or cut off in time, and the node goes on."""

import os
import random
import shutil
import socket
import struct
import subprocess
import time

import pytest
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.sop_class import MRImageStorage, UltrasoundImageStorage

from .conftest import (
    NodeProcess,
    entity,
    mr_object,
    running,
    stored,
    wait_for,
    write_config,
    write_objects,
)

ABORT, REJECT = 7, 3
OTHER = """
[[peer]]
ae_title = "OTHER"
address = "127.0.0.3"
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    path = write_config(
        tmp_path_factory.mktemp("faults"), node="max_associations = 3\nmax_object_mib = 0.05", rest=OTHER
    )
    with running(path) as node:
        yield node


@pytest.fixture(autouse=True)
def lives(node):
    """Whatever was done, the node still answers."""
    yield
    wait_for(lambda: node._listener.active == 0, 6.0)
    assert echo(node)


def echo(node):
    association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
    assert association.is_established
    status = association.send_c_echo()
    association.release()
    return status.Status == 0


def refused(node, why):
    return node.counters.value("rtplan_node_refused_total", why)


def connect(node, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", node.port), 5.0, source_address=(source, 0))


def rest_of(connection, patience_s=4.0):
    """Return what comes until the other end closes, and how long that took (s)."""
    connection.settimeout(patience_s)
    began, got = time.monotonic(), b""
    try:
        while part := connection.recv(4096):
            got += part
    except ConnectionResetError:
        pass
    return got, time.monotonic() - began


def request_pdu():
    """Return the bytes of a request for an association as our own sender makes it."""
    kept = []

    def keep(event):
        kept.append(event.pdu)

    with socket.create_server(("127.0.0.1", 0)) as server:
        ae = entity(patience_s=0.3)
        ae.associate(
            "127.0.0.1", server.getsockname()[1], ae_title="RTPLAN", evt_handlers=[(evt.EVT_PDU_SENT, keep)]
        )
    return next(pdu.encode() for pdu in kept if isinstance(pdu, A_ASSOCIATE_RQ))


@pytest.fixture(scope="module")
def asking():
    return request_pdu()


def test_an_unknown_ae_title_is_rejected(node):
    before = refused(node, "unknown AE title")
    association = entity("STRANGER").associate("127.0.0.1", node.port, ae_title="RTPLAN")
    assert association.is_rejected
    assert association.acceptor.primitive.diagnostic == 3
    assert refused(node, "unknown AE title") == before + 1


def test_another_called_title_is_rejected(node):
    association = entity().associate("127.0.0.1", node.port, ae_title="SOMEBODY")
    assert association.is_rejected
    assert association.acceptor.primitive.diagnostic == 7


def test_an_unknown_address_is_cut_off_before_anything_is_read(node, asking):
    with connect(node, "127.0.0.2") as connection:
        connection.sendall(asking)
        got, seconds = rest_of(connection)
    assert got == b""
    assert seconds < 1.0
    assert refused(node, "unknown address") == 1


def test_a_known_title_from_the_address_of_another_is_rejected(node, asking):
    with connect(node, "127.0.0.3") as connection:
        connection.sendall(asking)
        got, _ = rest_of(connection)
    assert got[0] == REJECT
    assert refused(node, "AE title from a wrong address") == 1


@pytest.mark.parametrize("kind", [1, 4])
def test_an_oversized_pdu_is_aborted_without_being_read(node, asking, kind):
    before = refused(node, "PDU too large")
    with connect(node) as connection:
        if kind == 4:
            connection.sendall(asking)
            assert connection.recv(4096)[0] == 2
        connection.sendall(struct.pack(">BBL", kind, 0, 2**31))
        got, _ = rest_of(connection)
    assert got[0] == ABORT
    assert wait_for(lambda: refused(node, "PDU too large") == before + 1)


def test_garbage_is_aborted(node):
    rng = random.Random(1)
    for first in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", rng.randbytes(4000)):
        with connect(node) as connection:
            connection.sendall(first)
            connection.shutdown(socket.SHUT_WR)
            rest_of(connection)
    with connect(node) as connection:  # a request for an association that does not decode
        connection.sendall(struct.pack(">BBL", 1, 0, 500) + rng.randbytes(500))
        rest_of(connection)


def test_garbage_within_an_association_is_aborted(node, asking):
    rng = random.Random(2)
    for flags in (0, 1, 2, 3):
        with connect(node) as connection:
            connection.sendall(asking)
            assert connection.recv(4096)[0] == 2
            body = struct.pack(">IBB", 102, 1, flags) + rng.randbytes(100)
            connection.sendall(struct.pack(">BBL", 4, 0, len(body)) + body)
            connection.shutdown(socket.SHUT_WR)
            rest_of(connection)


def test_half_open_connections_are_closed(node):
    connections = [connect(node) for _ in range(3)]
    for connection in connections:
        _, seconds = rest_of(connection)
        assert seconds < 3.0
        connection.close()


@pytest.mark.parametrize("established", [False, True])
def test_a_slow_loris_is_cut_off(node, asking, established):
    """One byte at a time would keep an association for ever, were a PDU not to be whole in time."""
    with connect(node) as connection:
        if established:
            connection.sendall(asking)
            assert connection.recv(4096)[0] == 2
        slow = struct.pack(">BBL", 4, 0, 1000) + bytes(1000) if established else asking
        assert trickle(connection, slow) < min(4.0, 0.05 * len(slow))


def trickle(connection, content):
    """Send a byte every 50 ms until the other end closes; return how long that took (s)."""
    began = time.monotonic()
    connection.settimeout(0.05)
    for byte in content:
        try:
            connection.sendall(bytes([byte]))
            if connection.recv(100) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def test_an_idle_association_is_aborted(node):
    association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
    assert association.is_established
    wait_for(lambda: association.is_aborted, 5.0)


def test_more_associations_than_the_limit_are_told_so(node):
    held = [entity().associate("127.0.0.1", node.port, ae_title="RTPLAN") for _ in range(3)]
    assert all(association.is_established for association in held)
    more = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
    assert more.is_rejected
    assert (more.acceptor.primitive.result_source, more.acceptor.primitive.diagnostic) == (3, 2)
    flood = [connect(node) for _ in range(20)]
    wait_for(lambda: refused(node, "too many connections") >= 5)
    for connection in flood:
        connection.close()
    for association in held:
        association.release()


def test_a_class_that_is_not_taken_has_no_context(node):
    ae = entity()
    ae.add_requested_context(UltrasoundImageStorage)
    association = ae.associate("127.0.0.1", node.port, ae_title="RTPLAN")
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    association.release()
    assert UltrasoundImageStorage not in accepted
    assert MRImageStorage in accepted


def send(node, *objects, **more):
    """Return the status of each object; 0 stands for success, -1 for none."""
    association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
    said = []
    for ds in objects:
        status = association.send_c_store(ds, **more) if association.is_established else {}
        said.append(status.Status if "Status" in status else -1)
    if association.is_established:
        association.release()
    return said


def test_an_object_that_is_too_large_is_refused_and_others_go_on(node):
    small, large = mr_object(2, 1), mr_object(2, 2, size=180)
    assert send(node, small, large, mr_object(2, 3)) == [0x0000, 0xA701, 0x0000]
    found = stored(node.folder)
    assert small.SOPInstanceUID in found
    assert large.SOPInstanceUID not in found


def test_an_object_far_too_large_ends_the_association(node):
    assert send(node, mr_object(2, 4, size=400)) == [-1]
    wait_for(lambda: refused(node, "object too large") == 1)
    assert not list((node.folder / "incoming").iterdir())


def send_raw(node, content, sop_uid):
    """Send bytes as a data set; return the status."""
    association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, sop_uid
    request.DataSet = content
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == MRImageStorage)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    return answer.Status


def encoded(ds):
    from io import BytesIO

    from pynetdicom.dsutils import encode

    return BytesIO(encode(ds, False, True))


def test_a_data_set_that_is_not_what_the_command_says_is_refused(node):
    assert send_raw(node, encoded(mr_object(3, 1)), "1.2.3.4") == 0xA900


def test_bytes_that_are_no_data_set_are_refused(node):
    from io import BytesIO

    assert send_raw(node, BytesIO(random.Random(3).randbytes(3000)), "1.2.3.5") == 0xC000
    ds = mr_object(3, 2)
    cut = BytesIO(encoded(ds).getvalue()[:200])
    assert send_raw(node, cut, ds.SOPInstanceUID) == 0xC000
    assert not list((node.folder / "incoming").iterdir())


def test_the_same_object_again_is_success_and_other_bytes_are_refused(node):
    ds, other = mr_object(4, 1), mr_object(4, 1)
    other.PatientPosition = "HFS"
    assert send(node, ds, ds, other, ds) == [0x0000, 0x0000, 0xC111, 0x0000]
    assert stored(node.folder).count(ds.SOPInstanceUID) == 1
    assert node.counters.value("rtplan_node_duplicates_total", "SCANNER") == 2


def test_an_association_that_breaks_off_leaves_nothing(node):
    before = stored(node.folder)
    association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, "1.2.3.6"
    request.DataSet = encoded(mr_object(5, 1))
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == MRImageStorage)
    from pynetdicom.dimse_messages import C_STORE_RQ

    message = C_STORE_RQ()
    message.primitive_to_message(request)
    fragments = list(message.encode_msg(context.context_id, 512))
    for fragment in fragments[:-1]:
        association.dul.send_pdu(fragment)
    wait_for(lambda: list((node.folder / "incoming").iterdir()))
    association.abort()
    wait_for(lambda: not list((node.folder / "incoming").iterdir()))
    assert stored(node.folder) == before


def test_nothing_of_the_patient_is_in_log_trail_or_names(node):
    send(node, mr_object(6, 1))
    told = (node.folder.parent / "log.txt").read_text() + (node.folder / "audit.jsonl").read_text()
    names = " ".join(str(path) for path in node.folder.rglob("*"))
    uid = str(mr_object(6, 1).StudyInstanceUID)
    assert "SCANNER" in told
    for secret in ("Secretpatient", "SECRET4711", uid):
        assert secret not in told
        assert secret not in names


def mounted(folder, mib):
    """Return the command that runs another one with a small file system of its own on a folder."""
    script = f'mount -t tmpfs -o size={mib}m none "{folder}" && exec "$@"'
    return ("unshare", "-rm", "sh", "-c", script, "sh")


def test_a_full_disk_refuses_and_takes_again_when_there_is_space(tmp_path):
    config = write_config(tmp_path, node="storage_commitment = false")
    config.write_text(config.read_text().replace("disk_reserve_mib = 1", "disk_reserve_mib = 0"))
    small = tmp_path / "node"
    small.mkdir()
    before = mounted(small, 3)
    if not shutil.which("unshare") or subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (unshare)")
    paths = write_objects(tmp_path / "in", 24, size=300)
    node = NodeProcess(config, *before).start()
    association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
    said = [association.send_c_store(path).Status for path in paths]
    association.release()
    inside = f"/proc/{node.process.pid}/root{small}"
    kept = [os.path.join(place, name) for place, _, names in os.walk(f"{inside}/received") for name in names]
    assert said[0] == 0x0000
    assert said[-1] == 0xA700
    assert len(kept) == said.count(0x0000) < len(paths)
    assert os.listdir(f"{inside}/incoming") == []
    os.unlink(kept[-1])
    os.unlink(kept[-2])
    association = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")
    assert association.send_c_store(paths[-1]).Status == 0x0000
    association.release()
    assert node.stop() == 0
