"""The draft of a map of names: targets are never guessed, and what it says can be given back."""

import tomllib

import pytest

from rtplan.errors import DicomError
from rtplan.io import names
from rtplan.io.names_draft import draft, toml_of
from rtplan.io.patient import read_patient


def ring(bare):
    return [("CLOSED_PLANAR", bare.square(-27, 0, 5))]


@pytest.fixture
def folder(bare, tmp_path):
    listed = [
        ("Blase", "ORGAN"),
        ("Hüftkopf li", "ORGAN"),
        ("Rektum", "ORGAN"),
        ("Enddarm", "ORGAN"),
        ("PTV Prostata 60", "PTV"),
        ("Boost", "GTV"),
        ('Knie "alt"', "ORGAN"),
    ]

    def japanese(ds):
        ds.SpecificCharacterSet = "ISO_IR 192"

    rois = [(name, kind, ring(bare)) for name, kind in listed]
    bare.rtstruct(tmp_path / "rs.dcm", rois, change=japanese)
    return tmp_path


def test_each_name_has_its_status(folder):
    lines = {line.name: line for line in draft(folder, names.load())[0]}
    assert {name: (line.status, line.tg263) for name, line in lines.items()} == {
        "Blase": ("mapped", "Bladder"),
        "Hüftkopf li": ("mapped", "Femur_Head_L"),
        "Rektum": ("double", "Rectum"),
        "Enddarm": ("double", "Rectum"),
        "PTV Prostata 60": ("target", None),
        "Boost": ("target", None),
        'Knie "alt"': ("unknown", None),
    }
    assert lines["PTV Prostata 60"].candidates == ("PTVp_6000",)


def test_the_draft_maps_only_what_is_sure_and_can_be_given_back(folder):
    text = toml_of(draft(folder, names.load())[0])
    assert tomllib.loads(text)["names"] == {"Blase": "Bladder", "Hüftkopf li": "Femur_Head_L"}
    assert '# "PTV Prostata 60" = "PTVp_6000"' in text
    corrected = text.replace('# "PTV Prostata 60"', '"PTV Prostata 60"').replace('# "Rektum"', '"Rektum"')
    corrected = corrected.replace('# "Knie \\"alt\\""', '"Knie \\"alt\\""')
    path = folder / "names.toml"
    path.write_text(corrected, encoding="utf-8")
    again = {line.name: line.tg263 for line in draft(folder, names.load(path))[0] if line.status == "mapped"}
    assert again["PTV Prostata 60"] == "PTVp_6000"
    assert again["Rektum"] == "Rectum"
    assert 'Knie "alt"' in again


def test_a_patient_reads_by_the_corrected_draft(bare, folder):
    import numpy as np

    bare.series(folder / "ct", np.zeros((5, 6, 7), np.int16))
    text = (
        toml_of(draft(folder, names.load())[0]).replace('# "PTV P', '"PTV P').replace('# "Rektum', '"Rektum')
    )
    (folder / "names.toml").write_text(text, encoding="utf-8")
    patient = read_patient(folder, names=folder / "names.toml")
    assert {"Bladder", "Femur_Head_L", "Rectum", "PTVp_6000", "Enddarm", "Boost"} <= set(patient.structures)


def test_a_folder_without_structures_is_refused(bare, tmp_path):
    import numpy as np

    bare.series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    with pytest.raises(DicomError, match="no structure set"):
        draft(tmp_path, names.load())
