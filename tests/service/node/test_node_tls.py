"""TLS with certificates on both sides: who has none of the authority's, or another's, is turned away."""

import shutil
import socket
import ssl
import subprocess
import time

import pytest
import trustme
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from rtplan.errors import FormatError, NetworkError
from rtplan.io.network.calling import Calling, echo
from rtplan.io.network.facts import facts_of
from rtplan.io.network.parties import Limits, Peer
from rtplan.io.network.storing import Item, send
from rtplan.io.network.tls import Certificates, client_context
from rtplan.service.node.config import load_config
from rtplan.service.node.node import Node

from .conftest import running, stored, wait_for, write_config

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
TLS = 'tls = {cert = "node.pem", key = "node.key", ca = "ca.pem"}'
BOUND = '[[peer]]\nae_title = "BOUND"\naddress = "127.0.0.1"\ncertificate = "scanner.example"\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a configuration, the node's certificate, the scanner's, and one of another authority."""
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    theirs.cert_pem.write_to_path(folder / "stranger-ca.pem")
    for name, authority, identity in (
        ("node", ours, "localhost"),
        ("scanner", ours, "scanner.example"),
        ("stranger", theirs, "scanner.example"),
    ):
        issued = authority.issue_cert(identity, "127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    write_config(folder, node=TLS, rest=BOUND)
    return folder


@pytest.fixture(scope="module")
def node(place):
    with running(place / "node.toml") as node:
        yield node


def calling(place, name, title="SCANNER", ca="ca"):
    files = Certificates(place / f"{name}.pem", place / f"{name}.key", place / f"{ca}.pem")
    limits = Limits(connect_s=3.0, answer_s=3.0)
    return Calling(title, limits, client_context(files))


def there(node, **more):
    return Peer("RTPLAN", "127.0.0.1", node.port, tls=True, **more)


def test_a_known_certificate_is_let_in_and_objects_are_stored(node, place, objects):
    scanner = calling(place, "scanner")
    echo(scanner, there(node, hostname="localhost"))
    items = [Item(path, facts_of(path).class_uid, facts_of(path).sop_uid) for path in objects]
    told = []
    send(scanner, there(node), items, lambda item, status, _: told.append(status))
    assert told == [0] * len(objects)
    assert len(stored(node.folder)) == len(objects)


def test_a_certificate_of_another_authority_is_turned_away(node, place):
    before = node.counters.value("rtplan_node_refused_total", "TLS")
    with pytest.raises(NetworkError):
        echo(calling(place, "stranger"), there(node))
    assert wait_for(lambda: node.counters.value("rtplan_node_refused_total", "TLS") == before + 1)


def test_without_tls_or_without_a_certificate_nobody_gets_in(node, place):
    plain = AE("SCANNER")
    plain.add_requested_context(Verification)
    plain.acse_timeout = 2.0
    assert not plain.associate("127.0.0.1", node.port, ae_title="RTPLAN").is_established
    context = ssl.create_default_context(cafile=str(place / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", node.port), 3.0) as connection,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
        context.wrap_socket(connection, server_hostname="localhost") as wrapped,
    ):
        wrapped.recv(1)


def test_an_ae_title_is_bound_to_its_certificate(node, place):
    echo(calling(place, "scanner", "BOUND"), there(node))
    with pytest.raises(NetworkError, match="rejects"):
        echo(calling(place, "node", "BOUND"), there(node))


def test_the_callers_side_checks_the_certificate_and_the_name(node, place):
    with pytest.raises(NetworkError):
        echo(calling(place, "scanner", ca="stranger-ca"), there(node))
    with pytest.raises(NetworkError):
        echo(calling(place, "scanner"), there(node, hostname="elsewhere.example"))


def test_a_handshake_that_never_ends_holds_up_nobody(node, place):
    stalled = [socket.create_connection(("127.0.0.1", node.port), 3.0) for _ in range(4)]
    began = time.monotonic()
    echo(calling(place, "scanner"), there(node))
    assert time.monotonic() - began < 0.9
    for connection in stalled:
        connection.settimeout(4.0)
        assert connection.recv(10) == b""
        connection.close()


@pytest.mark.peer
def test_dcmtk_speaks_tls_with_the_node(node, place):
    if not shutil.which("echoscu"):
        pytest.skip("not installed here: echoscu")
    words = [
        "echoscu",
        "-aet",
        "SCANNER",
        "-aec",
        "RTPLAN",
        "127.0.0.1",
        str(node.port),
        "+cf",
        place / "ca.pem",
    ]
    for name, code in (("scanner", 0), ("stranger", 1)):
        mine = ["+tls", place / f"{name}.key", place / f"{name}.pem"]
        done = subprocess.run([*words, *mine], capture_output=True, text=True, timeout=20, check=False)
        assert bool(done.returncode) == bool(code), done.stdout + done.stderr


@pytest.mark.parametrize("broken", ["missing", "not PEM", "another key"])
def test_certificates_that_cannot_be_used_are_named(place, tmp_path, broken):
    for name in ("node.pem", "node.key", "ca.pem"):
        shutil.copy(place / name, tmp_path)
    if broken == "missing":
        (tmp_path / "ca.pem").unlink()
    elif broken == "not PEM":
        (tmp_path / "node.pem").write_text("nothing")
    else:
        shutil.copy(place / "scanner.key", tmp_path / "node.key")
    with pytest.raises(FormatError, match="tls"):
        Node(load_config(write_config(tmp_path, node=TLS)), quiet=True)
