"""Workers as jobs of a queue: what the script asks for, and what a wrong file is refused for."""

import gc
from pathlib import Path

import pytest

from rtplan.batch.jobs import Jobs, cluster_of, load_jobs
from rtplan.errors import FormatError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "slurm"


@pytest.fixture
def script(tmp_path):
    """Return a function from a file to the script of its job; nothing is submitted."""

    def write(text):
        path = tmp_path / "jobs.toml"
        path.write_text(text, encoding="utf-8")
        return _script(load_jobs(path))

    return write


def _script(jobs):
    with cluster_of(jobs, submit=False) as cluster:
        return cluster.job_script()


def test_the_example_asks_slurm_for_what_it_says():
    lines = _script(load_jobs(EXAMPLES / "batch.toml")).splitlines()
    asked = {line for line in lines if line.startswith("#SBATCH")}
    assert {
        "#SBATCH -p normal",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=15G",
        "#SBATCH -t 08:00:00",
    } < asked
    assert "export OMP_NUM_THREADS=1" in lines
    worker = lines[-1] if lines[-1] else lines[-2]
    for words in ("--nworkers 4", "--nthreads 1", '--resources "MEMORY=3815"', "--nanny"):
        assert words in worker


def test_pbs_cards_and_further_lines(script):
    said = script(
        'schema = 1\nsystem = "pbs"\ncores = 2\nmemory = "8GiB"\ngpus = 1\nqueue = "work"\n'
        'prologue = ["module load python"]\ndirectives = ["-l place=scatter"]\n'
        'python = "/opt/py/bin/python"\n'
    )
    for words in (
        "#PBS -q work", "#PBS -l ngpus=1", "#PBS -l place=scatter", "module load python",
        "/opt/py/bin/python -m distributed.cli.dask_worker", '--resources "MEMORY=8192,GPU=1"',
    ):  # fmt: skip
        assert words in said
    slurm = script("schema = 1\ngpus = 2\n")
    assert "#SBATCH --gres=gpu:2" in slurm


def test_with_a_folder_for_keys_the_talk_is_by_tls(tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    with cluster_of(Jobs(schema=1, tls_directory=str(keys)), submit=False) as cluster:
        said = cluster.job_script()
        assert " tls://" in said
        assert f"--tls-key {keys}" in said
        assert list(keys.iterdir())
        assert all(path.stat().st_mode & 0o077 == 0 for path in keys.iterdir())
    del cluster
    gc.collect()
    assert not list(keys.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema = 1\njobs = 0\n", "jobs"),
        ("schema = 1\nwalltime = 'long'\n", "walltime"),
        ("schema = 1\nmemory = 'much'\n", "memory"),
        ("schema = 1\ncolour = 'red'\n", "colour"),
        ("jobs = 1\n", "schema"),
        ("jobs = \n", "no TOML"),
    ],
)
def test_a_wrong_file_is_refused(script, text, words):
    with pytest.raises(FormatError, match=words):
        script(text)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(FormatError, match="not there"):
        load_jobs(tmp_path / "none.toml")


def test_every_setting_stands_in_the_example():
    told = EXAMPLES.joinpath("batch.toml").read_text(encoding="utf-8")
    missing = [name for name in Jobs.model_fields if f"\n{name.rstrip('_')} =" not in told]
    assert missing == ["python"]
