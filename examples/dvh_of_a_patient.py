"""Read a folder of DICOM, print three DVH metrics of the rectum with their error bounds.

Usage: python examples/dvh_of_a_patient.py FOLDER_WITH_RTSTRUCT_AND_RTDOSE
"""

import sys
from pathlib import Path

from rtplan.dosimetry.dvh import dvh, value
from rtplan.dosimetry.metric import parse
from rtplan.io.patient import read_patient


def main(folder: Path) -> None:
    patient = read_patient(folder)
    (dose,) = patient.doses.values()
    histogram = dvh(patient.structure("Rectum"), dose)
    for text in ("Mean[Gy]", "D2cc[Gy]", "V50Gy[%]"):
        found = value(histogram, parse(text))
        print(f"{text:10} {found.value:7.2f} {found.unit}  ± {found.error_bound:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
