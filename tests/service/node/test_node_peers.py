"""Against other people's programs: DCMTK's tools, dcmqrscp, and Orthanc with its DICOMweb plugin."""

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from rtplan.io.network import web
from rtplan.io.network.calling import Calling, echo
from rtplan.io.network.parties import Peer
from rtplan.io.network.retrieving import find_series
from rtplan.io.network.web import WebPeer
from rtplan.io.patient import write_patient
from rtplan.phantom.cohort import make_patient
from rtplan.service.node.config import FetchSettings
from rtplan.service.node.node import limits_of

from .conftest import free_port, mr_object, running, stored, wait_for, write_config

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def demand(*programs):
    missing = [program for program in programs if not shutil.which(program, path="/usr/bin:/usr/sbin:/bin")]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")


def call(*words):
    """Call a program; return its words, or fail with them."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def process(*words, ready, log):
    with log.open("wb") as stream:
        started = subprocess.Popen([*map(str, words)], stdout=stream, stderr=stream)
    try:
        wait_for(lambda: started.poll() is not None or ready(), 20.0)
        assert started.poll() is None, log.read_text(errors="replace")
        yield
    finally:
        started.terminate()
        started.wait(10)


def answers(port, title):
    words = ["echoscu", "-aet", "SCANNER", "-aec", title, "127.0.0.1", str(port)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


class Orthanc:
    def __init__(self, folder, node_port):
        self.folder, self.node_port = folder, node_port
        self.port, self.http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.web = WebPeer("ARCHIVE", f"{self.url}/dicom-web")

    def settings(self):
        return {
            "Name": "PACS",
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "HttpPort": self.http,
            "DicomPort": self.port,
            "DicomAet": "PACS",
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowGet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {
                "node": {"AET": "RTPLAN", "Host": "127.0.0.1", "Port": self.node_port},
                "scanner": {"AET": "SCANNER", "Host": "127.0.0.1", "Port": 104},
            },
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }

    @contextmanager
    def running(self):
        self.folder.mkdir()
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(self.settings()))
        with process(
            "/usr/sbin/Orthanc", config, ready=lambda: answers(self.port, "PACS"), log=self.folder / "log"
        ):
            yield self

    def ask(self, path):
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return json.load(answer)

    def count(self):
        return self.ask("/statistics")["CountInstances"]


def pacs(port, more=""):
    return f'[[peer]]\nae_title = "PACS"\naddress = "127.0.0.1"\nport = {port}\n{more}\n'


@pytest.fixture(scope="module")
def mr(tmp_path_factory):
    """The MR of a coarse digital patient as DICOM files."""
    patient = make_patient("valid", 8, spacing_zyx_mm=(8.0, 5.0, 5.0), contrasts=("T2w",))
    folder = tmp_path_factory.mktemp("mr")
    alone = replace(patient, images={"T2w": patient.images["T2w"]}, structures={}, registrations=())
    write_patient(alone, folder)
    return sorted(folder.rglob("*.dcm"))


RULE = """
[[rule]]
modality = "MR"
description = "(?i)t2"
quiet_s = 2.0
protocol = "prostate_boost_flame"
arms = ["SynCT"]
send_to = ["PACS"]
"""


def test_from_orthanc_through_the_pipeline_back_into_orthanc(tmp_path, mr):
    """MR of the PACS is moved to the node, becomes a synthetic CT, and comes back: seen by DICOMweb."""
    demand("Orthanc", "storescu", "movescu", "findscu", "echoscu")
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    config = write_config(tmp_path, port=port, rest=pacs(orthanc.port, "storage_commitment = true") + RULE)
    study = str(pydicom.dcmread(mr[0], stop_before_pixels=True).StudyInstanceUID)
    with orthanc.running(), running(config) as node:
        call("storescu", "-aet", "SCANNER", "-aec", "PACS", "127.0.0.1", orthanc.port, *mr)
        assert orthanc.count() == len(mr)
        call(
            "movescu", "-S", "-aet", "SCANNER", "-aec", "PACS", "-aem", "RTPLAN",
            "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}", "127.0.0.1", orthanc.port,
        )  # fmt: skip
        assert len(stored(node.folder)) == len(mr)
        wait_for(lambda: node.database.one("SELECT state FROM job WHERE state = 'done'"), 120.0)
        states = "SELECT state, COUNT(*) AS count FROM outgoing GROUP BY state"
        wait_for(lambda: [row["state"] for row in node.database.all(states)] == ["committed"], 60.0)
        sent = node.database.all("SELECT sop_uid, path FROM outgoing")
        assert orthanc.count() == len(mr) + len(sent)
        series = {one.modality: one for one in web.find_series(orthanc.web, study)}
        assert series.keys() >= {"MR", "CT", "RTSTRUCT", "SEG", "SR"}
        fetched = {uid: content for _, uid, _, content in web.retrieve(orthanc.web, series["CT"])}
        made = {row["sop_uid"]: node.folder / row["path"] for row in sent}
        assert len(fetched) == len(mr)
        for uid, content in fetched.items():
            assert content in made[uid].read_bytes(), "the PACS gives other bytes than the node made"
        found = call(
            "findscu", "-S", "-aet", "SCANNER", "-aec", "PACS", "-k", "QueryRetrieveLevel=SERIES",
            "-k", f"StudyInstanceUID={study}", "-k", "Modality=CT", "-k", "SeriesInstanceUID",
            "127.0.0.1", orthanc.port,
        )  # fmt: skip
        assert series["CT"].series_uid in found
        time.sleep(2.5)
        assert len(node.database.all("SELECT * FROM job")) == 1
    log = (tmp_path / "log.txt").read_text()
    assert study not in log
    assert "kept by peer" in log


@pytest.mark.parametrize("by", ["move", "get", "web"])
def test_other_series_are_fetched_from_orthanc(tmp_path, mr, by):
    demand("Orthanc", "storescu", "echoscu")
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    rest = pacs(orthanc.port) + f'[[web]]\nname = "ARCHIVE"\nurl = "{orthanc.web.url}"\n'
    with orthanc.running(), running(write_config(tmp_path, port=port, rest=rest)) as node:
        call("storescu", "-aet", "SCANNER", "-aec", "PACS", "127.0.0.1", orthanc.port, *mr)
        source = "ARCHIVE" if by == "web" else "PACS"
        asked = FetchSettings.model_validate({"from": source, "modalities": ["MR"], "by": by})
        study = str(pydicom.dcmread(mr[0], stop_before_pixels=True).StudyInstanceUID)
        assert node.workshop.fetcher.fetch(asked, study) == len(mr)
        kept = {row["sop_uid"]: row for row in node.database.all("SELECT * FROM instance")}
        for path in mr:
            ds = pydicom.dcmread(path)
            assert pydicom.dcmread(node.folder / kept[ds.SOPInstanceUID]["path"]) == ds
        assert node.workshop.fetcher.fetch(asked, study) == len(mr)  # again: nothing new
        assert len(stored(node.folder)) == len(mr)


def test_a_rule_runs_on_what_came_and_what_it_fetched(tmp_path):
    """One series is pushed, the other lies in Orthanc: the job's snapshot holds both."""
    demand("Orthanc", "storescu", "echoscu")
    pushed, kept = (tmp_path / name for name in ("pushed", "kept"))
    for folder, series, modality in ((pushed, 1, "MR"), (kept, 2, "CT")):
        folder.mkdir()
        for number in range(5):
            ds = mr_object(series, number, modality=modality)
            ds.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    rule = RULE.replace("quiet_s = 2.0", "quiet_s = 0.5") + 'fetch = {from = "PACS", modalities = ["CT"]}\n'
    config = write_config(tmp_path, port=port, rest=pacs(orthanc.port) + rule)
    with orthanc.running(), running(config) as node:
        call("storescu", "-aet", "SCANNER", "-aec", "PACS", "127.0.0.1", orthanc.port, *kept.iterdir())
        call("storescu", "-aet", "SCANNER", "-aec", "RTPLAN", "127.0.0.1", port, *pushed.iterdir())
        job = wait_for(lambda: node.database.one("SELECT folder FROM job"), 20.0)
        files = (node.folder / "work" / job["folder"] / "in").iterdir()
        found = sorted(pydicom.dcmread(path, stop_before_pixels=True).Modality for path in files)
        assert found == ["CT"] * 5 + ["MR"] * 5


