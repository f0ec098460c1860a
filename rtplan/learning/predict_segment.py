"""From an MR to organs, their probabilities and how sure they are, on the MR's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from rtplan.domain import Finding, Grid, Image, Mask, Notice, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.errors import ModelError
from rtplan.imaging.body import body_mask
from rtplan.imaging.resample import resample
from rtplan.learning.card import Card
from rtplan.learning.channels import at_spacing, demand_contrast, demand_sane
from rtplan.learning.segment_paint import centred
from rtplan.learning.segment_tidy import Tidied, tidy
from rtplan.learning.segments import LABELS
from rtplan.learning.zoo import Model

Array = NDArray[np.float32]

#: Passes with other neurons dropped; every second one sees the mirror image.
PASSES = 6
#: An axial series leans less than this from the patient's axes, degrees.
LEAN_MAX_DEG = 40.0
STEP = "segment"


@dataclass(frozen=True, eq=False)
class Segmented:
    """What was found in an MR.

    Parameters
    ----------
    structures : tuple of Structure
        Masks on the MR's grid, only of what was found.
    findings : tuple of Finding
        Volume of each, with the interval over the passes; "not evaluable" of what was not found.
    notices : tuple of Notice
        What the rules of anatomy did.
    entropy : Image
        Of the mean probabilities, relative to the largest possible: 0 sure, 1 no idea.
    probabilities : ndarray, shape (labels, z, y, x)
        float16; mean over the passes, in the order of `segments.LABELS`.
    """

    structures: tuple[Structure, ...]
    findings: tuple[Finding, ...]
    notices: tuple[Notice, ...]
    entropy: Image
    probabilities: NDArray[np.float16]


def segment(
    model: Model, image: Image, *, passes: int = PASSES, seed: int = 1, device: str = "cpu"
) -> Segmented:
    """Find the organs that the network knows in an MR.

    Parameters
    ----------
    model : Model
        From `zoo.load_model`; a segmentation network.
    image : Image
        Axial MR, leaning at will up to `LEAN_MAX_DEG`.
    passes : int
        Times that the network is asked, each time with other neurons dropped (MC dropout).
    seed : int
        Of the dropping.

    Raises
    ------
    ModelError
        If the MR is beyond the model's limits or not axial, or the network is none for segmentations.

    References
    ----------
    Gal Y, Ghahramani Z. Dropout as a Bayesian approximation: representing model uncertainty in deep
    learning. ICML 2016.
    """
    card = model.card
    if card.task != "segment":
        raise ModelError(f"The network {card.name} is for {card.task}, not for segmentations.")
    if image.modality != "MR":
        raise ModelError(f"The network reads an MR; the image is a {image.modality}.")
    if passes < 1:
        raise ModelError("A segmentation needs at least one pass.", action="ask for 1 or more.")
    demand_sane(image, card.limits)
    demand_contrast(image, body_mask(image), card.limits)
    coarse = at_spacing(upright(image), card.spacing_zyx_mm)
    answers = ask(model.network, centred(coarse.array, card.patch_zyx), card, passes, seed, device)
    mean = np.mean(answers, axis=0)
    fine = _on_grid(mean, coarse.grid, image.grid)
    found = tidy(fine.argmax(axis=0).astype(np.uint8), image.grid)
    structures = tuple(
        Structure(name, kind_of(name), Mask(image.grid, mask)) for name, mask in found.masks.items()
    )
    volumes = [_volumes(answer, coarse.grid.voxel_cc) for answer in answers]
    return Segmented(
        structures,
        _findings(found, fine, volumes, image.grid, card),
        found.notices + _lost(found, fine),
        Image(image.grid, entropy_of(fine), modality="MR"),
        fine.astype(np.float16),
    )


def upright(image: Image) -> Image:
    """Return an axial image with its array axes to superior, posterior and left, as far as they lean.

    Raises
    ------
    ModelError
        If the series is not axial.
    """
    wanted = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    along = np.einsum("ij,ij->j", image.grid.direction, wanted)
    if (np.abs(along) < np.cos(np.deg2rad(LEAN_MAX_DEG))).any():
        raise ModelError("The series is not axial: the network has learned from axial images only.")
    affine, array = image.grid.affine.copy(), image.array
    for axis in np.flatnonzero(along < 0):
        affine[:3, 3] += affine[:3, axis] * (image.grid.shape[axis] - 1)
        affine[:3, axis] *= -1.0
        array = np.flip(array, int(axis))
    grid = Grid(image.grid.shape, affine, image.grid.frame_of_reference)
    return Image(grid, np.ascontiguousarray(array), modality=image.modality, source=image.source)


def ask(network: nn.Module, array: Array, card: Card, passes: int, seed: int, device: str) -> list[Array]:
    """Return the probabilities of each pass, shape (labels, z, y, x), on the grid of the input."""
    network = network.to(device).eval()
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
            module.train(passes > 1)
    inputs = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None].to(device)
    answers = []
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        for turn in range(passes):
            seen = inputs.flip(-1) if turn % 2 else inputs
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                logits: Tensor = sliding_window_inference(
                    seen, card.patch_zyx, 1, network, overlap=card.overlap, mode="gaussian"
                )
            part = torch.softmax(logits.float(), dim=1)
            answers.append((part.flip(-1) if turn % 2 else part)[0].cpu().numpy())
    network.eval()
    return answers


def entropy_of(probabilities: Array) -> Array:
    """Return the entropy over the labels (first axis), relative to that of no idea at all."""
    p = np.clip(probabilities, 1e-7, 1.0)
    return np.asarray(-(p * np.log(p)).sum(axis=0) / np.log(len(p)), np.float32)


def _on_grid(probabilities: Array, grid: Grid, wanted: Grid) -> Array:
    """Bring probabilities to the MR's grid; what is outside is background."""
    out = np.empty((len(probabilities), *wanted.shape), np.float32)
    for place, one in enumerate(probabilities):
        moved = resample(Image(grid, one, modality="MR"), wanted, order="linear", outside=float(place == 0))
        out[place] = moved.array
    return out


