"""The bundle: the same bytes twice, refused where a file differs, installed without network."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def bundle(wheel, load, tmp_path_factory):
    """Return a bundle of rtplan's own wheel alone: what concerns files needs no other."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    load("make").assemble(wheel.parent, out)
    return out


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "bundle")


def installer(bundle, *words, before=(), environment=None):
    call = [*before, sys.executable, str(bundle / "install.py"), *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, env=environment)


def test_every_file_is_listed_and_the_same_bytes_come_twice(bundle, wheel, load, tmp_path):
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bundle).returncode == 0
    load("make").assemble(wheel.parent, tmp_path / "again")
    files = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    assert Path("wheels", wheel.name) in files
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (bundle / file).read_bytes(), file


def test_it_lists_licences_of_what_it_holds(bundle):
    told = (bundle / "LICENCES.txt").read_text(encoding="utf-8")
    assert "CC-BY-4.0" in told
    components = json.loads((bundle / "sbom.cdx.json").read_text(encoding="utf-8"))["components"]
    # Only rtplan's wheel is in this bundle: nothing of the tests' own environment may stand in its bill.
    assert {component["type"] for component in components} == {"machine-learning-model"}


def test_a_bundle_without_its_dependencies_is_not_made(wheel, load, monkeypatch, tmp_path):
    make = load("make")
    monkeypatch.setattr(make.subprocess, "run", lambda *_, **__: None)
    shutil.copy(wheel, tmp_path)
    with pytest.raises(SystemExit, match=r"not fetched: .*torch"):
        make.collect("", "", tmp_path)


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda b: _flip(next((b / "wheels").glob("*.whl"))), "not the file that was bundled"),
        (lambda b: _flip(b / "requirements.txt"), "requirements.txt is not the file"),
        (lambda b: next((b / "wheels").glob("*.whl")).unlink(), "is missing"),
        (lambda b: (b / "wheels" / "six-1.0-py3-none-any.whl").write_bytes(b"x"), "not in SHA256SUMS"),
    ],
)
def test_an_altered_bundle_is_refused_before_anything_is_installed(copy, tmp_path, harm, said):
    harm(copy)
    done = installer(copy, "--venv", tmp_path / "venv")
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "venv").exists()


def test_another_processor_or_a_folder_that_is_there_is_refused(copy, load, tmp_path):
    install = load("install")
    (tmp_path / "venv").mkdir()
    assert "there already" in installer(copy, "--venv", tmp_path / "venv").stderr
    facts = json.loads((copy / "bundle.json").read_text(encoding="utf-8")) | {"machine": "pdp11"}
    (copy / "bundle.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(install.Refused, match="pdp11"):
        install.check_machine(copy)


def test_pip_itself_refuses_a_wheel_of_another_hash(copy, tmp_path):
    wrong = (copy / "requirements.txt").read_text(encoding="utf-8").replace("sha256:", "sha256:0").rstrip()
    lines = [line[:-1] if "sha256:" in line else line for line in wrong.splitlines()]
    (copy / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    call = [
        sys.executable,
        "-m",
        "pip",
        "--isolated",
        "install",
        "--no-index",
        "--no-deps",
        "--require-hashes",
    ]
    call += ["--find-links", str(copy / "wheels"), "--target", str(tmp_path / "there")]
    done = subprocess.run([*call, "-r", str(copy / "requirements.txt")], capture_output=True, text=True)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


@pytest.mark.slow
def test_the_whole_bundle_installs_on_a_machine_without_network(load, apart, tmp_path):
    alone = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("a network namespace cannot be made here")
    bundle, venv = tmp_path / "bundle", tmp_path / "venv"
    load("make").main(["--out", str(bundle)])
    done = installer(bundle, "--venv", venv, before=alone, environment=apart)
    assert done.returncode == 0, done.stderr
    call = [*alone, str(venv / "bin" / "rtplan"), "phantom", "--spacing", "8,5,5", "--out", "patients"]
    subprocess.run(call, check=True, cwd=tmp_path, env=apart)
    assert list((tmp_path / "patients").rglob("*.dcm"))
