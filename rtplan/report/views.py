"""What is looked at: DVHs, slices at the boost, dose differences and where they are worst, maps of spread."""

from __future__ import annotations

from collections.abc import Mapping

from rtplan.domain import Dose, Patient
from rtplan.dosimetry.bands import Band
from rtplan.report.book import Book
from rtplan.report.content import Block, Picture
from rtplan.report.maps import difference_limit, difference_picture, differences_on, spread_picture
from rtplan.report.plots import MOST_CURVES, Axis, Curves, Drawing, curve_names, dvh_picture
from rtplan.report.results import dose_tables
from rtplan.report.scene import Scene, chosen, scene_of
from rtplan.report.slices import key_picture, slices_picture
from rtplan.report.words import ARM_WORDS, listed
from rtplan.report.worst import Worst, worst_of

Bands = Mapping[str, Mapping[str, Band]]
#: Stands in what a band of samples says of itself.
SAMPLED = "dose samples"
#: The arm whose worst place is shown, where it is there.
MAIN_ARM = "SynCT"


def slices_block(patient: Patient, scene: Scene | None) -> Block:
    """Return slices of every arm, and of the first MR, with structures and isodoses."""
    title = "Slices"
    if scene is None:
        return Block("slices", title, ("There is no image to show.",))
    with_dose = bool(patient.doses)
    pictures: list[Picture | None] = [key_picture(scene, with_dose)]
    shown = (*patient.arms, *list(patient.mr)[:1])
    others = [name for name in patient.images if name not in (*patient.arms, *patient.mr)]
    unseen = []
    for name in shown or others[:1]:
        drawn = slices_picture(patient, name, image_words(patient, name), scene)
        pictures.append(drawn)
        if drawn is None:
            unseen.append(name)
    return Block("slices", title, _slice_words(scene, unseen), tuple(p for p in pictures if p is not None))


def image_words(patient: Patient, name: str) -> str:
    """Return what an image is."""
    return ARM_WORDS.get(name, f"{patient.images[name].modality} as it came")


def _slice_words(scene: Scene, unseen: list[str]) -> tuple[str, ...]:
    tilted = next((p.tilt_deg for p in scene.planes if p.name == "axial"), 0.0)
    planes = (
        f"The image is tilted by {tilted:.1f}° and shown in its own planes, each named after the nearest one "
        "of the patient."
        if tilted
        else "The planes are the patient's own."
    )
    words = [
        f"Through {scene.centre_words}, in the radiological convention: the patient's left is on the right. "
        f"{planes} Ticks at the edges mark the other two planes."
    ]
    reasons: dict[str, list[str]] = {}
    for name, reason in scene.left_out.items():
        reasons.setdefault(reason, []).append(name)
    words += [f"Not drawn, {reason}: {listed(names)}." for reason, names in reasons.items()]
    if unseen:
        words.append(
            f"{listed(unseen)}: in another frame of reference, joined by no registration; not shown."
        )
    return tuple(words)


def dvh_block(patient: Patient, book: Book, drawn: tuple[Curves, Bands], scene: Scene | None) -> Block:
    """Return the DVHs of all arms in one figure; on a relative dose axis where Gy are withheld."""
    curves, bands = drawn
    title = "Dose-volume histograms"
    there = {arm: by_name for arm, by_name in curves.items() if by_name}
    if not there:
        return Block("dvh", title, absent="no dose-volume curve" if patient.doses else "no dose")
    axis = Axis()
    sentences: tuple[str, ...] = ()
    if patient.absolute_withheld is not None:
        if scene is None or scene.isodoses is None:
            return Block("dvh", title, (f"Absolute dose is withheld: {patient.absolute_withheld}",))
        axis = Axis(f"dose [% of {scene.isodoses.base.split(' (')[0]}]", scene.isodoses.base_gy / 100.0)
        sentences = (
            f"The dose axis is relative, since absolute dose is withheld: {patient.absolute_withheld}",
        )
    names = curve_names(there, chosen(patient))
    arms = [arm for arm in book.arms if arm in there] + [arm for arm in there if arm not in book.arms]
    if names[MOST_CURVES:]:
        sentences += (f"Not drawn for clarity: {listed(names[MOST_CURVES:])}; their curves lie in dvh/.",)
    shown = Drawing(there, tuple(arms), names[:MOST_CURVES], axis, *_banded(bands, arms))
    return Block("dvh", title, sentences, (dvh_picture(shown),))


