"""The review server: shows a finished run's structures and plan to readers and keeps what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import numpy as np

from rtplan.case import review_save
from rtplan.case.finished import NOT_DRAWN, FinishedRun, open_run
from rtplan.case.review import LONGEST_LABEL, LONGEST_REMARK, SCORES, Review, read
from rtplan.domain import Mask, Structure
from rtplan.errors import GeometryMismatch, RtplanError, StructureError
from rtplan.imaging.planes import volume_cc
from rtplan.report.review_page import (
    Filled,
    Sheet,
    Shot,
    Subject,
    closed_page,
    form_page,
    goals_of,
    saved_page,
    style_sheet,
)
from rtplan.report.review_pictures import View, alt_of, review_picture, views_of
from rtplan.report.scene import chosen
from rtplan.service.loopback import POLICY_ALONE, Request, Response, plain
from rtplan.service.review_form import (
    OFFERED_DECISIONS,
    OFFERED_KINDS,
    OFFERED_SCORES,
    field_of,
    review_of,
    values_of,
)
from rtplan.service.work import Work, WorkingServer

_PICTURE = re.compile(r"/picture/s([0-9]{1,4})-([0-9])\.png")
_TYPES = {"ORGAN": "organ", "EXTERNAL": "outline of the body"}


def serve(folder: Path, *, port: int = 0, reader: str = "") -> WorkingServer:
    """Return a server, ready to run, for the review of a finished run.

    Parameters
    ----------
    folder : Path
        The out folder of `rtplan run`.
    port : int
        0: any free one.
    reader : str
        Label that stands in the form already.

    Raises
    ------
    RtplanError
        If the folder holds no finished run with structures, its reviews do not parse, it cannot be written,
        or the port cannot be used. Nothing was served then.
    """
    run = open_run(folder)
    read(folder)
    review_save.demand_writable(folder)
    desk = Desk(run, reader)
    server = WorkingServer(desk.answer, desk.work, port=port)
    desk.form_token = server.form_token
    return server


@dataclass
class Desk:
    """What one review session knows; answers requests from several threads.

    Parameters
    ----------
    run : FinishedRun
        What is reviewed.
    reader : str
        Label that stands in the form already.
    form_token : str
        The server's.
    work : Work
        Counts the pictures that are being drawn.
    """

    run: FinishedRun
    reader: str = ""
    form_token: str = ""
    pictures: dict[tuple[int, int], bytes] = field(default_factory=dict)
    work: Work = field(default_factory=Work)

    def answer(self, request: Request) -> Response:
        """Answer one request that holds the token; raises RuntimeError once the server closes."""
        with self.work.one():
            return self._answer(request)

    def _answer(self, request: Request) -> Response:
        if request.form is not None:
            posts = {"/review": self._save, "/finish": self._finish}
            return posts[request.path](request.form) if request.path in posts else _nothing_here()
        pages = {"/": self._form, "/saved": self._saved, "/style.css": _style, "/report.html": self._report}
        if request.path in pages:
            return pages[request.path](request)
        found = _PICTURE.fullmatch(request.path)
        return self._picture(int(found[1]), int(found[2])) if found else _nothing_here()

    @cached_property
    def structures(self) -> tuple[Structure, ...]:
        """The structures in the order of the form: targets, organs, the rest."""
        drawn = {n: s for n, s in self.run.patient.structures.items() if s.kind not in NOT_DRAWN}
        first = chosen(self.run.patient)
        return tuple(drawn[name] for name in (*first, *(n for n in drawn if n not in first)))

    @cached_property
    def views(self) -> tuple[tuple[View, ...], ...]:
        """The views of each structure; none of one that cannot be brought onto the image."""
        return tuple(self._views(structure) for structure in self.structures)

    def _views(self, structure: Structure) -> tuple[View, ...]:
        try:
            return views_of(structure, self.run.image, self.run.link(structure))
        except (GeometryMismatch, StructureError):
            return ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The structures' names in the order of the form."""
        return tuple(structure.name for structure in self.structures)

    @cached_property
    def sheet(self) -> Sheet:
        """All that stands on the form whoever fills it in."""
        goals, why = goals_of(self.run.patient)
        return Sheet(
            run=self.run.patient.key,
            image=self.run.image_name,
            subjects=tuple(self._subject(rank) for rank in range(len(self.structures))),
            goals=goals,
            no_goals=why,
            scores=OFFERED_SCORES,
            kinds=OFFERED_KINDS,
            decisions=OFFERED_DECISIONS,
            form_token=self.form_token,
            longest_label=LONGEST_LABEL,
            longest_remark=LONGEST_REMARK,
        )

    def _subject(self, rank: int) -> Subject:
        structure = self.structures[rank]
        shots = tuple(
            Shot(f"/picture/s{rank}-{n}.png", view.name, alt_of(structure.name, self.run.image_name, view))
            for n, view in enumerate(self.views[rank])
        )
        about = f"{_TYPES.get(structure.kind, structure.kind)} · {self._volume(structure)}"
        return Subject(field_of(rank), structure.name, about, shots)

    def _volume(self, structure: Structure) -> str:
        region = structure.region
        if isinstance(region, Mask):
            return f"{np.count_nonzero(region.array) * region.grid.voxel_cc:.1f} cc"
        try:
            return f"{volume_cc(region, self.run.image.grid.spacing_zyx_mm[0]):.1f} cc"
        except StructureError as wrong:
            return f"volume not evaluable: {wrong.message}"

    def _readers(self) -> tuple[str, ...]:
        kept = read(self.run.folder)
        return tuple(review.reader for review in kept.reviews) if kept else ()

    def _current(self, reader: str) -> Review | None:
        kept = read(self.run.folder)
        return kept.of(reader) if kept else None

    def _form(self, request: Request) -> Response:
        reader = request.query.get("reader", self.reader)
        current = self._current(reader)
        values = values_of(current, self.names) if current else {"reader": reader[:LONGEST_LABEL]}
        return _page(form_page(self.sheet, Filled(values, {}, self._readers())))

    def _save(self, form: Mapping[str, str]) -> Response:
        review, problems = review_of(form, self.names, datetime.now(UTC).replace(microsecond=0))
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        if review is not None:
            try:
                review_save.add(self.run.folder, review)
            except RtplanError as refused:
                problems, status = {"reader": str(refused)}, HTTPStatus.CONFLICT
        if problems or review is None:
            return _page(form_page(self.sheet, Filled(form, problems)), status)
        if form.get("then") == "finish":
            return _closed(review.reader)
        return _go(f"/saved?reader={quote(review.reader, safe='')}")

    def _saved(self, request: Request) -> Response:
        review = self._current(request.query.get("reader", ""))
        if review is None:
            return _go("/")
        return _page(saved_page(self.sheet, review.reader, _lines(review), self._readers()))

    def _finish(self, form: Mapping[str, str]) -> Response:
        review = self._current(form.get("reader", ""))
        return _closed(review.reader) if review else _go("/")

    def _picture(self, rank: int, n: int) -> Response:
        if rank >= len(self.structures) or n >= len(self.views[rank]):
            return _nothing_here()
        if (rank, n) not in self.pictures:
            structure, run = self.structures[rank], self.run
            view, link = self.views[rank][n], run.link(structure)
            self.pictures[rank, n] = review_picture(structure, run.image_name, run.image, view, link).png
        return Response(self.pictures[rank, n], kind="image/png")

    def _report(self, request: Request) -> Response:
        path = self.run.folder / "report.html"
        if not path.is_file():
            return _nothing_here()
        return Response(path.read_bytes(), policy=POLICY_ALONE)


def _lines(review: Review) -> tuple[tuple[str, str, str], ...]:
    """Return what a review says: subject, judgement, remark."""
    lines = []
    for item in review.structures:
        kind = f": {item.kind}" if item.kind else ""
        lines.append((item.name, f"{item.score} {SCORES[item.score]}{kind}", item.remark or "–"))
    if review.plan is not None:
        lines.append(("The plan", review.plan.decision, review.plan.remark or "–"))
    return tuple(lines)


def _page(text: str, status: int = HTTPStatus.OK) -> Response:
    return Response(text.encode(), status)


def _go(address: str) -> Response:
    return Response(b"", HTTPStatus.SEE_OTHER, headers=(("Location", address),))


def _closed(reader: str) -> Response:
    return Response(closed_page(reader).encode(), policy=POLICY_ALONE, last=True)


def _style(request: Request) -> Response:
    return Response(style_sheet().encode(), kind="text/css; charset=utf-8")


def _nothing_here() -> Response:
    return plain(HTTPStatus.NOT_FOUND, "There is nothing here.\n")
