"""One patient's spacer: read, plan twice, compare, write the out folder whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from rtplan import resources
from rtplan.case import export, tables
from rtplan.case.manifest import DataFile, Manifest, records, versions
from rtplan.case.outfolder import demand_space, refuse_occupied, whole
from rtplan.case.provenance import data_files_of, weights_of
from rtplan.case.rendering import DOCUMENT, PAGE, rendered
from rtplan.case.run import Place, as_plain, as_plain_outputs, inputs_of, read, with_near_files
from rtplan.case.spacing import Spaced, SpacerSettings, gels_of, own_notices, prepared, spaced
from rtplan.domain import Finding, Patient
from rtplan.dosimetry.dvh import Dvh
from rtplan.dosimetry.protocol import Protocol, load_protocol
from rtplan.errors import RtplanError
from rtplan.io.patient_write import Export, write_patient
from rtplan.io.tps import load
from rtplan.planning.benefit import ARM, Asked, Pair, compare
from rtplan.planning.device import threads
from rtplan.planning.spacer import DECIDES, SHELF, Rule, load_rule, rules
from rtplan.report.content import Picture
from rtplan.report.discretion import discreet
from rtplan.report.spacer import spacer_content
from rtplan.report.spacer_plots import Side, curves_picture, slices_picture

Say = Callable[[str], None]
#: Nodes of the curves in figures and files.
NODES = 401


@dataclass(frozen=True)
class Question:
    """Which rules are asked, and what may decide.

    Parameters
    ----------
    rule : str
        The one that decides: a name of ``models/spacer`` or a file.
    ntcp_pp : float or None
        The user's own threshold of the fall of NTCP, percentage points; then that rule may decide.
    allow_unverified : bool
        Whether an unverified rule may decide.
    """

    rule: str = DECIDES
    ntcp_pp: float | None = None
    allow_unverified: bool = False

    def rules(self) -> tuple[Rule, ...]:
        """Return all rules, the deciding one first."""
        first = load_rule(self.rule)
        found = [first, *(load_rule(name) for name in rules() if name != first.name)]
        if self.ntcp_pp is None:
            return tuple(found)
        own = {
            "at_least": self.ntcp_pp,
            "verified": True,
            "description": f"NTCP of the rectum falls by at least {self.ntcp_pp:g} percentage points",
            "note": "The threshold is the user's (--ntcp-pp).",
        }
        return tuple(r.model_copy(update=own) if r.metric == "NTCP" else r for r in found)


def run_spacer(
    place: Place, settings: SpacerSettings, question: Question, *, say: Say = lambda _: None
) -> tuple[Finding, ...]:
    """Read a patient, plan him without and with a virtual spacer, and write what that changes.

    Parameters
    ----------
    place : Place
        Where from and where to.
    settings : SpacerSettings
        Protocol, gel, planner.
    question : Question
        Rules.
    say : callable
        Gets a line of text before each part.

    Returns
    -------
    tuple of Finding
        Of both plans, their difference, the gel and every rule.

    Raises
    ------
    RtplanError
        If the input cannot be used, no gel can be inserted, no plan is made, or the out folder cannot be
        made; then nothing was written.
    """
    protocol, asked_rules = load_protocol(settings.case.protocol), question.rules()
    load(settings.case.tps)
    refuse_occupied(place.out, overwrite=place.overwrite)
    say("Read")
    patient = prepared(read(place), protocol, settings, say)
    made = spaced(patient, protocol, settings, say)
    if settings.gel_samples:
        say(f"Vary the gel ({settings.gel_samples} samples)")
    pair = made.pair(gels_of(made, settings))
    say("Compare")
    asked = Asked(asked_rules, question.allow_unverified, seed=settings.case.seed)
    findings, _ = compare(pair, protocol, asked)
    own = tuple(f for f in made.with_gel.findings if f.step == "InsertSpacer")
    told = replace(made.without, findings=(*findings, *own), notices=own_notices(made))
    with whole(place.out, overwrite=place.overwrite) as folder:
        demand_space(folder, 12 * patient.images[made.arm].array.size)
        say("Write")
        _write(folder, place, (made, pair, told), protocol, _manifest(place, settings, question, made))
    return told.findings


def _write(
    folder: Path, place: Place, what: tuple[Spaced, Pair, Patient], protocol: Protocol, manifest: Manifest
) -> None:
    made, pair, told = what
    told, provenance = discreet(with_near_files(told, place.folder), as_plain(manifest))
    tables.write_findings(told, folder)
    curves = _curves(pair, protocol)
    tables.write_curves(curves, folder / "dvh")
    pictures = _pictures(made, pair, protocol, curves)
    content = spacer_content(told.key, told.findings, told.notices, pictures, provenance)
    page = rendered(content)
    (folder / PAGE).write_text(page.page, encoding="utf-8")
    (folder / DOCUMENT).write_bytes(page.document)
    _dicom(made, folder / "dicom", manifest.settings["tps"])
    tables.write_json(folder / "manifest.json", provenance | {"outputs": as_plain_outputs(folder)})


def _dicom(made: Spaced, folder: Path, tps: str) -> None:
    """Write both plans with doses and structures, and the density image with the gel."""
    arm = made.arm
    without = replace(made.without, doses={arm: made.dose(made.without)}, findings=())
    export.write_dicom(without, folder / "without", export.Asked(tps))
    image = made.with_gel.images[arm]
    text = f"rtplan virtual spacer in {arm}; {image.source.description}".rstrip("; ")
    image = replace(image, source=replace(image.source, description=text[:64]))
    with_gel = replace(
        made.with_gel,
        images={ARM: image},
        structures={n: s for n, s in made.with_gel.structures.items() if s.kind != "CONTROL"},
        doses={ARM: made.dose(made.with_gel)},
        findings=(),
    )
    write_patient(with_gel, folder / "spacer", images=(ARM,), export=Export(load(tps), segmentation=True))


def _curves(pair: Pair, protocol: Protocol) -> dict[str, dict[str, tuple[tables.Float, tables.Float]]]:
    """Return the DVHs of rectum and targets: ``curves[side][structure]``."""
    found: dict[str, dict[str, tuple[tables.Float, tables.Float]]] = {pair.arm: {}, ARM: {}}
    for name in _names(pair, protocol):
        try:
            made = pair.dvhs(name)
        except RtplanError:
            continue
        axis = np.linspace(0.0, max(dvh.curve.max_gy for dvh in made), NODES, dtype=np.float64)
        for side, dvh in zip((pair.arm, ARM), made, strict=True):
            found[side][name] = axis, _percent(dvh, axis)
    return found


def _percent(dvh: Dvh, axis: tables.Float) -> tables.Float:
    percent: tables.Float = np.interp(axis, dvh.dose_gy, dvh.volume_percent, left=100.0, right=0.0)
    return percent


def _names(pair: Pair, protocol: Protocol) -> list[str]:
    wanted = ["Rectum", *(e.target for e in protocol.prescription), "Bladder"]
    return [name for name in wanted if name in pair.without.structures]


def _pictures(
    made: Spaced,
    pair: Pair,
    protocol: Protocol,
    curves: Mapping[str, Mapping[str, tuple[tables.Float, tables.Float]]],
) -> list[Picture]:
    plain = [e for e in protocol.prescription if e.to != "up_to" and e.target in made.without.structures]
    leading = plain[0]
    sides = [
        Side(name, one.images[made.arm], one.structures, made.dose(one))
        for name, one in (("without a gel", made.without), ("with the gel", made.with_gel))
    ]
    slices = slices_picture(sides, made.inserted.scene.middle_mm, leading.dose_gy, leading.target)
    names = [name for name in _names(pair, protocol) if name in curves[pair.arm]]
    return [slices, curves_picture(curves, names, leading.target)]


def _manifest(place: Place, settings: SpacerSettings, question: Question, made: Spaced) -> Manifest:
    case = settings.case
    shelf = [resources.find(SHELF, name) for name in resources.names(SHELF)]
    files = tuple(
        DataFile(path=f"{SHELF}/{path.name}", sha256=resources.sha256(path), verified=None, source="")
        for path in shelf
    )
    own = {
        "volume_cc": settings.volume_cc,
        "thickness_mm": settings.thickness_mm,
        "gel_samples": settings.gel_samples,
        "rule": question.rule,
        "ntcp_pp": question.ntcp_pp,
        "allow_unverified": question.allow_unverified,
    }
    return Manifest(
        schema=1,
        rtplan_version=version("rtplan"),
        command="spacer",
        settings=case.plain() | {"arms": [made.arm]} | own,
        seed=case.seed,
        device=case.device,
        threads=threads(),
        versions=versions(),
        inputs=inputs_of(place),
        weights=weights_of(case, made.arm == "SynCT"),
        data_files=(*data_files_of(replace(case, arms=(made.arm,))), *files),
        steps=(*records(made.without), *records(made.with_gel)),
        outputs=(),
    )
