"""export_model on stripped models: what each file holds and answers, and what is refused."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.check.verify import VerificationError
from tfx_pruning.stripper.export import frozen_graph, tflite
from tfx_pruning.stripper.export.formats import FORMATS, exporters
from tfx_pruning.stripper.export.model_export import export_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:(?s).*Interpreter is deprecated:UserWarning"),
]

_SIZE, _HIDDEN = 64, 256
# Of the formats that answer, the one that XNNPACK refuses of matrices of this size.
_REFUSED = "tflite_sparse_dynamic_int8"
_ANSWERING = [name for name in FORMATS.names() if name not in ("keras_weights", _REFUSED)]


def _example(**features):
    example = tf.train.Example()
    for name, values in features.items():
        kind = "float_list" if np.asarray(values).dtype.kind == "f" else "int64_list"
        getattr(example.features.feature[name], kind).value.extend(np.ravel(values).tolist())
    return example.SerializeToString()


def _sparse_matrix(random, rows, columns):
    matrix = random.standard_normal((rows, columns)) / np.sqrt(rows)
    return np.where(random.random(matrix.shape) < 0.1, matrix, 0.0).astype(np.float32)


@pytest.fixture(scope="module")
def module_path(tmp_path_factory):
    """A perceptron, 90 % zeros, with the signatures 'serving_default' on numbers and 'parse' on tf.Examples."""
    random = np.random.default_rng(3)
    module = tf.Module()
    module.first = tf.Variable(_sparse_matrix(random, _SIZE, _HIDDEN), name="first")
    module.second = tf.Variable(_sparse_matrix(random, _HIDDEN, 8), name="second")

    def scores(x):
        return tf.nn.relu(x @ module.first) @ module.second

    @tf.function(input_signature=[tf.TensorSpec([None, _SIZE], tf.float32, name="x")])
    def serve(x):
        return {"scores": scores(x), "best": tf.argmax(scores(x), axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def parse(examples):
        x = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([_SIZE], tf.float32)})["x"]
        return {"x": x, "scores": scores(x)}

    path = tmp_path_factory.mktemp("module")
    tf.saved_model.save(module, path / "source", signatures={"serving_default": serve, "parse": parse})
    strip_saved_model(path / "source", path / "model")
    return path / "model"


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(4).standard_normal((100, _SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def examples(inputs):
    return [_example(x=row) for row in inputs]


@pytest.fixture(scope="module")
def exported(module_path, examples, tmp_path_factory):
    """Every format that answers and is not refused, by name."""
    folder = tmp_path_factory.mktemp("exports") / "exports"
    return {each.format: each for each in export_model(module_path, folder, _ANSWERING, examples=examples)}


@pytest.fixture(scope="module")
def expected(module_path, inputs):
    answer = tf.saved_model.load(str(module_path)).signatures["serving_default"](x=tf.constant(inputs))
    return {name: value.numpy() for name, value in answer.items()}


def _graph_def(file):
    with open(file.path, "rb") as stream:
        return tf.compat.v1.GraphDef.FromString(stream.read())


def _interpreted(file, inputs):
    interpreter = tf.lite.Interpreter(model_path=file.path)
    return interpreter.get_signature_runner("serving_default")(x=inputs)


def test_export_reports_the_files_that_it_wrote(exported):
    assert list(exported) == _ANSWERING
    for name, file in exported.items():
        assert os.path.basename(file.path) == exporters([name])[0].file
        assert file.bytes == os.path.getsize(file.path)
        assert 0 < file.gzipped_bytes < file.bytes
        assert file.checked_on == "examples"
    (folder,) = {os.path.dirname(file.path) for file in exported.values()}
    assert sorted(os.listdir(folder)) == sorted(each.file for each in exporters(_ANSWERING))
    assert len(os.listdir(os.path.dirname(folder))) == 1


@pytest.mark.numerical
def test_frozen_graph_answers_by_the_names_of_inputs_and_outputs(exported, inputs, expected):
    graph_def = _graph_def(exported["frozen_graph"])
    assert not [node.op for node in graph_def.node if "Variable" in node.op or "VarHandle" in node.op]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        scores, best = session.run(["scores:0", "best:0"], {"x:0": inputs})
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-6)
    assert best.tolist() == expected["best"].tolist()
    assert exported["frozen_graph"].max_abs_difference == 0.0


@pytest.mark.numerical
@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("tflite", 1e-5),
        ("tflite_sparse", 1e-5),
        ("tflite_float16", 1e-2),
        ("tflite_sparse_float16", 1e-2),
        ("tflite_dynamic_int8", 0.2),
        ("tflite_int8", 0.2),
        ("tflite_sparse_int8", 0.2),
    ],
)
def test_tflite_runs_by_the_signature_and_answers_as_the_model(name, bound, exported, inputs, expected):
    answer = _interpreted(exported[name], inputs)
    assert answer.keys() == expected.keys()
    difference = np.abs(answer["scores"] - expected["scores"]).max()
    assert difference < bound * np.abs(expected["scores"]).max()
    assert difference <= exported[name].max_abs_difference
    assert (answer["best"] == expected["best"]).mean() > 0.9


def test_what_the_interpreter_refuses_by_default_is_not_published(module_path, examples, tmp_path):
    with pytest.raises(VerificationError, match=r"default, with XNNPACK .* would run.* 'tflite_sparse_int8' run by d"):
        export_model(module_path, tmp_path / "out", ["tflite", _REFUSED], examples=examples)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("columns", [31, 32])
def test_each_file_that_is_published_loads_by_default(tmp_path, columns):
    """The converter makes weights int8 from 1,024 elements on, which XNNPACK refuses if they are sparse."""
    module = tf.Module()
    module.weight = tf.Variable(_sparse_matrix(np.random.default_rng(5), 32, columns), name="weight")
    spec = [tf.TensorSpec([None, 32], tf.float32, name="x")]
    serve = tf.function(lambda x: {"y": x @ module.weight}, input_signature=spec)
    tf.saved_model.save(module, tmp_path / "model", signatures={"serving_default": serve})
    examples = [_example(x=row) for row in np.eye(32, dtype=np.float32)]
    loaded = []
    for name in [name for name in FORMATS.names() if name.startswith("tflite")]:
        try:
            (file,) = export_model(tmp_path / "model", tmp_path / name, [name], examples=examples)
        except VerificationError:
            continue
        assert _interpreted(file, np.eye(32, dtype=np.float32))["y"].shape == (32, columns)
        loaded.append(name)
    names = {name for name in FORMATS.names() if name.startswith("tflite")}
    assert set(loaded) == (names if columns == 31 else names - {_REFUSED})


def test_sizes_fall_as_the_formats_say(exported):
    weights = _SIZE * _HIDDEN + _HIDDEN * 8
    size = {name: file.bytes for name, file in exported.items()}
    assert size["tflite"] > 4 * weights
    assert 2 * weights < size["tflite_float16"] < 2.3 * weights
    assert weights < size["tflite_dynamic_int8"] < 1.3 * weights
    assert weights < size["tflite_int8"] < 1.3 * weights
    for kind in ("", "_float16", "_int8"):
        assert size[f"tflite_sparse{kind}"] < 0.6 * size[f"tflite{kind}"]


def _kinds_of_tensors(file):
    interpreter = tf.lite.Interpreter(model_path=file.path)
    return {detail["dtype"] for detail in interpreter.get_tensor_details() if len(detail["shape"]) == 2}


def test_int8_computes_in_int8_and_keeps_the_inputs_floats(exported):
    (given,) = tf.lite.Interpreter(model_path=exported["tflite_int8"].path).get_input_details()
    assert given["dtype"] == np.float32
    assert np.int8 in _kinds_of_tensors(exported["tflite_int8"])
    assert np.int8 not in _kinds_of_tensors(exported["tflite_float16"])


def test_the_range_of_activations_comes_from_the_examples(module_path, examples, inputs, exported, tmp_path):
    tiny = [_example(x=row * 1e-3) for row in inputs]
    (file,) = export_model(module_path, tmp_path / "out", ["tflite_int8"], examples=tiny)
    coarse = _interpreted(exported["tflite_int8"], inputs[:1] * 1e-3)["scores"]
    fine = _interpreted(file, inputs[:1] * 1e-3)["scores"]
    assert np.count_nonzero(coarse) < np.count_nonzero(fine)


def test_without_examples_the_check_is_on_drawn_inputs(module_path, tmp_path):
    (file,) = export_model(module_path, tmp_path / "out", ["frozen_graph"])
    assert file.checked_on == "drawn inputs"


def test_a_signature_that_parses_records_can_be_frozen_but_no_tflite(module_path, examples, tmp_path):
    (file,) = export_model(module_path, tmp_path / "out", ["frozen_graph"], signature="parse", examples=examples)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(_graph_def(file), name="")
        assert session.run("x:0", {"examples:0": examples[:2]}).shape == (2, _SIZE)
    with pytest.raises(ValueError, match=r"TFLite has no kernels for ParseExampleV2\. .* export_signature"):
        export_model(module_path, tmp_path / "lite", ["frozen_graph", "tflite"], signature="parse")
    assert os.listdir(tmp_path) == ["out"]


def test_a_frozen_graph_names_an_output_apart_from_an_input(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([2.0], name="weight")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(x):
        return {"x": x * module.weight, "same": x}

    tf.saved_model.save(module, tmp_path / "model", signatures={"serving_default": serve})
    (file,) = export_model(tmp_path / "model", tmp_path / "out", ["frozen_graph"])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(_graph_def(file), name="")
        answers = session.run(["x_output:0", "same:0"], {"x:0": [1.0, 3.0]})
    assert [each.tolist() for each in answers] == [[2.0, 6.0], [1.0, 3.0]]


def test_a_signature_with_a_table_cannot_be_frozen(taxi_model, tmp_path):
    with pytest.raises(ValueError, match=r"cannot hold, such as lookup tables \(.*LookupTableFind.*\)"):
        export_model(taxi_model.path, tmp_path / "out", ["frozen_graph"], signature="transform_features")
    assert os.listdir(tmp_path) == []


def test_examples_pass_through_the_signature_that_parses_them(tmp_path):
    """Raw features have the names of the transformed ones; only the model knows how they are transformed."""
    module = tf.Module()
    module.weight = tf.Variable([[1.0]], name="weight")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_features(examples):
        return {"x": tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"] / 1000.0}

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def serve(x):
        return {"y": x @ module.weight}

    signatures = {"serving_default": serve, "transform_features": transform_features}
    tf.saved_model.save(module, tmp_path / "model", signatures=signatures)
    records = [_example(x=[float(value)]) for value in range(1000)]
    (file,) = export_model(tmp_path / "model", tmp_path / "out", ["tflite_int8"], examples=records)
    answer = _interpreted(file, np.array([[0.25], [0.75], [5.0]], np.float32))["y"]
    np.testing.assert_allclose(answer[:2, 0], [0.25, 0.75], atol=0.01)
    assert answer[2, 0] < 1.1


@pytest.fixture(scope="module")
def recurrent_path(tmp_path_factory):
    """An LSTM with an open batch size in one signature and a batch size of two in the other."""
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(3)])
    signatures = {
        name: tf.function(
            lambda x: {"y": model(x)}, input_signature=[tf.TensorSpec([batch, 4, 2], tf.float32, name="x")]
        )
        for name, batch in (("serving_default", None), ("two", 2))
    }
    path = tmp_path_factory.mktemp("recurrent")
    tf.saved_model.save(model, path / "source", signatures=signatures)
    strip_saved_model(path / "source", path / "model")
    return path / "model"


def test_a_recurrent_model_needs_a_fixed_batch_size(recurrent_path, tmp_path):
    with pytest.raises(ValueError, match=r"a fixed batch size, such as tf\.TensorSpec\(\[1, "):
        export_model(recurrent_path, tmp_path / "open", ["tflite"])
    records = [_example(x=row) for row in np.random.default_rng(5).standard_normal((3, 4, 2)).astype(np.float32)]
    files = export_model(
        recurrent_path, tmp_path / "out", ["frozen_graph", "tflite"], signature="two", examples=records
    )
    assert [file.checked_on for file in files] == ["examples", "examples"]
    x = np.ones((2, 4, 2), np.float32)
    expected = tf.saved_model.load(str(recurrent_path)).signatures["two"](x=tf.constant(x))["y"]
    answer = tf.lite.Interpreter(model_path=files[1].path).get_signature_runner("two")(x=x)["y"]
    np.testing.assert_allclose(answer, expected, atol=1e-5)


@pytest.mark.parametrize("records", [[_example(other=[1.0])], [_example(x=[1.0] * 3)], [b"\xff no example"]])
def test_int8_refuses_examples_that_are_none_of_the_signature(records, module_path, tmp_path):
    with pytest.raises(ValueError, match=r"takes none of those given\. .* features of these names: x\."):
        export_model(module_path, tmp_path / "out", ["tflite_int8"], examples=records)
    assert os.listdir(tmp_path) == []


def test_int8_refuses_to_go_without_examples(module_path, tmp_path):
    with pytest.raises(ValueError, match="'tflite_int8' needs examples"):
        export_model(module_path, tmp_path / "out", ["tflite", "tflite_int8"])
    assert os.listdir(tmp_path) == []


@pytest.mark.numerical
def test_a_quantised_file_beyond_the_tolerance_is_refused(module_path, examples, tmp_path):
    # Of the best classes some differ too, on some processors.
    with pytest.raises(VerificationError, match=r"in output 'scores', .* more than the tolerance of 1e-09"):
        export_model(module_path, tmp_path / "out", ["tflite", "tflite_int8"], examples=examples, tolerance=1e-9)
    assert os.listdir(tmp_path) == []


@pytest.mark.numerical
def test_a_file_with_other_weights_is_refused(module_path, tmp_path, monkeypatch):
    convert = tflite.convert

    def damaged(*arguments):
        content = bytearray(convert(*arguments))
        values = np.frombuffer(content, np.float32, len(content) // 4)
        places = np.flatnonzero((np.abs(values) > 1e-3) & (np.abs(values) < 1))
        values[places[: len(places) // 2]] *= -1
        return bytes(content)

    monkeypatch.setattr(tflite, "convert", damaged)
    with pytest.raises(VerificationError, match=r"in output 'scores', .* more than the tolerance of 0\.001"):
        export_model(module_path, tmp_path / "out", ["tflite"])
    assert os.listdir(tmp_path) == []


@pytest.mark.numerical
def test_a_frozen_graph_whose_weights_are_off_by_one_bit_is_refused(module_path, tmp_path, monkeypatch):
    freeze = frozen_graph.freeze

    def damaged(signature, name):
        graph_def = freeze(signature, name)
        node = next(each for each in graph_def.node if each.op == "Const" and each.attr["dtype"].type == 1)
        value = tf.make_ndarray(node.attr["value"].tensor)
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.nextafter(value, 2 * value)))
        return graph_def

    monkeypatch.setattr(frozen_graph, "freeze", damaged)
    with pytest.raises(VerificationError, match="The export 'frozen_graph' of signature 'serving_default' differs"):
        export_model(module_path, tmp_path / "out", ["frozen_graph"])
    assert os.listdir(tmp_path) == []


def test_models_beyond_the_limit_of_a_file_are_refused(module_path, tmp_path, monkeypatch):
    kinds = frozen_graph.FrozenGraphExporter, tflite.TFLiteExporter
    for kind in kinds:
        monkeypatch.setattr(kind, "limit_bytes", 4 * (_SIZE * _HIDDEN + _HIDDEN * 8))
    for name in ("frozen_graph", "tflite"):
        with pytest.raises(ValueError, match=rf"take 73728 bytes, and a file of the format '{name}' holds less than"):
            export_model(module_path, tmp_path / "out", [name])
    monkeypatch.setattr(kinds[0], "limit_bytes", 4 * (_SIZE * _HIDDEN + _HIDDEN * 8) + 1)
    export_model(module_path, tmp_path / "out", ["frozen_graph"])


def test_export_refuses_a_signature_that_is_not_there(module_path, tmp_path):
    with pytest.raises(
        ValueError, match=r"no signature 'scores' to export, its signatures are: serving_default, parse"
    ):
        export_model(module_path, tmp_path / "out", ["tflite"], signature="scores")


def test_export_refuses_an_occupied_destination_unless_told_to_overwrite(module_path, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="it holds mine"):
        export_model(module_path, tmp_path / "out", ["frozen_graph"])
    assert os.listdir(tmp_path / "out") == ["mine"]
    export_model(module_path, tmp_path / "out", ["frozen_graph"], overwrite=True)
    assert os.listdir(tmp_path / "out") == ["frozen_graph.pb"]


def test_export_refuses_no_formats(module_path, tmp_path):
    with pytest.raises(ValueError, match="formats is empty"):
        export_model(module_path, tmp_path / "out", [])
