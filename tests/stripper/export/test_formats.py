"""The formats, with one that a user's module adds."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tfx import types
from tfx.types import standard_artifacts

import tfx_pruning
from tfx_pruning import properties, strip_saved_model
from tfx_pruning.cli.main import cli
from tfx_pruning.stripper.check.verify import VerificationError
from tfx_pruning.stripper.export.exporter import Exporter
from tfx_pruning.stripper.export.formats import FORMATS, exporters
from tfx_pruning.stripper.export.model_export import export_model

_PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "exports.md").read_text(encoding="utf-8")
# The module that the page shows.
_REGISTERED = re.search(r"```python\n(# my_formats.py\n.*?)```", _PAGE, re.DOTALL)[1]
_MODULE = _REGISTERED.partition("tfx_pruning.register_exporter(")[0] + "NUMPY = NumpyExporter()\n"


@pytest.fixture
def source(tmp_path):
    """A SavedModel that multiplies by a matrix."""
    module = tf.Module()
    module.weight = tf.Variable(np.eye(4, 3, dtype=np.float32), name="weight")
    spec = [tf.TensorSpec([None, 4], tf.float32, name="x")]
    serve = tf.function(lambda x: {"y": x @ module.weight}, input_signature=spec)
    path = tmp_path / "trained" / "Format-Serving"
    tf.saved_model.save(module, path, signatures={"serving_default": serve})
    return path


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Writes a user's module, which can be imported then; gives its name. No format is registered at first."""
    monkeypatch.setattr(FORMATS, "_registered", {})
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(text, name="my_formats"):
        (folder / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


def _install(folder, *entry_points, package="my-package"):
    """Makes a folder of sys.path one where a package with exporters is installed."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join(["[tfx_pruning.exporters]", *entry_points]))


def _checked_npy(path):
    assert np.load(path).tolist() == np.eye(4, 3).tolist()


def test_names_of_formats_are_known_without_tensorflow():
    code = (
        "import sys; from tfx_pruning.stripper.export.formats import FORMATS; "
        "print(FORMATS.names()[:3], {'tensorflow', 'keras', 'tfx'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "['frozen_graph', 'keras_weights', 'tflite'] set()\n"


def test_every_built_in_format_has_an_exporter_of_its_own():
    found = exporters(list(FORMATS.built_in))
    assert [each.name for each in found] == list(FORMATS.built_in)
    assert len({each.file for each in found}) == len(found)


def test_export_model_writes_a_format_of_a_users_module(source, user_module, tmp_path):
    user_module(_REGISTERED)
    strip_saved_model(source, tmp_path / "stripped")
    (file,) = export_model(tmp_path / "stripped", tmp_path / "by_module", ["my_formats:npy"])
    assert (file.format, file.checked_on) == ("npy", "drawn inputs")
    assert file.max_abs_difference < 1e-6
    _checked_npy(file.path)
    assert [each.format for each in export_model(tmp_path / "stripped", tmp_path / "by_name", ["npy"])] == ["npy"]


def test_a_file_of_a_users_format_is_checked_against_the_model(source, user_module, tmp_path):
    user_module(_REGISTERED.replace("weight.numpy()", "1.5 * weight.numpy()"))
    with pytest.raises(VerificationError, match=r"The export 'npy' .* differs from the model by .*output 'y'"):
        export_model(source, tmp_path / "exports", ["my_formats:npy"])
    assert sorted(os.listdir(tmp_path)) == ["code", "trained"]


def test_stripper_tells_its_executor_which_module_has_the_format(user_module):
    user_module(_REGISTERED)
    model = types.Channel(type=standard_artifacts.Model)
    __import__("my_formats")
    for name in ("npy", "my_formats:npy"):
        stripper = tfx_pruning.Stripper(model=model, export=[name, "tflite"])
        assert stripper.exec_properties["export"] == '["my_formats:npy", "tflite"]'


_EXECUTOR = """
import json, os, sys
from tfx.types import standard_artifacts
from tfx_pruning import PruningReport, properties
from tfx_pruning.stripper.executor import Executor

def artifact(kind, name):
    made = kind()
    made.uri = os.path.abspath(name)
    os.makedirs(made.uri, exist_ok=True)
    return made

trained, stripped = artifact(standard_artifacts.Model, "trained"), artifact(standard_artifacts.Model, "stripped")
given = {"splits": "null", "signature_name": "serving_default", "tolerance": 0.0, "num_examples": 1, "shrink": 0}
Executor().Do(
    {"trained_model": [trained]},
    {"model": [stripped], "report": [artifact(PruningReport, "report")]},
    {**given, "export": sys.argv[1]},
)
print(json.dumps({key: stripped.get_custom_property(key) for key in ("npy_bytes", "npy_max_abs_difference")}))
"""


@pytest.mark.slow
def test_executor_in_another_process_imports_the_users_module(source, user_module, tmp_path):
    user_module(_REGISTERED)
    result = subprocess.run(
        [sys.executable, "-c", _EXECUTOR, '["my_formats:npy"]'],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "code")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    path = tmp_path / "stripped" / "exports" / "weight.npy"
    _checked_npy(path)
    written = json.loads(result.stdout.splitlines()[-1])
    assert written[properties.export_bytes("npy")] == path.stat().st_size
    assert float(written[properties.export_max_abs_difference("npy")]) < 1e-6


def test_command_exports_a_format_of_a_users_module(source, user_module, tmp_path, monkeypatch):
    user_module(_REGISTERED)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["strip", str(source), "out", "--export", "my_formats:npy"])
    assert result.exit_code == 0, result.output
    _checked_npy(tmp_path / "out_exports" / "weight.npy")


def test_an_installed_package_adds_a_format(source, user_module, tmp_path, monkeypatch):
    user_module(_REGISTERED)
    _install(tmp_path / "code", "npy = my_formats")
    assert FORMATS.names()[-1] == "npy"
    model = types.Channel(type=standard_artifacts.Model)
    assert tfx_pruning.Stripper(model=model, export=["npy"]).exec_properties["export"] == '["npy"]'
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["strip", str(source), "out", "--export", "npy"])
    assert result.exit_code == 0, result.output
    _checked_npy(tmp_path / "out_exports" / "weight.npy")


@pytest.mark.parametrize("name", ["tflite", "frozen_graph"])
def test_names_of_built_in_formats_are_taken(name, user_module):
    user_module(_MODULE + f"\ntfx_pruning.register_exporter({name!r}, NUMPY)\n")
    with pytest.raises(ValueError, match=f"export '{name}', registered by my_formats, is built in already"):
        exporters(["my_formats:npy"])


def test_a_format_is_asked_for_once(user_module):
    user_module(_REGISTERED)
    with pytest.raises(ValueError, match="export has the format 'npy' twice"):
        exporters(["my_formats:npy", "npy"])
    with pytest.raises(TypeError, match=r"export is the string 'npy', expected a sequence of format names"):
        exporters("npy")


def test_an_object_has_one_name(user_module):
    user_module(_MODULE + "\nfor name in ('npy', 'other'):\n    tfx_pruning.register_exporter(name, NUMPY)\n")
    with pytest.raises(ValueError, match="The exporter 'other' is registered as 'npy' already"):
        exporters(["my_formats:npy"])


@pytest.mark.parametrize("name", ["", "Npy", "n-py", "my:npy", "1npy"])
def test_names_that_no_property_can_begin_with_are_refused(name):
    with pytest.raises(
        ValueError, match="register_exporter needs a name of lower-case letters, digits and underscores"
    ):
        tfx_pruning.register_exporter(name, None)


def test_only_objects_of_exporters_are_registered():
    with pytest.raises(TypeError, match=r"expected an Exporter; give an object of that class, such as Exporter\(\)"):
        tfx_pruning.register_exporter("npy", Exporter)
    with pytest.raises(TypeError, match=r"derive its class from tfx_pruning\.stripper\.export\.exporter\.Exporter"):
        tfx_pruning.register_exporter("npy", lambda: b"")
