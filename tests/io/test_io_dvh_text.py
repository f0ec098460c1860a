"""DVH text exports: the same organ in each system's words, and every way in which a file leaves it open."""

import numpy as np
import pytest

from rtplan.dosimetry.outcome import evaluate
from rtplan.dosimetry.parameters import load_set
from rtplan.errors import DoseError, FormatError, RtplanError, UnknownName
from rtplan.io.dvh_text.read import read_dvh_text

CC = 62.5
STEP = 0.25
EDGES = np.arange(0.0, 66.01, STEP)


def below(dose):
    """Return the share of the organ below a dose: everything lies between 4 and 64 Gy."""
    return np.clip((dose - 4.0) / 60.0, 0.0, 1.0) ** 0.6


SHARE = 1.0 - below(EDGES)
PARTS = -np.diff(SHARE)
MIDS = 0.5 * (EDGES[1:] + EDGES[:-1])
MEAN = float(PARTS @ MIDS)


def eclipse(kind="Cumulative", relative=False, percent=True, unit="cGy", rx="Prescribed dose", cc=CC):
    scale = 100.0 if unit == "cGy" else 1.0
    head = [
        "Patient Name         : Doe, John", "Patient ID           : 0815",
        "Comment              : DVHs for one plan", "Exported by          : someone",
        f"Type                 : {kind} Dose Volume Histogram",
        "Description          : The cumulative DVH displays the percentage (relative)",
        "                       or volume (absolute) of structures that receive a dose",
        "                       equal to or greater than a given dose.", "",
        "Plan: boost", "Course: C1", f"{rx} [{unit}]: {60 * scale}", "% for dose (%): 100.0", "",
    ]  # fmt: skip
    for name in ("Rektum", "Bladder"):
        head += [
            f"Structure: {name}", "Approval Status: Approved", "Plan: boost", "Course: C1",
            f"Volume [cm³]: {cc}", "Dose Cover.[%]: 100.0", "Sampling Cover.[%]: 100.1",
            f"Mean Dose [{unit}]: {MEAN * scale:.1f}", "NDR: ", "Conformity Index: N/A", "",
        ]  # fmt: skip
        head += _eclipse_table(kind, relative, percent, unit, scale)
        head.append("")
    return "\n".join(head)


def _eclipse_table(kind, relative, percent, unit, scale):
    amount, sign = (100.0, "%") if percent else (CC, "cm³")
    dose = "Relative dose [%]" if relative else f"Dose [{unit}]   Relative dose [%]"
    if kind == "Cumulative":
        label = "Ratio of Total Structure Volume [%]" if percent else "Structure Volume [cm³]"
        doses, volumes = EDGES, SHARE * amount
    else:
        label = f"dVolume / dDose [{sign} / {unit}]"
        doses, volumes = MIDS, PARTS * amount / (STEP * scale)
    rows = [f"{dose} {label}"]
    for d, v in zip(doses, volumes, strict=True):
        parts = [f"{d / 0.6:.6g}"] if relative else [f"{d * scale:.6g}", f"{d / 0.6:.6g}"]
        rows.append("   ".join([*parts, f"{v:.7g}"]))
    return rows


def raystation(unit="#Dose unit: cGy", scale=100.0, volume=SHARE * 100.0, extra=""):
    lines = ["#PatientName:Doe", "#PatientId:0815", "#Dosename:Plan dose: boost (CT 1)"]
    for name in ("Rektum", "Bladder"):
        lines += [f"#RoiName:{name}", "#Roi volume fraction outside grid: 0%", *([unit] if unit else [])]
        lines += [extra] if extra else []
        lines += [f"{d * scale:.3f}\t{v:.3f}" for d, v in zip(EDGES, volume, strict=True)]
    return "\n".join(lines)


def monaco(dose="Gy", volume="%", amount=100.0, shares=SHARE):
    lines = [
        f"Patient ID: Doe, John~0815 | Plan Name: boost | Resolution: 0.30(cm) | Bin Width: 0.25(Gy) | "
        f"Dose Units: {dose} | Volume Units: {volume}",
        "",
        "Structure Name                Dose        Volume",
    ]
    for name in ("Rektum", "Bladder"):
        lines += [f"{name}      {d:.3f}     {v * amount:.4f}" for d, v in zip(EDGES, shares, strict=True)]
    return "\n".join([*lines, "", "2026-03-01-Sun 10:20:30"])


