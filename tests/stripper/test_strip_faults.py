"""strip_saved_model on damaged files, a full disk and read-only folders: a clear error, and nothing is left."""

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest
import tensorflow as tf

from helpers.dead_units import ZOO
from tfx_pruning import apply_mask, strip_saved_model
from tfx_pruning.stripper import strip, strip_and_export
from tfx_pruning.stripper.check.relative_tolerance import RelativeTolerance
from tfx_pruning.stripper.export.model_export import export_model
from tfx_pruning.stripper.shrink.shrink import shrink_in_place

# The system lets no file grow beyond a length, as on a full disk; pytest's own output must not end there.
_STRIP_WITH_SHORT_FILES = """
import resource, sys
from tfx_pruning import strip_saved_model

for length in map(int, sys.argv[3:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, resource.RLIM_INFINITY))
    try:
        strip_saved_model(*sys.argv[1:3])
    except OSError as error:
        print(" ".join(str(error).split()))
"""
_VALUES = "variables/variables.data-00000-of-00001"


@pytest.fixture(params=["plain", "masked"])
def model(request, tmp_path):
    """A SavedModel with one weight, whose forward pass has a mask or not."""
    module = tf.Module()
    module.weight = tf.Variable(tf.random.stateless_normal([64, 200], (1, 2)), name="weight")
    read = apply_mask if request.param == "masked" else tf.convert_to_tensor

    @tf.function(input_signature=[tf.TensorSpec([None, 64], name="x")])
    def serve(x):
        return {"y": x @ read(module.weight)}

    serve(tf.ones([1, 64]))
    tf.saved_model.save(module, tmp_path / "in", signatures=serve)
    return tmp_path / "in"


def test_strip_refuses_values_that_are_damaged(model, tmp_path):
    content = bytearray((model / _VALUES).read_bytes())
    content[100] ^= 0xFF
    (model / _VALUES).write_bytes(content)
    with pytest.raises(
        ValueError, match=r"(?s)in' cannot be (loaded|read): .*[Cc]hecksum.*damaged, save the model again"
    ):
        strip_saved_model(model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("lost", [_VALUES, "variables/variables.index"])
def test_strip_refuses_values_that_are_lost(lost, model, tmp_path):
    (model / lost).unlink()
    with pytest.raises(ValueError, match=r"(?s)in' cannot be (loaded|read): .*save the model again"):
        strip_saved_model(model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_strip_refuses_a_saved_model_file_that_is_cut_short(part, model, tmp_path):
    content = (model / "saved_model.pb").read_bytes()
    (model / "saved_model.pb").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=r"saved_model\.pb' is not a SavedModel: its \d+ bytes cannot be parsed"):
        strip_saved_model(model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


@pytest.fixture
def graph_model(tmp_path):
    """The weight in a SavedModel of TensorFlow 1."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 64])
        y = x @ tf.compat.v1.get_variable("weight", [64, 200])
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "in"), {"x": x}, {"y": y})
    return tmp_path / "in"


def _fill(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=free))


def _check_needs_the_bytes_of_its_weight(source, folder, monkeypatch):
    _fill(monkeypatch, 51_199)
    with pytest.raises(OSError, match=r"cannot be written to '.*': it takes 51,200 bytes or more, and 51,199 are free"):
        strip_saved_model(source, folder / "out")
    assert os.listdir(folder) == ["in"]
    _fill(monkeypatch, 51_200)
    strip_saved_model(source, folder / "out")
    assert sorted(os.listdir(folder)) == ["in", "out"]


def test_strip_asks_for_the_room_of_the_weights_that_stay(model, tmp_path, monkeypatch):
    _check_needs_the_bytes_of_its_weight(model, tmp_path, monkeypatch)


def test_strip_of_tensorflow_1_asks_for_the_room_of_the_weights_that_stay(graph_model, tmp_path, monkeypatch):
    _check_needs_the_bytes_of_its_weight(graph_model, tmp_path, monkeypatch)


@pytest.mark.parametrize("free", [239, 240])
def test_shrinking_asks_for_the_room_of_its_copy(free, tmp_path, monkeypatch, snapshot):
    # 6 * 6 + 6 + 6 * 3 numbers are left.
    ZOO["unread"].save(str(tmp_path / "in"))
    strip_saved_model(tmp_path / "in", tmp_path / "stripped")
    before = snapshot(tmp_path / "stripped")
    _fill(monkeypatch, free)
    if free < 240:
        with pytest.raises(OSError, match=r"The shrunk model cannot be written to '.*': it takes 240 bytes or more"):
            shrink_in_place(str(tmp_path / "stripped"), None, RelativeTolerance(1e-5))
        assert snapshot(tmp_path / "stripped") == before
    else:
        shrink_in_place(str(tmp_path / "stripped"), None, RelativeTolerance(1e-5))
    assert sorted(os.listdir(tmp_path)) == ["in", "stripped"]


@pytest.mark.parametrize("model", ["plain"], indirect=True)
def test_export_asks_for_the_room_of_its_file(model, tmp_path, monkeypatch):
    _fill(monkeypatch, 51_199)
    with pytest.raises(
        OSError,
        match=r"The export 'frozen_graph' cannot be written to '.*': it takes 5\d,\d{3} bytes or more, and 51,199 ",
    ):
        export_model(model, tmp_path / "exports", ["frozen_graph"])
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["plain", "masked"], indirect=True)
def test_strip_that_cannot_write_a_file_to_its_end_leaves_nothing(model, tmp_path):
    # The graph goes to a temporary file first; the values are larger.
    graph = (model / "saved_model.pb").stat().st_size
    assert 2000 < graph < 40_000 < (model / _VALUES).stat().st_size
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", _STRIP_WITH_SHORT_FILES, model, tmp_path / "out", "2000", "40000"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    of_graph, of_values = run.stdout.splitlines()
    assert of_graph == (
        f"The folder of temporary files, {str(temporary)!r}, cannot be written (File too large), where the graph of "
        f"{str(model)!r} goes for a while. Make room there, or name another one with TMPDIR."
    )
    assert re.match(r"The stripped model cannot be written to '.*': .*File too large.* with room for the", of_values)
    assert sorted(os.listdir(tmp_path)) == ["in", "temporary"]
    assert os.listdir(temporary) == []


@contextlib.contextmanager
def _as_one_who_is_not_root():
    if os.geteuid():
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody may write to; the folders above that of pytest are for its user alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        yield folder
        assert os.listdir(folder) == []


@pytest.mark.parametrize("place", ["out", "new/folder/out"])
def test_strip_refuses_a_read_only_folder_before_any_work(place, read_only, tmp_path, monkeypatch):
    monkeypatch.setattr(strip, "opened", None)
    with (
        pytest.raises(
            OSError, match=r"out' cannot be written: the folder '.*' cannot be made .* \(Permission denied\)"
        ),
        _as_one_who_is_not_root(),
    ):
        strip_saved_model(tmp_path / "in", f"{read_only}/{place}")


def test_read_only_folder_of_exports_is_refused_before_any_work(read_only, tmp_path, monkeypatch):
    monkeypatch.setattr(strip_and_export, "opened", None)
    exports = f"{read_only}/exports"
    with (
        pytest.raises(OSError, match=r"exports' cannot be written: .* \(Permission denied\)"),
        _as_one_who_is_not_root(),
    ):
        strip_and_export.strip_and_export(
            str(tmp_path / "in"), "/tmp/out", ["frozen_graph"], export_destination=exports
        )
