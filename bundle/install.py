"""Install rtplan from this folder on a machine without network: check every file, then pip without an index.

Usage: python3 install.py [--venv FOLDER]      (standard library only; this file travels inside the bundle)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Refused(Exception):
    """The bundle is not installed; the message says why."""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Install rtplan from this folder, without network.")
    parser.add_argument("--venv", type=Path, default=Path("rtplan-venv"), help="new folder (rtplan-venv)")
    place = parser.parse_args(words).venv
    try:
        check_machine(HERE)
        check_files(HERE)
        install(HERE, place)
    except Refused as why:
        print(f"install.py: {why} Nothing was installed.", file=sys.stderr)
        return 1
    print(f"Installed. Try: {place}/bin/rtplan demo --out demo")
    return 0


def check_machine(bundle: Path) -> None:
    """Refuse another Python or processor than the wheels are for."""
    wanted = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    here = {"python": ".".join(platform.python_version_tuple()[:2]), "machine": platform.machine()}
    here["system"] = platform.system()
    for key, found in here.items():
        if wanted[key] != found:
            raise Refused(f"This bundle is for {key} {wanted[key]}; here is {found}.")


def check_files(bundle: Path) -> None:
    """Refuse a file that is missing, altered, or not in the list."""
    listed = {}
    for line in (bundle / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    there = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    for name in sorted(there - {"SHA256SUMS"} - set(listed)):
        raise Refused(f"{name} is not in SHA256SUMS.")
    for name, digest in sorted(listed.items()):
        if name not in there:
            raise Refused(f"{name} is missing.")
        if _sha256(bundle / name) != digest:
            raise Refused(f"{name} is not the file that was bundled: its SHA-256 differs.")


def install(bundle: Path, place: Path) -> None:
    """Make a virtual environment and put the wheels into it; pip checks their hashes again."""
    if place.exists():
        raise Refused(f"{place} is there already; choose another --venv.")
    try:
        venv.create(place, with_pip=True)
        call = [place / "bin" / "python", "-m", "pip", "--isolated", "install", "--no-index"]
        call += ["--find-links", bundle / "wheels", "--require-hashes", "--no-cache-dir"]
        call += ["--requirement", bundle / "requirements.txt", "--quiet", "--disable-pip-version-check"]
        subprocess.run([str(word) for word in call], check=True)
        subprocess.run([str(place / "bin" / "rtplan"), "doctor"], check=True)
    except subprocess.CalledProcessError as failed:
        shutil.rmtree(place, ignore_errors=True)
        raise Refused(f"{Path(failed.cmd[0]).name} failed, see above.") from failed
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
