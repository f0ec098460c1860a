"""rtplan segment: an MR in, organs out, and where the network is not sure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtplan.cli.options import AsJson, Device, Seed, Threads, print_json, set_threads
from rtplan.errors import ModelError, OutputError

if TYPE_CHECKING:
    from rtplan.domain import Identity, Image
    from rtplan.learning.predict_segment import Segmented


def command(
    mr: Path = typer.Argument(..., metavar="MR", help="DICOM folder, NIfTI or MHA.", exists=True),
    out: Path = typer.Option(..., "--out", help="Label map (NIfTI or MHA), or RTSTRUCT (NAME.dcm)."),
    model: str = typer.Option(
        "segment_pelvis_t2w", "--model", help="Name (see rtplan models) or model.toml."
    ),
    uncertainty: Path | None = typer.Option(None, "--uncertainty", help="Map of the entropy, 0 to 1."),
    passes: int = typer.Option(6, "--passes", min=1, help="Times the network is asked (MC dropout)."),
    seed: Seed = 1,
    device: Device = "cpu",
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Find prostate with zones, seminal vesicles, bladder, rectum and femoral heads in an axial T2w MR.

    Example: rtplan segment MR_FOLDER --out RS.dcm --uncertainty entropy.nii.gz
    """
    from rtplan.cli.synct import read_mr
    from rtplan.learning.predict_segment import segment
    from rtplan.learning.zoo import load_model
    from rtplan.planning import device as devices

    for path in (out, uncertainty):
        if path is not None:
            _demand_writable(path, dicom=path is out)
    set_threads(threads)
    network = load_model(model)
    role, image, identity = read_mr(mr, network.card.roles)
    if _is_dicom(out) and not image.source.sop_uids:
        raise ModelError(
            "An RTSTRUCT refers to DICOM slices.", action="give a DICOM folder, or --out a NIfTI."
        )
    found = segment(network, image, passes=passes, seed=seed, device=str(devices.device(device)))
    if not found.structures:
        raise ModelError(
            "No organ was found in the MR.", action="check that it is an axial T2w of the pelvis."
        )
    files = _write(found, image, identity, out, uncertainty)
    said = {"name": network.card.name, "sha256": network.sha256, "input": role, "passes": passes}
    if as_json:
        print_json(found.findings, found.notices, outputs=[str(path) for path in files], model=said)
        return
    _tell(found, files, network.card.name)


def _is_dicom(path: Path) -> bool:
    return path.suffix.lower() == ".dcm"


def _demand_writable(path: Path, *, dicom: bool) -> None:
    from rtplan.io.nifti import is_volume_file

    if path.exists():
        raise OutputError("The output is there already.", where=str(path), action="choose another name.")
    if not (is_volume_file(path) or (dicom and _is_dicom(path))):
        raise OutputError("The name of the output has no known ending.", where=str(path))


def _write(
    found: Segmented, image: Image, identity: Identity, out: Path, uncertainty: Path | None
) -> list[Path]:
    from rtplan.io.nifti import names_path, write_labels, write_volume
    from rtplan.io.rtstruct_write import write

    if _is_dicom(out):
        written = write(found.structures, out, image=image, identity=identity, label="rtplan segment")
        files = [written.path]
    else:
        # The zones fill the gland: as one label map they stand for it.
        parts = [s for s in found.structures if s.name != "Prostate"]
        path, _ = write_labels(parts, image.grid, out)
        files = [path, names_path(path)]
    if uncertainty is not None:
        files.append(write_volume(found.entropy, uncertainty))
    return files


def _tell(found: Segmented, files: list[Path], name: str) -> None:
    for one in found.findings:
        value = f"{one.value:.1f} cc" if one.value is not None else f"not found ({one.reason})"
        typer.echo(f"  {one.structure or '':14s} {value}")
    for notice in found.notices:
        typer.echo(f"{notice.severity}: {notice.message} {notice.action}", err=True)
    typer.echo(f"Organs by {name}: {files[0]}. Research use only; look at every contour.")
