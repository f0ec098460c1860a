"""Who takes part: folders of DICOM, npz pairs, what keeps somebody out; targets of digital patients."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.case.digital import Scenario, digital_patient, with_targets
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import FormatError, StructureError
from rtplan.evaluation.study_file import read_study
from rtplan.io.index import pseudonym
from rtplan.io.patient_write import write_patient
from rtplan.phantom.cohort import make_patient
from rtplan.study.members import members_of
from rtplan.study.run import run_study
from rtplan.study.settings import StudySettings

COARSE = (8.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def digital():
    return make_patient("study", 1, spacing_zyx_mm=COARSE, contrasts=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digital):
    """Two folders of one person, one of nobody, an empty one, and a stray file."""
    root = tmp_path_factory.mktemp("clinic")
    made = with_targets(digital, load_protocol("prostate_boost_flame"))
    kept = {name: made.structure(name) for name in ("External", "PTVp_7700", "GTVp", "Rectum", "Bladder")}
    write_patient(replace(made, structures=kept), root / "Mustermann^Max")
    write_patient(replace(made, structures=kept), root / "Mustermann^Max 2")
    (root / "No Images").mkdir()
    (root / "No Images" / "note.txt").write_text("nothing", encoding="utf-8")
    (root / "empty").mkdir()
    (root / "list.txt").write_text("names", encoding="utf-8")
    return root


def test_a_folder_study_runs_whom_it_can_and_says_why_not_the_others(folder, small, tmp_path):
    case = replace(small.case, protocol="prostate_boost_flame", arms=("CT", "CT0"), outcome=())
    settings = replace(small, case=case, folder=folder, phantoms=0)
    study = run_study(settings, tmp_path / "out", pages=False)
    assert [patient.state for patient in study.patients] == ["done", "failed", "failed"]
    assert "number 1 again" in study.patients[1].reason
    assert "no DICOM" in study.patients[2].reason
    assert {notice.code for notice in study.notices} == {"PATIENTS_FAILED", "TOO_FEW_PATIENTS"}
    (row,) = [r for r in study.cohort if (r.metric, r.scale) == ("NTCP", "as_is")]
    assert (row.n, row.lower, row.verdict) == (1, None, "none")
    assert "need 3" in row.reason
    (key,) = [path.name for path in (tmp_path / "out" / "patients").iterdir()]
    assert key == pseudonym("study0001")
    for path in (tmp_path / "out").rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert "Mustermann" not in text
        assert "study0001" not in text
    again = run_study(settings, tmp_path / "out", resume=True, pages=False)
    assert again.cohort == study.cohort
    assert again == read_study(tmp_path / "out")


def test_another_salt_gives_another_key(folder, small):
    settings = replace(small, folder=folder, phantoms=0)
    ours, theirs = (members_of(s)[0].key for s in (settings, replace(settings, salt="secret")))
    assert ours != theirs
    assert theirs == pseudonym("study0001", "secret")


def test_folders_without_a_patient_are_refused(small, tmp_path):
    settings = replace(small, folder=tmp_path, phantoms=0)
    with pytest.raises(FormatError, match="no patient"):
        run_study(settings, tmp_path / "out", pages=False)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("x", encoding="utf-8")
    with pytest.raises(FormatError, match="no patient"):
        members_of(settings)
    with pytest.raises(FormatError, match="not there"):
        members_of(replace(settings, folder=tmp_path / "none"))
    assert not (tmp_path / "out").exists()


def test_npz_pairs_take_part(small, tmp_path):
    z, y, x = np.indices((20, 40, 48))
    body = ((y - 20) / 17.0) ** 2 + ((x - 24) / 21.0) ** 2 < 1.0
    gtv = (z - 10) ** 2 + (y - 20) ** 2 + (x - 22) ** 2 < 16
    bone = (y - 26) ** 2 + (x - 30) ** 2 < 12
    ct = np.where(body, np.where(bone, 700.0, 20.0), -1000.0).astype(np.float32)
    for k, name in enumerate(("one", "two")):
        np.savez(
            tmp_path / f"{name}.npz",
            ct=ct + 5.0 * k * body,
            mr=np.where(body, 300.0, 0.0).astype(np.float32),
            gtv=gtv,
            spacing_zyx=np.array([6.0, 6.0, 6.0]),
        )
    (tmp_path / "zz.npz").write_bytes(b"no array")
    case = replace(small.case, protocol="sts_preop_50gy", arms=("CT", "CTpop"), outcome=())
    settings = StudySettings(case=case, folder=tmp_path, judging=small.judging)
    study = run_study(settings, tmp_path / "out", pages=False)
    assert [patient.state for patient in study.patients] == ["done", "done", "failed"]
    rows = {(row.structure, row.metric): row for row in study.cohort}
    assert rows["PTV_5000", "Mean[Gy]"].n == 2
    assert rows["Bone", "MAE[HU]"].mean > 300.0  # CTpop has no bone


def test_targets_bear_the_protocols_names(digital):
    made = with_targets(digital, load_protocol("prostate_chhip_60gy"))
    assert "PTVp" not in made.structures
    assert (made.structure("PTVp_6000").region.array == digital.structure("PTVp").region.array).all()
    assert "PTVp_5760" not in made.structures
    vesicles = digital.structure("SeminalVes").region.array
    wide, gland = (made.structure(name).region.array for name in ("PTVpsv_4800", "CTVp_6000"))
    assert (wide >= (vesicles | gland)).all()
    assert made.structure("PTVpsv_4800").kind == "PTV"
    assert (gland == digital.structure("Prostate").region.array).all()
    own = with_targets(digital, load_protocol("prostate_chhip_60gy"), ["PTVp_6000"])
    assert "PTVp_6000" not in own.structures
    assert "CTVp_6000" in own.structures


def test_another_site_is_refused():
    with pytest.raises(StructureError, match="prostate"):
        digital_patient(1, load_protocol("sts_preop_50gy"), Scenario(), COARSE)


def test_the_scenario_displaces_the_mr_and_draws_its_day_anew():
    made = digital_patient(2, load_protocol("prostate_boost_flame"), Scenario(2.0, True), COARSE)
    ct, mr = made.images["CT"].grid, made.images["T2w"].grid
    target = made.structure("PTVp_7700").region
    middle = target.grid.to_index(target.grid.to_patient(np.argwhere(target.array)).mean(0))
    assert np.linalg.norm(mr.to_patient(middle) - ct.to_patient(middle)) == pytest.approx(2.0)
    assert "mr_anew" in made.history[0].settings
    assert {"GTVp", "PTVp_7700"} <= set(made.structures)
    none = digital_patient(
        2, load_protocol("prostate_boost_flame"), Scenario(2.0, True), COARSE, with_mr=False
    )
    assert not none.mr
    assert (none.images["CT"].array == made.images["CT"].array).all()
