"""A whole batch: own its folder, take up the manifest, drive the patients, then table and page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from rtplan.batch.cluster import Site, clients
from rtplan.batch.cohort import write_results
from rtplan.batch.drive import Drive
from rtplan.batch.lock import BATCH, is_held, owning, refuse_second
from rtplan.batch.manifest import NAME, BatchManifest, read_state
from rtplan.batch.members import members_of
from rtplan.batch.settings import BatchSettings
from rtplan.batch.stages import plan_of
from rtplan.batch.task import LOCKS, PATIENTS, Order
from rtplan.case.digital import demand_site
from rtplan.case.outfolder import clear_unfinished
from rtplan.case.provenance import data_files_of, weights_of
from rtplan.dosimetry.parameters import load_set
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import OutputError
from rtplan.evaluation.batch_state import BatchState
from rtplan.io.tps import load

Tell = Callable[[str], None]
#: What may lie in an out folder that nothing was written to yet.
_OURS = (BATCH,)


def run_batch(
    settings: BatchSettings,
    out: Path,
    site: Site,
    *,
    resume: bool = False,
    split: bool | None = None,
    tell: Tell = lambda _: None,
) -> BatchState:
    """Run a batch and write ``patients/<key>/``, ``batch.sqlite``, ``cohort.parquet`` and ``report.html``.

    Parameters
    ----------
    settings : BatchSettings
        Patients and what is asked on each.
    out : Path
        Folder of the batch, which every worker sees; must not exist or be empty, unless it holds this
        batch and ``resume``.
    site : Site
        Where the work is done.
    resume : bool
        Go on: finished patients are kept, failed ones are tried again.
    split : bool, optional
        Whether each patient is three tasks (`stages`); by default as the workers suggest.
    tell : callable
        Gets lines of text: the dashboard's address, and each patient's end.

    Returns
    -------
    BatchState
        As the manifest says at the end.

    Raises
    ------
    BatchError
        If another process runs this batch, or its machines are gone; then it can be gone on with.
    RtplanError
        If protocol, models, source or out folder cannot be used; then nothing was written.
    """
    _demand(settings)
    out = out.absolute()
    refuse_second(out)
    _refuse_occupied(out, resume=resume)
    members = members_of(settings)
    out.mkdir(parents=True, exist_ok=True)
    with owning(out):
        _refuse_occupied(out, resume=resume)
        results = out / PATIENTS
        results.mkdir(exist_ok=True)
        _clear(out)
        manifest = BatchManifest(out)
        try:
            manifest.begin(settings.plain(), members, results)
            order = Order(settings, out, version("rtplan"))
            if manifest.waiting():
                with clients(site, settings.limits, settings.case.device) as client:
                    manifest.dashboard(client.dashboard_link or "")
                    tell(f"Dashboard: {client.dashboard_link or 'none'}")
                    plan = plan_of(client, settings, split=split)
                    Drive(client, plan, manifest, {m.number: m for m in members}, order, tell).run()
            state = replace(manifest.state(), running=False)
            write_results(out, state)
        finally:
            _clear(out)
            manifest.close()
    return state


def status_of(out: Path) -> BatchState:
    """Return how far a batch is, running or not, without changing anything.

    Raises
    ------
    FormatError
        If there is no batch, or its manifest cannot be read.
    """
    return read_state(out, running=is_held(out / BATCH))


def _demand(settings: BatchSettings) -> None:
    """Refuse what would be refused for every patient, before anything is written."""
    protocol = load_protocol(settings.case.protocol)
    if settings.source is None:
        demand_site(protocol)
    load(settings.case.tps)
    for name in settings.case.outcome:
        load_set(name)
    data_files_of(settings.case)
    weights_of(settings.case, has_mr=True)


def _refuse_occupied(out: Path, *, resume: bool) -> None:
    if not out.exists() or (out.is_dir() and not [p for p in out.iterdir() if p.name not in _OURS]):
        return
    if not resume or not (out / NAME).is_file():
        raise OutputError(
            "The out folder is not empty." if out.is_dir() else "The out folder is a file.",
            where=str(out),
            action="choose another --out; --resume goes on with a batch that was begun there.",
        )


def _clear(out: Path) -> None:
    """Remove locks and unfinished folders of killed workers, unless one of an earlier start still works."""
    locks = out / LOCKS
    if not any(is_held(path) for path in locks.glob("*.lock")):
        clear_unfinished(out / PATIENTS)
        shutil.rmtree(locks, ignore_errors=True)
