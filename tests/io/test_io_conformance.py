"""The conformance statement is what the code does."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "conformance.py"


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("conformance", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(writer):
    said = writer.PAGE.read_text(encoding="utf-8").splitlines()
    found = writer.page().splitlines()
    differing = [pair for pair in zip(said, found, strict=False) if pair[0] != pair[1]]
    assert said == found, f"call python docs/conformance.py; first: {differing[:2]}"


def test_the_page_says_what_matters(writer):
    page = writer.PAGE.read_text(encoding="utf-8")
    for row in (
        "| (0020,0032) | Image Position (Patient) | DS | **refused** |",
        "| (3004,000E) | Dose Grid Scaling | DS | **refused** |",
        "| (0028,1053) | Rescale Slope | DS | read |",
        "| (300E,0002) | Approval Status | CS | UNAPPROVED |",
        "| `GANTRY_TILT` | refuse |",
        "Clean Descriptors Option (113105 DCM)",
    ):
        assert row in page
    assert "{{" not in page
