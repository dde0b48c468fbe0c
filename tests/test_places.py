"""What paths and URIs mean."""

import os
import threading

import pytest
import tensorflow as tf

from tfx_pruning import places


@pytest.mark.parametrize(
    "spelling", ["{}", "{}/", "{}//", "file://{}", "file://localhost{}/", "/{}", "{}/../{name}", "{parent}//{name}"]
)
def test_spellings_of_one_place_are_one(spelling, tmp_path):
    text = spelling.format(tmp_path, name=tmp_path.name, parent=tmp_path.parent)
    assert places.checked_place(text) == os.path.realpath(tmp_path)


def test_relative_paths_and_links_lead_to_their_place(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    os.symlink("folder", tmp_path / "link")
    os.symlink("missing", tmp_path / "dangling")
    monkeypatch.chdir(tmp_path)
    assert places.checked_place("link/x") == str(tmp_path / "folder" / "x")
    assert places.checked_place("dangling") == str(tmp_path / "missing")


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("/a/b", "/a/b", True),
        ("/a/b", "/a/b/c", True),
        ("/a/b", "/a/bc", False),
        ("/a/b/c", "/a/b", False),
        ("/", "/a", True),
        ("gs://bucket/a", "gs://bucket/a//b", True),
        ("gs://bucket/a", "gs://other/a/b", False),
    ],
)
def test_a_place_holds_itself_and_what_is_below(outer, inner, expected):
    assert places.holds(outer, inner) is expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "empty"),
        ("a\0b", r"'a\\x00b' .*not of Unicode"),
        ("a\udcff", r"'a\\udcff' .*not of Unicode"),
        ("file://models/taxi", "no absolute path.*three slashes"),
        ("foo://x/y", r"'foo://x/y' is of a file system that TensorFlow does not know; it knows file://"),
    ],
)
def test_paths_that_are_none_are_refused(path, message):
    with pytest.raises(ValueError, match=message):
        places.checked_path(path)


@pytest.mark.parametrize("path", ["/models/a[b]", "/models/[x]/y", "a\\b"])
def test_model_paths_that_tensorflow_takes_for_patterns_are_refused(path):
    with pytest.raises(ValueError, match="takes brackets and backslashes in a path for a pattern"):
        places.checked_model_path(path)


@pytest.mark.parametrize("path", ["/models/a*", "/models/a?", "/models/a[", "a b"])
def test_model_paths_that_match_themselves_are_taken(path):
    assert places.checked_model_path(path) == path


def test_a_file_system_that_does_not_answer_is_given_up(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(tf.io.gfile, "exists", lambda _: never.wait())
    monkeypatch.setattr(places, "_ANSWER_SECONDS", 0.01)
    with pytest.raises(OSError, match=r"'gs://bucket/model' cannot be reached: .*did not answer.*credentials"):
        places.checked_path("gs://bucket/model")
    never.set()


def test_a_file_system_that_refuses_is_an_os_error(monkeypatch):
    def refuse(_):
        raise tf.errors.PermissionDeniedError(None, None, "no credentials")

    monkeypatch.setattr(tf.io.gfile, "exists", refuse)
    with pytest.raises(OSError, match=r"'gs://bucket/model' cannot be reached \(no credentials\)"):
        places.checked_path("gs://bucket/model")
