"""A node on real sockets, small objects made with bare pydicom, and senders that never give up."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage, Verification

from rtplan.service.node.config import load_config
from rtplan.service.node.node import Node

ROOT = Path(__file__).resolve().parents[3]
PATIENT = "Secretpatient^Anna"


def mr_object(series, number, *, study="1.2.826.0.1.3680043.10.9999.7", size=24, modality="MR"):
    """Return one small MR object."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"{study}.{series}.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.SeriesDescription = modality, "t2 tse Secretpatient"
    ds.PatientName, ds.PatientID = PATIENT, "SECRET4711"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.{series}"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    values = np.random.default_rng(number).integers(0, 4096, (size, size), dtype=np.uint16)
    ds.PixelData = values.tobytes()
    return ds


def write_objects(folder, count, **more):
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        paths.append(folder / f"{number:05d}.dcm")
        mr_object(1, number, **more).save_as(paths[-1], enforce_file_format=True)
    return paths


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_config(folder, *, node="", rest="", port=0):
    """Write a configuration whose waits are short."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "node.toml"
    path.write_text(
        f"""schema = 1
[node]
ae_title = "RTPLAN"
port = {port}
folder = "node"
disk_reserve_mib = 1
metrics_port = 0
{node}
[node.timeouts]
association_s = 1.0
pdu_s = 1.0
idle_s = 1.5
object_s = 3.0
connect_s = 2.0
answer_s = 5.0
stop_s = 1.0
[node.retry]
first_s = 0.2
longest_s = 1.0
[[peer]]
ae_title = "SCANNER"
address = "127.0.0.1"
{rest}
""",
        encoding="utf-8",
    )
    return path


@contextmanager
def running(path):
    """Run a node in this process."""
    log = (path.parent / "log.txt").open("a", encoding="utf-8")
    node = Node(load_config(path), log)
    node.start()
    try:
        yield node
    finally:
        node.stop()
        log.close()


class NodeProcess:
    """``rtplan serve`` as a process of its own, that can be killed; none outlives its test."""

    running: ClassVar[set] = set()

    def __init__(self, path, *before):
        self.path, self.before = path, before
        self.log = (path.parent / "log.txt").open("a", encoding="utf-8")
        self.process = None

    def start(self, timeout_s=30.0):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [*self.before, sys.executable, "-m", "rtplan", "serve", "--config", str(self.path)],
            stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment,
        )  # fmt: skip
        self.running.add(self)
        line = self.process.stdout.readline()
        assert "listens on" in line, line
        self.port = int(line.split("port ")[1].split()[0])
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        return self

    def kill(self):
        self.running.discard(self)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def stop(self, timeout_s=20.0):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout_s)
        self.running.discard(self)
        self.process.stdout.close()
        self.log.close()
        return code


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    for node in list(NodeProcess.running):
        node.kill()
        node.log.close()


def entity(title="SCANNER", **waits):
    ae = AE(title)
    ae.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    ae.add_requested_context(Verification)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = waits.get("patience_s", 5.0)
    ae.connection_timeout = 2.0
    return ae


class Sender(threading.Thread):
    """Sends files over one association after the other until each is answered with success."""

    def __init__(self, port, paths, *, deadline_s=60.0):
        super().__init__(daemon=True)
        self.port, self.paths, self.answered, self.statuses = port, list(paths), [], []
        self.deadline = time.monotonic() + deadline_s

    def run(self):
        waiting = list(self.paths)
        ae = entity()
        while waiting and time.monotonic() < self.deadline:
            association = ae.associate("127.0.0.1", self.port, ae_title="RTPLAN")
            while waiting and association.is_established and time.monotonic() < self.deadline:
                try:
                    status = association.send_c_store(waiting[0])
                except (RuntimeError, ValueError):
                    break
                if "Status" not in status:
                    break
                self.statuses.append(status.Status)
                if status.Status == 0:
                    self.answered.append(waiting.pop(0))
            if association.is_established:
                association.release()
            elif waiting:
                time.sleep(0.1)


def sop_uid(path):
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def stored(folder):
    """Return SOP Instance UIDs of all objects that lie in a node's folder, with repetitions."""
    return [sop_uid(path) for path in sorted((folder / "received").glob("*/*.dcm"))]


def wait_for(what, timeout_s=10.0):
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.fixture(scope="session")
def objects(tmp_path_factory):
    """Twelve objects of one series."""
    return write_objects(tmp_path_factory.mktemp("objects"), 12)
