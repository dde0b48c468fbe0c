"""Stripper's executor on real artifacts."""

import gzip
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from helpers.graph_models import graph, layer, save, tf1, trained, variables
from helpers.masked_models import masked_weight
from helpers.record_files import example, write_records
from tfx_pruning import PruningReport, apply_mask, properties
from tfx_pruning.report.document import ReportDocument
from tfx_pruning.report.files import read_report
from tfx_pruning.stripper.check.verify import VerificationError
from tfx_pruning.stripper.executor import Executor
from tfx_pruning.stripper.proof.result import ProofResult
from tfx_pruning.stripper.strip import StripReport

_DEFAULTS = {
    "splits": "null",
    "signature_name": "serving_default",
    "tolerance": 0.0,
    "num_examples": 256,
    "export": "[]",
    "shrink": 0,
}


@pytest.fixture
def model_of(tmp_path):
    """Makes a Model artifact of a SavedModel."""

    def made(path):
        artifact = standard_artifacts.Model()
        artifact.uri = str(tmp_path / "trained")
        os.makedirs(artifact.uri)
        os.symlink(path, tmp_path / "trained" / "Format-Serving")
        return artifact

    return made


@pytest.fixture
def model(taxi_model, model_of):
    """A trained Model artifact, with properties as PruningTrainer writes them."""
    artifact = model_of(taxi_model.path)
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
def examples_of(tmp_path):
    """Makes an Examples artifact of records by split and file."""

    def made(files, name="examples"):
        artifact = standard_artifacts.Examples()
        artifact.uri = str(tmp_path / name)
        splits = dict.fromkeys(file.partition("/")[0] for file in files)
        artifact.split_names = artifact_utils.encode_split_names(list(splits))
        examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        for file, records in files.items():
            write_records(tmp_path / name / f"Split-{file}", records)
        return artifact

    return made


@pytest.fixture
def examples(taxi_model, examples_of):
    """Raw examples: two in the split 'train', four in two files of 'eval'."""
    return examples_of(
        {
            "train/data-00000.gz": taxi_model.examples[:2],
            "eval/data-00000.gz": taxi_model.examples[:3],
            "eval/data-00001.gz": taxi_model.examples[3:],
        }
    )


@pytest.fixture
def given(monkeypatch):
    """Has nothing stripped or proven; the records that strip_saved_model is given, and the files of the proofs."""
    seen = {"records": [], "files": []}

    def strip(source, destination, formats, *, examples, check, **unused):
        seen["records"].append(examples)
        if check:
            check(destination)
        os.makedirs(destination)
        return StripReport((), (), ("serving_default",), 30, 20, destination), ()

    def prove(proof, stripped, make_pipeline):
        seen["files"].append([f"{file.split}/{os.path.basename(file.path)}" for file in proof.files])
        return ProofResult(examples=1)

    monkeypatch.setattr("tfx_pruning.stripper.executor.strip_and_export", strip)
    monkeypatch.setattr("tfx_pruning.stripper.executor.DataProof.prove", prove)
    monkeypatch.setattr("tfx_pruning.stripper.executor.strip_document", lambda *_: ReportDocument("Stripped", ()))
    return seen


def _report(output):
    """The report's artifact beside the model's."""
    artifact = PruningReport()
    artifact.uri = f"{output.uri}_report"
    return artifact


def _do(model, output, examples=None, context=None, **exec_properties):
    inputs = {"trained_model": [model]} | ({"examples": examples} if examples is not None else {})
    Executor(context).Do(inputs, {"model": [output], "report": [_report(output)]}, _DEFAULTS | exec_properties)


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
        properties.SIGNATURE_PROVEN: "serving_default",
        properties.SPLITS_PROVEN: "eval",
        properties.EXAMPLES_PROVEN: 4,
        properties.EXAMPLES_DIFFERING: 0,
        properties.MAX_ABSOLUTE_DIFFERENCE: "0.0",
        properties.TOLERANCE: "0.0",
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


def test_do_keeps_the_trained_bytes_that_the_trainer_wrote(model, output, given):
    model.set_int_custom_property(properties.TRAINED_BYTES, 123_456)
    _do(model, output)
    assert output.get_int_custom_property(properties.TRAINED_BYTES) == 123_456


def test_do_reads_whole_numbers_that_came_as_floats_as_kubeflow_gives_them(model, output, given):
    model.set_float_custom_property(properties.NONZERO_PARAMETERS, 13.0)
    model.set_json_value_custom_property(properties.TOTAL_PARAMETERS, 250.0)
    _do(model, output)
    stored = output.mlmd_artifact.custom_properties
    assert stored[properties.NONZERO_PARAMETERS].int_value == 13
    assert stored[properties.TOTAL_PARAMETERS].int_value == 250