def test_results_go_to_dicomweb(tmp_path, objects):
    demand("Orthanc", "echoscu")
    from .test_node_queue import queue_results

    orthanc = Orthanc(tmp_path / "orthanc", free_port())
    rest = f'[[web]]\nname = "ARCHIVE"\nurl = "{orthanc.web.url}"\n'
    with orthanc.running(), running(write_config(tmp_path, rest=rest)) as node:
        queue_results(node, objects, "ARCHIVE")
        wait_for(
            lambda: {r["state"] for r in node.database.all("SELECT state FROM outgoing")} == {"sent"}, 30.0
        )
        assert orthanc.count() == len(objects)


QRSCP = """NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
node = (RTPLAN, 127.0.0.1, {node})
scanner = (SCANNER, 127.0.0.1, 11)
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
PACS {folder} RW (200, 1024mb) ANY
AETable END
"""


@contextmanager
def dcmqrscp(folder, node_port):
    port = free_port()
    (folder / "db").mkdir(parents=True)
    config = folder / "dcmqrscp.cfg"
    config.write_text(QRSCP.format(port=port, node=node_port, folder=folder / "db"))
    with process("dcmqrscp", "-c", config, port, ready=lambda: answers(port, "PACS"), log=folder / "log"):
        yield port


def test_dcmtk_stores_finds_and_moves(tmp_path, mr, objects):
    demand("dcmqrscp", "storescu", "echoscu", "findscu", "movescu")
    from .test_node_queue import queue_results

    port = free_port()
    with (
        dcmqrscp(tmp_path / "qr", port) as qr,
        running(write_config(tmp_path, port=port, rest=pacs(qr))) as node,
    ):
        call("echoscu", "-aet", "SCANNER", "-aec", "RTPLAN", "127.0.0.1", port)
        call("storescu", "-aet", "SCANNER", "-aec", "RTPLAN", "-xs", "127.0.0.1", port, *mr[:4])
        call("storescu", "-aet", "SCANNER", "-aec", "RTPLAN", "-xi", "127.0.0.1", port, *mr[4:8])
        assert len(stored(node.folder)) == 8
        queue_results(node, objects)
        wait_for(
            lambda: {r["state"] for r in node.database.all("SELECT state FROM outgoing")} == {"sent"}, 30.0
        )
        study = str(pydicom.dcmread(objects[0], stop_before_pixels=True).StudyInstanceUID)
        calling, peer = Calling("RTPLAN", limits_of(node.config.node)), Peer("PACS", "127.0.0.1", qr)
        echo(calling, peer)
        (series,) = find_series(calling, peer, study)
        assert (series.modality, series.study_uid) == ("MR", study)
        call(
            "findscu", "-S", "-aet", "SCANNER", "-aec", "PACS", "-k", "QueryRetrieveLevel=STUDY",
            "-k", f"StudyInstanceUID={study}", "127.0.0.1", qr,
        )  # fmt: skip
        call(
            "movescu", "-S", "-aet", "SCANNER", "-aec", "PACS", "-aem", "RTPLAN",
            "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}", "127.0.0.1", qr,
        )  # fmt: skip
        assert len(list((node.folder / "returned").glob("*/*.dcm"))) == len(objects)


