"""Which series is which image: by rule, said in a notice, or asked for by UID."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rtplan.domain import Notice
from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.contrast import for_planning, role_of
from rtplan.io.index import Entry, Folder, Series
from rtplan.io.stack import Stack, split

#: SeriesDescription of the density images that rtplan writes.
ARM = re.compile(r"^rtplan arm (?P<arm>\S+)")
#: What a refusal of several patients advises.
ONE_PATIENT = "put each patient into a folder of their own."


@dataclass(frozen=True)
class Choice:
    """The stack for each role, and what was said on the way (also refusals)."""

    stacks: Mapping[str, Stack]
    notices: tuple[Notice, ...]


def choose(folder: Folder, wanted: Collection[str] = ()) -> Choice:
    """Choose one stack for each role (``CT``, ``T2w``, ``T1w`` …).

    Of several stacks of one role that form a regular box, the one that covers the largest volume is taken;
    of equal ones the latest. Localisers, diffusion, maps and projections are passed over. Where no stack of a
    role can be used, the notice is a refusal: a broken CT beside a good MR is not an MR-only patient.

    Parameters
    ----------
    folder : Folder
        Of one patient.
    wanted : collection of str
        SeriesInstanceUIDs; when given, no other series is considered.
    """
    notices: list[Notice] = []
    roles: dict[str, list[Stack]] = {}
    for series in folder.series("CT", "MR"):
        if wanted and series.uid not in wanted:
            continue
        try:
            stacks = split(series.entries)
        except DicomError as broken:
            notices.append(_refusal("SLICE_UNPLACED", broken, series.uid))
            continue
        notices += _strays(folder, series)
        if len(stacks) > 1:
            notices.append(_split(stacks))
        for stack in stacks:
            if not for_planning(stack):
                notices.append(_passed_over(stack, "no anatomy for planning (localiser, diffusion, map)"))
            else:
                roles.setdefault(_role(stack), []).append(stack)
    chosen = {}
    for role, stacks in roles.items():
        best = _best(role, stacks, notices)
        if best is not None:
            chosen[role] = best
    notices += _enhanced(folder) if not wanted else []
    return Choice(dict(sorted(chosen.items())), tuple(notices))


def _role(stack: Stack) -> str:
    if stack.first.kind == "MR":
        return role_of(stack)
    ours = ARM.match(stack.first.text("SeriesDescription"))
    return ours["arm"] if ours else "CT"


def _best(role: str, stacks: list[Stack], notices: list[Notice]) -> Stack | None:
    good = [stack for stack in stacks if not stack.problems]
    bad = [stack for stack in stacks if stack.problems]
    largest = max(stacks, key=lambda stack: len(stack.entries))
    if not good or (largest in bad and len(largest.entries) > 2 * max(len(s.entries) for s in good)):
        notices.append(largest.problems[0])
        return None
    for stack in bad:
        notices.append(_passed_over(stack, stack.problems[0].message, broken=True))
    good.sort(key=lambda s: (round(s.volume_cc), s.first.text("SeriesDate"), s.first.text("SeriesTime")))
    if len(good) > 1:
        others = "; ".join(f"{s.description!r} ({s.volume_cc:.0f} cc)" for s in good[:-1])
        message = f"{role}: {good[-1].description!r} ({good[-1].volume_cc:.0f} cc) is taken before {others}."
        action = "ask for another by its SeriesInstanceUID."
        notices.append(Notice("SERIES_CHOSEN", "info", message, action, uid=good[-1].first.series_uid))
    return good[-1]


def _split(stacks: list[Stack]) -> Notice:
    parts = ", ".join(str(len(stack.entries)) for stack in stacks)
    return Notice(
        "SERIES_SPLIT",
        "info",
        f"The series holds {len(stacks)} stacks ({parts} slices): echoes, channels or orientations.",
        "check that the right one is used.",
        uid=stacks[0].first.series_uid,
    )


def _strays(folder: Folder, series: Series) -> list[Notice]:
    message = f"The {series.kind} series holds an object of another class."
    return [
        Notice(
            "SERIES_CLASS_MIXED",
            "refuse",
            message,
            "export the series again.",
            file=str(e.path),
            uid=series.uid,
        )
        for e in folder.entries
        if e.series_uid == series.uid and e.kind != series.kind
    ]


def _passed_over(stack: Stack, why: str, *, broken: bool = False) -> Notice:
    message = f"{stack.first.kind} {stack.description!r} ({len(stack.entries)} slices) is passed over: {why}"
    return Notice(
        "SERIES_PASSED_OVER",
        "warn" if broken else "info",
        message if message.endswith(".") else message + ".",
        file=str(stack.first.path),
        uid=stack.first.series_uid,
    )


def _enhanced(folder: Folder) -> list[Notice]:
    return [
        Notice(
            "ENHANCED_MULTIFRAME",
            "warn",
            f"An {series.kind} (multi-frame) series of {len(series.entries)} objects is left out.",
            "export it as classic single-frame objects.",
            file=str(series.first.path),
            uid=series.uid,
        )
        for series in folder.series("enhanced CT", "enhanced MR")
    ]


def _refusal(code: str, broken: DicomError, uid: str) -> Notice:
    return Notice(code, "refuse", broken.message, broken.action, file=broken.where, uid=uid)


def same_person(folder: Folder) -> list[Notice]:
    """Return a refusal when the folder holds objects of several patients, or one identifier names two.

    Names and identifiers do not stand in the notice: pseudonyms and one file of each do.
    """
    people = folder.people
    if len(people) > 1:
        listed = "; ".join(f"{key}: {_kinds(group)}, {group[0].path}" for key, group in people.items())
        message = f"The folder holds objects of {len(people)} patients ({listed})."
        return [Notice("PATIENTS_SEVERAL", "refuse", message, ONE_PATIENT, file=str(folder.path))]
    group = next(iter(people.values()))
    for keyword in ("PatientBirthDate", "PatientSex"):
        said: dict[str, Entry] = {}
        for entry in group:
            value = hd.text(entry.header, keyword)
            if value and value != "O":
                said.setdefault(value, entry)
        if len(said) > 1:
            files = " and ".join(str(entry.path) for entry in list(said.values())[:2])
            message = f"One PatientID, but {keyword} differs between {files}."
            return [Notice("PATIENT_CONTRADICTS", "refuse", message, ONE_PATIENT, file=str(folder.path))]
    return []


def _kinds(group: tuple[Entry, ...]) -> str:
    return "+".join(sorted({entry.kind for entry in group}))


def positions(stacks: Mapping[str, Stack]) -> list[Notice]:
    """Return a notice for images of one frame of reference that contradict each other's PatientPosition."""
    frames: dict[str, dict[str, list[str]]] = {}
    for role, stack in stacks.items():
        said = hd.code(stack.first.header, "PatientPosition")
        if stack.first.frame and said:
            frames.setdefault(stack.first.frame, {}).setdefault(said, []).append(role)
    return [
        Notice(
            "FOR_POSITION_CONFLICT",
            "warn",
            "One FrameOfReferenceUID, but PatientPosition differs: "
            + "; ".join(f"{', '.join(roles)} say {position}" for position, roles in found.items())
            + ".",
            "the overlap of the bodies decides; check the registration on the page.",
            uid=frame,
        )
        for frame, found in frames.items()
        if len(found) > 1
    ]