def test_do_proves_on_the_eval_split_and_checks_on_its_records(model, output, examples, taxi_model, given):
    _do(model, output, [examples])
    assert given == {
        "records": [taxi_model.examples],
        "files": [["eval/data-00000.gz", "eval/data-00001.gz"]],
    }


def test_do_checks_on_no_more_examples_than_asked_for(model, output, examples, taxi_model, given):
    _do(model, output, [examples], num_examples=2)
    assert given["records"] == [taxi_model.examples[:2]]


def test_do_proves_on_all_splits_if_there_is_no_eval_split(model, output, examples_of, taxi_model, given):
    records = taxi_model.examples
    _do(model, output, [examples_of({"train/a.gz": records[:2], "test/a.gz": records[2:]})])
    assert given == {"records": [records[:2]], "files": [["train/a.gz", "test/a.gz"]]}


def test_do_proves_on_the_splits_that_are_asked_for(model, output, examples, taxi_model, given):
    _do(model, output, [examples], splits=json.dumps(["train", "eval"]))
    assert given["records"] == [taxi_model.examples[:2]]
    assert given["files"] == [["train/data-00000.gz", "eval/data-00000.gz", "eval/data-00001.gz"]]
    assert output.get_string_custom_property(properties.SPLITS_PROVEN) == "train,eval"


def test_do_reads_several_artifacts(model, output, examples, examples_of, taxi_model, given):
    _do(model, output, [examples, examples_of({"eval/z.gz": taxi_model.examples}, name="z-examples")])
    assert given["files"] == [["eval/data-00000.gz", "eval/data-00001.gz", "eval/z.gz"]]


def test_do_reads_splits_of_custom_patterns(model, output, examples, taxi_model, given):
    key, value = examples_utils.get_custom_split_patterns_key_and_property({"eval": "Split-train/*"})
    examples.set_string_custom_property(key, value)
    _do(model, output, [examples])
    assert given["files"] == [["eval/data-00000.gz"]]
    assert given["records"] == [taxi_model.examples[:2]]


@pytest.mark.parametrize("examples_input", [None, []], ids=["no key", "no artifact"])
def test_do_without_examples_proves_nothing(examples_input, model, output, given):
    _do(model, output, examples_input)
    assert given == {"records": [None], "files": []}
    assert properties.EXAMPLES_PROVEN not in _custom_properties(output)


def _save(path, module, function, specs):
    tf.saved_model.save(module, str(path), signatures={"serving_default": tf.function(function, input_signature=specs)})
    return path


def _random(x):
    """Uniform numbers, others in every call, whatever the seed of TensorFlow is."""
    return tf.raw_ops.RandomUniform(shape=tf.shape(x), dtype=tf.float32, seed=0, seed2=0)


def _x(serialized):
    return tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]


_RECORDS = [tf.TensorSpec([None], tf.string, name="examples")]
_FILES = {"eval/a.gz": [example(x=[float(i)]) for i in range(20)] + [example(x=[1e6])]}


def test_do_publishes_nothing_if_one_example_is_answered_otherwise(model_of, output, examples_of, tmp_path, snapshot):
    """The models draw a random number each, for one example, which the check on a few does not see."""

    def serve(serialized):
        x = _x(serialized)
        return {"y": tf.where(x > 1e5, _random(x), x)}

    source = _save(tmp_path / "source", tf.Module(), serve, _RECORDS)
    before = snapshot(source)
    with pytest.raises(VerificationError) as error:
        _do(model_of(source), output, [examples_of(_FILES)], num_examples=20)
    assert "differs from the source on 1 of 21 examples, by up to 0." in str(error.value)
    assert f"record 20 (from 0) of '{tmp_path}/examples/Split-eval/a.gz' in split 'eval'" in str(error.value)
    assert os.listdir(output.uri) == []
    assert _custom_properties(output) == {}
    assert snapshot(source) == before


def test_do_tolerates_differences_that_it_is_told_to(model_of, output, examples_of, tmp_path):
    def serve(serialized):
        x = _x(serialized)
        return {"y": tf.where(x > 1e5, 1e-6 * _random(x), x)}

    source = _save(tmp_path / "source", tf.Module(), serve, _RECORDS)
    _do(model_of(source), output, [examples_of(_FILES)], tolerance=1e-5)
    written = _custom_properties(output)
    assert written[properties.EXAMPLES_PROVEN] == 21
    assert written[properties.EXAMPLES_DIFFERING] == 1
    assert 0 < float(written[properties.MAX_ABSOLUTE_DIFFERENCE]) < 1e-6
    assert written[properties.TOLERANCE] == "1e-05"


