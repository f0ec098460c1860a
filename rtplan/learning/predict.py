"""From an MR to a synthetic CT on the MR's own grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from rtplan.domain import Image
from rtplan.domain.volume import Source
from rtplan.errors import ModelError
from rtplan.learning.card import Shape
from rtplan.learning.channels import HU_SCALE, channels_of, image_of
from rtplan.learning.zoo import Model


def synthesise(model: Model, image: Image, *, device: str = "cpu") -> Image:
    """Return the synthetic CT of an MR.

    Parameters
    ----------
    model : Model
        From `zoo.load_model`; a synthetic-CT network.
    image : Image
        The MR; nothing else is seen.
    device : str
        Where the network runs (``cpu``, ``cuda``, …).

    Returns
    -------
    Image
        HU on the MR's own grid (also a tilted one) and in its frame; −1024 outside the MR's body.

    Raises
    ------
    ModelError
        If the MR is beyond the model's limits, or the network is none for synthetic CTs.

    Notes
    -----
    The body is cut out, brought to the network's spacing, read in overlapping patches of the size that
    the network was trained on (Gaussian weights), and the HU are interpolated back. The same MR gives
    the same bytes on one machine and thread count.
    """
    card = model.card
    if card.task != "synct":
        raise ModelError(f"The network {card.name} is for {card.task}, not for synthetic CTs.")
    if image.modality != "MR":
        raise ModelError(f"The network reads an MR; the image is a {image.modality}.")
    seen = channels_of(image, card)
    hu = predict_array(
        model.network, seen.array, card.patch_zyx, overlap=card.overlap, mirror=card.mirror, device=device
    )
    answer = image_of(hu, seen.body, image, seen.native_body, card.outputs[0].clip)
    described = Source(
        study_uid=image.source.study_uid,
        patient_position=image.source.patient_position,
        description=f"synthetic CT by {card.name}",
    )
    return replace(answer, source=described)


def predict_array(
    network: nn.Module,
    channels: NDArray[np.float32],
    patch_zyx: Shape,
    *,
    overlap: float = 0.25,
    mirror: bool = False,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Return HU, shape (z, y, x), for the input channels, shape (channels, z, y, x).

    Parameters
    ----------
    patch_zyx : tuple of int
        Window; a volume smaller than it is padded by 0.
    overlap : float
        Share of a window that its neighbour covers too.
    mirror : bool
        Mean of the answers to the image and to its mirror image (left–right).
    """
    network = network.to(device).eval()
    inputs = torch.from_numpy(np.ascontiguousarray(channels, np.float32))[None].to(device)
    box = _body_box(channels)
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16):
        part = inputs[(..., *box)]
        hu = _windows(network, part, patch_zyx, overlap)
        if mirror:
            hu = 0.5 * (hu + _windows(network, part.flip(-1), patch_zyx, overlap).flip(-1))
    whole = np.full(channels.shape[1:], -1.0, np.float32)
    whole[box] = hu[0, 0].float().cpu().numpy()
    return whole * np.float32(HU_SCALE)


def _windows(network: Callable[..., Tensor], x: Tensor, patch_zyx: Shape, overlap: float) -> Tensor:
    answer: Tensor = sliding_window_inference(
        x, patch_zyx, 2, network, overlap=overlap, mode="gaussian", padding_mode="constant", cval=0.0
    )
    return answer


def _body_box(channels: NDArray[np.float32], margin: int = 4) -> tuple[slice, slice, slice]:
    seen = (channels != 0).any(axis=0)
    box = []
    for axis, size in enumerate(seen.shape):
        where = np.flatnonzero(seen.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = (int(where[0]), int(where[-1]) + 1) if where.size else (0, size)
        box.append(slice(max(0, low - margin), min(size, high + margin)))
    return box[0], box[1], box[2]
