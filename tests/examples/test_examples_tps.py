"""Templates for planning systems: the folder way runs; the others are held to syntax and our options."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rtplan.cli import build

TPS = Path(__file__).resolve().parents[2] / "examples" / "tps"


@pytest.fixture
def folder_way():
    spec = importlib.util.spec_from_file_location("folder_roundtrip", TPS / "folder_roundtrip.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_appear_whole_in_the_import_folder(folder_way, tmp_path, capsys):
    (tmp_path / "dicom" / "CT_SynCT").mkdir(parents=True)
    (tmp_path / "dicom" / "CT_SynCT" / "1.dcm").write_bytes(b"1")
    folder_way.deliver(tmp_path / "dicom", tmp_path / "import")
    (made,) = (tmp_path / "import").iterdir()
    assert not made.name.startswith(".")
    assert (made / "CT_SynCT" / "1.dcm").read_bytes() == b"1"
    assert str(made) in capsys.readouterr().out


def test_a_refused_export_ends_the_script_and_imports_nothing(folder_way, tmp_path):
    (tmp_path / "export").mkdir()
    with pytest.raises(subprocess.CalledProcessError):
        folder_way.main([str(tmp_path / "export"), str(tmp_path / "import"), "--protocol", "prostate_pace_b"])
    assert not (tmp_path / "import").exists()


@pytest.mark.parametrize("name", ["raystation_roundtrip.py", "folder_roundtrip.py"])
def test_a_template_is_python_and_asks_rtplan_for_options_that_it_has(name):
    text = (TPS / name).read_text(encoding="utf-8")
    ast.parse(text)
    known = {o for param in typer.main.get_command(build()).commands["run"].params for o in param.opts}
    assert set(re.findall(r'"(--[a-z-]+)"', text)) <= known


def test_every_template_says_at_its_top_that_it_was_not_run_there():
    for path in TPS.iterdir():
        if path.is_file():
            assert "NEVER RUN" in path.read_text(encoding="utf-8")[:600], path.name


@pytest.mark.slow
def test_the_folder_way_from_export_to_import(tmp_path):
    from rtplan.cli.demo import write_digital_patient

    write_digital_patient(tmp_path / "export", 1)
    call = [sys.executable, TPS / "folder_roundtrip.py", tmp_path / "export", tmp_path / "import"]
    call += ["--protocol", "prostate_boost_flame", "--tps", "monaco", "--arms", "CT,SynCT"]
    subprocess.run(list(map(str, call)), check=True)
    (made,) = (tmp_path / "import").iterdir()
    assert {"RS.dcm", "RP.dcm", "RD_SynCT.dcm", "CT_SynCT"} <= {path.name for path in made.iterdir()}
