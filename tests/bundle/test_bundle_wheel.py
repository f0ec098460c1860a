"""The wheel bears models and protocols, and works where the source tree is not."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

from rtplan import resources


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return a folder with the wheel's files, as pip puts them."""
    folder = tmp_path_factory.mktemp("installed")
    call = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--quiet"]
    subprocess.run([*call, "--target", str(folder), str(wheel)], check=True)
    return folder


@pytest.fixture
def rtplan(installed, apart, tmp_path):
    """Return a function that calls the installed rtplan far from the source tree."""

    def call(*words):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "rtplan", *words],
            cwd=tmp_path,
            env=apart | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_what_is_on_the_shelves_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        for shelf in ("models", "protocols"):
            folder = resources.shelf(shelf)
            for path in folder.rglob("*"):
                if path.is_file():
                    inside = f"rtplan/{shelf}/{path.relative_to(folder).as_posix()}"
                    assert inside in names
                    assert file.read(inside) == path.read_bytes()
    assert not [name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))]


def test_the_installed_one_is_called_and_has_its_shelves(rtplan, installed, tmp_path):
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import rtplan; print(rtplan.__file__)"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip() == str(installed / "rtplan" / "__init__.py")
    assert "synct_mr_pelvis" in rtplan("models")
    assert "prostate_boost_flame" in rtplan("protocols")
    models = json.loads(rtplan("doctor", "--json"))["models"]
    assert models["synct_mr_pelvis"].startswith("whole")


def test_it_draws_a_patient_and_checks_it(rtplan):
    rtplan(
        "phantom", "--seed", "3", "--spacing", "8,5,5", "--contrasts", "T2w", "--out", "patients", "--quiet"
    )
    assert "RTSTRUCT" in rtplan("check", "patients/study0003")


def test_two_builds_give_the_same_bytes(wheel, build, tmp_path):
    assert build(tmp_path).read_bytes() == wheel.read_bytes()
