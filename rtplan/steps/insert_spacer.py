"""InsertSpacer: a virtual hydrogel spacer between prostate and rectum; images and structures follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rtplan.domain import Finding, Image, Mask, Notice, Patient, Structure
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.errors import StructureError
from rtplan.imaging.contour import mask_on
from rtplan.imaging.displace import Gel, Inserted, insert
from rtplan.imaging.perirectal import scene_of
from rtplan.imaging.pushed import moved_image, moved_structure, rectum_change_percent
from rtplan.planning.spacer import load_gel
from rtplan.steps.reference import reference_image

STEP = "InsertSpacer"
#: The rectal wall's volume may change by so much, %.
WALL_PERCENT = 1.0
#: Thickness of the wall whose volume is checked: the outer part of the rectum, mm.
WALL_MM = 3.0


@dataclass(frozen=True)
class InsertSpacer:
    """Open a gel between prostate and rectum; the rectum gives way and keeps its volume.

    Parameters
    ----------
    volume_cc, thickness_mm : float
        Of the gel; the thickness behind the middle of the gland.
    cell_mm : float
        Side of the cells in which the displacement is worked out.

    Notes
    -----
    The outline of the body, prostate, targets, vesicles, bladder and bone stay; the fat beside and behind the
    rectum loses what the gel takes. The displacement is checked: determinant above 0 everywhere outside the
    gel, and the rectal wall's volume kept to 1 %. A gel that fails a check is not used.
    """

    volume_cc: float = 10.0
    thickness_mm: float = 12.0
    cell_mm: float = 2.5

    needs: ClassVar[tuple[str, ...]] = ("arms", "external")
    makes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with ``Spacer``, all images and structures moved, findings and notices.

        Raises
        ------
        StructureError
            If there is no prostate or rectum, they are not neighbours, a spacer is there already, there is no
            room, or the displacement fails a check.
        """
        return self.insert(patient)[0]

    def insert(self, patient: Patient) -> tuple[Patient, Inserted]:
        """Return the patient (see the class), and how the tissue gave way."""
        base = reference_image(patient)
        body = mask_on(patient.structure(EXTERNAL), base.grid)
        scene = scene_of(base, patient.structures, body)
        gel = Gel(self.volume_cc, self.thickness_mm, cell_mm=self.cell_mm)
        inserted = insert(scene, base.grid, gel)
        found = _findings(patient, base, inserted)
        _demand_sound(found)
        images, dropped = _images(patient, base, inserted)
        structures = {n: moved_structure(s, inserted, base.grid) for n, s in patient.structures.items()}
        structures["Spacer"] = Structure("Spacer", "AVOIDANCE", inserted.spacer)
        after = Patient(
            key=patient.key,
            images=images,
            structures=structures,
            findings=(*patient.findings, *found),
            notices=(*patient.notices, *_notices(inserted, dropped)),
            history=patient.history,
            identity=patient.identity,
        )
        return after, inserted


def _images(patient: Patient, base: Image, inserted: Inserted) -> tuple[dict[str, Image], list[str]]:
    """Return the moved images, and the names of those that cannot follow."""
    hu, images, dropped = load_gel().hu.value, {}, []
    bladder = patient.structures.get("Bladder")
    for name, image in patient.images.items():
        same = image.grid.frame_of_reference == base.grid.frame_of_reference
        if image.modality == "CT" and same:
            images[name] = moved_image(image, inserted, hu)
        elif same and bladder is not None:
            urine = image.array[mask_on(bladder, image.grid).array]
            images[name] = moved_image(image, inserted, float(np.median(urine)) if urine.size else 0.0)
        else:
            dropped.append(name)
    return images, dropped


def _findings(patient: Patient, base: Image, inserted: Inserted) -> tuple[Finding, ...]:
    least = float(inserted.jacobian.min())
    change, whole = rectum_change_percent(inserted, WALL_MM), rectum_change_percent(inserted)
    rectum = mask_on(patient.structure("Rectum"), base.grid)
    rows = (
        ("Spacer", "Volume[cc]", inserted.volume_cc, "cc", None, True),
        ("Spacer", "Thickness[mm]", inserted.thickness_mm, "mm", None, True),
        ("Rectum", "Displacement[mm]", _furthest(inserted, rectum), "mm", None, True),
        (None, "LeastJacobian", least, "1", "> 0", least > 0.0),
        ("Rectal_Wall", "VolumeChange[%]", change, "%", f"<= {WALL_PERCENT:g}", abs(change) <= WALL_PERCENT),
        ("Rectum", "VolumeChange[%]", whole, "%", None, True),
        (None, "FatVolumeChange[%]", -100.0 * inserted.flow.sunk, "%", None, True),
    )
    return tuple(
        Finding(
            metric=metric,
            value=value,
            unit=unit,
            step=STEP,
            patient=patient.key,
            arm="Spacer",
            structure=structure,
            limit=limit,
            verdict="none" if limit is None else "met" if kept else "missed",
        )
        for structure, metric, value, unit, limit, kept in rows
    )


def _furthest(inserted: Inserted, rectum: Mask) -> float:
    """Return how far the rectum's voxel that moves most is pushed, mm."""
    scene = inserted.scene
    points = scene.grid.to_patient(np.argwhere(scene.rectum_mm < 0.0))
    if not len(points):
        return 0.0
    return float(np.linalg.norm(inserted.flow.forth(points) - points, axis=1).max())


def _demand_sound(findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        if finding.verdict == "missed":
            raise StructureError(
                f"The virtual spacer fails a check: {finding.metric} is {finding.value:.3f}, wanted "
                f"{finding.limit}.",
                where=finding.structure or "Spacer",
                action="ask for less gel, look at prostate and rectum, or supply thinner slices.",
            )


def _notices(inserted: Inserted, dropped: list[str]) -> tuple[Notice, ...]:
    facts = load_gel()
    said = [
        Notice(
            "SPACER_VIRTUAL",
            "info",
            f"A virtual spacer of {inserted.volume_cc:.1f} cc is {inserted.thickness_mm:.1f} mm thick behind "
            f"the middle of the gland, at {facts.hu.value:g} HU (not verified). Prostate, targets, vesicles, "
            "bladder, bone and the body's outline stay; the fat beside and behind the rectum gives "
            f"{100.0 * inserted.flow.sunk:.0f} % of its volume.",
            "a real gel lies as the injection leaves it: read the benefit as an estimate.",
            structure="Spacer",
        )
    ]
    if dropped:
        said.append(
            Notice(
                "IMAGE_NOT_MOVED",
                "info",
                f"{', '.join(dropped)} cannot follow the spacer (another frame of reference, or no bladder "
                "that tells how bright a gel is) and is left out after it.",
            )
        )
    return tuple(said)
