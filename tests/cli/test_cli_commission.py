"""rtplan commission beam through its files: a beam file for rtplan dose, residuals, a report; refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from rtplan.cli import DONE, REFUSED, WRONG_CALL, main
from rtplan.planning.beam import load_beam
from rtplan.planning.commission import predicted
from rtplan.planning.measured import COLUMNS, Measured


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in arguments])
    return int(leave.value.code or 0)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few measurements of a machine that attenuates more than the shipped one."""
    start = load_beam("generic_6mv")
    model = start.model_copy(update={"attenuation_per_mm": start.attenuation_per_mm * 1.05})
    rows = []
    for quantity, sides, depth, offset in (
        ("tmr", (40.0, 100.0, 200.0), [15.0, 50.0, 100.0, 200.0], [0.0] * 4),
        ("output_factor", (40.0, 100.0, 200.0), [100.0], [0.0]),
        ("profile", (100.0,), [100.0] * 9, [0.0, 20.0, 40.0, 44.0, 48.0, 50.0, 52.0, 56.0, 60.0]),
    ):
        for side in sides:
            n = len(depth)
            asked = Measured(
                np.array([quantity] * n), np.full(n, side), np.array(depth), np.array(offset), np.zeros(n)
            )
            values = predicted(model, asked, 1000.0)
            rows += [(quantity, side, d, o, v) for d, o, v in zip(depth, offset, values, strict=True)]
    path = tmp_path_factory.mktemp("measured") / "our linac.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return path


def test_a_beam_file_with_residuals_and_report(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "beam"
    assert call("commission", "beam", table, "--machine-name", "TB1", "--out", out, "--json") == DONE
    said = json.loads(capsys.readouterr().out)
    assert max(f["value"] for f in said["findings"]) < 0.6
    assert {f["detail"]["quantity"] for f in said["findings"]} == {"tmr", "output_factor", "profile"}
    assert {p.name for p in out.iterdir()} == {
        "our_linac.toml", "residuals.csv", "residuals.png", "report.pdf", "manifest.json"
    }  # fmt: skip
    model = load_beam(str(out / "our_linac.toml"))
    assert model.machine_names == ("TB1",)
    assert model.cone is not None
    assert not model.verified
    with (out / "residuals.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12 + 3 + 9
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    assert call("commission", "beam", table, "--out", out) == REFUSED  # not over results


def test_bad_measurements_leave_nothing(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(
        table.read_text(encoding="utf-8").replace("tmr,40.0,15.0", "tmr,40.0,deep"), encoding="utf-8"
    )
    assert call("commission", "beam", bad, "--out", tmp_path / "b") == REFUSED
    assert "depth_mm is 'deep'" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    assert call("commission", "beam", table, "--name", "a/b", "--out", tmp_path / "b") == WRONG_CALL
    assert call("commission", "beam", tmp_path / "absent.csv", "--out", tmp_path / "b") == WRONG_CALL