@pytest.mark.parametrize(
    ("tool", "send"),
    [
        (("dcmcrle",), "-xr"),
        (("dcmcjpeg", "+e1"), "-xs"),
        (("dcmcjpls",), "-xt"),
        (("dcmdjpeg", "+td"), "-xd"),
    ],
)
def test_compressed_objects_are_stored_as_they_came(tmp_path, mr, tool, send):
    demand(tool[0], "storescu")
    coded = tmp_path / "coded.dcm"
    if tool[0] == "dcmdjpeg":
        tool = ("dcmconv", "+td")
    call(*tool, mr[0], coded)
    with running(write_config(tmp_path)) as node:
        call("storescu", "-aet", "SCANNER", "-aec", "RTPLAN", send, "127.0.0.1", node.port, coded)
        (kept,) = (node.folder / "received").glob("*/*.dcm")
        one, other = pydicom.dcmread(coded), pydicom.dcmread(kept)
        assert other.file_meta.TransferSyntaxUID == one.file_meta.TransferSyntaxUID
        assert (other.pixel_array == pydicom.dcmread(mr[0]).pixel_array).all()


def test_storescu_with_eight_at_once_and_a_kill(tmp_path, mr):
    """What DCMTK's own sender was told is stored is stored, whatever becomes of the node."""
    demand("storescu")
    from .conftest import NodeProcess, write_objects

    paths = write_objects(tmp_path / "in", 160)
    node = NodeProcess(write_config(tmp_path, port=free_port())).start()
    words = ["storescu", "-v", "-aet", "SCANNER", "-aec", "RTPLAN", "127.0.0.1"]
    senders = [
        subprocess.Popen(
            [*words, str(node.port), *map(str, paths[n::8])],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for n in range(8)
    ]  # fmt: skip
    folder = tmp_path / "node"
    wait_for(lambda: len(list((folder / "received").glob("*/*.dcm"))) >= 60, 20.0)
    node.kill()
    told = sum(
        sender.communicate(timeout=20)[0].count("Received Store Response (Success)") for sender in senders
    )
    on_disk = len(stored(folder))
    assert 0 < told <= on_disk < len(paths)
    node.start()
    for n in range(8):
        call("storescu", "-aet", "SCANNER", "-aec", "RTPLAN", "127.0.0.1", node.port, *paths[n::8])
    assert node.stop() == 0
    found = stored(folder)
    assert len(found) == len(set(found)) == len(paths)