def pinnacle(folder, cumulative=True, info="DoseMin cGy,DoseMax cGy,DoseMean cGy,Volume ccm", points=None):
    (folder / "Data").mkdir(parents=True)
    (folder / "DoseInfo.csv").write_text(
        "PrescriptionDose cGy,NumberOfFractions,Dosis cGy\n300,20,6000\n", encoding="utf-8"
    )
    (folder / "PatInfo.csv").write_text("LastName,FirstName,MedicalRecordNumber\nDoe,J,0815\n")
    rows = "".join(
        f"DVH{n},{name},400,6400,{MEAN * 100:.1f},{CC}\n" for n, name in ((1, "Rektum"), (2, "Bladder"))
    )
    (folder / "Data" / "Info.csv").write_text(
        f"Filename,RegionOfInterestName,{info}\n{rows}", encoding="utf-8"
    )
    doses, volumes = (EDGES, SHARE * 100.0) if cumulative else (MIDS, PARTS * CC)
    table = [f"  {d * 100:g},{v:.6f}," for d, v in zip(doses, volumes, strict=True)]
    text = f"NumberOfDimensions = 2;\nNumberOfPoints = {points or len(table)};\nPoints[] ={{\n"
    for n in (1, 2):
        (folder / "Data" / f"DVH{n}.csv").write_text(text + "\n".join(table) + "\n};\n")
    return folder


@pytest.fixture
def write(tmp_path):
    def put(text, encoding="utf-8"):
        path = tmp_path / "export.txt"
        path.write_bytes(text.encode(encoding))
        return path

    return put


TEXTS = {
    "eclipse": eclipse(),
    "eclipse_cc": eclipse(percent=False),
    "eclipse_gy": eclipse(unit="Gy", rx="Total dose"),
    "eclipse_relative": eclipse(relative=True),
    "eclipse_differential": eclipse("Differential"),
    "eclipse_differential_cc": eclipse("Differential", percent=False, unit="Gy"),
    "raystation": raystation(),
    "raystation_v12": raystation("#Unit: cGy"),
    "raystation_gy": raystation("#Unit: Gy", 1.0),
    "monaco": monaco(),
    "monaco_cc": monaco(volume="cm\u00b3", amount=CC),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_same_organ_from_every_system(write, name):
    dvh = read_dvh_text(write(TEXTS[name]), "Rectum")
    assert dvh.structure == "Rectum"
    doses, volumes = dvh.differential()
    assert np.average(doses, weights=volumes) == pytest.approx(MEAN, abs=0.01)
    assert volumes.sum() == pytest.approx(CC if dvh.volume_unit == "cc" else 100.0, rel=2e-3)
    assert dvh.volume_unit == ("cc" if name.startswith("eclipse") or name.endswith("_cc") else "%")
    assert volumes[doses >= 40.0].sum() / volumes.sum() == pytest.approx(1.0 - below(40.0), abs=1e-4)
    model = load_set("rectum_bleeding_g2_quantec2010")
    truth = evaluate(model, (MIDS, PARTS), 20).value
    assert evaluate(model, dvh, 20).value == pytest.approx(truth, abs=2e-5)


@pytest.mark.parametrize("cumulative", [True, False])
def test_pinnacle_from_its_folder_and_from_one_file(tmp_path, cumulative):
    folder = pinnacle(tmp_path / "export", cumulative)
    for path in (folder, folder / "Data" / "DVH1.csv"):
        dvh = read_dvh_text(path, "Rectum")
        assert (dvh.type, dvh.fractions) == ("cumulative" if cumulative else "differential", 20)
        assert dvh.volumes.sum() == pytest.approx(CC, rel=1e-3)
        assert np.average(dvh.doses_gy, weights=dvh.volumes) == pytest.approx(MEAN, abs=0.01)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_any_encoding(write, encoding):
    text = eclipse(percent=False).replace("boost", "Stöße")
    dvh = read_dvh_text(write(text, encoding), "Rektum")
    assert dvh.volumes.sum() == pytest.approx(CC, rel=1e-3)


@pytest.mark.parametrize("name", [n for n in TEXTS if not n.startswith("eclipse_relative")])
def test_a_decimal_comma(write, name):
    lines = [line if not line or line[0] not in " 0123456789RB" else line.replace(".", ",")
             for line in TEXTS[name].splitlines()]  # fmt: skip
    dvh = read_dvh_text(write("\n".join(lines)), "Rectum")
    assert np.average(dvh.doses_gy, weights=dvh.volumes) == pytest.approx(MEAN, abs=0.01)


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_cut_anywhere_is_refused(write, name):
    text = TEXTS[name]
    last = text.index("Bladder")
    size = len(text) - last
    for part in (0.02, 0.3, 0.6, 0.95):
        with pytest.raises((FormatError, UnknownName)):
            read_dvh_text(write(text[: last + int(part * size * 0.9)]), "Bladder")


def headless(text):
    """Return an Eclipse export without mean doses, cut at half of its last table."""
    lines = [line for line in text.splitlines() if not line.startswith("Mean Dose")]
    return "\n".join(lines[:-120])


WRONG = {
    "cut without a mean": (
        headless(eclipse().replace("Rektum", "x").replace("Bladder", "Rektum")),
        "end at no",
    ),
    "no unit": (raystation(unit=""), "state the unit of dose"),
    "rbe": (raystation("#Dose unit: cGy (RBE)"), "wanted Gy or cGy"),
    "percent dose": (raystation("#Dose unit: %"), "wanted Gy or cGy"),
    "rising": (raystation(volume=100.0 + EDGES), "rises"),
    "open type": (raystation(volume=np.append(PARTS * 100, 0.0)), "cumulative or differential"),
    "monaco percent dose": (monaco(dose="%"), "what 100 % is"),
    "monaco no unit": (monaco(dose=""), "dose units"),
    "monaco volume": (monaco(volume="litres"), "unit of volume"),
    "monaco differential": (monaco(volume="cm³", shares=np.append(PARTS, 0.0)), "rises"),
    "no prescription": (eclipse(relative=True).replace("6000.0", "not defined"), "what 100 % is"),
    "mean": (eclipse().replace("Mean Dose [cGy]: ", "Mean Dose [cGy]: 1"), "header says"),
    "volume": (eclipse(percent=False, cc=80.0), "a part is missing"),
    "differential sum": (eclipse("Differential", percent=False, cc=80.0), "sum to"),
    "no density": (eclipse().replace(": Cumulative", ": Differential"), "no column"),
    "two signs": (eclipse().replace("\n100   ", "\n100   ", 1).replace("   99.", "   99,", 1), "comma"),
    "word": (eclipse().replace("\n1000   ", "\n1000   n/a ", 1), "numbers"),
    "other": ("Struktur: Rektum\nDosis [Gy] Volumen [%]\n0 100\n", "no DVH export"),
    "empty": ("", "no DVH export"),
    "binary": ("#RoiName:a\n\0\0", "no text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_file_leaves_open_is_refused(write, name):
    text, said = WRONG[name]
    with pytest.raises(FormatError, match=said) as wrong:
        read_dvh_text(write(text), "Rektum")
    assert "Doe" not in str(wrong.value)
    assert "0815" not in str(wrong.value)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"info": "DoseMin,DoseMax,DoseMean,Volume ccm"}, "unit of dose"),
        ({"info": "DoseMin cGy,DoseMax cGy,DoseMean cGy,Volume"}, "volume and its unit"),
        ({"points": 7}, "7 points"),
    ],
)
def test_pinnacle_without_units_or_points_is_refused(tmp_path, kind, said):
    folder = pinnacle(tmp_path / "export", **kind)
    with pytest.raises(FormatError, match=said):
        read_dvh_text(folder, "Rectum")
    (folder / "Data" / "Info.csv").unlink()
    with pytest.raises(FormatError, match=r"Info\.csv"):
        read_dvh_text(folder / "Data" / "DVH1.csv")


