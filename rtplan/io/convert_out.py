"""The second half of a conversion: an image, structures or a dose become what OUT names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rtplan.domain import Dose, Identity, Image, Notice, Structure, Volume
from rtplan.errors import DicomError, FormatError
from rtplan.imaging.axial import axial
from rtplan.io import modules as md
from rtplan.io import nifti, parametric, rtdose, rtstruct, seg
from rtplan.io.conversion import Converted, Order, identity_of, like_of
from rtplan.io.image_write import PADDING_HU, Derived, write_series
from rtplan.io.patient_write import written_whole

#: Largest change of a structure's volume that is not said, and from which volume on it is (cc).
VOLUME_CHANGE, FROM_CC = 0.005, 2.0


def labels_out(order: Order, structures: Sequence[Structure], notices: Sequence[Notice]) -> Converted:
    """Write structures as a label map on the grid of ``--like``."""
    image = like_of(order)
    _demand_frame(order, structures, image)
    path, more = nifti.write_labels(structures, image.grid, order.out)
    labels = {str(value): s.name for value, s in enumerate(structures, start=1)}
    return Converted((path, nifti.names_path(path)), (*notices, *more), labels)


def structures_out(order: Order, structures: Sequence[Structure], notices: Sequence[Notice]) -> Converted:
    """Write structures as an RTSTRUCT, or as a Segmentation where that is asked for."""
    image, identity = like_of(order), identity_of(order.like)
    _demand_frame(order, structures, image)
    if order.kind == "seg":
        path = seg.write(structures, order.out, image=image, identity=identity)
        return Converted((path,), tuple(notices), {str(n): s.name for n, s in enumerate(structures, start=1)})
    done = rtstruct.write(structures, order.out, image=image, identity=identity, tps=order.profile)
    changed = [
        f"{name} by {100 * error:+.2f} %"
        for name, error in done.volume_errors.items()
        if abs(error) > VOLUME_CHANGE and done.volumes_cc[name] >= FROM_CC
    ]
    said = [*notices, *order.said()]
    if changed:
        message = f"The contours do not hold the volume of their structures: {', '.join(changed)}."
        said.append(Notice("VOLUME_CHANGED", "warn", message, file=str(order.out)))
    return Converted((done.path,), tuple(said), {str(n): name for name, n in done.roi_numbers.items()})


def dose_out(order: Order, dose: Dose, plan_uids: Sequence[str], identity: Identity) -> Converted:
    """Write a dose as RTDOSE of a whole plan."""
    tps, said = order.profile, [*order.said()]
    plan_uid = plan_uids[0] if plan_uids else md.Stamp().uid()
    if not plan_uids:
        message = f"The RTDOSE refers to a plan that does not exist ({plan_uid}): IN names none."
        action = "some planning systems ask for the plan."
        said.append(Notice("DOSE_WITHOUT_PLAN", "warn", message, action, file=str(order.out)))
    done = rtdose.write(
        axial(dose, 0.0)[0] if tps.axial else dose,
        order.out,
        identity=identity,
        plan_uid=plan_uid,
        arm="converted",
        form=rtdose.Form(tps.dose_bits),
    )
    return Converted((done.path,), tuple(said))


def series_out(order: Order, image: Image, like: Image | None, identity: Identity, name: str) -> Converted:
    """Write an image as a series of single slices in a new folder."""
    tps = order.profile
    ready, resampled = (
        axial(image, PADDING_HU if image.modality == "CT" else 0.0) if tps.axial else (image, "")
    )
    text = "; ".join(part for part in (f"converted from {name}", resampled) if part)
    derived = Derived(like.source, text, resampled=bool(resampled)) if like else None
    with written_whole(order.out) as part:
        done = write_series(
            ready, part, identity, description=name, derived=derived, explicit=tps.explicit_vr
        )
    said = [*order.said()]
    if done.clipped_voxels:
        message = f"{done.clipped_voxels} voxels lay outside -1024 to 3071 HU and were clipped."
        said.append(Notice("HU_CLIPPED", "warn", message, file=str(order.out)))
    return Converted(tuple(order.out / path.name for path in done.paths), tuple(said))


def map_out(order: Order, values: Volume) -> Converted:
    """Write values as a Parametric Map on the slices of ``--like``."""
    image = like_of(order)
    path = parametric.write(
        replace(values, grid=image.grid) if values.grid.same_as(image.grid) else values,
        order.out,
        image=image,
        identity=identity_of(order.like),
    )
    return Converted((path,))


def volume_out(volume: Volume, out: Path) -> Converted:
    """Write a volume as NIfTI or MHA."""
    return Converted((nifti.write_volume(volume, out),))


def _demand_frame(order: Order, structures: Sequence[Structure], image: Image) -> None:
    frames = {_frame(structure) for structure in structures} - {image.grid.frame_of_reference}
    if frames:
        raise DicomError(
            f"The structures lie in frame of reference {sorted(frames)[0] or 'none'}, the series in "
            f"{image.grid.frame_of_reference}.",
            where=str(order.given),
            action="give the series on which they were drawn.",
        )
    if not structures:
        raise FormatError("There is no structure to write.", where=str(order.given))


def _frame(structure: Structure) -> str:
    region = structure.region
    return region.grid.frame_of_reference if hasattr(region, "grid") else region.frame_of_reference
