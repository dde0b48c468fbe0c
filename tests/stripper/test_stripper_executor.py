"""Stripper's executor on real artifacts."""

import os

import pytest
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from tfx_pruning import PruningReport, properties
from tfx_pruning.report.document import ReportDocument
from tfx_pruning.report.files import read_report
from tfx_pruning.stripper.executor import Executor
from tfx_pruning.stripper.strip import StripReport


@pytest.fixture
def model(taxi_model, tmp_path):
    """A trained Model artifact, with properties as PruningTrainer writes them."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path / "trained")
    os.makedirs(artifact.uri)
    os.symlink(taxi_model.path, tmp_path / "trained" / "Format-Serving")
    artifact.set_string_custom_property(properties.PRUNE_OPTION, "first_order_gradient")
    artifact.set_string_custom_property(properties.HPARAMS, "target_sparsity=0.9")
    artifact.set_float_custom_property(properties.SPARSITY, 0.9)
    artifact.set_int_custom_property(properties.NONZERO_PARAMETERS, 13)
    artifact.set_string_custom_property("unrelated", "stays behind")
    return artifact


@pytest.fixture
def output(tmp_path):
    """An empty output artifact, whose folder exists, as TFX makes it."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path / "stripped")
    os.makedirs(artifact.uri)
    return artifact


