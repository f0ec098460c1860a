"""Commissioning: an unknown machine comes back from noisy measurements; bad measurements are named."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rtplan.errors import FormatError
from rtplan.planning.beam import BeamModel, load_beam
from rtplan.planning.beamtoml import beam_text
from rtplan.planning.commission import compared, fit_pencil, predicted
from rtplan.planning.coneaxis import cone_on_axis
from rtplan.planning.conefit import fit_cone
from rtplan.planning.kernel import load_kernel
from rtplan.planning.measured import COLUMNS, Measured, read_measured

START = load_beam("generic_6mv")
SSD_MM, NOISE = 900.0, 0.005
Rows = list[tuple[str, float, float, float, float]]


def other_machine() -> BeamModel:
    """A machine with another quality, source, horn and scatter than the one the fit starts from."""
    weight = np.array(START.kernel.weight) * (1.0 + 0.1 * np.random.default_rng(1).standard_normal((3, 7)))
    weight[0, 4:] *= 1.2
    radius = np.array(START.horn.radius_mm)
    horn = np.array(START.horn.relative_fluence) * (1.0 + 0.04 * (radius / 150.0) ** 2)
    update = {
        "attenuation_per_mm": START.attenuation_per_mm * 1.06,
        "beta_per_mm": tuple(np.array(START.beta_per_mm) * [1.1, 0.9, 1.15]),
        "source_fwhm_mm": 7.0,
        "kernel": START.kernel.model_copy(update={"weight": tuple(map(tuple, weight))}),
        "horn": START.horn.model_copy(update={"relative_fluence": tuple(horn)}),
    }
    return START.model_copy(update=update)


def rows_of(model: BeamModel, quantity: str, side: float, depth: list[float], offset: list[float]) -> Rows:
    count = len(depth)
    asked = Measured(
        np.array([quantity] * count), np.full(count, side), np.array(depth), np.array(offset), np.zeros(count)
    )
    said = predicted(model, asked, SSD_MM)
    return [(quantity, side, d, o, float(v)) for d, o, v in zip(depth, offset, said, strict=True)]


def measurements(model: BeamModel, noise: float = NOISE) -> Rows:
    depth = [10.0, 15.0, 20.0, 50.0, 100.0, 150.0, 200.0, 250.0]
    rows: Rows = []
    for side in (30.0, 60.0, 100.0, 150.0, 250.0):
        rows += rows_of(model, "tmr", side, depth, [0.0] * len(depth))
    for side in (30.0, 40.0, 60.0, 100.0, 150.0, 250.0):
        rows += rows_of(model, "output_factor", side, [100.0], [0.0])
    for side in (50.0, 200.0):
        offset = list(np.arange(0.0, 0.65 * side, 2.5))
        rows += rows_of(model, "profile", side, [100.0] * len(offset), offset)
    random = np.random.default_rng(2)
    return [(*row[:4], row[4] * (1.0 + noise * random.standard_normal())) for row in rows]


def written(path: Path, rows: Rows, columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


def output(model: BeamModel, side: float) -> float:
    return float(predicted(model, _one("output_factor", side), SSD_MM)[0])


def _one(quantity: str, side: float, offset: np.ndarray | None = None) -> Measured:
    offset = np.zeros(1) if offset is None else offset
    full = np.full(offset.size, side), np.full(offset.size, 100.0)
    return Measured(np.array([quantity] * offset.size), *full, offset, np.zeros(offset.size))


def penumbra(model: BeamModel, side: float) -> float:
    x = np.arange(0.0, 0.75 * side, 0.1)
    profile = predicted(model, _one("profile", side, x), SSD_MM)[::-1]
    return float(np.interp(20.0, profile, x[::-1]) - np.interp(80.0, profile, x[::-1]))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[BeamModel, BeamModel, Measured]:
    """The true machine, the fitted one, and the measurements with their noise."""
    true = other_machine()
    path = written(tmp_path_factory.mktemp("beam") / "linac.csv", measurements(true))
    measured = read_measured(path)
    return true, fit_pencil(START, measured, SSD_MM), measured


def test_an_unknown_machine_is_recovered(fitted: tuple[BeamModel, BeamModel, Measured]) -> None:
    true, model, _ = fitted
    start = [abs(output(START, side) / output(true, side) - 1.0) for side in (30.0, 180.0)]
    assert min(start) > 0.01  # there is something to find
    for side in (30.0, 50.0, 80.0, 120.0, 180.0, 250.0):
        assert output(model, side) == pytest.approx(output(true, side), rel=0.015)
        assert model.tmr(side, [50.0, 100.0, 200.0]) == pytest.approx(
            true.tmr(side, [50.0, 100.0, 200.0]), rel=0.01
        )
    for side in (50.0, 100.0, 200.0):
        assert abs(penumbra(START, side) - penumbra(true, side)) > 1.0
        assert penumbra(model, side) == pytest.approx(penumbra(true, side), abs=0.5)


def test_what_is_left_is_the_noise(fitted: tuple[BeamModel, BeamModel, Measured]) -> None:
    _, model, measured = fitted
    rows = compared(model, measured, SSD_MM)
    assert sum(row.measured.size for row in rows) == measured.value.size
    off = np.concatenate([row.deviation_percent for row in rows])
    assert 0.2 < np.sqrt((off**2).mean()) < 0.7


def test_the_cone_follows_the_same_measurements(fitted: tuple[BeamModel, BeamModel, Measured]) -> None:
    true, model, measured = fitted
    made = model.model_copy(update={"cone": fit_cone(model, START, measured, SSD_MM)})
    assert made.cone is not None
    kernel = load_kernel(made.cone.kernel)

    def dose(side: float, depth: float) -> float:
        return float(cone_on_axis(made, kernel, side, depth, 1000.0 - depth)[0])

    for side in (30.0, 60.0, 120.0, 250.0):
        assert dose(side, 100.0) / dose(100.0, 100.0) == pytest.approx(output(true, side), rel=0.02)
    for depth in (50.0, 150.0, 250.0):
        wanted = true.tmr(100.0, depth)[0] / true.tmr(100.0, 100.0)[0]
        assert dose(100.0, depth) / dose(100.0, 100.0) == pytest.approx(wanted, rel=0.02)
    assert sum(made.cone.spectrum.energy_fluence) == pytest.approx(1.0)
    assert 100.0 * dose(100.0, 100.0) == pytest.approx(1.0, rel=0.01)  # calibrated


def test_depth_doses_in_per_cent_serve_as_well_as_ratios() -> None:
    true = other_machine()
    depth = [15.0, 30.0, 50.0, 100.0, 150.0, 200.0]
    rows: Rows = [row for row in measurements(true, 0.0) if row[0] != "tmr"]
    for side in (40.0, 100.0, 200.0):
        rows += rows_of(true, "pdd", side, depth, [0.0] * len(depth))
    measured = Measured(np.array([r[0] for r in rows]), *np.array([r[1:] for r in rows]).T)
    model = fit_pencil(START, measured, SSD_MM)
    assert model.tmr(120.0, [50.0, 150.0]) == pytest.approx(true.tmr(120.0, [50.0, 150.0]), rel=0.01)


def test_a_beam_file_reads_back_as_it_was(
    tmp_path: Path, fitted: tuple[BeamModel, BeamModel, Measured]
) -> None:
    model = fitted[1].model_copy(update={"name": "own", "machine_names": ('A "B"', "C")})
    path = tmp_path / "own.toml"
    path.write_text(beam_text(model, "comment"), encoding="utf-8")
    back = load_beam(str(path))
    assert back.machine_names == ('A "B"', "C")
    assert back.on_axis(100.0, 100.0, 900.0)[0] == pytest.approx(
        model.on_axis(100.0, 100.0, 900.0)[0], rel=1e-4
    )
    assert load_beam("generic_6mv").cone == START.cone
    path.write_text(beam_text(START), encoding="utf-8")
    assert load_beam(str(path)).model_dump() == START.model_dump()


def test_bad_measurements_are_named(tmp_path: Path) -> None:
    good = measurements(START)
    first = good[0]
    cases = {
        "columns: offset_mm": ([(*r[:3], r[4]) for r in good], tuple(c for c in COLUMNS if c != "offset_mm")),
        "'tpr' is unknown": ([("tpr", *first[1:])], COLUMNS),
        "not a number": ([(*first[:4], "wide")], COLUMNS),
        "outside 0 to 1.2": ([(*first[:4], -0.4)], COLUMNS),
        "cannot be": ([(first[0], -40.0, *first[2:])], COLUMNS),
        "rows, or columns": ([], COLUMNS),
        "0 fields with tmr": ([r for r in good if r[0] != "tmr"], COLUMNS),
        "Output factors of 0": ([r for r in good if r[0] != "output_factor"], COLUMNS),
        "no profile": ([r for r in good if r[0] != "profile"], COLUMNS),
        "look like fractions": ([(*r[:4], r[4] / 100) if r[0] == "profile" else r for r in good], COLUMNS),
    }
    for words, (rows, columns) in cases.items():
        with pytest.raises(FormatError, match=words):
            read_measured(written(tmp_path / "bad.csv", rows, columns))  # type: ignore[arg-type]
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="cannot be read"):
        read_measured(tmp_path / "bad.csv")
