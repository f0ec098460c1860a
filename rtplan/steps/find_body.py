"""FindBody: the patient's outline, and whether the images show its skin all round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rtplan.domain import Image, Mask, Notice, Patient, Structure
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.errors import GeometryMismatch
from rtplan.imaging.body import LEAST_SKIN, body_mask, skin_seen
from rtplan.imaging.contour import mask_on
from rtplan.steps.reference import main_mr, reference_image, without_structure


@dataclass(frozen=True)
class FindBody:
    """Make the structure ``External`` where it is absent, and judge whether the body is whole.

    Parameters
    ----------
    least_skin : float
        The body counts as whole when at least this fraction of its outline in the slices is skin and not
        the image's border.

    Notes
    -----
    Where a CT is cut (``BODY_TRUNCATED``) differences between arms are reported, but no absolute dose, goal
    or MU. Where there is no CT and the MR is cut (``FOV_TRUNCATED``) there is no External, and so no dose.
    """

    least_skin: float = LEAST_SKIN

    needs: ClassVar[tuple[str, ...]] = ()
    makes: ClassVar[tuple[str, ...]] = ("external",)

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with the outline where it can be given, and notices where it is cut.

        Raises
        ------
        GeometryMismatch
            If the patient has neither CT nor MR.
        """
        role = "CT" if "CT" in patient.images else main_mr(patient)
        if role is None:
            raise GeometryMismatch("The patient has no image.", action="supply a CT or an MR series.")
        image = reference_image(patient) if role == "CT" else patient.images[role]
        given = patient.structures.get(EXTERNAL)
        body = mask_on(given, image.grid) if given is not None else body_mask(image)
        seen = self._seen(image, body, drawn=given is not None)
        whole = seen >= self.least_skin
        if role != "CT" and not whole:
            return without_structure(patient, EXTERNAL).with_notices(
                _fov_notice(role, seen, given is not None)
            )
        if given is None:
            patient = patient.with_structures(Structure(EXTERNAL, "EXTERNAL", body))
        return patient if whole else patient.with_notices(_body_notice(seen))

    @staticmethod
    def _seen(image: Image, body: Mask, *, drawn: bool) -> float:
        """Return the fraction of skin; a drawn outline is taken as it is, without the rule for MR strips."""
        return skin_seen(Image(image.grid, image.array, "CT") if drawn else image, body)


def _body_notice(seen: float) -> Notice:
    return Notice(
        "BODY_TRUNCATED",
        "warn",
        f"The CT is cut: {seen:.0%} of the body's outline is skin, the rest is the image's border. Beams "
        "that enter through the border meet tissue that is not in the image: differences between arms are "
        "reported, absolute dose, goals and MU are not evaluable.",
        "supply a CT that shows the skin all round.",
        structure=EXTERNAL,
    )


def _fov_notice(role: str, seen: float, given: bool) -> Notice:
    what = "the given External leaves the image" if given else "no External can be drawn"
    return Notice(
        "FOV_TRUNCATED",
        "warn",
        f"{role} does not show the patient's skin all round ({seen:.0%} of the outline is skin) and there is "
        f"no CT: {what}, so no dose is calculated.",
        "supply a larger series that shows the skin all round, or a CT.",
        structure=EXTERNAL,
    )
