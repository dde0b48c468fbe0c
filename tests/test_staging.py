"""A staged folder appears at once, or not at all."""

import os
import pathlib
import random
import signal
import time

import pytest
import tensorflow as tf

from tfx_pruning.staging import check_apart, checked_destination, empty_folder, staged, write_file


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


def test_staged_folder_goes_to_where_a_link_points(occupied, tmp_path):
    os.symlink("out", tmp_path / "link")
    with pytest.raises(FileExistsError, match="link' is not empty, it holds old"), staged(tmp_path / "link"):
        pass
    with staged(tmp_path / "link", overwrite=True) as folder:
        (pathlib.Path(folder) / "new").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(occupied) == ["new"]
    assert sorted(os.listdir(tmp_path)) == ["link", "out"]


def test_file_goes_to_where_a_link_points(tmp_path):
    os.symlink("file", tmp_path / "link")
    write_file(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


@pytest.mark.parametrize("write", [lambda place: staged(place).__enter__(), lambda place: write_file(place, b"")])
def test_a_scheme_that_tensorflow_does_not_know_is_refused(write):
    with pytest.raises(ValueError, match="file system that TensorFlow does not know"):
        write("foo://bucket/out")


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("file://{}", "is the source"),
        ("{}/", "is the source"),
        ("{}/../link", "is the source"),
        ("file://{}//inner", "lies within the source"),
        ("file://{}/..", "holds the source"),
    ],
)
def test_places_one_within_the_other_are_refused_by_name(destination, message, tmp_path):
    (tmp_path / "in").mkdir()
    os.symlink("in", tmp_path / "link")
    given = destination.format(tmp_path / "in")
    with pytest.raises(ValueError, match=message) as refused:
        check_apart(tmp_path / "in", given)
    assert repr(given) in str(refused.value)
    check_apart(tmp_path / "in", f"file://{tmp_path}/in2")


def _forked(function):
    pid = os.fork()
    if not pid:
        try:
            function()
        finally:
            os._exit(0)
    return pid


def _overwrite_for_ever(destination, turns=None):
    """Overwrites a folder of two equal files again and again; returns the errors."""
    errors, turn = [], 0
    while turn != turns:
        turn += 1
        try:
            with staged(destination, overwrite=True) as folder:
                for name in ("one", "other"):
                    (pathlib.Path(folder) / name).write_text(f"{os.getpid()} {turn}")
        except BaseException as error:
            errors.append(type(error).__name__)
    return errors


def _assert_whole(folder):
    assert sorted(os.listdir(folder)) == ["one", "other"]
    assert (folder / "one").read_text() == (folder / "other").read_text() != ""


def test_of_writers_at_once_one_wins_and_the_others_say_so(tmp_path):
    def write(number):
        errors = _overwrite_for_ever(tmp_path / "out", 100)
        (tmp_path / f"errors{number}").write_text(" ".join(errors))

    for pid in [_forked(lambda number=number: write(number)) for number in range(3)]:
        os.waitpid(pid, 0)
    errors = [(tmp_path / f"errors{number}").read_text().split() for number in range(3)]
    assert {error for each in errors for error in each} <= {"FileExistsError"}
    assert min(map(len, errors)) < 100
    _assert_whole(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["errors0", "errors1", "errors2", "out"]


def test_writers_killed_at_random_moments_leave_a_whole_folder_and_the_next_clears_up(tmp_path):
    with staged(tmp_path / "out") as folder:
        for name in ("one", "other"):
            (pathlib.Path(folder) / name).write_text("first")
    moments = random.Random(7)
    for _ in range(50):
        pid = _forked(lambda: _overwrite_for_ever(tmp_path / "out"))
        time.sleep(moments.uniform(0.0, 0.03))
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        checked_destination(tmp_path / "out", overwrite=True)
        assert os.listdir(tmp_path) == ["out"]
        _assert_whole(tmp_path / "out")
