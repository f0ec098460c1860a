"""rtplan dvh: courses, derived structures, surfaces, files and pictures, bad input, 80 columns."""

import json

import numpy as np
import pytest
from PIL import Image as Pixels

from rtplan.cli import _run
from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.io.nifti import write_labels, write_volume
from rtplan.io.patient_write import write_patient
from rtplan.phantom.cohort import make_patient

GRID = Grid.axial((30, 36, 36), (2.0, 2.0, 2.0), (-35.0, -35.0, -29.0))
POINTS = GRID.to_patient(np.stack(np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij"), axis=-1))
AWAY = np.linalg.norm(POINTS, axis=-1)


@pytest.fixture
def files(tmp_path):
    """Write a dose that falls by 1 Gy per mm, a boost of two fractions, and a ball and a tube as labels."""
    write_volume(Dose(GRID, np.maximum(60.0 - AWAY, 0.0)), tmp_path / "dose.nii.gz")
    write_volume(Dose(GRID, np.maximum(16.0 - AWAY, 0.0)), tmp_path / "boost.mha")
    tube = (np.hypot(POINTS[..., 0], POINTS[..., 1] - 18.0) < 8.0) & (np.abs(POINTS[..., 2]) < 20.0)
    shapes = [
        Structure("PTV", "PTV", Mask(GRID, AWAY < 12.0)),
        Structure("Rectum", "ORGAN", Mask(GRID, tube)),
    ]
    write_labels(shapes, GRID, tmp_path / "labels.nii.gz")
    return tmp_path


def call(folder, *more, dose=("dose.nii.gz",)):
    doses = [word for name in dose for word in ("--dose", str(folder / name))]
    return ["dvh", *doses, "--structures", str(folder / "labels.nii.gz"), *map(str, more)]


def ask(capsys, folder, *more, **files):
    assert _run([*call(folder, *more, **files), "--json"], debug=True) == 0
    return json.loads(capsys.readouterr().out)


def by_metric(said, name):
    return {f["metric"]: f for f in said["findings"] if f["structure"] == name}


def test_a_boost_is_summed_in_eqd2_with_its_own_fractions(files, capsys):
    both = {"dose": ("dose.nii.gz", "boost.mha")}
    metrics = ("--metric", "Max[Gy]", "--metric", "Max[Gy]@EQD2(3)", "--structure", "PTV")
    said = ask(
        capsys, files, *metrics, "--fractions", 30, "--fractions", 2, "--interpolation", "linear", **both
    )
    found = by_metric(said, "PTV")
    d1, d2 = 60.0 - np.sqrt(3.0), 16.0 - np.sqrt(3.0)  # the voxel centres nearest to the tip
    expected = d1 * (d1 / 30 + 3) / 5 + d2 * (d2 / 2 + 3) / 5
    assert found["Max[Gy]"]["value"] == pytest.approx(d1 + d2, abs=0.05)
    assert found["Max[Gy]@EQD2(3)"]["value"] == pytest.approx(expected, abs=0.1)
    assert said["settings"]["fractions"] == [30, 2]
    missing = ask(capsys, files, *metrics, **both)
    lacking = by_metric(missing, "PTV")["Max[Gy]@EQD2(3)"]
    assert lacking["verdict"] == "not_evaluable"
    assert "never guessed" in lacking["reason"]
    relative = ("--metric", "V95%[%]@EQD2(3)", "--rx", 50, "--fractions", 30, "--fractions", 2)
    percent = by_metric(ask(capsys, files, *relative, **both), "PTV")["V95%[%]@EQD2(3)"]
    assert "EQD2 already" in percent["reason"]


def test_risk_of_two_courses_is_that_of_their_sum_in_eqd2(files, capsys):
    organ = ["--structures", str(files / "labels.nii.gz"), "--structure", "Rectum", "--samples", "64"]
    doses = ["--dose", str(files / "dose.nii.gz"), "--fractions", "30", "--dose", str(files / "boost.mha")]
    model = ["outcome", "--model", "rectum_bleeding_g2_quantec2010", "--json"]
    assert _run([*model, *organ, *doses, "--fractions", "2"], debug=True) == 0
    (summed,) = json.loads(capsys.readouterr().out)["findings"]
    assert summed["dose_kind"] == "EQD2(3)"
    alone = [*model, *organ, "--dose", str(files / "dose.nii.gz"), "--fractions", "30"]
    assert _run(alone, debug=True) == 0
    (first,) = json.loads(capsys.readouterr().out)["findings"]
    assert summed["value"] > first["value"] > 0.0
    assert _run([*model, *organ, *doses], debug=False) == 2
    capsys.readouterr()
    assert _run([*model, *organ, *doses, "--fractions", "2", "--no-eqd2"], debug=False) == 1
    assert "physical sum" in capsys.readouterr().err
    table = files / "sum.csv"
    both = {"dose": ("dose.nii.gz", "boost.mha")}
    ask(capsys, files, "--structure", "Rectum", "--out", table, **both)
    assert _run([*model, "--dvh", str(table), "--fractions", "32"], debug=False) == 1
    assert "physical sum" in capsys.readouterr().err


def test_a_plot_holds_six_curves_targets_first(files, capsys):
    rules = [word for n in range(1, 7) for word in ("--derive", f"zRing{n} = Rectum + {n}")]
    said = ask(capsys, files, *rules, "--plot", files / "many.png", "--metric", "Mean[Gy]")
    (left,) = (n for n in said["notices"] if n["code"] == "CURVES_LEFT_OUT")
    assert "zRing5, zRing6" in left["message"]
    assert (files / "many.png").exists()


def test_goals_of_two_courses_are_read_on_their_sums(files, capsys):
    both = {"dose": ("dose.nii.gz", "boost.mha")}
    fractions = ("--fractions", 30, "--fractions", 2)
    said = ask(
        capsys, files, "--protocol", "prostate_boost_flame", *fractions, "--structure", "Rectum", **both
    )
    goals = {f["metric"]: f for f in said["findings"] if f["limit"]}
    alone = ask(capsys, files, "--metric", "V50Gy[%]@EQD2(3)", *fractions, "--structure", "Rectum", **both)
    goal = goals["V50Gy[%]@EQD2(3)"]
    assert goal["value"] == pytest.approx(alone["findings"][0]["value"], abs=1e-9)
    assert goal["verdict"] in ("met", "missed")
    assert {f["structure"] for f in said["findings"]} == {"Rectum"}
    unknown = ask(capsys, files, "--protocol", "prostate_boost_flame", "--structure", "Rectum", **both)
    assert all(f["verdict"] == "not_evaluable" for f in unknown["findings"] if f["limit"])


def test_derived_structures_are_inputs(files, capsys):
    rules = ("--derive", "Ring = (PTV + 6) - PTV", "--derive", "Hot = isodose(40) - Ring")
    said = ask(capsys, files, *rules, "--structure", "Ring", "--structure", "Hot")
    ring, hot = by_metric(said, "Ring"), by_metric(said, "Hot")
    assert ring["Volume[cc]"]["value"] == pytest.approx(4.19 * (18**3 - 12**3) / 1000, rel=0.06)
    assert ring["D50%[Gy]"]["value"] == pytest.approx(60 - ((18**3 + 12**3) / 2) ** (1 / 3), abs=0.5)
    assert hot["Volume[cc]"]["value"] == pytest.approx(4.19 * (20**3 - 18**3 + 12**3) / 1000, rel=0.06)
    assert "Ring = (PTV + 6) - PTV" in json.dumps(said["notices"])


def test_plan_indices_beside_a_prescription(files, capsys):
    found = by_metric(ask(capsys, files, "--rx", 48, "--structure", "PTV"), "PTV")
    assert found["CI_RTOG"]["value"] == pytest.approx(1.0, abs=0.05)
    assert found["CI_Paddick"]["value"] == pytest.approx(0.88, abs=0.03)  # voxel stairs of the target
    assert found["HI"]["value"] > 0.1
    assert "leaves the dose grid" in found["GI"]["reason"]


def test_surface_of_a_tube(files, capsys):
    at = ("--surface", "--structure", "Rectum", "--level", 40, "--level", 70)
    said = ask(capsys, files, *at, "--metric", "Mean[Gy]", "--interpolation", "linear")
    found = by_metric(said, "Rectum")
    hot, none = found["Surface V40Gy[%]"], found["Surface V70Gy[%]"]
    assert hot["detail"]["centroid_theta_deg"] == pytest.approx(0.0, abs=3.0)  # the dose lies in front
    assert hot["detail"]["centroid_s_share"] == pytest.approx(0.5, abs=0.03)
    assert hot["detail"]["length_mm"] == pytest.approx(38.0, abs=0.1)
    assert 0.0 < hot["detail"]["lateral_deg"] < 360.0
    assert (none["value"], none["detail"]["centroid_s_mm"]) == (0.0, None)
    assert _run(call(files, *at), debug=True) == 0
    assert "largest cluster" in capsys.readouterr().out.lower()
    ball = ask(capsys, files, "--surface", "--structure", "PTV", "--derive", "Cut = PTV & Rectum")
    assert by_metric(ball, "PTV")["Surface Mean[Gy]"]["value"] == pytest.approx(48.0, abs=1.5)
    assert _run(call(files, "--surface"), debug=True) == 2


def test_files_are_written_whole_or_not_at_all(files, capsys):
    out, plot = files / "curve.csv", files / "curve.png"
    more = ("--out", out, "--plot", plot, "--surface", "--structure", "PTV", "--structure", "Rectum")
    ask(capsys, files, *more)
    made = {path.name for path in files.glob("curve*")}
    names = ("PTV", "Rectum", "PTV_surface", "Rectum_surface")
    assert made == {f"curve_{name}.csv" for name in names} | {"curve.png"} | {
        f"curve_{name}_surface.png" for name in ("PTV", "Rectum")
    }
    with Pixels.open(plot) as drawn:
        assert drawn.size[0] > 800
        assert len(drawn.convert("RGB").getcolors(1 << 20)) > 3
    rows = np.genfromtxt(files / "curve_Rectum_surface.csv", delimiter=",", skip_header=2)
    assert rows.shape == (38 * 180, 5)
    for name in made - {"curve_Rectum_surface.png"}:
        (files / name).unlink()
    assert _run(call(files, *more), debug=False) == 1
    assert "is there already" in capsys.readouterr().err
    assert {path.name for path in files.glob("curve*")} == {"curve_Rectum_surface.png"}
    assert _run(call(files, "--plot", files / "curve.jpg"), debug=False) == 1
    late = ("--structure", "PTV", "--out", files / "early.csv", "--plot", files / "no" / "folder.png")
    assert _run(call(files, *late), debug=False) == 1
    assert not (files / "early.csv").exists()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--metric", "D-5%[Gy]"), 1, "character 2"),
        (("--metric", "EUD[Gy]"), 1, "character 1"),
        (("--structure", "Bladder"), 1, "Known: PTV, Rectum"),
        (("--derive", "Ring = PTV + "), 1, "character"),
        (("--derive", "Ring = Bladder + 3"), 1, "Ring needs Bladder"),
        (("--derive", "PTV = Rectum + 3"), 1, "PTV already"),
        (("--rx", "-60"), 2, "above 0 Gy"),
        (("--surface", "--structure", "Rectum", "--level", "-5"), 2, "--level wants doses above 0 Gy"),
        (("--level", "5"), 2, "--level goes with --surface"),
        (("--fractions", "20", "--fractions", "5"), 2, "one --fractions per --dose"),
        (("--fractions", "0"), 2, "greater than or equal to 1"),
        (("--caps", "round"), 2, "round"),
        (("--protocol", "prostate_nothing"), 1, "prostate_chhip_60gy"),
        (("--out", "/nowhere/at/all.csv"), 1, "No such file"),
    ],
)
def test_a_wrong_call_is_refused_by_name(files, capsys, more, code, words):
    assert _run(call(files, *more), debug=False) == code
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert words in told
    assert "Traceback" not in told


