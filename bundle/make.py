"""Make a bundle for machines without network: wheels, hashes, licences, bill of materials, install script.

Usage: python bundle/make.py --out dist/bundle [--extras serve,batch,view] [--torch-index URL]
(or: make bundle)
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import parse_wheel_filename

from rtplan.case.outfolder import whole
from rtplan.cli.licences import lines
from rtplan.cli.licences_read import inventory, wheels_in
from rtplan.cli.licences_sbom import sbom
from rtplan.resources import sha256

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent


def collect(extras: str, torch_index: str, folder: Path) -> None:
    """Fetch or build the wheel of everything that rtplan needs, in the tested versions, and rtplan's own."""
    project = f"{ROOT}[{extras}]" if extras else str(ROOT)
    pinned = ROOT / "constraints.txt"
    call = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    call += ["--constraint", str(pinned), "--build-constraint", str(pinned), "--wheel-dir", str(folder)]
    call += ["--extra-index-url", torch_index] if torch_index else []
    subprocess.run([*call, project], check=True)
    if missing := inventory(wheels_in(folder)).missing:
        raise SystemExit(f"These are needed and were not fetched: {', '.join(missing)}.")


def assemble(wheels: Path, out: Path, *, overwrite: bool = False) -> None:
    """Write the bundle from a folder of wheels, whole or not at all.

    The same wheels give the same bytes: no time, no place and no name of this machine stands in it.
    """
    with whole(out, overwrite=overwrite) as place:
        (place / "wheels").mkdir()
        for wheel in sorted(wheels.glob("*.whl")):
            shutil.copyfile(wheel, place / "wheels" / wheel.name)
        (place / "requirements.txt").write_text(requirements(place / "wheels"), encoding="utf-8")
        for name in ("install.py", "README.md"):
            shutil.copyfile(HERE / name, place / name)
        shutil.copyfile(ROOT / "LICENSE", place / "LICENSE")
        (place / "bundle.json").write_text(json.dumps(machine(), indent=2) + "\n", encoding="utf-8")
        _licences(place)
        (place / "SHA256SUMS").write_text(sums(place), encoding="utf-8")


def requirements(wheels: Path) -> str:
    """Return a requirements file that names each wheel by version and hash, for pip --require-hashes."""
    text = "# pip install --no-index --find-links wheels --require-hashes -r requirements.txt\n"
    for wheel in sorted(wheels.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(wheel.name)
        text += f"{name}=={version} --hash=sha256:{sha256(wheel)}\n"
    return text


def machine() -> dict[str, object]:
    """Return which Python and processor the wheels are for: this one's."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "schema": 1,
        "python": python,
        "system": platform.system(),
        "machine": platform.machine(),
    }


def sums(place: Path) -> str:
    """Return what ``sha256sum --check`` reads."""
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{sha256(path)}  {path.relative_to(place).as_posix()}\n" for path in files)


def _licences(place: Path) -> None:
    found = inventory(wheels_in(place / "wheels"))
    (place / "LICENCES.txt").write_text("\n".join(lines(found)) + "\n", encoding="utf-8")
    (place / "sbom.cdx.json").write_text(sbom(found), encoding="utf-8")


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make a bundle for machines without network.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--extras", default="serve,batch,view", help="of rtplan; empty for none")
    parser.add_argument("--torch-index", default="", help="an index with PyTorch's builds, beside the usual")
    parser.add_argument("--overwrite", action="store_true")
    chosen = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="rtplan-bundle-") as place:
        collect(chosen.extras, chosen.torch_index, Path(place))
        assemble(Path(place), chosen.out, overwrite=chosen.overwrite)
    count = sum(1 for _ in (chosen.out / "wheels").iterdir())
    size = sum(path.stat().st_size for path in chosen.out.rglob("*")) / 2**20
    print(f"{chosen.out}: {count} wheels, {size:.0f} MiB")


if __name__ == "__main__":
    main()
