"""A tiny patient for the commands that read an MR."""

import importlib.util
from pathlib import Path

import pytest

_PLACE = Path(__file__).parents[1] / "learning" / "conftest.py"


@pytest.fixture(scope="session")
def tiny():
    """Make a tiny patient, as the learning room does."""
    spec = importlib.util.spec_from_file_location("learning_conftest_for_cli", _PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_patient