def test_what_cannot_be_said_is_not_evaluable_with_its_reason(files, capsys):
    broken = np.maximum(60.0 - AWAY, 0.0)
    broken[15, 18, 18] = np.nan
    write_volume(Dose(GRID, broken), files / "nan.nii.gz")
    found = by_metric(ask(capsys, files, "--structure", "PTV", dose=("nan.nii.gz",)), "PTV")
    assert {f["verdict"] for f in found.values()} == {"not_evaluable"}
    assert "finite" in found["Mean[Gy]"]["reason"]
    away = Grid.axial((10, 10, 10), (2.0, 2.0, 2.0), (500.0, 0.0, 0.0))
    write_volume(Dose(away, np.ones(away.shape)), files / "away.mha")
    found = by_metric(ask(capsys, files, "--structure", "PTV", dose=("away.mha",)), "PTV")
    assert all("outside the dose grid" in f["reason"] for f in found.values())
    assert (
        _run(call(files, "--structure", "PTV", "--out", files / "no.csv", dose=("away.mha",)), debug=False)
        == 1
    )
    assert not (files / "no.csv").exists()
    capsys.readouterr()
    metrics = ("--metric", "V95%[%]", "--metric", "D2%[Gy]@EQD2(3)", "--metric", "D500cc[Gy]")
    found = by_metric(ask(capsys, files, *metrics, "--structure", "PTV"), "PTV")
    assert "--rx" in found["V95%[%]"]["reason"]
    assert "--fractions" in found["D2%[Gy]@EQD2(3)"]["reason"]
    assert "smaller" in found["D500cc[Gy]"]["reason"]
    gone = by_metric(ask(capsys, files, "--derive", "No = PTV - PTV", "--structure", "No"), "No")
    assert {f["verdict"] for f in gone.values()} == {"not_evaluable"}


