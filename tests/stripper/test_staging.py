"""A staged folder appears at once, or not at all."""

import os
import pathlib

import pytest

from tfx_pruning.stripper.staging import staged


def test_staged_folder_appears_when_the_block_ends(tmp_path):
    with staged(str(tmp_path / "out")) as folder:
        assert os.path.dirname(folder) == str(tmp_path)
        assert os.listdir(folder) == []
        (pathlib.Path(folder) / "file").write_text("content")
        assert not (tmp_path / "out").exists()
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "file").read_text() == "content"


def test_staged_folder_takes_a_relative_destination(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with staged("out") as folder:
        (pathlib.Path(folder) / "file").write_text("content")
    assert (tmp_path / "out" / "file").read_text() == "content"


def _fail(destination):
    with staged(str(destination)) as folder:
        (pathlib.Path(folder) / "file").write_text("content")
        raise RuntimeError("broken")


def _meet_another(destination):
    with staged(str(destination)):
        destination.mkdir()
        (destination / "precious").write_text("keep me")


def test_staged_folder_goes_away_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="broken"):
        _fail(tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_staged_folder_does_not_overwrite_what_appeared_meanwhile(tmp_path):
    with pytest.raises(OSError, match="out' cannot be put in place"):
        _meet_another(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "precious").read_text() == "keep me"
