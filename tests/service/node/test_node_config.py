"""What the configuration may say, and how a wrong one is named before anything listens."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from rtplan import cli
from rtplan.errors import FormatError, OutputError, UnknownName
from rtplan.io.network.parties import Caller
from rtplan.service.node.addresses import callers_of
from rtplan.service.node.config import load_config
from rtplan.service.node.database import Database
from rtplan.service.node.journal import Journal, broken_lines
from rtplan.service.node.node import Node
from rtplan.service.node.rules import SeriesSeen, rule_for

from .conftest import running, write_config

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "node.toml"
RULE = '[[rule]]\nmodality = "MR"\nprotocol = "prostate_boost_flame"\n'


def leave(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


def test_the_example_is_valid_and_shown(capsys):
    config = load_config(EXAMPLE)
    assert config.node.folder == EXAMPLE.parent / "node"
    assert leave("serve", "--config", EXAMPLE, "--check") == 0
    told = capsys.readouterr().out
    for words in ("RTPLAN listens on 127.0.0.1, port 11112", "SCANNER", "port 4242", "a series MR", "30 s"):
        assert words in told
    assert not (EXAMPLE.parent / "node").exists()


def test_the_form_that_was_agreed_first_is_read(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(
        """schema = 1
[node]
ae_title = "RTPLAN"
host = "127.0.0.1"
port = 11112
folder = "node"
max_associations = 8
max_object_mib = 512
[[peer]]
ae_title = "SCANNER"
address = "127.0.0.1"
[[peer]]
ae_title = "PACS"
address = "127.0.0.1"
port = 4242
[[rule]]
modality = "MR"
description = "(?i)t2"
quiet_s = 30
protocol = "prostate_boost_flame"
send_to = ["PACS"]
"""
    )
    assert load_config(path).rule[0].send_to == ("PACS",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("schema = 1", "schema = 2"), "schema"),
        (("[node]\n", "[node]\ncolour = 3\n"), "colour"),
        (('ae_title = "SCANNER"', 'ae_title = "SEVENTEEN_LETTERS"'), "peer[0].ae_title"),
        (('ae_title = "SCANNER"', 'ae_title = "BACK\\\\SLASH"'), "peer[0].ae_title"),
        (("port = 0", "port = 70000"), "node.port"),
        (('modality = "MR"', 'modality = "mr"'), "rule[0].modality"),
        (('modality = "MR"', 'modality = "MR"\ndescription = "(t2"'), "no regular expression"),
        (('modality = "MR"', 'modality = "MR"\nsend_to = ["PACS"]'), "PACS is no peer with a port"),
        (('modality = "MR"', 'modality = "MR"\nsend_to = ["SCANNER"]'), "SCANNER is no peer with a port"),
        (('modality = "MR"', 'modality = "MR"\nfetch = {from = "PACS"}'), "PACS cannot be reached"),
        (('modality = "MR"', 'modality = "MR"\nquiet_s = 0'), "rule[0].quiet_s"),
        (('modality = "MR"', 'modality = "MR"\nmargins = ["PTV"]'), "rule[0].margins"),
        (("[[rule]]", '[[peer]]\nae_title = "SCANNER"\naddress = "10.0.0.1"\n[[rule]]'), "stands twice"),
        (("[[rule]]", '[[peer]]\nae_title = "P"\naddress = "10.0.0.1"\ntls = true\n[[rule]]'), "tls needs"),
        (("[[rule]]", '[[web]]\nname = "W"\nurl = "ftp://x"\n[[rule]]'), "web[0].url"),
        (
            ("[[rule]]", '[[web]]\nname = "W"\nurl = "http://10.0.0.1/web"\nuser = "u"\n[[rule]]'),
            "https only",
        ),
        (("schema = 1", "schema ="), "Not a TOML file"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(tmp_path, change, words):
    path = write_config(tmp_path, rest=RULE)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(FormatError) as refused:
        load_config(path)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "change", [('"prostate_boost_flame"', '"nosuch"'), ('modality = "MR"', 'modality = "MR"\narms = ["CT9"]')]
)
def test_a_rule_that_names_what_is_not_there_is_refused_with_its_number(tmp_path, change, capsys):
    path = write_config(tmp_path, rest=RULE)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UnknownName, match="Rule 1: There is no"):
        load_config(path)
    assert leave("serve", "--config", path) == 1
    assert "Rule 1" in capsys.readouterr().err


def test_a_peer_whose_address_cannot_be_found_is_named(tmp_path):
    path = write_config(tmp_path, rest='[[peer]]\nae_title = "LOST"\naddress = "no.such.host.invalid"')
    with pytest.raises(FormatError, match="LOST"):
        Node(load_config(path), quiet=True)


def test_an_ipv6_socket_sees_an_ipv4_peer(tmp_path):
    callers = callers_of(load_config(write_config(tmp_path)).peer)
    assert callers.may_connect("::ffff:127.0.0.1")
    assert callers.why_not(Caller("SCANNER", "::ffff:127.0.0.1")) == ""
    assert not callers.may_connect("127.0.0.9")


def test_a_second_node_on_the_folder_and_a_port_in_use_are_refused(tmp_path):
    path = write_config(tmp_path)
    with running(path) as node:
        with pytest.raises(OutputError, match="Another node"):
            Node(load_config(path), quiet=True)
        other = write_config(tmp_path / "other", port=node.port)
        with pytest.raises(OutputError, match="listened on"):
            Node(load_config(other), quiet=True)
        other = write_config(tmp_path / "third")
        other.write_text(other.read_text().replace("metrics_port = 0", f"metrics_port = {node.metrics_port}"))
        with pytest.raises(OutputError, match="Metrics"):
            Node(load_config(other), quiet=True)


def test_a_damaged_queue_is_named_and_objects_are_found_again_without_it(tmp_path, objects):
    from .test_node_queue import push

    path = write_config(tmp_path)
    with running(path) as node:
        push(node, objects)
    for file in node.folder.glob("node.sqlite*"):
        file.write_bytes(b"nothing" * 100)
    with pytest.raises(OutputError, match="queue cannot be read"):
        Node(load_config(path), quiet=True)
    for file in node.folder.glob("node.sqlite*"):
        file.unlink()
    (broken,) = list((node.folder / "received").glob("*/*.dcm"))[:1]
    broken.write_bytes(broken.read_bytes()[:300])
    with running(path) as node:
        assert node.found.adopted == len(objects) - 1
        assert node.found.damaged == 1
        assert len(list((node.folder / "damaged").iterdir())) == 1
        push(node, objects)
        (row,) = node.database.all("SELECT COUNT(*) AS count FROM instance")
        assert row["count"] == len(objects)


def test_a_queue_of_another_schema_is_refused(tmp_path):
    database = Database(tmp_path / "node.sqlite")
    database.change("PRAGMA user_version=7")
    database.close()
    with pytest.raises(OutputError, match="schema 7"):
        Database(tmp_path / "node.sqlite")


def test_health_and_metrics_tell_what_is(tmp_path, objects):
    from .test_node_queue import push

    with running(write_config(tmp_path)) as node:
        push(node, objects)

        def ask(path):
            request = f"http://127.0.0.1:{node.metrics_port}{path}"
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code, refused.read().decode()

        assert ask("/health") == (200, '{"status": "ok", "wrong": {}}\n')
        status, text = ask("/metrics")
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert status == 200
        assert values['rtplan_node_received_total{peer="SCANNER"}'] == str(len(objects))
        assert values["rtplan_node_instances"] == str(len(objects))
        assert values['rtplan_node_studies{state="open"}'] == "1"
        assert ask("/")[0] == 404
        (row,) = node.database.all("SELECT path FROM instance LIMIT 1")
        (node.folder / row["path"]).unlink()
    with running(tmp_path / "node.toml") as node:
        status, text = ask("/health")
        assert status == 503
        assert json.loads(text)["wrong"] == {"objects": "1 files are missing"}
        push(node, objects)  # the one that was lost is taken again
        assert (node.folder / row["path"]).exists()


def test_the_trail_shows_what_was_changed_or_taken_out(tmp_path):
    journal = Journal(tmp_path, quiet=True)
    for number in range(5):
        journal.audit("received", count=number, ae="EVIL\nNAME\x1b[31m")
    journal.close()
    again = Journal(tmp_path, quiet=True)
    again.audit("stop")
    again.close()
    trail = tmp_path / "audit.jsonl"
    lines = trail.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6
    assert "EVIL?NAME?[31m" in lines[0].decode()
    assert broken_lines(trail) == 0
    trail.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert broken_lines(trail) == 1
    trail.write_bytes(b"".join([*lines[:2], lines[2].replace(b'"count": 2', b'"count": 9'), *lines[3:]]))
    assert broken_lines(trail) == 1
    trail.write_bytes(b"".join(lines) + lines[0][:20])  # torn by a crash
    torn = Journal(tmp_path, quiet=True)
    torn.audit("start")
    torn.close()
    numbers = []
    assert broken_lines(trail, numbers.append) == 1
    assert numbers == [7]


def test_check_counts_lines_of_the_trail_that_do_not_follow(tmp_path, capsys):
    path = write_config(tmp_path)
    with running(path) as node:
        trail = node.folder / "audit.jsonl"
    assert leave("serve", "--config", path, "--check") == 0
    trail.write_bytes(b"".join(trail.read_bytes().splitlines(keepends=True)[1:]))
    assert leave("serve", "--config", path, "--check") == 1
    assert "1 lines of the audit trail" in capsys.readouterr().err


def test_the_first_rule_that_fits_wins(tmp_path):
    rules = load_config(
        write_config(
            tmp_path,
            rest='[[rule]]\nmodality = "MR"\ndescription = "(?i)dixon"\nprotocol = "prostate_chhip_60gy"\n'
            '[[rule]]\nmodality = "MR"\nmin_instances = 10\ncalling = ["SCANNER"]\n'
            'protocol = "prostate_boost_flame"\n',
        )
    ).rule
    t2 = SeriesSeen("MR", "t2 tse", 30, ("SCANNER",))
    dixon = SeriesSeen("MR", "mDIXON", 30, ("PACS",))
    assert rule_for(rules, [t2]) is rules[1]
    assert rule_for(rules, [t2, dixon]) is rules[0]
    assert rule_for(rules, [SeriesSeen("MR", "t2 tse", 9, ("SCANNER",))]) is None
    assert rule_for(rules, [SeriesSeen("MR", "t2 tse", 30, ("PACS",))]) is None
    assert rule_for(rules, [SeriesSeen("CT", "t2 tse", 30, ("SCANNER",))]) is None


def test_without_the_extra_the_command_says_what_to_install():
    code = (
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'pynetdicom' else found(name, *a)\n"
        f"from rtplan import cli\ncli.main(['serve', '--config', {str(EXAMPLE)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "pip install 'rtplan[serve]'" in done.stderr
