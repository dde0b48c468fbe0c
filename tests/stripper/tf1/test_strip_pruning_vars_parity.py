"""Ours against the strip_pruning_vars of google-research `model_pruning` itself, which runs in a process of its own."""

import importlib
import re

import numpy as np
import pytest
from tensorflow.core.framework import graph_pb2

from helpers import reference_checkpoints
from helpers.graph_models import run_graph
from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.tf1.frozen_checkpoint import freeze_checkpoint

# The reference needs a TensorFlow process of its own.
pytestmark = pytest.mark.e2e

# The reference evaluates a masked weight on its own, which a session refuses inside loops and branches.
_FAIL_THERE = ("dynamic_lstm", "branches")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A folder of models, and what the reference found."""
    folder = tmp_path_factory.mktemp("reference")
    process = importlib.import_module("_process")
    return folder, process.in_own_process(reference_checkpoints.__file__, "write", {}, {"folder": str(folder)})


@pytest.mark.parametrize("model", reference_checkpoints.MODELS)
def test_frozen_graph_equals_the_references(model, reference):
    folder, found = reference
    frozen = freeze_checkpoint(folder / model, ["y"])
    assert bool(found[f"{model}/failed"]) == (model in _FAIL_THERE)
    if model not in _FAIL_THERE:
        expected = graph_pb2.GraphDef()
        expected.ParseFromString((folder / model / "stripped.pb").read_bytes())
        assert list(frozen.graph_def.node) == list(expected.node)
    inputs = {"x:0": found[f"{model}/x"]}
    answer = run_graph(frozen.graph_def, inputs, "y:0")
    if model in _FAIL_THERE:
        assert answer.tobytes() == found[f"{model}/y"].tobytes()
    else:
        assert answer.tobytes() == run_graph(expected, inputs, "y:0").tobytes()
        # The session computed with the product of weight and mask. With oneDNN limited to AVX2, TensorFlow uses other
        # kernels for a constant, and the last bits differ.
        np.testing.assert_allclose(answer, found[f"{model}/y"], rtol=1e-6, atol=1e-7)
    assert bool(frozen.sparsities) == (model != "unpruned")


@pytest.mark.parametrize("model", reference_checkpoints.MODELS)
def test_saved_model_of_the_references_graph_is_stripped(model, reference, tmp_path):
    folder, _ = reference
    report = strip_saved_model(folder / model / "saved_model", tmp_path / "out")
    content = (tmp_path / "out" / "saved_model.pb").read_bytes()
    # Not the name of a cell, masked_basic_lstm_cell.
    assert re.findall(rb"masked_weight|/mask\b|old_weight|threshold|/gradient|Adam", content) == []
    assert report.signatures_checked == ("serving_default",)
    assert "global_step" in report.variables_removed