def test_do_keeps_the_sign_of_a_pruned_weight_that_only_the_proof_sees(model_of, output, examples_of, tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight", (8,))

    def serve(serialized):
        x = _x(serialized)[:, tf.newaxis]
        # A negative weight that is pruned gives -0.0.
        return {"y": tf.where(x > 1e5, x * apply_mask(module.weight), 1.0)}

    source = _save(tmp_path / "source", module, serve, _RECORDS)
    _do(model_of(source), output, [examples_of(_FILES)], num_examples=20)
    assert output.get_int_custom_property(properties.EXAMPLES_PROVEN) == 21
    assert os.listdir(output.uri) == ["Format-Serving"]


def test_do_gives_features_to_a_signature_that_takes_them(model_of, output, examples_of, tmp_path):
    source = _save(tmp_path / "source", tf.Module(), lambda x: {"y": x * 2.0}, [tf.TensorSpec([None], name="x")])
    _do(model_of(source), output, [examples_of(_FILES)])
    assert output.get_int_custom_property(properties.EXAMPLES_PROVEN) == 21


@pytest.fixture
def graph_model(tmp_path):
    """A masked SavedModel of TensorFlow 1 that parses examples; one of 1e6 has a random answer if `noisy`."""

    def saved(noisy=False):
        with graph(), tf1.Session() as session:
            serialized = tf1.placeholder(tf.string, [None], name="examples")
            x = tf1.parse_example(serialized, {"x": tf1.FixedLenFeature([], tf.float32)})["x"]
            y = layer(x[:, tf.newaxis], "only", units=4)
            if noisy:
                y = tf.where(x[:, tf.newaxis] > 1e5, _random(y), y)
            trained(session)
            save(tmp_path / "source", session, {"serving_default": ({"examples": serialized}, {"y": y})})
        return tmp_path / "source"

    return saved


def test_do_proves_a_model_of_tensorflow_1(model_of, output, examples_of, graph_model, snapshot):
    source = graph_model()
    before = snapshot(source)
    _do(model_of(source), output, [examples_of(_FILES)])
    written = _custom_properties(output)
    assert 0 < written.pop(properties.GZIPPED_BYTES) < written[properties.STRIPPED_BYTES]
    assert written == {
        properties.TRAINED_BYTES: sum(map(len, before.values())),
        properties.STRIPPED_BYTES: sum(map(len, snapshot(os.path.join(output.uri, "Format-Serving")).values())),
        # The mask, the threshold, the gradient, two old weights and the global step.
        properties.VARIABLES_REMOVED: 6,
        properties.SIGNATURES_CHECKED: "serving_default",
        properties.SIGNATURE_PROVEN: "serving_default",
        properties.SPLITS_PROVEN: "eval",
        properties.EXAMPLES_PROVEN: 21,
        properties.EXAMPLES_DIFFERING: 0,
        properties.MAX_ABSOLUTE_DIFFERENCE: "0.0",
        properties.TOLERANCE: "0.0",
    }
    (weight,) = read_report(_report(output).uri).weights
    kept, masks = variables(os.path.join(output.uri, "Format-Serving")), variables(source)
    assert (weight.path, weight.shape, weight.pruned) == ("only/weights", (1, 4), True)
    assert weight.nonzero == np.count_nonzero(kept["only/weights"]) == np.count_nonzero(masks["only/mask"])
    assert snapshot(source) == before


def test_do_publishes_nothing_of_tensorflow_1_if_one_example_is_answered_otherwise(
    model_of, output, examples_of, graph_model
):
    with pytest.raises(VerificationError, match=r"on 1 of 21 examples, by up to 0\.\d+. The first is record 20 "):
        _do(model_of(graph_model(noisy=True)), output, [examples_of(_FILES)], num_examples=20)
    assert os.listdir(output.uri) == []


def test_do_refuses_a_signature_that_a_model_of_tensorflow_1_lacks(model_of, output, examples_of, graph_model, given):
    with pytest.raises(ValueError, match=r"no signature 'f' to prove on .*, it has \['serving_default'\]"):
        _do(model_of(graph_model()), output, [examples_of(_FILES)], signature_name="f")
    assert given == {"records": [], "files": []}


@pytest.mark.parametrize("payload", ["FORMAT_TF_SEQUENCE_EXAMPLE", "FORMAT_PROTO"])
def test_do_gives_records_of_any_kind_to_a_signature_that_parses_them(payload, model_of, output, examples_of, tmp_path):
    def serve(serialized):
        return {"y": tf.io.parse_sequence_example(serialized, {"x": tf.io.FixedLenFeature([], tf.float32)})[0]["x"]}

    examples = examples_of(_FILES)
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.Value(payload))
    source = _save(tmp_path / "source", tf.Module(), serve, _RECORDS)
    _do(model_of(source), output, [examples])
    assert output.get_int_custom_property(properties.EXAMPLES_PROVEN) == 21


