"""Objects a second that the node receives, beside dcmqrscp and Orthanc; writes results/node.md.

Needs DCMTK (storescu, echoscu, dcmqrscp) and Orthanc. Each receiver starts on an empty folder; eight storescu
send at the same time.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

RESULT = Path(__file__).resolve().parent / "results" / "node.md"
ROOT = Path(__file__).resolve().parents[1]
REPEATS, SENDERS = 3, 8
#: Rows and columns of an object, and how many of them: MR as scanners send it, and very small objects.
LOADS = {"MR 256 × 256 (129 KiB)": (256, 800), "MR 24 × 24 (2 KiB)": (24, 800)}
MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass(frozen=True)
class Receiver:
    """How a receiver is started on a folder and a port, and how objects that it keeps are counted."""

    command: Callable[[Path, int], list[str]]
    kept: Callable[[Path], int]
    durable: str


def write_objects(folder: Path, size: int, count: int) -> list[Path]:
    """Write objects of 16 series."""
    folder.mkdir()
    rng, paths = np.random.default_rng(1), []
    for number in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MR, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.10.9999.{size}.{number}"
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = MR, meta.MediaStorageSOPInstanceUID, "MR"
        ds.StudyInstanceUID = f"1.2.826.0.1.3680043.10.9999.{size}"
        ds.SeriesInstanceUID = f"{ds.StudyInstanceUID}.9.{number % 16}"
        ds.PatientName, ds.PatientID, ds.StudyID = "Benchmark", "B1", "1"
        ds.Rows = ds.Columns = size
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = rng.integers(0, 4096, (size, size), dtype=np.uint16).tobytes()
        paths.append(folder / f"{number:05d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def _node(folder: Path, port: int) -> list[str]:
    config = folder / "node.toml"
    config.write_text(
        f'schema = 1\n[node]\nae_title = "PACS"\nport = {port}\nfolder = "node"\nmax_associations = 16\n'
        '[[peer]]\nae_title = "SCANNER"\naddress = "127.0.0.1"\n',
        encoding="utf-8",
    )
    return [sys.executable, "-m", "rtplan", "serve", "--config", str(config), "--quiet"]


def _orthanc(folder: Path, port: int) -> list[str]:
    config = folder / "orthanc.json"
    place = str(folder / "db")
    settings = {
        "StorageDirectory": place, "IndexDirectory": place, "HttpServerEnabled": False, "DicomPort": port,
        "DicomAet": "PACS", "DicomAlwaysAllowStore": True,
    }  # fmt: skip
    config.write_text(json.dumps(settings), encoding="utf-8")
    return ["/usr/sbin/Orthanc", str(config)]


def _dcmqrscp(folder: Path, port: int) -> list[str]:
    (folder / "db").mkdir()
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\nAETable BEGIN\n"
        f"PACS {folder / 'db'} RW (200, 4096mb) ANY\nAETable END\n",
        encoding="utf-8",
    )
    return ["dcmqrscp", "-c", str(config), str(port)]


RECEIVERS = {
    "rtplan serve": Receiver(
        _node,
        lambda f: len(list((f / "node" / "received").glob("*/*.dcm"))),
        "file, folder and row, each object",
    ),
    "Orthanc": Receiver(_orthanc, lambda f: _files(f / "db", 1000), "as its defaults are"),
    "dcmqrscp": Receiver(_dcmqrscp, lambda f: len(list((f / "db").glob("MR*"))), "no"),
}


def _files(folder: Path, least: int) -> int:
    """Count files that may hold an object (Orthanc keeps them under names of its own)."""
    found = [path for path in folder.glob("*/*/*") if path.is_file() and path.stat().st_size >= least]
    return len(found)


def measure(receiver: Receiver, paths: list[Path]) -> tuple[float, float, int]:
    """Return objects kept a second, the receiver's processor time for each (ms), how many are kept."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            receiver.command(folder, port),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        while subprocess.run(_words("echoscu", port), capture_output=True, check=False).returncode:
            time.sleep(0.1)
            assert process.poll() is None
        before, began = _processor_s(process.pid), time.perf_counter()
        senders = [
            subprocess.Popen([*_words("storescu", port), *map(str, paths[n::SENDERS])])
            for n in range(SENDERS)
        ]
        for sender in senders:
            sender.wait()
        seconds = time.perf_counter() - began
        time.sleep(0.5)  # dcmqrscp's children are counted when they have ended
        used = _processor_s(process.pid) - before
        kept = receiver.kept(folder)
        process.terminate()
        process.wait()
    return kept / seconds, 1000.0 * used / max(kept, 1), kept


def _words(program: str, port: int) -> list[str]:
    return [program, "-aet", "SCANNER", "-aec", "PACS", "127.0.0.1", str(port)]


def _processor_s(pid: int) -> float:
    """Return processor time of a process and of its children that ended (s)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure every receiver with every load, in turns, and write the table."""
    lines = []
    with tempfile.TemporaryDirectory() as place:
        for title, (size, count) in LOADS.items():
            paths = write_objects(Path(place) / str(size), size, count)
            got: dict[str, list[tuple[float, float, int]]] = {name: [] for name in RECEIVERS}
            for _ in range(REPEATS):
                for name, receiver in RECEIVERS.items():
                    got[name].append(measure(receiver, paths))
                    print(title, name, *(f"{value:.1f}" for value in got[name][-1]))
            for name, values in got.items():
                rate, cost, least = (
                    max(v[0] for v in values),
                    min(v[1] for v in values),
                    min(v[2] for v in values),
                )
                row = (
                    title,
                    name,
                    f"{rate:.0f}",
                    f"{cost:.1f}",
                    f"{least} of {count}",
                    RECEIVERS[name].durable,
                )
                lines.append(f"| {' | '.join(row)} |")
    load = os.getloadavg()[0]
    RESULT.write_text(
        f"""# Objects received a second

`python benchmarks/node.py` on {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python \
{platform.python_version()}; eight `storescu` of DCMTK on the same machine, {REPEATS} times in turns, the
best. Other work ran beside it (load {load:.0f}): hence the receiver's own processor time. "On disk before
success": what is forced onto the disk (fsync) before the sender is answered. dcmqrscp refuses some
objects (C000) when eight associations write at the same time; `storescu` then gives up the rest of its files.

| objects | receiver | kept a second | processor [ms each] | kept (worst) | on disk before success |
|---|---|---|---|---|---|
{chr(10).join(lines)}
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
