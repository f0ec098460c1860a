"""The site builds without a warning, every page is in it, and what is generated is there."""

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).resolve().parents[2]


def listed(nav):
    """Return all pages that a navigation names."""
    if isinstance(nav, str):
        return {nav}
    entries = nav.values() if isinstance(nav, dict) else nav
    return set().union(*(listed(entry) for entry in entries))


def site(tmp_path, **options):
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True, **options)
    build(config)  # strict: a dead link, a page outside the navigation or a warning raises
    return config, tmp_path / "site"


@pytest.mark.filterwarnings("default")  # of MkDocs and its theme, not ours
def test_the_site_builds_strictly_and_holds_every_page(tmp_path):
    # Without mkdocstrings, which takes ten seconds: test_the_whole_site… has it.
    config, made = site(tmp_path, plugins=[])
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= listed(config.nav)
    results = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.md")}
    assert results == {path.name for path in (made / "validation").iterdir() if path.is_dir()}
    command_line = (made / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    assert "rtplan evaluate synct" in command_line
    assert "--allow-unverified" in command_line
    for page in made.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8")
        )
        assert [place for place in loaded if "rel=" not in place] == [], page


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_whole_site_builds_with_the_reference_from_docstrings(tmp_path):
    _, made = site(tmp_path)
    dosimetry = (made / "reference" / "dosimetry" / "index.html").read_text(encoding="utf-8")
    assert 'id="rtplan.dosimetry.dvh.dvh"' in dosimetry
    assert (made / "search" / "search_index.json").is_file()