@pytest.fixture
def examples(taxi_model, tmp_path):
    """Raw examples: two in the split 'train', four in two files of 'eval'."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    files = {
        "Split-train/data-00000.gz": taxi_model.examples[:2],
        "Split-eval/data-00000.gz": taxi_model.examples[:3],
        "Split-eval/data-00001.gz": taxi_model.examples[3:],
    }
    for name, records in files.items():
        path = tmp_path / "examples" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for record in records:
                writer.write(record)
    return artifact


@pytest.fixture
def given_records(monkeypatch):
    """Has nothing stripped; a list of the records that strip_saved_model is given."""
    given = []

    def spy(source, destination, *, examples):
        given.append(examples)
        return StripReport((), (), ("serving_default",), source_bytes=30, stripped_bytes=20, gzipped_bytes=10)

    monkeypatch.setattr("tfx_pruning.stripper.executor.strip_saved_model", spy)
    monkeypatch.setattr("tfx_pruning.stripper.executor.strip_document", lambda *_: ReportDocument("Stripped", ()))
    return given


def _report(output):
    """The report's artifact beside the model's."""
    artifact = PruningReport()
    artifact.uri = f"{output.uri}_report"
    return artifact


def _do(model, output, examples=None, num_examples=256):
    inputs = {"trained_model": [model]} | ({"examples": examples} if examples is not None else {})
    Executor().Do(inputs, {"model": [output], "report": [_report(output)]}, {"num_examples": num_examples})


def _custom_properties(artifact):
    return {key: artifact.get_custom_property(key) for key in artifact.mlmd_artifact.custom_properties}


def test_do_writes_a_serving_model_and_its_properties(model, output, examples, taxi_model, snapshot, variable_keys):
    before = snapshot(taxi_model.path)
    _do(model, output, [examples])

    assert os.listdir(output.uri) == ["Format-Serving"]
    files = snapshot(os.path.join(output.uri, "Format-Serving"))
    kept = len(variable_keys(os.path.join(output.uri, "Format-Serving")))
    written = _custom_properties(output)
    gzipped = written.pop(properties.GZIPPED_BYTES)
    assert isinstance(gzipped, int)
    assert 0 < gzipped < written[properties.STRIPPED_BYTES]
    assert written == {
        properties.PRUNE_OPTION: "first_order_gradient",
        properties.HPARAMS: "target_sparsity=0.9",
        properties.SPARSITY: 0.9,
        properties.NONZERO_PARAMETERS: 13,
        properties.TRAINED_BYTES: sum(map(len, before.values())),
        properties.STRIPPED_BYTES: sum(map(len, files.values())),
        properties.VARIABLES_REMOVED: len(variable_keys(taxi_model.path)) - kept,
        properties.SIGNATURES_CHECKED: "serving_default,transform_features",
    }
    report = read_report(_report(output).uri)
    assert report.sizes == {
        "SavedModel before stripping": written[properties.TRAINED_BYTES],
        "SavedModel stripped": written[properties.STRIPPED_BYTES],
        "SavedModel stripped and gzipped": gzipped,
    }
    assert list(report.stripping.variables_kept) == variable_keys(os.path.join(output.uri, "Format-Serving"))
    assert report.stripping.signatures_checked == ("serving_default", "transform_features")
    assert report.hparams == "target_sparsity=0.9"
    assert report.lineage["input trained_model"] == f"Model: {model.uri}"
    assert snapshot(taxi_model.path) == before


def test_do_keeps_the_trained_bytes_that_the_trainer_wrote(model, output, given_records):
    model.set_int_custom_property(properties.TRAINED_BYTES, 123_456)
    _do(model, output)
    assert output.get_int_custom_property(properties.TRAINED_BYTES) == 123_456


def test_do_reads_whole_numbers_that_came_as_floats_as_kubeflow_gives_them(model, output, given_records):
    model.set_float_custom_property(properties.NONZERO_PARAMETERS, 13.0)
    model.set_json_value_custom_property(properties.TOTAL_PARAMETERS, 250.0)
    _do(model, output)
    stored = output.mlmd_artifact.custom_properties
    assert stored[properties.NONZERO_PARAMETERS].int_value == 13
    assert stored[properties.TOTAL_PARAMETERS].int_value == 250


def test_do_checks_on_the_eval_split(model, output, examples, taxi_model, given_records):
    _do(model, output, [examples])
    assert given_records == [taxi_model.examples]


def test_do_reads_no_more_examples_than_asked_for(model, output, examples, taxi_model, given_records):
    _do(model, output, [examples], num_examples=2)
    assert given_records == [taxi_model.examples[:2]]


def test_do_checks_on_the_first_split_if_there_is_no_eval_split(model, output, examples, taxi_model, given_records):
    examples.split_names = artifact_utils.encode_split_names(["train"])
    _do(model, output, [examples])
    assert given_records == [taxi_model.examples[:2]]


@pytest.mark.parametrize("examples_input", [None, []], ids=["no key", "no artifact"])
def test_do_without_examples(examples_input, model, output, given_records):
    _do(model, output, examples_input)
    assert given_records == [None]


def test_do_refuses_examples_of_another_payload(model, output, examples):
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_PARQUET)
    with pytest.raises(
        ValueError, match=r"hold FORMAT_PARQUET, expected FORMAT_TF_EXAMPLE or FORMAT_TF_SEQUENCE_EXAMPLE"
    ):
        _do(model, output, [examples])
    assert os.listdir(output.uri) == []


def test_do_refuses_examples_in_other_files(model, output, examples):
    examples_utils.set_file_format(examples, "parquet")
    with pytest.raises(ValueError, match="stored as 'parquet', expected 'tfrecords_gzip'"):
        _do(model, output, [examples])


def test_do_refuses_examples_without_splits(model, output, examples):
    examples.split_names = artifact_utils.encode_split_names([])
    with pytest.raises(ValueError, match="have no splits"):
        _do(model, output, [examples])


def test_do_refuses_an_empty_split(model, output, examples, tmp_path):
    for file in (tmp_path / "examples" / "Split-eval").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"The split 'eval' .* holds no records"):
        _do(model, output, [examples])


def test_do_refuses_to_read_no_examples(model, output, examples):
    with pytest.raises(ValueError, match="num_examples is 0, expected at least 1"):
        _do(model, output, [examples], num_examples=0)


def test_do_refuses_a_model_artifact_without_a_model(output, tmp_path):
    empty = standard_artifacts.Model()
    empty.uri = str(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no SavedModel at '.*empty/Format-Serving'"):
        _do(empty, output)
    assert os.listdir(output.uri) == []
