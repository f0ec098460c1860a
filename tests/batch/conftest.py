"""A clinic of small digital patients without targets (half a second each in the real case); a cluster."""

from dataclasses import replace

import pytest
from distributed import LocalCluster, Scheduler, SpecCluster, Worker

from rtplan.batch.cluster import CONFIG, Site
from rtplan.batch.settings import BatchSettings, Limits
from rtplan.case.settings import CaseSettings
from rtplan.io.modules import Stamp
from rtplan.io.patient_write import write_patient
from rtplan.phantom.cohort import make_patient

CASE = CaseSettings(protocol="prostate_boost_flame", arms=("CT", "CT0"))
#: The same on the command line.
ASKED = ("--protocol", "prostate_boost_flame", "--arms", "CT,CT0")


@pytest.fixture(scope="session")
def somebody():
    """Return a coarse digital patient with skin and rectum."""
    patient = make_patient("study", 1, spacing_zyx_mm=(8.0, 6.0, 6.0), contrasts=())
    kept = {name: patient.structure(name) for name in ("External", "Rectum")}
    return replace(patient, structures=kept)


@pytest.fixture(scope="session")
def clinic(somebody, tmp_path_factory):
    """Return a function that writes so many people, each in a folder that bears his name."""

    def write(count, root=None, *, mixed=False):
        root = root or tmp_path_factory.mktemp("clinic")
        for number in range(1, count + 1):
            who = f"HOSP-{number:04d}"
            person = replace(somebody.identity, patient_id=who, name=f"Mustermann^Max{number}")
            place = root / (f"series{number}" if mixed else f"Mustermann^Max{number}")
            write_patient(replace(somebody, identity=person), place, stamp=Stamp(seed=who))
        return root

    return write


@pytest.fixture(scope="session")
def four(clinic):
    """Return a clinic of four people; not to be changed."""
    return clinic(4)


@pytest.fixture(scope="session")
def scheduler():
    """Return the address of a real scheduler with one worker, both in this process."""
    import dask

    with (
        dask.config.set(CONFIG),
        LocalCluster(
            1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture
def site(scheduler):
    """Return the site of that scheduler."""
    return Site(scheduler=scheduler)


@pytest.fixture(scope="session")
def asked():
    """Return a function from a source to what is asked of it."""
    limits = Limits(attempts=2, patience_s=1.0)
    return lambda source, **more: BatchSettings(**{"case": CASE, "source": source, "limits": limits, **more})


@pytest.fixture(scope="session")
def pools():
    """Return a function that starts a cluster in this process: workers by name with their tokens."""

    def start(**tokens):
        spec = {
            name: {
                "cls": Worker,
                "options": {"nthreads": 1, "resources": held, "name": name, "dashboard": False},
            }
            for name, held in tokens.items()
        }
        scheduler = {
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
        }
        return SpecCluster(workers=spec, scheduler=scheduler)

    return start
