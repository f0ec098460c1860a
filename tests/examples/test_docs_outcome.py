"""What docs/outcome.md says of forms and sets is so; its examples are run by tests/docs."""

from pathlib import Path

from rtplan.dosimetry.forms import FORMS
from rtplan.dosimetry.parameters import load_set, names
from rtplan.dosimetry.wall import load_levels

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outcome.md"


def test_the_page_names_every_form_the_verified_sets_and_the_levels():
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in FORMS)
    verified = [load_set(name) for name in names() if load_set(name).verified]
    for item in verified:
        assert item.name in page or "bladder_acute_" in item.name
    levels = ", ".join(f"{gy:g}" for gy in load_levels().levels_gy)
    assert f"{levels} Gy EQD2(3)" in " ".join(page.split())