def _volumes(probabilities: Array, voxel_cc: float) -> dict[str, float]:
    """Return the volume of each label by the largest probability, cc, of one pass."""
    counts = np.bincount(probabilities.argmax(axis=0).ravel(), minlength=len(LABELS))
    found = {name: float(n) * voxel_cc for name, n in zip(LABELS, counts, strict=True)}
    return found | {"Prostate": found["Prostate_TZ"] + found["Prostate_PZ"]}


def _chance(fine: Array, name: str) -> float:
    """Return the largest probability that any voxel has of being in an organ."""
    if name == "Prostate":
        return float((fine[LABELS.index("Prostate_TZ")] + fine[LABELS.index("Prostate_PZ")]).max())
    return float(fine[LABELS.index("Femur_Heads" if name.startswith("Femur_Head") else name)].max())


def _lost(found: Tidied, fine: Array) -> tuple[Notice, ...]:
    return tuple(
        Notice(
            "NOT_FOUND",
            "warn",
            f"{name} was not found; the likeliest voxel has a probability of {_chance(fine, name):.2f}.",
            "draw it, if it is in the image.",
            structure=name,
        )
        for name in found.missing
    )


def _findings(
    found: Tidied, fine: Array, volumes: list[dict[str, float]], grid: Grid, card: Card
) -> tuple[Finding, ...]:
    """Return the volume of what was found, with the spread over the passes, and what was not."""
    out = []
    for name, mask in found.masks.items():
        over = [v[name] for v in volumes if name in v]
        ends = (float(np.min(over)), float(np.max(over))) if len(over) > 1 else None
        inside = fine[:, mask].max(axis=0).mean()
        out.append(
            Finding(
                metric="Volume[cc]",
                value=float(mask.sum()) * grid.voxel_cc,
                unit="cc",
                step=STEP,
                structure=name,
                model=card.name,
                detail={
                    "mean_probability": round(float(inside), 4),
                    **({"over_passes_cc": [round(e, 2) for e in ends]} if ends else {}),
                },
            )
        )
    for name in found.missing:
        reason = f"Not found; likeliest voxel {_chance(fine, name):.2f}."
        out.append(
            Finding(
                metric="Volume[cc]",
                value=None,
                unit="cc",
                step=STEP,
                structure=name,
                model=card.name,
                verdict="not_evaluable",
                reason=reason,
                detail={"probability": round(_chance(fine, name), 4)},
            )
        )
    return tuple(out)
