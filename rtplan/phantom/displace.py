"""A rigid error between the MR and the CT of a digital patient, as a registration leaves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from rtplan.domain import Grid, Image, Mask, Patient
from rtplan.errors import FormatError

Float = NDArray[np.float64]

#: At this distance from the point of rotation the rotation displaces as much as the translation, mm.
LEVER_MM = 100.0
#: Errors beyond this are no errors of a registration any more, mm.
LARGEST_MM = 20.0


def displaced(patient: Patient, error_mm: float, seed: int, about: str = "PTVp") -> Patient:
    """Return the patient with every MR moved by one rigid error; its frame of reference stays.

    Parameters
    ----------
    error_mm : float
        Length of the translation, mm; its direction is drawn. The rotation, about an axis that is drawn,
        displaces by as much again at 100 mm from the point of rotation.
    seed : int
        Of the draw.
    about : str
        Structure (a mask) about whose centre the MR is rotated; the middle of the CT where it is absent.

    Raises
    ------
    FormatError
        If the error is negative or above 20 mm.
    """
    demand_error(error_mm)
    if error_mm == 0.0 or not patient.mr:
        return patient
    rng = np.random.default_rng([seed, round(1000.0 * error_mm)])
    shift, axis = (_direction(rng) for _ in range(2))
    rotation = Rotation.from_rotvec(axis * error_mm / LEVER_MM).as_matrix()
    centre = _centre(patient, about)
    motion = np.eye(4)
    motion[:3, :3] = rotation
    motion[:3, 3] = centre - rotation @ centre + shift * error_mm
    return patient.with_images(**{role: _moved(image, motion) for role, image in patient.mr.items()})


def demand_error(error_mm: float) -> None:
    """Raise FormatError unless an error lies between 0 and 20 mm."""
    if not 0.0 <= error_mm <= LARGEST_MM:
        raise FormatError(
            f"A registration error lies between 0 and {LARGEST_MM:g} mm, got {error_mm:g}.",
            action="for example --registration-error-mm 2.",
        )


def _direction(rng: np.random.Generator) -> Float:
    drawn = rng.standard_normal(3)
    unit: Float = drawn / np.linalg.norm(drawn)
    return unit


def _centre(patient: Patient, about: str) -> Float:
    region = patient.structures[about].region if about in patient.structures else None
    if isinstance(region, Mask) and region.array.any():
        centre: Float = region.grid.to_patient(np.argwhere(region.array).mean(axis=0))
        return centre
    grid = next(iter(patient.images.values())).grid
    middle: Float = grid.to_patient((np.array(grid.shape) - 1) / 2.0)
    return middle


def _moved(image: Image, motion: Float) -> Image:
    grid = image.grid
    moved = Grid(grid.shape, motion @ np.asarray(grid.affine, np.float64), grid.frame_of_reference)
    return replace(image, grid=moved)