def _banded(bands: Bands, arms: list[str]) -> tuple[str, Mapping[str, Band]]:
    """Return the arm whose bands are drawn, and these: one with samples, else the first."""
    with_samples = [arm for arm in arms if any(SAMPLED in b.what for b in bands.get(arm, {}).values())]
    arm = (with_samples or [a for a in arms if bands.get(a)] or [""])[0]
    return arm, bands.get(arm, {})


def difference_block(patient: Patient, book: Book, scene: Scene | None) -> Block:
    """Return maps of arm − reference, slices where the main arm differs most, and the dose metrics."""
    title = "Dose differences"
    tables = dose_tables(book)
    reference = book.reference
    arms = [arm for arm in book.others if arm in patient.doses]
    if scene is None or reference is None or reference not in patient.doses or not arms:
        why = "no second dose to compare with" if patient.doses else "no dose"
        return Block("difference", title, tables=tables, absent="" if tables else why)
    maps = {arm: differences_on(patient, arm, reference, scene) for arm in arms}
    there = {arm: m for arm, m in maps.items() if m is not None}
    limit = difference_limit(list(there.values()))
    pictures = tuple(difference_picture(arm, reference, m, limit, scene) for arm, m in there.items())
    places = worst_of(patient, arms, reference)
    words = (
        f"Arm − {reference}, all maps to one scale; grey is outside the body. The maps go through "
        f"{scene.centre_words}."
    )
    if places:
        said = "; ".join(worst.words(scene.centre_mm) for worst in places)
        words += f" Largest difference at a single voxel, as seen from {scene.centre_words}: {said}."
    main = next((w for w in places if w.arm == MAIN_ARM), None) or max(
        places, key=lambda w: abs(w.change_gy), default=None
    )
    if main is not None:
        pictures += _at_worst(patient, main, reference, limit)
    return Block("difference", title, (words,), pictures, tables)


def _at_worst(patient: Patient, worst: Worst, reference: str, limit_gy: float) -> tuple[Picture, ...]:
    """Return both images and the map of differences where an arm differs most."""
    scene = scene_of(patient, (worst.point_mm, f"the largest difference of {worst.arm}"))
    if scene is None:
        return ()
    made = [
        slices_picture(patient, name, f"{image_words(patient, name)}, where {worst.arm} differs most", scene)
        for name in (reference, worst.arm)
        if name in patient.images
    ]
    maps = differences_on(patient, worst.arm, reference, scene)
    if maps is not None:
        made.append(difference_picture(worst.arm, reference, maps, limit_gy, scene))
    return tuple(item for item in made if item is not None)


def spread_block(patient: Patient, spreads: Mapping[str, Dose], scene: Scene | None) -> Block | None:
    """Return maps of the standard deviation of dose samples; None where no dose can be sampled."""
    if MAIN_ARM not in patient.doses or scene is None:
        return None
    title = "Uncertainty of the dose on the synthetic CT"
    if not spreads:
        why = "no dose sample of the synthetic CT (the run drew none; --dose-samples asks for them)"
        return Block("spread", title, absent=why)
    pictures = tuple(p for arm, sd in spreads.items() if (p := spread_picture(patient, arm, sd, scene)))
    words = (
        "Standard deviation of the dose at each voxel over samples of the synthetic CT: what the network's "
        "own doubt about the densities does to the dose. It says nothing of contours, set-up or delivery."
    )
    return Block("spread", title, (words,), pictures)
