"""A staged folder appears at once, or not at all."""

import os
import pathlib

import pytest
import tensorflow as tf

from tfx_pruning.staging import empty_folder, staged, write_file


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


def _overwrite(destination, error=None):
    with staged(str(destination), overwrite=True) as folder:
        (pathlib.Path(folder) / "new").write_text("new")
        assert (destination / "old").read_text() == "old"
        if error:
            raise error


@pytest.fixture
def occupied(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    return tmp_path / "out"


def test_staged_folder_replaces_a_whole_folder_if_told_to(occupied, tmp_path):
    _overwrite(occupied)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(occupied) == ["new"]


def test_staged_folder_that_was_to_replace_another_leaves_it_alone_after_an_error(occupied, tmp_path):
    with pytest.raises(RuntimeError, match="broken"):
        _overwrite(occupied, RuntimeError("broken"))
    assert os.listdir(tmp_path) == ["out"]
    assert (occupied / "old").read_text() == "old"


def test_staged_folder_puts_the_old_one_back_if_the_new_one_cannot_take_its_place(occupied, tmp_path, monkeypatch):
    rename = tf.io.gfile.rename

    def fail(source, destination, overwrite=False):
        if source.endswith(".stripping"):
            raise tf.errors.PermissionDeniedError(None, None, "not allowed")
        rename(source, destination, overwrite)

    monkeypatch.setattr(tf.io.gfile, "rename", fail)
    with pytest.raises(OSError, match=r"out' cannot be put in place \(not allowed\)"):
        _overwrite(occupied)
    assert os.listdir(tmp_path) == ["out"]
    assert (occupied / "old").read_text() == "old"


def test_staged_folder_never_replaces_a_file(tmp_path):
    (tmp_path / "out").write_text("keep me")
    with pytest.raises(FileExistsError, match="out' is a file"), staged(str(tmp_path / "out"), overwrite=True):
        pass
    assert (tmp_path / "out").read_text() == "keep me"


def test_file_appears_whole_and_replaces_another(tmp_path):
    write_file(str(tmp_path / "new" / "file"), b"first")
    write_file(str(tmp_path / "new" / "file"), b"second")
    assert (tmp_path / "new" / "file").read_bytes() == b"second"
    assert os.listdir(tmp_path / "new") == ["file"]


def test_file_stays_as_it_was_if_writing_fails(tmp_path, monkeypatch):
    write_file(str(tmp_path / "file"), b"first")

    def fail(*unused, **unused_too):
        raise tf.errors.ResourceExhaustedError(None, None, "disk full")

    monkeypatch.setattr(tf.io.gfile, "rename", fail)
    with pytest.raises(OSError, match=r"file' cannot be written \(disk full\)"):
        write_file(str(tmp_path / "file"), b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def test_file_that_cannot_take_its_place_leaves_what_was_there(tmp_path):
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "precious").write_text("keep me")
    with pytest.raises(OSError, match="file' cannot be written"):
        write_file(str(tmp_path / "file"), b"content")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file" / "precious").read_text() == "keep me"


def test_emptied_folder_stays_and_has_nothing_in_it(tmp_path):
    (tmp_path / "folder" / "inner" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "deep" / "file").touch()
    (tmp_path / "folder" / "file").touch()
    empty_folder(str(tmp_path / "folder"))
    assert os.listdir(tmp_path / "folder") == []
    empty_folder(str(tmp_path / "missing"))
    assert os.listdir(tmp_path) == ["folder"]