def test_the_number_of_threads_changes_no_digit(files, capsys):
    kinds = ("--metric", "D2%[Gy]", "--metric", "Mean[Gy]@EQD2(3)", "--fractions", 30)
    said = [ask(capsys, files, *kinds, "--threads", threads) for threads in (1, 2)]
    assert said[0] == said[1]
    assert all(f["value"] > 0 for f in said[0]["findings"])
    assert {f["structure"] for f in said[0]["findings"]} == {"PTV", "Rectum"}


def test_lines_fit_a_terminal(files, capsys):
    more = ("--protocol", "prostate_chhip_60gy", "--surface", "--structure", "Rectum", "--structure", "PTV")
    assert _run(call(files, *more, "--metric", "V50Gy[%]@EQD2(3)", "--cross-check"), debug=True) == 0
    told = capsys.readouterr()
    lines = (told.out + told.err).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert any("reads one RTDOSE" in line for line in lines)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """Write a digital patient with a dose as DICOM, and the dose as MHA beside."""
    folder = tmp_path_factory.mktemp("clinic")
    patient = make_patient("valid", 8, spacing_zyx_mm=(8.0, 5.0, 5.0), contrasts=())
    ct = patient.images["CT"].grid
    low, high = ct.corners().min(axis=0), ct.corners().max(axis=0)
    count = tuple(int(n) for n in np.ceil((high - low)[::-1] / 5.0))
    grid = Grid.axial(count, (5.0, 5.0, 5.0), tuple(low + 2.5), ct.frame_of_reference)
    dose = Dose(grid, np.broadcast_to(np.linspace(0.0, 70.0, count[1])[:, None], grid.shape), fractions=20)
    write_patient(patient.with_doses(CT=dose), folder / "in")
    write_volume(dose, folder / "dose.mha")
    other = Dose(Grid(grid.shape, grid.affine, "1.2.3.4"), dose.array, fractions=20)
    write_patient(patient.with_doses(CT=other), folder / "other")
    found = {kind: next(folder.glob(f"in/**/{kind}*.dcm")) for kind in ("RD", "RS")}
    return folder, found, next(folder.glob("other/**/RD*.dcm"))


