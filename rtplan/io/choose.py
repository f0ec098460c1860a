"""Which series is which image: by rule, said in a notice, or asked for by UID."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rtplan.domain import Notice
from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.acquisition import distortion_of
from rtplan.io.contrast import for_planning, role_of
from rtplan.io.index import Entry, Folder, Series
from rtplan.io.multiframe import ENHANCED, unrolled
from rtplan.io.stack import Stack, differences, split

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
    of equal ones the one whose distortion the scanner corrected, then the latest. Localisers, diffusion,
    maps and projections are passed over. Where no stack of a role can be used, the notice is a refusal: a
    broken CT beside a good MR is not an MR-only patient. Single slices beside a good stack are no broken one.

    Parameters
    ----------
    folder : Folder
        Of one patient.
    wanted : collection of str
        SeriesInstanceUIDs that are taken for their role whatever the rule says; other roles go by the rule.
    """
    notices = _unknown(folder, wanted)
    roles: dict[str, list[Stack]] = {}
    for series in folder.series("CT", "MR", *ENHANCED):
        notices += _strays(folder, series)
        for stack in _stacks(series, notices):
            asked = stack.first.series_uid in wanted
            if not asked and not for_planning(stack):
                notices.append(_passed_over(stack, "no anatomy for planning (localiser, diffusion, map)"))
            else:
                roles.setdefault(_role(stack), []).append(stack)
    good = {role: [s for s in stacks if not s.problems] for role, stacks in roles.items()}
    kinds = {stack.first.kind for stacks in good.values() for stack in stacks}
    chosen = {}
    for role, stacks in roles.items():
        if not good[role] and _scraps(stacks) and stacks[0].first.kind in kinds:
            notices += [_passed_over(stack, stack.problems[0].message) for stack in stacks]
            continue
        best = _best(role, stacks, wanted, notices)
        if best is not None:
            chosen[role] = best
    return Choice(dict(sorted(chosen.items())), tuple(notices))


def _stacks(series: Series, notices: list[Notice]) -> list[Stack]:
    """Return the stacks of a series; coloured images and what cannot be placed become notices."""
    coloured = [e for e in series.entries if hd.text(e.header, "SamplesPerPixel") not in ("", "1")]
    if coloured:
        message = f"{len(coloured)} images of the {series.kind} series are coloured (maps, captures)."
        notices.append(Notice("COLOUR_PASSED_OVER", "info", message, uid=series.uid))
    try:
        stacks = split(unrolled(entry for entry in series.entries if entry not in coloured))
    except DicomError as broken:
        refusal = Notice(
            "SLICE_UNPLACED", "refuse", broken.message, broken.action, file=broken.where, uid=series.uid
        )
        notices.append(refusal)
        return []
    if len(stacks) > 1:
        notices.append(_split(stacks))
    return stacks


def _scraps(stacks: Sequence[Stack]) -> bool:
    """Whether stacks are single slices: a localiser that does not say so."""
    return all(len(stack.entries) == 1 for stack in stacks)


def _unknown(folder: Folder, wanted: Collection[str]) -> list[Notice]:
    known = {series.uid for series in folder.series("CT", "MR", *ENHANCED)}
    message = "No CT or MR series of the folder has the SeriesInstanceUID that was asked for."
    return [
        Notice("SERIES_UNKNOWN", "refuse", message, "choose one that rtplan check lists.", uid=uid)
        for uid in wanted
        if uid not in known
    ]


def _role(stack: Stack) -> str:
    if stack.first.kind == "MR":
        return role_of(stack)
    ours = ARM.match(stack.first.text("SeriesDescription"))
    return ours["arm"] if ours else "CT"


def _best(role: str, stacks: list[Stack], wanted: Collection[str], notices: list[Notice]) -> Stack | None:
    asked = [stack for stack in stacks if stack.first.series_uid in wanted]
    stacks = asked or stacks
    good = [stack for stack in stacks if not stack.problems]
    bad = [stack for stack in stacks if stack.problems]
    largest = max(stacks, key=lambda stack: len(stack.entries))
    if not good or (largest in bad and len(largest.entries) > 2 * max(len(s.entries) for s in good)):
        notices.append(largest.problems[0])
        return None
    for stack in bad:
        notices.append(_passed_over(stack, stack.problems[0].message, broken=True))
    good.sort(key=_rank)
    if len(good) > 1:
        others = "; ".join(f"{s.description!r} ({s.volume_cc:.0f} cc)" for s in good[:-1])
        message = f"{role}: {good[-1].description!r} ({good[-1].volume_cc:.0f} cc) is taken before {others}."
        taken = good[-1].first.series_uid
        rivals = [uid for uid in dict.fromkeys(s.first.series_uid for s in good[-2::-1]) if uid != taken]
        action = f"ask for another by --series {', '.join(rivals)}." if rivals else "supply one stack alone."
        notices.append(Notice("SERIES_CHOSEN", "info", message, action, uid=good[-1].first.series_uid))
    return good[-1]


def _rank(stack: Stack) -> tuple[int, int, str, str]:
    correction = {"none": 0, "2D": 1, "3D": 2}
    corrected = correction.get(distortion_of(stack.first.header), 0)
    first = stack.first
    return round(stack.volume_cc), corrected, first.text("SeriesDate"), first.text("SeriesTime")


def _split(stacks: list[Stack]) -> Notice:
    parts = ", ".join(str(len(stack.entries)) for stack in stacks)
    apart = ", ".join(differences(stacks)) or "their objects"
    return Notice(
        "SERIES_SPLIT",
        "info",
        f"The series holds {len(stacks)} stacks ({parts} slices) that differ in {apart}.",
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


def same_person(folder: Folder) -> list[Notice]:
    """Return a refusal when the folder holds objects of several patients, or one identifier names two.

    Names and identifiers do not stand in the notice: pseudonyms do, and one file of each as its place, apart
    from the message, since a path may bear a name.
    """
    people = folder.people
    if len(people) > 1:
        listed = "; ".join(f"{key}: {_kinds(group)}" for key, group in people.items())
        message = f"The folder holds objects of {len(people)} patients ({listed})."
        files = "; ".join(f"{key}: {group[0].path}" for key, group in people.items())
        return [Notice("PATIENTS_SEVERAL", "refuse", message, ONE_PATIENT, file=files)]
    group = next(iter(people.values()))
    for keyword in ("PatientBirthDate", "PatientSex"):
        said: dict[str, Entry] = {}
        for entry in group:
            value = hd.text(entry.header, keyword)
            if value and value != "O":
                said.setdefault(value, entry)
        if len(said) > 1:
            files = " and ".join(str(entry.path) for entry in list(said.values())[:2])
            message = f"One PatientID, but {keyword} differs between two of its files."
            return [Notice("PATIENT_CONTRADICTS", "refuse", message, ONE_PATIENT, file=files)]
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
