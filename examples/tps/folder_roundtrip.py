"""Monaco, Pinnacle or any system that exports DICOM to a folder and imports from one: export, rtplan, import.

The folders are all that this script knows of the system. rtplan's tests run it, but it was NEVER RUN BESIDE
Monaco or Pinnacle by its authors, who have neither. Research use only.

Usage: python folder_roundtrip.py EXPORT IMPORT --protocol P [--tps monaco] [--names FILE] [of rtplan run]
Steps: 1. export CT, MR, structures (plan, dose) to EXPORT  2. this script  3. import from IMPORT
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RTPLAN = [sys.executable, "-m", "rtplan"]


def main(words=None):
    parser = argparse.ArgumentParser(description="Export folder, rtplan run, import folder.")
    parser.add_argument("export", type=Path)
    parser.add_argument("into", metavar="IMPORT", type=Path)
    parser.add_argument("--protocol", required=True)
    parser.add_argument("--tps", default="common")
    parser.add_argument("--names", type=Path)
    chosen, more = parser.parse_known_args(words)
    names = ["--names", str(chosen.names)] if chosen.names else []
    # Exit code 1 and a message: refused, nothing written. It ends the script before anything is imported.
    subprocess.run([*RTPLAN, "check", str(chosen.export), *names], check=True)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        call = ["run", str(chosen.export), "--protocol", chosen.protocol, "--tps", chosen.tps, *names]
        subprocess.run([*RTPLAN, *call, *more, "--out", str(out)], check=True)
        deliver(out / "dicom", chosen.into)


def deliver(results, into):
    """Put the results into the import folder under a new name: a watching importer sees all or nothing."""
    into.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".rtplan-", dir=into))
    shutil.copytree(results, part, dirs_exist_ok=True)
    place = into / part.name.lstrip(".")
    part.rename(place)
    print(f"To import: {place}")


if __name__ == "__main__":
    main()