def test_dicom_and_volume_files_give_one_answer(clinic, capsys):
    folder, found, other = clinic
    metrics = ("--structure", "Rectum", "--metric", "Mean[Gy]", "--metric", "D2%[Gy]@EQD2(3)", "--json")
    answers = []
    for dose, more in ((found["RD"], ()), (folder / "dose.mha", ("--fractions", "20"))):
        words = ("dvh", "--dose", dose, "--structures", found["RS"], *metrics, *more)
        assert _run([str(word) for word in words], debug=True) == 0
        answers.append([f["value"] for f in json.loads(capsys.readouterr().out)["findings"]])
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)
    words = ["dvh", "--dose", str(found["RD"]), "--structures", str(found["RS"])]
    assert _run([*words, "--fractions", "5"], debug=False) == 1
    assert "20 fractions" in capsys.readouterr().err
    words[2] = str(other)
    assert _run(words, debug=False) == 1
    assert "different frames of reference" in capsys.readouterr().err


@pytest.mark.peer
def test_cross_check_prints_dicompyler_core_beside(clinic, capsys):
    pytest.importorskip("dicompylercore")
    _, found, _ = clinic
    words = (
        "dvh",
        "--dose",
        found["RD"],
        "--structures",
        found["RS"],
        "--structure",
        "Rectum",
        "--cross-check",
    )
    assert _run([str(word) for word in words], debug=True) == 0
    told = capsys.readouterr().out
    assert "dicompyler-core" in told
    line = next(line for line in told.splitlines() if line.startswith("  Mean[Gy]") and "±" not in line)
    ours, theirs = (float(line.split()[n]) for n in (1, 3))
    assert ours == pytest.approx(theirs, abs=1.0)
