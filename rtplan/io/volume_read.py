"""A volume file as an array and its affine in LPS; what contradicts itself is refused, not chosen from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from rtplan.domain import Grid
from rtplan.errors import FormatError, GeometryMismatch

Float = NDArray[np.float64]

# nibabel says on stderr what it mends in a header; what matters here is judged below
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)

#: sform and qform may differ by this at the corners, mm: near half turns the quaternion of qform, in single
#: precision, is no better (0.13 mm is the worst of 1500 random rotations of 512 x 512 x 200 voxels).
FORMS_MM = 0.2
#: A sheared and the nearest right-angled grid may differ by this at the corners, mm.
SHEAR_MM = 0.01
#: NIfTI is RAS, we are LPS.
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Units of NIfTI in mm; what says none is in mm.
_MM = {"meter": 1000.0, "micron": 0.001}
_WRITE_AGAIN = "write it again."


def load(path: Path, frame_of_reference: str = "", *, unknown: bool = False) -> tuple[NDArray[Any], Grid]:
    """Read a volume file.

    Parameters
    ----------
    path : Path
        NIfTI, MHA, MHD or NRRD of three dimensions.
    frame_of_reference : str
        The frame in which it lies.
    unknown : bool
        Whether voxels may be unknown: what is not finite becomes NaN, else it is refused.

    Returns
    -------
    ndarray, Grid
        Values [z, y, x] with the file's own scaling, on the file's own affine, LPS mm.

    Raises
    ------
    FormatError
        If the file is missing, damaged, not of three dimensions and single finite values; if a NIfTI's
        sform and qform differ or are both missing; if its axes are not at right angles.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError("There is no such file.", where=str(path), action="check the path.")
    array, affine = (_nifti if path.name.lower().endswith((".nii", ".nii.gz")) else _itk)(path)
    finite = np.isfinite(array)
    if not unknown and not finite.all():
        raise FormatError(
            "The volume holds values that are not finite.", where=str(path), action=_WRITE_AGAIN
        )
    array = array if finite.all() else np.where(finite, array, np.nan)
    try:
        return array, Grid(array.shape, _right_angled(affine, array.shape, path), frame_of_reference)
    except GeometryMismatch as wrong:
        raise FormatError(wrong.message, where=str(path), action=_WRITE_AGAIN) from None


def _itk(path: Path) -> tuple[NDArray[Any], Float]:
    try:
        item = sitk.ReadImage(str(path))
    except RuntimeError:
        message = "The file is damaged or no MHA, MHD or NRRD volume."
        raise FormatError(message, where=str(path), action=_WRITE_AGAIN) from None
    if item.GetDimension() != 3 or item.GetNumberOfComponentsPerPixel() != 1:
        raise FormatError("A volume of three dimensions and single values is wanted.", where=str(path))
    affine = np.eye(4)
    affine[:3, :3] = (np.array(item.GetDirection()).reshape(3, 3) * np.array(item.GetSpacing()))[:, ::-1]
    affine[:3, 3] = item.GetOrigin()
    return sitk.GetArrayFromImage(item), affine


def _nifti(path: Path) -> tuple[NDArray[Any], Float]:
    try:
        item: Any = nibabel.load(path)
        shape = tuple(item.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3 or item.get_data_dtype().kind not in "iuf":
            message = f"A volume of three dimensions and single values is wanted, this has {item.shape}."
            raise FormatError(message, where=str(path), action="write each volume to a file of its own.")
        affine = _TO_LPS @ _one_of(item, path)
        affine[:3] *= _MM.get(item.header.get_xyzt_units()[0], 1.0)
        array = np.asanyarray(item.dataobj).reshape(shape)
    except FormatError:
        raise
    except Exception as broken:  # nibabel raises whatever a damaged header makes it raise
        message = f"The file is damaged or no NIfTI volume ({type(broken).__name__})."
        raise FormatError(message, where=str(path), action=_WRITE_AGAIN) from None
    affine[:3, :3] = affine[:3, 2::-1]
    return np.ascontiguousarray(array.transpose(2, 1, 0)), affine


def _one_of(item: Any, path: Path) -> Float:
    """Return the affine (RAS, [x, y, z]) on which sform and qform agree, or the only one that is there.

    References
    ----------
    The NIfTI-1 header, nifti1.h: methods 1 to 3 of the image's orientation.
    """
    sform, qform = item.header.get_sform(coded=True)[0], item.header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        message = "The NIfTI says neither by sform nor by qform where it lies: left and right are unknown."
        raise FormatError(message, where=str(path), action="write it with its orientation.")
    if sform is None or qform is None:
        found: Float = np.asarray(qform if sform is None else sform, np.float64)
        return found
    off = _apart(np.asarray(sform), np.asarray(qform), item.shape[:3])
    if not off <= FORMS_MM:
        message = f"sform and qform of the NIfTI differ by up to {off:.3g} mm: which is right is unknown."
        action = "write it with one of them, or with both alike (code 0 switches one off)."
        raise FormatError(message, where=str(path), action=action)
    return np.asarray(sform, np.float64)


def _right_angled(affine: Float, shape: tuple[int, ...], path: Path) -> Float:
    """Return the nearest affine whose axes are at right angles; refuse where it is another one."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not spacing.min() > 0:
        raise FormatError(
            "The affine is not finite or has a spacing of 0.", where=str(path), action=_WRITE_AGAIN
        )
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    nearest = affine.copy()
    nearest[:3, :3] = left @ right * spacing
    off = _apart(affine, nearest, shape)
    if off > SHEAR_MM:
        message = (
            f"The axes of the volume are not at right angles ({off:.3g} mm at its corners): it is sheared."
        )
        raise FormatError(message, where=str(path), action="resample it onto right-angled axes.")
    return nearest


def _apart(one: Float, other: Float, shape: tuple[int, ...]) -> float:
    """Return the largest distance of the corners of a volume under two affines, mm."""
    ends = np.array([(*corner, 1.0) for corner in np.ndindex(2, 2, 2)])
    ends[:, :3] *= np.array(shape[:3]) - 1
    return float(np.linalg.norm(ends @ (one - other).T, axis=1).max())