def test_do_refuses_examples_that_the_signature_does_not_take_before_it_strips(
    model_of, output, examples_of, tmp_path, given
):
    source = _save(tmp_path / "source", tf.Module(), lambda z: {"y": z}, [tf.TensorSpec([None], name="z")])
    with pytest.raises(ValueError, match=r"takes 'z' \(float32, shape \(None,\)\), .* hold the features \['x'\]"):
        _do(model_of(source), output, [examples_of(_FILES)])
    assert given == {"records": [], "files": []}


def test_do_refuses_a_signature_that_is_not_there_before_it_strips(model, output, examples, given):
    with pytest.raises(ValueError, match=r"no signature 'f' .* it has \['serving_default', 'transform_features'\]"):
        _do(model, output, [examples], signature_name="f")
    assert given == {"records": [], "files": []}


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


def test_do_refuses_a_split_that_is_not_there(model, output, examples, examples_of, taxi_model):
    with pytest.raises(ValueError, match=r"have no split 'test', they have \['train', 'eval'\]"):
        _do(model, output, [examples], splits='["eval", "test"]')
    only_train = examples_of({"train/a.gz": taxi_model.examples}, name="only-train")
    with pytest.raises(ValueError, match=r"only-train' have no split 'eval', they have \['train'\]"):
        _do(model, output, [examples, only_train], splits='["eval"]')


def test_do_refuses_an_empty_split(model, output, examples, tmp_path):
    folder = tmp_path / "examples" / "Split-eval"
    write_records(folder / "data-00000.gz", [])
    (folder / "data-00001.gz").unlink()
    with pytest.raises(ValueError, match=r"The split 'eval' .* holds no records, in \['.*data-00000.gz'\]"):
        _do(model, output, [examples])
    with pytest.raises(ValueError, match=r"The split 'eval' .* holds no records"):
        _do(model, output, [examples], splits='["train", "eval"]')
    assert os.listdir(output.uri) == []


def test_do_refuses_a_file_of_something_else(model, output, examples, tmp_path):
    (tmp_path / "examples" / "Split-eval" / "data-00000.gz").write_bytes(b"not TFRecords")
    with pytest.raises(ValueError, match=r"data-00000.gz' of the examples cannot be read"):
        _do(model, output, [examples])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_examples", 0, "num_examples is 0, expected at least 1"),
        ("tolerance", -1.0, "tolerance is -1.0, expected"),
        ("signature_name", "", "signature_name is empty"),
        ("splits", "[]", "splits is"),
    ],
)
def test_do_refuses_values_of_runtime_parameters(name, value, message, model, output, examples):
    with pytest.raises(ValueError, match=message):
        _do(model, output, [examples], **{name: value})


