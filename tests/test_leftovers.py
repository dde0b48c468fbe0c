"""What dead writers left beside a place goes, and what living ones have stays."""

import errno
import fcntl
import os
import time

import pytest

from tfx_pruning import leftovers
from tfx_pruning.staging import staged, write_file

_OTHER_MACHINE = "0123456789abcdef" * 2


@pytest.fixture
def place(tmp_path):
    return tmp_path / "out"


def _leave(place, kind, name=None):
    """Makes what a killed process leaves; returns its path."""
    path = leftovers.hidden(str(place), kind)
    if name:
        path = os.path.join(os.path.dirname(path), f".{place.name}.{name}.{kind}")
    if kind == leftovers.WRITING:
        with open(path, "w") as file:
            file.write("half")
    else:
        os.makedirs(os.path.join(path, "inner"))
        with open(os.path.join(path, "inner", "file"), "w") as file:
            file.write("old")
    return path


def _age(path, seconds):
    found = [path]
    for folder, folders, files in os.walk(path):
        found.extend(os.path.join(folder, name) for name in (*folders, *files))
    for each in found:
        os.utime(each, (time.time() - seconds,) * 2)


def test_next_writer_removes_what_dead_ones_left(place):
    os.mkdir(_leave(place, leftovers.STRIPPING) + leftovers.PROOF_SUFFIX)
    os.mkdir(_leave(place, leftovers.STRIPPING) + leftovers.SHRUNK_SUFFIX)
    _leave(place, leftovers.WRITING)
    with staged(place):
        pass
    assert os.listdir(place.parent) == ["out"]


def test_next_writer_of_a_file_removes_what_dead_ones_left(place):
    _leave(place, leftovers.WRITING)
    write_file(place, b"whole")
    assert os.listdir(place.parent) == ["out"]
    assert place.read_bytes() == b"whole"


def test_what_was_replaced_goes_if_another_is_in_its_place(place):
    _leave(place, leftovers.REPLACED)
    place.mkdir()
    leftovers.clear(str(place))
    assert os.listdir(place.parent) == ["out"]
    assert os.listdir(place) == []


def test_what_was_moved_aside_is_put_back_before_anything_else(place):
    _leave(place, leftovers.REPLACED)
    _leave(place, leftovers.STRIPPING)
    with pytest.raises(FileExistsError, match="out' is not empty, it holds inner"), staged(place):
        pass
    assert os.listdir(place.parent) == ["out"]
    assert (place / "inner" / "file").read_text() == "old"


def test_what_a_living_writer_has_stays(place):
    with staged(place) as folder:
        leftovers.clear(str(place))
        with staged(place) as other:
            assert sorted(os.listdir(place.parent)) == sorted(map(os.path.basename, (folder, other)))
        assert os.path.isdir(folder)
    assert os.listdir(place.parent) == ["out"]


def test_what_others_have_stays(place):
    others = [".out.stripping", f".out.{'g' * 32}.stripping", f".output.{'0' * 32}.stripping", ".outside"]
    for name in others:
        (place.parent / name).mkdir()
    leftovers.clear(str(place))
    assert sorted(os.listdir(place.parent)) == sorted(others)


@pytest.mark.parametrize("kind", [leftovers.STRIPPING, leftovers.WRITING])
def test_what_another_machine_left_goes_after_a_day(kind, place):
    path = _leave(place, kind, _OTHER_MACHINE)
    leftovers.clear(str(place))
    assert os.path.exists(path)
    _age(path, 25 * 3600)
    leftovers.clear(str(place))
    assert not os.path.exists(path)


def test_what_another_machine_moved_aside_waits_for_what_replaces_it(place):
    aside = _leave(place, leftovers.REPLACED, _OTHER_MACHINE)
    new = _leave(place, leftovers.STRIPPING, _OTHER_MACHINE)
    _age(aside, 25 * 3600)
    leftovers.clear(str(place))
    assert os.path.exists(aside)
    _age(new, 25 * 3600)
    leftovers.clear(str(place))
    assert os.listdir(place.parent) == ["out"]
    assert (place / "inner" / "file").read_text() == "old"


def test_without_locks_age_alone_tells(place, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = _leave(place, leftovers.STRIPPING)
    with staged(place):
        assert len(os.listdir(place.parent)) == 2
    assert os.path.exists(path)
    _age(path, 25 * 3600)
    with staged(place, overwrite=True):
        assert not os.path.exists(path)
    assert os.listdir(place.parent) == ["out"]
