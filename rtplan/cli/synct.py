"""rtplan synct: an MR in, a synthetic CT out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtplan.cli.options import AsJson, Device, Threads, print_json, set_threads
from rtplan.errors import OutputError

if TYPE_CHECKING:
    from rtplan.domain import Identity, Image


def command(
    mr: Path = typer.Argument(..., metavar="MR", help="DICOM folder, NIfTI or MHA.", exists=True),
    out: Path = typer.Option(..., "--out", help="NIfTI or MHA file, or a new folder for DICOM."),
    model: str = typer.Option("synct_mr_pelvis", "--model", help="Name (see rtplan models) or model.toml."),
    device: Device = "cpu",
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Make a synthetic CT (HU) on the MR's own grid.

    Example: rtplan synct MR_FOLDER --out synct.nii.gz
    """
    from rtplan.io.nifti import is_volume_file, write_volume
    from rtplan.learning.predict import synthesise
    from rtplan.learning.zoo import load_model
    from rtplan.planning import device as devices

    _demand_free(out)
    set_threads(threads)
    network = load_model(model)
    role, image, identity = read_mr(mr, network.card.roles)
    made = synthesise(network, image, device=str(devices.device(device)))
    if is_volume_file(out):
        files = [write_volume(made, out)]
    else:
        files = _write_series(made, image, identity, out, network.card.name)
    said = {"name": network.card.name, "sha256": network.sha256, "input": role}
    if as_json:
        print_json((), (), outputs=[str(path) for path in files], model=said)
        return
    more = " …" if len(files) > 1 else ""
    typer.echo(f"Synthetic CT by {network.card.name} from {role}: {files[0]}{more}. Research use only.")


def _demand_free(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise OutputError(
            "The output is there already.", where=str(out), action="choose another --out, or remove it."
        )


def read_mr(mr: Path, roles: tuple[str, ...]) -> tuple[str, Image, Identity]:
    """Return role, image and identity of the MR that the network should read."""
    from rtplan.domain import Identity
    from rtplan.io.nifti import is_volume_file, read_volume
    from rtplan.io.patient import read_patient
    from rtplan.learning.channels import choose_mr

    if mr.is_file() and is_volume_file(mr):
        image = read_volume(mr, kind="MR")
        return "MR", image, Identity()  # type: ignore[return-value]
    patient = read_patient(mr)
    role = choose_mr(patient.images, roles)
    return role, patient.images[role], patient.identity


def _write_series(made: Image, mr: Image, identity: Identity, out: Path, model: str) -> list[Path]:
    from rtplan.io.image_write import Derived, write_series

    written = write_series(
        made,
        out,
        identity,
        description="SynCT",
        derived=Derived(mr.source, f"synthetic CT by {model}", model),
    )
    return list(written.paths)
