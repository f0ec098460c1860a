"""Where a beam stands in the patient: IEC 61217 angles to source and axes in LPS, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Beam

Float = NDArray[np.float64]

#: Columns: the axes of the IEC fixed system (x_f, y_f, z_f) in LPS for a patient head first supine with
#: the couch at 0: x_f to the patient's left, y_f to the head (towards the gantry), z_f up (anterior).
FIXED_TO_LPS: Float = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, eq=False)
class BeamFrame:
    """A beam's own coordinates: (u, v) in the isocentre plane and axial distance s from the source.

    Parameters
    ----------
    source_mm : ndarray, shape (3,)
        The source, LPS.
    axes : ndarray, shape (3, 3)
        Rows: unit vectors u (collimator x), v (collimator y) and the beam's direction, LPS.
    sad_mm : float
        Distance from the source to the isocentre.
    """

    source_mm: Float
    axes: Float
    sad_mm: float

    def project(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take points, shape (n, 3), LPS mm, to (u, v, s), each shape (n,), mm."""
        source = torch.as_tensor(self.source_mm, dtype=points.dtype, device=points.device)
        axes = torch.as_tensor(self.axes, dtype=points.dtype, device=points.device)
        along = (points - source) @ axes.T
        scale = self.sad_mm / along[:, 2]
        return along[:, 0] * scale, along[:, 1] * scale, along[:, 2]


def rotation(gantry_deg: float, collimator_deg: float, couch_deg: float) -> Float:
    """Return the beam's axes in LPS as rows: u, v, and the direction from the source.

    IEC 61217, head first supine. The gantry turns about y_f, clockwise as seen by who faces it: at 0
    the source is above (anterior), at 90 on the patient's left. The collimator turns counter-clockwise
    about the beam's z axis, which points to the source. The couch turns about z_f, so in the patient
    the beam turns the other way: ``R = Rz(-couch) Ry(gantry) Rz(collimator)``.

    References
    ----------
    IEC 61217:2011, Radiotherapy equipment: coordinates, movements and scales.

    Examples
    --------
    >>> np.round(rotation(90.0, 0.0, 0.0)[2]) + 0.0  # from the left to the right
    array([-1.,  0.,  0.])
    """
    turned = _about_z(-couch_deg) @ _about_y(gantry_deg) @ _about_z(collimator_deg)
    axes = (FIXED_TO_LPS @ turned).T
    return np.stack([axes[0], axes[1], -axes[2]])


def frame_of(beam: Beam, sad_mm: float) -> BeamFrame:
    """Return the frame of a beam with this distance from source to isocentre."""
    axes = rotation(beam.gantry_deg, beam.collimator_deg, beam.couch_deg)
    source = np.array(beam.isocentre_mm, dtype=np.float64) - sad_mm * axes[2]
    return BeamFrame(source, axes, sad_mm)


def sectors(along: Float, width_deg: float) -> list[list[int]]:
    """Return runs of neighbouring directions, none further from the first of its run than a width.

    Parameters
    ----------
    along : ndarray, shape (n, 3)
        Unit vectors, in the order of the gantry's turn.
    width_deg : float
        0: only directions that are the same come together.

    Examples
    --------
    >>> sectors(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), 5.0)
    [[0, 1], [2]]
    """
    chord = 2.0 * math.sin(math.radians(min(width_deg, 180.0)) / 2.0) + 1e-6
    runs: list[list[int]] = []
    for n, one in enumerate(along):
        if runs and np.linalg.norm(one - along[runs[-1][0]]) <= chord:
            runs[-1].append(n)
        else:
            runs.append([n])
    return runs


def _about_z(degrees: float) -> Float:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _about_y(degrees: float) -> Float:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
