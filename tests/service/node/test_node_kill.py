"""Objects are pushed while the node is killed: none that was answered is lost, none is there twice."""

import sqlite3
import time

import pytest

from .conftest import NodeProcess, Sender, free_port, sop_uid, stored, write_config, write_objects

# pynetdicom leaves the socket of a refused connection to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def push_and_kill(tmp_path, count, kills, deadline_s):
    paths = write_objects(tmp_path / "in", count)
    config = write_config(tmp_path, port=free_port())
    folder = tmp_path / "node"
    node = NodeProcess(config).start()
    senders = [Sender(node.port, paths[n::8], deadline_s=deadline_s) for n in range(8)]
    for sender in senders:
        sender.start()
    for number in range(kills):
        wanted = count * (number + 1) // (kills + 1)
        while sum(len(sender.answered) for sender in senders) < wanted:
            time.sleep(0.002)
        node.kill()
        answered = {sop_uid(path) for sender in senders for path in sender.answered}
        assert wanted <= len(answered) < count
        assert answered <= set(stored(folder)), "answered with success, but not on disk"
        node.start()
    for sender in senders:
        sender.join(deadline_s)
    assert node.stop() == 0
    return paths, senders, folder


def demand_each_once(paths, senders, folder):
    assert sum(len(sender.answered) for sender in senders) == len(paths)
    assert {status for sender in senders for status in sender.statuses} == {0}
    found = stored(folder)
    assert sorted(found) == sorted(sop_uid(path) for path in paths)
    with sqlite3.connect(folder / "node.sqlite") as database:
        assert database.execute("SELECT COUNT(*), COUNT(DISTINCT path) FROM instance").fetchone() == (
            len(paths),
            len(paths),
        )
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert not list((folder / "incoming").iterdir())


def test_200_objects_and_one_kill(tmp_path):
    demand_each_once(*push_and_kill(tmp_path, 200, 1, 30.0))


@pytest.mark.slow
def test_10_000_objects_and_five_kills(tmp_path):
    demand_each_once(*push_and_kill(tmp_path, 10_000, 5, 900.0))
