"""Gather the digital pelves that the training of a segmentation network names, cut once, and train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rtplan.learning import together
from rtplan.learning.card import Triple
from rtplan.learning.loop import learn
from rtplan.learning.segment_job import SegmentJob
from rtplan.learning.segment_settings import SegmentData, SegmentSettings
from rtplan.learning.segments import SegmentCase, labelled, load_segments, save_segments
from rtplan.phantom.section import cut_section


def train_segment_from(
    settings: SegmentSettings,
    out: Path,
    *,
    cache: Path | None = None,
    resume: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Gather the pelves of the settings and train; return the path of the new ``model.toml``.

    Parameters
    ----------
    cache : Path, optional
        Where the labels of the pelves are kept for the next time; ``out/cache`` by default.
    """
    kept = cache or out / "cache"
    with together.joined():
        report = report if together.rank() == 0 else _nothing
        with together.first_alone():
            learned = gather_segments(settings.data, settings.spacing_zyx_mm, kept, report)
            held_out = gather_segments(settings.validation, settings.spacing_zyx_mm, kept, report)
        job = SegmentJob(settings, learned, held_out)
        return learn(settings, job, out, resume=resume, report=report)


def gather_segments(
    sources: tuple[SegmentData, ...],
    spacing_zyx_mm: Triple,
    cache: Path,
    report: Callable[[str], None] = lambda _: None,
) -> list[SegmentCase]:
    """Return the cases of all sources; what is not in the cache is cut and put there."""
    mark = "x".join(f"{s:g}" for s in spacing_zyx_mm)
    cases = []
    for source in sources:
        size = "x".join(str(n) for n in source.shape_zyx)
        for seed in range(source.seed, source.seed + source.patients):
            path = cache / f"{source.cohort}{seed:05d}_{size}_{mark}.npz"
            if not path.is_file():
                save_segments(_case(source, seed, spacing_zyx_mm), path)
                report(f"pelvis {source.cohort} {seed} is cut")
            cases.append(load_segments(path))
    return cases


def _case(source: SegmentData, seed: int, spacing: Triple) -> SegmentCase:
    section = cut_section(source.cohort, seed, spacing, source.shape_zyx)
    labels = labelled(section.masks, section.tissue.shape)
    return SegmentCase(section.name, section.tissue, labels, section.t2w, spacing)


def _nothing(_: str) -> None:
    return