def test_the_structure_is_named_and_the_plan_where_there_are_two(write):
    path = write(eclipse())
    with pytest.raises(UnknownName, match=r"Bladder, Rektum \(Rectum\)"):
        read_dvh_text(path)
    with pytest.raises(UnknownName, match="PenileBulb"):
        read_dvh_text(path, "PenileBulb")
    twice = eclipse().replace("Structure: Bladder", "Structure: Rektum")
    twice = "other".join(twice.rsplit("boost", 1))
    with pytest.raises(UnknownName, match="--plan"):
        read_dvh_text(write(twice), "Rectum")
    assert read_dvh_text(write(twice), "Rectum", plan="other").plan == "other"
    scenario = twice.replace(
        "Structure: Rektum\nApproval", "Structure: Rektum\nUncertainty plan: U1\nApproval", 1
    )
    assert read_dvh_text(write(scenario), "Rectum").plan == "other"


def test_an_organ_outside_the_dose_grid_is_known_as_such(write):
    half = read_dvh_text(write(eclipse().replace("Dose Cover.[%]: 100.0", "Dose Cover.[%]: 80.0")), "Rectum")
    assert half.covered_fraction == pytest.approx(0.8)
    half = read_dvh_text(write(raystation().replace("grid: 0%", "grid: 20%")), "Rectum")
    assert half.covered_fraction == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["eclipse", "eclipse_differential", "raystation", "monaco_cc"])
def test_broken_bytes_give_the_organ_or_a_named_refusal(tmp_path, name):
    draw = np.random.default_rng(5)
    whole = TEXTS[name].encode("utf-8")
    path = tmp_path / "broken.txt"
    read = 0
    for _ in range(60):
        data = bytearray(whole)
        for at in draw.integers(0, len(data), draw.integers(1, 6)):
            data[at : at + draw.integers(0, 3)] = bytes(draw.integers(0, 256, draw.integers(0, 3)).tolist())
        path.write_bytes(bytes(data))
        try:
            dvh = read_dvh_text(path, "Rektum")
        except RtplanError:
            continue
        read += 1
        assert np.isfinite(dvh.doses_gy).all()
        assert np.average(dvh.doses_gy, weights=dvh.volumes) == pytest.approx(MEAN, rel=0.05)
    assert read


def test_a_sum_of_plans_has_no_dose_per_fraction(write):
    text = eclipse().replace("Plan: boost\nCourse: C1\nPrescribed", "Plan sum: boost\nCourse: C1\nPrescribed")
    dvh = read_dvh_text(write(text), "Rectum")
    assert dvh.kind == "physical sum"
    with pytest.raises(DoseError, match="physical sum"):
        evaluate(load_set("rectum_bleeding_g2_quantec2010"), dvh, 20)
