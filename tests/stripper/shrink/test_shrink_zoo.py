"""Shrinking models with units that were killed by hand: the shapes that are left, and the answers."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from helpers.dead_channels import CHANNELS
from helpers.dead_groups import GROUPS
from helpers.dead_heads import HEADS
from helpers.dead_layouts import LAYOUTS
from helpers.dead_loops import LOOPS
from helpers.dead_tiles import TILES
from helpers.dead_units import ZOO
from tfx_pruning import strip_saved_model

_SPECIMENS = {**ZOO, **CHANNELS, **LAYOUTS, **TILES, **GROUPS, **HEADS, **LOOPS}
_TOLERANCE = {tf.float16: 1e-2, tf.float32: 1e-5, tf.float64: 1e-12}


def _declaration(path):
    saved_model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    signature = saved_model.meta_graphs[0].signature_def["serving_default"]
    tensors = {**signature.inputs, **signature.outputs}
    return {name: (each.dtype, str(each.tensor_shape)) for name, each in tensors.items()}


@pytest.mark.parametrize("name", _SPECIMENS)
def test_shrink_leaves_the_live_units_and_the_answers(name, tmp_path):
    specimen = _SPECIMENS[name]
    specimen.save(str(tmp_path / "model"))
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)

    found = {each.key: each.shape_after for each in report.shrink.variables}
    assert found == specimen.after
    assert {each.key: each.shape_before for each in report.shrink.variables} == {
        key: specimen.weights[key].shape for key in specimen.after
    }
    checkpoint = tf.train.load_checkpoint(str(tmp_path / "shrunk" / "variables" / "variables"))
    shapes = {key: tuple(shape) for key, shape in checkpoint.get_variable_to_shape_map().items()}
    used = {key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): shape for key, shape in shapes.items()}
    used.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    assert used == {key: specimen.after.get(key, value.shape) for key, value in specimen.weights.items()}

    assert _declaration(tmp_path / "shrunk") == _declaration(tmp_path / "model")
    before = tf.saved_model.load(tmp_path / "model").signatures["serving_default"]
    after = tf.saved_model.load(tmp_path / "shrunk").signatures["serving_default"]
    for batch in (1, 5):
        x = specimen.inputs(batch) if None in specimen.shape[:1] else specimen.inputs()
        expected, actual = before(x=x)["y"], after(x=x)["y"]
        assert actual.dtype == expected.dtype
        if expected.dtype.is_floating:
            tolerance = _TOLERANCE[expected.dtype]
            np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(actual, expected)
