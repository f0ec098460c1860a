"""The interactive page and its files: our own, and the library's from where that is installed."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from rtplan.errors import OutputError
from rtplan.report.assemble import WARNING
from rtplan.report.page import filled

#: Scripts of BokehJS that the page uses, in the order in which they are loaded.
LIBRARY = ("bokeh.min.js", "bokeh-api.min.js")
KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


def live_page(key: str, nonce: str, *, report: bool) -> str:
    """Return the page.

    Parameters
    ----------
    key : str
        The patient's pseudonym.
    nonce : str
        Stands on each script and in the policy with which the page is sent.
    report : bool
        Whether there is a report to link to.
    """
    libraries = tuple(f"/library/{name}" for name in LIBRARY)
    return filled("view.html", key=key, nonce=nonce, report=report, libraries=libraries, warning=WARNING)


@cache
def own_files() -> dict[str, tuple[str, bytes]]:
    """Return our own scripts and styles: name to type and content."""
    folder = resources.files("rtplan.report.live") / "assets"
    files = ((item.name, Path(item.name).suffix, item) for item in folder.iterdir())
    return {name: (KINDS[suffix], item.read_bytes()) for name, suffix, item in files if suffix in KINDS}


@cache
def library_files() -> dict[str, tuple[str, bytes]]:
    """Return the library's scripts from its installed package: name to type and content.

    Raises
    ------
    OutputError
        If it is not installed.
    """
    found = find_spec("bokeh")
    places = list(found.submodule_search_locations or ()) if found else []
    files = {name: Path(place) / "server/static/js" / name for place in places for name in LIBRARY}
    if not files or not all(path.is_file() for path in files.values()):
        raise OutputError(
            "The interactive page needs Bokeh, which is not installed.",
            action="install rtplan with it (pip install 'rtplan[view]'); rtplan report needs nothing more.",
        )
    return {name: (KINDS[".js"], path.read_bytes()) for name, path in files.items()}
