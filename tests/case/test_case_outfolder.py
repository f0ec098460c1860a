"""An out folder appears whole or not at all."""

import os

import pytest

from rtplan.case.outfolder import whole
from rtplan.errors import OutputError


def test_what_was_written_is_there_when_the_block_ends(tmp_path):
    with whole(tmp_path / "a" / "out") as partial:
        (partial / "manifest.json").write_text("{}")
        assert not (tmp_path / "a" / "out").exists()
    assert [p.name for p in (tmp_path / "a" / "out").iterdir()] == ["manifest.json"]
    assert os.listdir(tmp_path / "a") == ["out"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_when_the_block_fails(tmp_path, failure):
    def half():
        with whole(tmp_path / "new" / "out") as partial:
            (partial / "half").write_text("x")
            raise failure

    with pytest.raises(type(failure)):
        half()
    assert os.listdir(tmp_path) == []


def test_an_occupied_folder_is_refused_and_untouched(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    for overwrite in (False, True):  # overwriting is for rtplan's own results only
        with pytest.raises(OutputError), whole(tmp_path, overwrite=overwrite):
            pass
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_old_results_are_replaced_only_at_the_end(tmp_path):
    out = tmp_path / "out"
    with whole(out) as partial:
        (partial / "manifest.json").write_text("old")
    with pytest.raises(RuntimeError), whole(out, overwrite=True) as partial:
        raise RuntimeError
    assert (out / "manifest.json").read_text() == "old"
    with whole(out, overwrite=True) as partial:
        (partial / "manifest.json").write_text("new")
    assert (out / "manifest.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"), whole(tmp_path / "file" / "out"):
        pass
