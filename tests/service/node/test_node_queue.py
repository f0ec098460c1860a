"""Rules, jobs and sending: what is quiet is run once, what is made is sent once, and no crash loses it."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from rtplan.io.network.facts import facts_of
from rtplan.io.network.storing import Item
from rtplan.service.node.runner import send_later

from .conftest import NodeProcess, entity, free_port, running, stored, wait_for, write_config
from .peers import Archive

# pynetdicom leaves the socket of a refused connection to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

RULE = """
[[rule]]
modality = "MR"
description = "(?i)t2"
quiet_s = 0.8
longest_s = 60.0
protocol = "prostate_boost_flame"
arms = ["SynCT"]
"""


def push(node, paths, title="SCANNER"):
    association = entity(title).associate("127.0.0.1", node.port, ae_title="RTPLAN")
    statuses = [association.send_c_store(path).Status for path in paths]
    association.release()
    assert set(statuses) == {0}


def states(node, table="job"):
    return [row["state"] for row in node.database.all(f"SELECT state FROM {table}")]


def workers(parent=None):
    """Return the processes that run a job for a process, this one when none is given."""
    parent = parent or os.getpid()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command, stat = (place / "cmdline").read_bytes(), (place / "stat").read_text()
        except OSError:
            continue
        if b"rtplan.service.node.worker" in command and int(stat.rsplit(")")[-1].split()[1]) == parent:
            found.append(int(place.name))
    return found


def test_a_crash_a_stop_and_a_refusal_of_the_pipeline(tmp_path, objects):
    """Killed: it runs again. The node stops: it runs again at the next start. Refused: that is final."""
    config = write_config(tmp_path, rest=RULE)
    with running(config) as node:
        push(node, objects)
        (worker,) = wait_for(workers)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: node.counters.value("rtplan_node_runs_total", "crashed") == 1)
        (worker,) = wait_for(lambda: [found for found in workers() if found != worker])
    assert not Path(f"/proc/{worker}").exists()
    with running(config) as node:
        wait_for(lambda: states(node) == ["refused"], 30.0)
        row = node.database.one("SELECT runs, why FROM job")
        assert (row["runs"], row["why"]) == (2, "ModelError")
        assert node.wrong() == {}
        assert len(list((node.folder / "work").iterdir())) == 1
        push(node, objects)  # the same again is nothing new
        time.sleep(1.2)
        assert states(node) == ["refused"]
    log = (tmp_path / "log.txt").read_text()
    assert "signal 9" in log
    assert "Secret" not in log


def test_quiet_time_and_jobs_outlive_a_killed_node(tmp_path, objects):
    """Killed before the study is quiet, and again while its pipeline runs: that ends, and runs again."""
    node = NodeProcess(write_config(tmp_path, rest=RULE, port=free_port())).start()
    push(node, objects)
    node.kill()
    node.start()
    (worker,) = wait_for(lambda: workers(node.process.pid))
    node.kill()
    wait_for(lambda: not Path(f"/proc/{worker}").exists())
    node.start()
    wait_for(lambda: workers(node.process.pid))
    held = entity().associate("127.0.0.1", node.port, ae_title="RTPLAN")  # a stop waits for nobody
    assert held.is_established
    assert node.stop() == 0
    assert "jobs run again count=1" in (tmp_path / "log.txt").read_text()


def test_a_study_that_never_gets_quiet_is_given_up_and_one_without_a_rule_is_kept(tmp_path, objects):
    rule = RULE.replace("quiet_s = 0.8", "quiet_s = 0.9").replace("longest_s = 60.0", "longest_s = 1.0")
    with running(write_config(tmp_path, rest=rule)) as node:
        for path in objects:
            push(node, [path])
            time.sleep(0.12)
        assert states(node) == []
        assert " never quiet study=" in (tmp_path / "log.txt").read_text()
    rule = RULE.replace("(?i)t2", "dixon")
    with running(write_config(tmp_path / "b", rest=rule)) as node:
        push(node, objects)
        time.sleep(1.2)
        assert states(node) == []
        assert len(stored(node.folder)) == len(objects)


def queue_results(node, objects, target="PACS"):
    """Queue the objects as results of a run; return their items."""
    folder = node.folder / "results" / "made" / "dicom"
    shutil.copytree(objects[0].parent, folder)
    facts = {path: facts_of(path) for path in sorted(folder.iterdir())}
    items = [Item(path, said.class_uid, said.sop_uid) for path, said in facts.items()]
    with node.database.transaction() as db:
        send_later(db, node.folder, 1, items, [target])
    return items


def test_nothing_is_run_before_what_a_rule_fetches_has_come(tmp_path, objects):
    rule = RULE + 'fetch = {from = "PACS", modalities = ["CT"]}\n'
    with running(write_config(tmp_path, rest=pacs(free_port()) + rule)) as node:
        push(node, objects)
        row = wait_for(lambda: node.database.one("SELECT * FROM study WHERE tries >= 2"))
        assert (row["state"], row["fetched"]) == ("fetching", 0)
        assert states(node) == []
    log = (tmp_path / "log.txt").read_text()
    assert "why=The peer PACS cannot be reached." in log


def test_results_wait_for_a_dicomweb_server_that_is_down(tmp_path, objects):
    rest = f'[[web]]\nname = "ARCHIVE"\nurl = "http://127.0.0.1:{free_port()}/dicom-web"\n'
    with running(write_config(tmp_path, rest=rest)) as node:
        queue_results(node, objects, "ARCHIVE")
        wait_for(lambda: node.database.one("SELECT 1 FROM outgoing WHERE tries >= 2"))
        assert set(states(node, "outgoing")) == {"waiting"}
    assert "cannot be reached (ConnectionError)" in (tmp_path / "log.txt").read_text()


def pacs(port, more=""):
    return f'[[peer]]\nae_title = "PACS"\naddress = "127.0.0.1"\nport = {port}\n{more}\n'


def test_results_are_sent_once_after_failures_and_across_a_restart(tmp_path, objects):
    port = free_port()
    config = write_config(tmp_path, rest=pacs(port))
    with running(config) as node:
        items = queue_results(node, objects)
        wait_for(lambda: node.database.one("SELECT MAX(tries) AS most FROM outgoing")["most"] >= 2)
        assert set(states(node, "outgoing")) == {"waiting"}
    archive = Archive(
        port, refuse={str(items[3].sop_uid): [0xA700, 0xA700]}, refuse_for_ever={items[5].sop_uid}
    )
    with archive, running(config) as node:
        wait_for(lambda: sorted(set(states(node, "outgoing"))) == ["refused", "sent"])
        time.sleep(0.5)
        assert node.wrong() == {"results refused": "1 are not taken by their destination"}
    assert sorted(archive.got) == sorted(item.sop_uid for item in items if item is not items[5])
    for item in items:
        if item is not items[5]:
            assert archive.bytes_of[item.sop_uid] in item.path.read_bytes()


def test_our_own_results_that_come_back_start_nothing(tmp_path, objects):
    port = free_port()
    with Archive(port) as archive, running(write_config(tmp_path, rest=pacs(port) + RULE)) as node:
        queue_results(node, objects)
        wait_for(lambda: len(archive.got) == len(objects))
        push(node, objects)
        time.sleep(0.8)
        assert states(node, "study") == []
        assert len(list((node.folder / "returned").glob("*/*.dcm"))) == len(objects)


def test_storage_commitment_is_asked_and_what_is_lost_is_sent_again(tmp_path, objects):
    port = free_port()
    config = write_config(tmp_path, rest=pacs(port, "storage_commitment = true"))
    archive = Archive(port, loses={facts_of(objects[2]).sop_uid})
    with archive, running(config) as node:
        archive.answers_to = node.port
        queue_results(node, objects)
        wait_for(lambda: set(states(node, "outgoing")) == {"committed"})
    assert archive.got.count(facts_of(objects[2]).sop_uid) == 2
    assert len(archive.got) == len(objects) + 1


def test_storage_commitment_is_promised_for_what_is_truly_on_disk(tmp_path, objects):
    port = free_port()
    with Archive(port) as archive, running(write_config(tmp_path, rest=pacs(port))) as node:
        push(node, objects, "SCANNER")
        rows = node.database.all("SELECT sop_uid, path FROM instance ORDER BY sop_uid")
        (node.folder / rows[0]["path"]).unlink()
        damaged = node.folder / rows[1]["path"]
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff\xfe"[:1])
        references = [(facts_of(path).class_uid, facts_of(path).sop_uid) for path in objects]
        references += [("1.2.840.10008.5.1.4.1.1.2", rows[2]["sop_uid"]), (references[0][0], "1.2.3.4.5")]
        assert archive.ask(node.port, references) == 0x0000
        answer = wait_for(lambda: archive.reports and archive.reports[0])
        assert sorted(answer["kept"]) == sorted(row["sop_uid"] for row in rows[2:])
        assert answer["lost"] == {
            rows[0]["sop_uid"]: 0x0112,
            rows[1]["sop_uid"]: 0x0112,
            rows[2]["sop_uid"]: 0x0119,
            "1.2.3.4.5": 0x0112,
        }
