"""The SavedModels that TFX ships for its own tests pass through unharmed."""

import hashlib
import pathlib

import pytest
import tfx

from helpers.graph_models import meta_graphs, variables
from tfx_pruning import strip_saved_model

# Starts no pipeline, but graphs of thousands of nodes.
pytestmark = pytest.mark.slow

_ROOT = pathlib.Path(tfx.__file__).parent / "components" / "testdata"
_REMOVED_OPERATION = "pusher/model_push/1584391735"


def _content(model):
    digest = hashlib.sha256()
    for file in sorted(each for each in model.rglob("*") if each.is_file()):
        digest.update(str(file.relative_to(model)).encode() + file.read_bytes())
    return digest.hexdigest()


def _models():
    """The folders, one of those with the same content."""
    folders = sorted(file.parent for file in _ROOT.rglob("saved_model.pb"))
    different = {_content(folder): folder for folder in reversed(folders)}
    return sorted(str(folder.relative_to(_ROOT)) for folder in different.values())


def test_testdata_holds_models():
    assert len(_models()) >= 5
    assert _REMOVED_OPERATION in _models()


@pytest.mark.parametrize("model", [each for each in _models() if each != _REMOVED_OPERATION])
def test_strip_passes_a_model_of_tfx_through(model, tmp_path, snapshot):
    source = _ROOT / model
    before = snapshot(source)
    report = strip_saved_model(source, tmp_path / "out")
    assert snapshot(source) == before
    (meta_graph,), (stripped,) = meta_graphs(source), meta_graphs(tmp_path / "out")
    assert sorted(report.signatures_checked) == sorted(
        name for name in meta_graph.signature_def if not name.startswith("__saved_model")
    )
    assert stripped.meta_info_def.tags == meta_graph.meta_info_def.tags
    assert report.stripped_bytes < report.source_bytes
    assert set(report.variables_removed).isdisjoint(report.variables_kept)
    if not meta_graph.object_graph_def.nodes:
        before_values, values = variables(source), variables(tmp_path / "out")
        assert sorted(values) == list(report.variables_kept)
        assert set(report.variables_removed) <= {"global_step", *(before_values.keys() - values.keys())}
        for key, value in values.items():
            assert value.tobytes() == before_values[key].tobytes()
        assert {name for name in snapshot(tmp_path / "out") if name.startswith("assets/")} == {
            name for name in before if name.startswith("assets/")
        }


def test_strip_refuses_a_model_with_an_operation_that_tensorflow_no_longer_has(tmp_path):
    """BoostedTreesBucketize has no kernel in TensorFlow 2.21, so no answer of that model can be compared."""
    with pytest.raises(
        ValueError, match=r"(?s)cannot be loaded: .*No OpKernel was registered.*'BoostedTreesBucketize'"
    ):
        strip_saved_model(_ROOT / _REMOVED_OPERATION, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
