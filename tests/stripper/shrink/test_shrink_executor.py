"""Stripper's executor with `shrink`: properties, report, and the proof on examples."""

import os

import numpy as np
import pytest
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from helpers.dead_units import ZOO
from helpers.record_files import write_records
from tfx_pruning import PruningReport, properties
from tfx_pruning.report.files import read_report
from tfx_pruning.saved_model import sizes
from tfx_pruning.stripper.check.verify import VerificationError
from tfx_pruning.stripper.executor import Executor
from tfx_pruning.stripper.shrink import shrink
from tfx_pruning.structure import trace

_PROPERTIES = {
    "splits": "null",
    "signature_name": "serving_default",
    "tolerance": 0.0,
    "num_examples": 256,
    "export": "[]",
    "shrink": 1,
}


@pytest.fixture
def artifacts(tmp_path):
    """A trained Model with dead units, Examples for it, and what Stripper puts out."""
    trained, examples, stripped, report = (
        kind()
        for kind in (
            standard_artifacts.Model,
            standard_artifacts.Examples,
            standard_artifacts.Model,
            PruningReport,
        )
    )
    for name, artifact in {"trained": trained, "examples": examples, "stripped": stripped, "report": report}.items():
        artifact.uri = str(tmp_path / name)
    ZOO["constant_after_sigmoid"].save(os.path.join(trained.uri, "Format-Serving"))
    examples.split_names = artifact_utils.encode_split_names(["eval"])
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    records = []
    for row in np.random.default_rng(3).normal(size=(20, 6)):
        record = tf.train.Example()
        record.features.feature["x"].float_list.value.extend(row)
        records.append(record.SerializeToString())
    write_records(tmp_path / "examples" / "Split-eval" / "data-00000.gz", records)
    return trained, examples, stripped, report


def _do(artifacts, **changes):
    trained, examples, stripped, report = artifacts
    Executor().Do(
        {"trained_model": [trained], "examples": [examples]},
        {"model": [stripped], "report": [report]},
        _PROPERTIES | changes,
    )


def test_do_writes_what_shrinking_did(artifacts):
    _do(artifacts)
    _, _, stripped, report = artifacts
    serving = os.path.join(stripped.uri, "Format-Serving")
    found = {key: stripped.get_custom_property(key) for key in stripped.mlmd_artifact.custom_properties}
    assert found[properties.VARIABLES_CUT] == 3
    assert (found[properties.PARAMETERS_BEFORE_SHRINKING], found[properties.PARAMETERS_SHRUNK]) == (80, 50)
    assert (found[properties.MULTIPLY_ADDS_BEFORE_SHRINKING], found[properties.MULTIPLY_ADDS_SHRUNK]) == (72, 45)
    assert found[properties.STRIPPED_BYTES] == sizes.directory_bytes(serving)
    assert found[properties.GZIPPED_BYTES] == sizes.gzipped_bytes(serving)
    assert found[properties.BYTES_BEFORE_SHRINKING] > 0
    assert found[properties.GZIPPED_BYTES_BEFORE_SHRINKING] > 0
    assert 0.0 <= float(found[properties.SHRINK_MAX_DIFFERENCE]) < 1e-5
    assert found[properties.SHRINK_TOLERANCE] == found[properties.TOLERANCE] == "1e-05"
    assert found[properties.EXAMPLES_PROVEN] == 20

    shrinking = read_report(report.uri).stripping.shrinking
    assert shrinking.shapes == {"a": ("6 x 8", "6 x 5"), "b": ("8 x 3", "5 x 3"), "ba": ("8", "5")}
    assert (shrinking.parameters, shrinking.multiply_adds) == ((80, 50), (72, 45))
    assert shrinking.bytes[1] == found[properties.STRIPPED_BYTES]
    assert shrinking.gzipped_bytes[1] == found[properties.GZIPPED_BYTES]
    with open(os.path.join(report.uri, "pruning_report.html")) as stream:
        page = stream.read()
    assert "<td>multiply-adds an example</td><td>72</td><td>45</td>" in page
    assert "<td><code>a</code></td><td>6 x 8</td><td>6 x 5</td>" in page


def test_do_takes_numbers_as_kubeflow_hands_them_on(artifacts):
    _do(artifacts, shrink=1.0, num_examples=256)
    assert artifacts[2].get_custom_property(properties.VARIABLES_CUT) == 3


def test_do_leaves_out_the_gzipped_size_of_a_large_model(artifacts, monkeypatch):
    monkeypatch.setattr(shrink, "_MOST_GZIPPED", 100)
    _do(artifacts)
    _, _, stripped, report = artifacts
    assert stripped.get_custom_property(properties.VARIABLES_CUT) == 3
    assert stripped.get_custom_property(properties.GZIPPED_BYTES) > 0
    assert not stripped.has_custom_property(properties.GZIPPED_BYTES_BEFORE_SHRINKING)
    assert read_report(report.uri).stripping.shrinking.gzipped_bytes is None
    with open(os.path.join(report.uri, "pruning_report.html")) as stream:
        page = stream.read()
    assert "<td>parameters</td><td>80</td><td>50</td>" in page
    assert "<td>bytes gzipped</td>" not in page


def test_do_says_why_a_model_was_not_traced(artifacts, monkeypatch):
    monkeypatch.setattr(trace, "_MOST_CALLS", 0)
    _do(artifacts)
    _, _, stripped, report = artifacts
    why = "The model makes more than 0 calls of functions"
    assert stripped.get_custom_property(properties.SHRINK_UNTRACED).startswith(why)
    assert stripped.get_custom_property(properties.VARIABLES_CUT) == 0
    assert not stripped.has_custom_property(properties.MULTIPLY_ADDS_SHRUNK)
    shrinking = read_report(report.uri).stripping.shrinking
    assert (shrinking.parameters, shrinking.multiply_adds) == ((80, 80), None)
    with open(os.path.join(report.uri, "pruning_report.html")) as stream:
        assert f"<p>Nothing was cut: {why}" in stream.read()


def test_do_does_not_shrink_unless_told(artifacts):
    _do(artifacts, shrink=0)
    assert not artifacts[2].has_custom_property(properties.VARIABLES_CUT)
    assert read_report(artifacts[3].uri).stripping.shrinking is None


def test_do_that_misses_the_tolerance_leaves_no_model(artifacts):
    with pytest.raises(VerificationError, match="differs"):
        _do(artifacts, shrink_tolerance=1e-12)
    assert not os.path.exists(os.path.join(artifacts[2].uri, "Format-Serving"))