def test_do_refuses_a_model_artifact_without_a_model(output, tmp_path):
    empty = standard_artifacts.Model()
    empty.uri = str(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no SavedModel at '.*empty/Format-Serving'"):
        _do(empty, output)
    assert os.listdir(output.uri) == []


@pytest.mark.slow
def test_do_honours_beam_pipeline_args(model, output, examples, monkeypatch):
    context = Executor.Context(beam_pipeline_args=["--direct_running_mode=multi_processing", "--direct_num_workers=2"])

    def fail(*unused):
        raise AssertionError("models were loaded in the component's own process")

    monkeypatch.setattr("tfx_pruning.stripper.proof.model_pair.ModelPair.__init__", fail)
    _do(model, output, [examples], context=context)
    assert output.get_int_custom_property(properties.EXAMPLES_PROVEN) == 4
    assert os.listdir(output.uri) == ["Format-Serving"]


@pytest.fixture
def dense(dense_model, tmp_path):
    """A Model artifact whose signature takes numbers."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path / "dense")
    os.makedirs(artifact.uri)
    os.symlink(dense_model, tmp_path / "dense" / "Format-Serving")
    return artifact


def test_do_exports_beside_the_serving_model(dense, output):
    _do(dense, output, export='["tflite", "keras_weights"]')
    assert sorted(os.listdir(output.uri)) == ["Format-Serving", "exports"]
    assert sorted(os.listdir(os.path.join(output.uri, "exports"))) == ["keras_weights.h5", "model.tflite"]
    assert "exports" not in os.listdir(os.path.join(output.uri, "Format-Serving"))
    with open(os.path.join(output.uri, "exports", "model.tflite"), "rb") as stream:
        content = stream.read()
    written = _custom_properties(output)
    assert written["tflite_bytes"] == len(content)
    assert abs(written["tflite_gzipped_bytes"] - len(gzip.compress(content, 6))) < 20
    assert 0 <= float(written["tflite_max_abs_difference"]) < 1e-4
    assert written["keras_weights_max_abs_difference"] == "0.0"
    assert written["keras_weights_bytes"] == os.path.getsize(os.path.join(output.uri, "exports", "keras_weights.h5"))


def test_do_leaves_no_model_if_an_export_fails(model, output):
    with pytest.raises(ValueError, match=r"TFLite has no kernels for .*ParseExampleV2"):
        _do(model, output, export='["tflite"]')
    assert os.listdir(output.uri) == []
    assert _custom_properties(output) == {}


def test_do_measures_exports_by_a_metric(dense, output, examples_of):
    records = [example(x=[0.1 * index, 0.5, -0.2, 0.3], y=[float(index)]) for index in range(5)]
    report = _report(output)
    Executor().Do(
        {"trained_model": [dense], "examples": [examples_of({"eval/data.gz": records})]},
        {"model": [output], "report": [report]},
        {
            **_DEFAULTS,
            "export": '["frozen_graph", "keras_weights"]',
            "export_metric": "MeanAbsoluteError",
            "export_label": "y",
        },
    )
    serve = tf.saved_model.load(os.path.join(output.uri, "Format-Serving"))
    x = tf.constant([[0.1 * index, 0.5, -0.2, 0.3] for index in range(5)], tf.float32)
    answers = serve.signatures["serving_default"](x=x)["score"].numpy()
    expected = np.mean(np.abs(answers[:, 0] - np.arange(5)))
    written = _custom_properties(output)
    assert written[properties.EXPORT_METRIC] == "MeanAbsoluteError"
    assert float(written[properties.EXPORT_METRIC_VALUE]) == pytest.approx(expected, rel=1e-5)
    assert float(written["frozen_graph_metric_value"]) == pytest.approx(expected, rel=1e-5)
    assert "keras_weights_metric_value" not in written
    document = read_report(report.uri)
    assert [(each.format, each.metric, each.metric_value is None) for each in document.exports] == [
        ("frozen_graph", "MeanAbsoluteError", False),
        ("keras_weights", "MeanAbsoluteError", True),
    ]


def _do_with_report(dense, output):
    report = _report(output)
    Executor().Do({"trained_model": [dense]}, {"model": [output], "report": [report]}, _DEFAULTS)
    return report


def test_do_gives_the_model_though_the_page_cannot_be_made(dense, output, monkeypatch):
    def fail(_):
        raise ArithmeticError("a plot that fails\0")

    monkeypatch.setattr("tfx_pruning.report.files.page", fail)
    report = _do_with_report(dense, output)
    assert _custom_properties(report) == {"missing": r"ArithmeticError: a plot that fails\x00"}
    assert os.listdir(report.uri) == ["pruning_report.json"]
    assert read_report(report.uri).stripping.signatures_checked == ("serving_default",)
    assert os.listdir(os.path.join(output.uri, "Format-Serving"))
    assert _custom_properties(output)["signatures_checked"] == "serving_default"


def test_do_gives_the_model_though_the_report_cannot_be_written(dense, output):
    pathlib.Path(f"{output.uri}_report").write_text("a file where the folder should be")
    report = _do_with_report(dense, output)
    assert "cannot be written" in _custom_properties(report)["missing"]
    assert _custom_properties(output)["signatures_checked"] == "serving_default"


def test_do_leaves_no_model_if_it_is_interrupted_at_the_report(dense, output, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfx_pruning.report.files.page", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _do_with_report(dense, output)
    assert os.listdir(output.uri) == []
    assert _custom_properties(output) == {}


@pytest.mark.parametrize("value", ["tflite", '{"tflite": 1}', "[1]"])
def test_do_refuses_formats_that_are_no_json_list(value, dense, output):
    with pytest.raises(ValueError, match="expected a JSON list of format names"):
        _do(dense, output, export=value)
    assert os.listdir(output.uri) == []
