"""One sample of digital patients for all tests of the phantom, each with the anatomy behind it."""

import pytest

from rtplan.phantom import cohort
from rtplan.phantom.cohort import make_patient

COARSE = (5.0, 4.0, 4.0)


@pytest.fixture(scope="session")
def made():
    """Patients and their anatomies by cohort and seed; make_patient runs as it is, its anatomy is kept."""
    kept, build = [], cohort.build_anatomy

    def keep(*arguments, **options):
        kept.append(build(*arguments, **options))
        return kept[-1]

    who = [("train", 0), ("train", 1), ("train", 2), ("study", 0), ("study", 1), ("valid", 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort, "build_anatomy", keep)
        patients = [make_patient(c, s, spacing_zyx_mm=COARSE, contrasts=("T1w",)) for c, s in who]
    return {w: (p, a) for w, p, a in zip(who, patients, kept, strict=True)}


@pytest.fixture(scope="session")
def sample(made):
    return [patient for patient, _ in made.values()]
