"""rtplan's own wheel, built once."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def build():
    """Return a function that builds the wheel of this source tree into a folder."""

    def into(folder):
        call = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
        subprocess.run(list(map(str, call)), check=True, capture_output=True)
        (wheel,) = folder.glob("*.whl")
        return wheel

    return into


@pytest.fixture(scope="session")
def wheel(build, tmp_path_factory):
    """Return the wheel of this source tree, in a folder of its own."""
    return build(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def apart():
    """Return an environment in which this source tree is not seen."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COVERAGE_FILE")}


@pytest.fixture(scope="session")
def load():
    """Return a function that imports a script of bundle/ by name."""

    def script(name):
        spec = importlib.util.spec_from_file_location(f"bundle_{name}", ROOT / "bundle" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return script
