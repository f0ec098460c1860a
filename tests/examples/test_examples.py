"""The examples run as they stand."""

import runpy
import sys
from pathlib import Path

import numpy as np

from rtplan.domain import Dose, Grid
from rtplan.io.patient_write import write_patient
from rtplan.phantom.cohort import make_patient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name, *arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_dvh_of_a_patient(tmp_path, monkeypatch, capsys):
    patient = make_patient("valid", 8, spacing_zyx_mm=(8.0, 5.0, 5.0), contrasts=())
    ct = patient.images["CT"].grid
    low, high = ct.corners().min(axis=0), ct.corners().max(axis=0)
    count = tuple(int(n) for n in np.ceil((high - low)[::-1] / 5.0))
    grid = Grid.axial(count, (5.0, 5.0, 5.0), tuple(low + 2.5), ct.frame_of_reference)
    dose = Dose(grid, np.full(grid.shape, 42.0), fractions=20)
    write_patient(patient.with_doses(CT=dose), tmp_path / "in")
    run("dvh_of_a_patient.py", tmp_path / "in", monkeypatch=monkeypatch)
    told = capsys.readouterr().out
    assert "Mean[Gy]     42.00 Gy" in told
    assert "V50Gy[%]      0.00 %" in told


def test_paired_arms(monkeypatch, capsys):
    run("paired_arms.py", monkeypatch=monkeypatch)
    told = capsys.readouterr().out
    assert "CT value" in told
    assert "CT0 difference" in told
