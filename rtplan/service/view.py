"""The view server: a finished run's images, doses, structures and findings for one person's browser."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

from rtplan.case import tables
from rtplan.case.archive import Case, read_case
from rtplan.case.rendering import PAGE, manifest_of
from rtplan.errors import UnknownName
from rtplan.report.live.cut import cut_of, packed
from rtplan.report.live.facts import facts_of
from rtplan.report.live.page import library_files, live_page, own_files
from rtplan.report.live.stage import Stage, View, stage_of
from rtplan.service.loopback import POLICY_ALONE, Request, Response, plain
from rtplan.service.work import Work, WorkingServer

#: Scripts by nonce alone; styles inline, since BokehJS puts its own into the page; data from here alone.
POLICY_LIVE = (
    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'; connect-src 'self'; "
    "img-src data:; style-src 'self' 'unsafe-inline'; script-src 'nonce-{nonce}'"
)


def serve(folder: Path, *, port: int = 0) -> WorkingServer:
    """Return a server, ready to run, that shows a finished run.

    Parameters
    ----------
    folder : Path
        The out folder of ``rtplan run`` or ``demo``.
    port : int
        0: any free one.

    Raises
    ------
    RtplanError
        If the folder holds no finished run with an image, a file of it does not parse, the library is not
        installed, or the port cannot be used. Nothing was served then.
    """
    library_files()
    provenance = manifest_of(folder)
    case = read_case(folder)
    desk = Desk(folder, case, stage_of(case.patient, case.spreads), provenance)
    server = WorkingServer(desk.answer, desk.work, port=port)
    threading.Thread(target=desk.warm, daemon=True).start()
    return server


@dataclass(frozen=True, eq=False)
class Desk:
    """What the server shows; answers requests from several threads, changes nothing.

    Parameters
    ----------
    folder : Path
        The out folder.
    case : Case
        As it was read.
    stage : Stage
        What can be shown of it.
    provenance : mapping
        The manifest.
    work : Work
        Counts what is being reckoned.
    """

    folder: Path
    case: Case
    stage: Stage
    provenance: Mapping[str, Any]
    work: Work = field(default_factory=Work)

    def warm(self) -> None:
        """Make ready what the page asks for first, while the browser still starts."""
        with suppress(RuntimeError), self.work.one():
            self._told  # noqa: B018 - kept once made

    def answer(self, request: Request) -> Response:
        """Answer one request that holds the token; a form is none of ours."""
        if request.form is not None:
            return _nothing_here()
        pages: dict[str, Callable[[Request], Response]] = {
            "/": self._page,
            "/facts.json": self._facts,
            "/cut": self._cut,
            f"/{PAGE}": self._report,
        }
        if request.path in pages:
            with self.work.one():
                return pages[request.path](request)
        return _file(request.path)

    def _page(self, request: Request) -> Response:
        nonce = secrets.token_urlsafe(18)
        text = live_page(self.case.patient.key, nonce, report=(self.folder / PAGE).is_file())
        return Response(text.encode(), policy=POLICY_LIVE.format(nonce=nonce))

    @cached_property
    def _told(self) -> bytes:
        place = self.folder / "dvh"
        curves = tables.read_curves(place, base_gy=self.case.base_gy)
        bands = tables.read_bands(place, base_gy=self.case.base_gy)
        return json.dumps(facts_of(self.stage, curves, bands, self.provenance), allow_nan=False).encode()

    def _facts(self, request: Request) -> Response:
        return Response(self._told, kind="application/json")

    def _cut(self, request: Request) -> Response:
        view, k = request.query.get("view", ""), request.query.get("k", "")
        layers = tuple(name for name in request.query.get("layers", "").split(",") if name)
        if view not in get_args(View) or not (k.isascii() and k.isdigit() and len(k) < 6):
            return _nothing_here()
        try:
            cut = cut_of(self.stage, view, int(k), layers)  # type: ignore[arg-type] # one of View's
        except UnknownName:
            return _nothing_here()
        return Response(packed(cut), kind="application/octet-stream")

    def _report(self, request: Request) -> Response:
        path = self.folder / PAGE
        return Response(path.read_bytes(), policy=POLICY_ALONE) if path.is_file() else _nothing_here()


def _file(path: str) -> Response:
    """Return one of the files of the page, by its name in a table; no path reaches the disk."""
    for start, files in (("/live/", own_files), ("/library/", library_files)):
        name = path.removeprefix(start)
        if path.startswith(start) and name in files():
            kind, content = files()[name]
            return Response(content, kind=kind)
    return _nothing_here()


def _nothing_here() -> Response:
    return plain(HTTPStatus.NOT_FOUND, "There is nothing here.\n")
