"""strip_saved_model on models whose forward pass multiplies weights by masks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.masked_models import masked_weight, prune, served
from tfx_pruning import apply_mask, strip_saved_model
from tfx_pruning.engine.weight_state import WeightState

pytestmark = pytest.mark.slow

_INPUT = np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32)


def _names(meta_graph):
    """Every name in a MetaGraph: functions, arguments, outputs, nodes, variables, children; and operations' inputs."""
    functions = meta_graph.graph_def.library.function
    objects = meta_graph.object_graph_def.nodes
    nodes = [*meta_graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    return [
        *(function.signature.name for function in functions),
        *(each.name for function in functions for each in function.signature.input_arg),
        *(each.name for function in functions for each in function.signature.output_arg),
        *(each for function in functions for each in function.signature.control_output),
        *(node.name for node in nodes),
        *(each for node in nodes for each in node.input),
        *(node.variable.name for node in objects),
        *(child.local_name for node in objects for child in node.children),
    ]


def _operations(meta_graph):
    return [node.op for function in meta_graph.graph_def.library.function for node in function.node_def]


def _values_bytes(path):
    return (path / "variables" / "variables.data-00000-of-00001").stat().st_size


def _serve_in_session(path, signature, inputs):
    """The answer as the C++ loader gives it."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        declared = meta_graph.signature_def[signature]
        feed = {declared.inputs[name].name: value for name, value in inputs.items()}
        return session.run({name: tensor.name for name, tensor in declared.outputs.items()}, feed)


@pytest.fixture
def check(tmp_path, read_meta_graph, variable_keys):
    """Saves and strips a model; asserts what must hold of every one, and returns the stripped MetaGraph."""

    def run(model, signatures, kept, inputs=None):
        inputs = inputs or {"x": tf.constant(_INPUT)}
        expected = {name: signature(**inputs) for name, signature in signatures.items()}
        tf.saved_model.save(model, tmp_path / "in", signatures=signatures)
        report = strip_saved_model(tmp_path / "in", tmp_path / "out")

        assert list(report.variables_kept) == variable_keys(tmp_path / "out") == sorted(kept)
        assert _values_bytes(tmp_path / "out") < _values_bytes(tmp_path / "in")
        names = _names(read_meta_graph(tmp_path / "out"))
        assert not [name for name in names if "mask" in name or "pruning" in name or "threshold" in name]
        loaded = tf.saved_model.load(tmp_path / "out")
        for name, answer in expected.items():
            actual = loaded.signatures[name](**inputs)
            assert actual.keys() == answer.keys()
            for key, value in answer.items():
                assert actual[key].numpy().tobytes() == value.numpy().tobytes()
            served = _serve_in_session(tmp_path / "out", name, {key: tensor.numpy() for key, tensor in inputs.items()})
            for key, value in answer.items():
                if value.dtype.is_floating:
                    # A session folds constants and fuses operations.
                    np.testing.assert_allclose(served[key], value, rtol=1e-3 if value.dtype == tf.float16 else 1e-5)
        return read_meta_graph(tmp_path / "out")

    return run


def _arguments(meta_graph, operation):
    """The number of inputs of each node of one operation."""
    functions = meta_graph.graph_def.library.function
    return [len(node.input) for function in functions for node in function.node_def if node.op == operation]


def test_strip_folds_the_mask_of_a_module(check, tmp_path):
    module = tf.Module()
    module.weight = masked_weight("dense/kernel")
    serve = served(lambda x: {"y": tf.nn.relu(x @ apply_mask(module.weight))})

    meta_graph = check(module, {"serve": serve}, ["weight"])

    assert not {"Mul", "Cast"} & set(_operations(meta_graph))
    (body,) = [each for each in meta_graph.graph_def.library.function if any(n.op == "MatMul" for n in each.node_def)]
    assert [argument.name for argument in body.signature.input_arg] == ["x", "readvariableop_resource"]
    mask = WeightState.of(module.weight).mask.numpy()
    value = tf.train.load_variable(
        str(tmp_path / "out" / "variables" / "variables"), "weight/.ATTRIBUTES/VARIABLE_VALUE"
    )
    assert value[mask].tobytes() == module.weight.numpy()[mask].tobytes()
    assert (module.weight.numpy()[~mask] < 0).any()
    assert value[~mask].tobytes() == np.zeros((~mask).sum(), np.float32).tobytes()


def test_strip_a_folded_model_again_changes_nothing(check, tmp_path, snapshot):
    module = tf.Module()
    module.weight = masked_weight("weight")
    check(module, {"serve": served(lambda x: {"y": x @ apply_mask(module.weight)})}, ["weight"])
    again = strip_saved_model(tmp_path / "out", tmp_path / "again")
    assert again.variables_removed == ()
    values = "variables/variables.data-00000-of-00001"
    # The first 64 bytes are the weight, 4 x 4; the object graph follows.
    assert snapshot(tmp_path / "again")[values][:64] == snapshot(tmp_path / "out")[values][:64]


def test_strip_reports_the_masks_and_thresholds_among_the_variables_removed(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")
    tf.saved_model.save(module, tmp_path / "in", signatures=served(lambda x: {"y": x @ apply_mask(module.weight)}))
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert report.variables_removed == ("weight/pruning/mask", "weight/pruning/threshold")


def test_strip_folds_masks_in_branches(check):
    module = tf.Module()
    module.first, module.second = masked_weight("first"), masked_weight("second", seed=2)

    def serve(x):
        cond = tf.cond(tf.reduce_sum(x) > 0, lambda: x @ apply_mask(module.first), lambda: x - 1.0)
        case = tf.switch_case(
            tf.shape(x)[0] % 3,
            [
                lambda: x @ apply_mask(module.first),
                lambda: x @ apply_mask(module.second),
                lambda: tf.cond(x[0, 0] > 0, lambda: x @ apply_mask(module.second), lambda: x),
            ],
        )
        return {"cond": cond, "case": case}

    meta_graph = check(module, {"serve": served(serve)}, ["first", "second"])
    assert _arguments(meta_graph, "If") == [3, 3]
    # The branch index, x, the weights.
    assert _arguments(meta_graph, "Case") == [4]


def test_strip_folds_masks_in_loops(check):
    module = tf.Module()
    module.inner, module.outer = masked_weight("inner"), masked_weight("outer", seed=2)

    def serve(x):
        def body(step, state):
            _, nested = tf.while_loop(
                lambda i, _: i < 2, lambda i, s: (i + 1, tf.tanh(s @ apply_mask(module.inner))), (0, state)
            )
            return step + 1, nested @ apply_mask(module.outer)

        steps, state = tf.while_loop(lambda i, _: i < 3, body, (0, x))
        return {"y": state, "steps": tf.fill([tf.shape(x)[0]], steps)}

    meta_graph = check(module, {"serve": served(serve)}, ["inner", "outer"])
    loops = [
        node for function in meta_graph.graph_def.library.function for node in function.node_def if node.op == "While"
    ]
    # Counter, bound, step and state; one weight inside, both outside.
    assert sorted(len(loop.input) for loop in loops) == [5, 6]
    for loop in loops:
        assert len(loop.attr["T"].list.type) == len(loop.attr["output_shapes"].list.shape) == len(loop.input)


def test_strip_folds_a_mask_that_was_read_outside_of_the_loop(check):
    module = tf.Module()
    module.weight = masked_weight("weight")

    def serve(x):
        weight, mask = module.weight.value(), tf.cast(WeightState.of(module.weight).mask, tf.float32)
        _, y = tf.while_loop(lambda i, _: i < 2, lambda i, s: (i + 1, s @ (weight * mask)), (0, x))
        return {"y": y}

    meta_graph = check(module, {"serve": served(serve)}, ["weight"])
    # Counter, bound, step, state and the weight's value.
    assert _arguments(meta_graph, "StatelessWhile") == [5]


def test_strip_folds_the_masks_of_a_recurrent_cell(check):
    module = tf.Module()
    module.kernel, module.recurrent = (
        masked_weight("lstm/kernel", (4, 12)),
        masked_weight("lstm/recurrent", (3, 12), seed=2),
    )
    module.bias = tf.Variable(np.linspace(-1, 1, 12), dtype=tf.float32)

    def cell(x, hidden, carry):
        gates = x @ apply_mask(module.kernel) + hidden @ apply_mask(module.recurrent) + module.bias
        i, f, g, o = tf.split(tf.pad(gates, [[0, 0], [0, 0]]), 4, axis=1)
        carry = tf.sigmoid(f) * carry + tf.sigmoid(i) * tf.tanh(g)
        return tf.sigmoid(o) * tf.tanh(carry), carry

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4], name="x")])
    def serve(x):
        zeros = tf.zeros([tf.shape(x)[0], 3])
        outputs = tf.TensorArray(tf.float32, size=tf.shape(x)[1])

        def body(step, hidden, carry, outputs):
            hidden, carry = cell(x[:, step], hidden, carry)
            return step + 1, hidden, carry, outputs.write(step, hidden)

        loop = tf.while_loop(lambda step, *_: step < tf.shape(x)[1], body, (0, zeros, zeros, outputs))
        return {"y": tf.transpose(loop[3].stack(), [1, 0, 2])}

    inputs = {"x": tf.constant(np.random.default_rng(3).standard_normal((2, 5, 4)), tf.float32)}
    check(module, {"serve": serve}, ["kernel", "recurrent", "bias"], inputs)


def test_strip_folds_masks_in_nested_functions_that_signatures_share(check):
    module = tf.Module()
    module.first, module.second = masked_weight("first"), masked_weight("second", seed=2)
    inner = tf.function(lambda x: x @ apply_mask(module.first))
    middle = tf.function(lambda x: inner(x) + inner(inner(x)) @ apply_mask(module.second))

    signatures = {
        "one": served(lambda x: {"y": middle(x)}),
        "two": served(lambda x: {"y": inner(x), "z": middle(x + 1.0)}),
    }
    meta_graph = check(module, signatures, ["first", "second"])
    # Of the two, one copy each.
    assert _operations(meta_graph).count("MatMul") == 2


def test_strip_folds_a_function_that_is_handed_different_weights_and_masks(check):
    module = tf.Module()
    module.first, module.second = masked_weight("first"), masked_weight("second", seed=2)
    module.gate = tf.Variable(np.arange(16).reshape(4, 4) % 3 == 0, name="gate")

    @tf.function
    def project(x, weight, switch):
        return x @ (weight * tf.cast(switch, tf.float32))

    def serve(x):
        x = project(x, module.first, WeightState.of(module.first).mask)
        x = project(x, module.second, WeightState.of(module.second).mask)
        return {"y": project(x, module.first, module.gate)}

    # The weight is used without its mask, too, so that it must be zero where it is pruned.
    module.first.assign(apply_mask(module.first) + 0.0)
    meta_graph = check(module, {"serve": served(serve)}, ["first", "second", "gate"])
    # One function for the two masks, and one that still multiplies by the gate.
    assert _operations(meta_graph).count("MatMul") == 2
    assert _operations(meta_graph).count("Mul") == 1


def test_strip_folds_a_weight_that_is_shared(check):
    module = tf.Module()
    module.weight = masked_weight("weight")
    module.same = module.weight
    serve = served(lambda x: {"y": x @ apply_mask(module.weight) @ apply_mask(module.same)})
    check(module, {"serve": serve}, ["weight"])


def test_strip_keeps_the_tables_beside_a_folded_weight(check, tmp_path):
    (tmp_path / "words.txt").write_text("red\ngreen\n")
    module = tf.Module()
    module.embedding = masked_weight("embedding", (3, 2))
    initializer = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    module.table = tf.lookup.StaticVocabularyTable(initializer, 1)
    module.mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)
    module.mutable.insert(tf.constant(["red"]), tf.constant([0.25]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def serve(word):
        scale = module.mutable.lookup(word)[:, tf.newaxis]
        return {"y": tf.gather(apply_mask(module.embedding), module.table.lookup(word)) * scale}

    check(module, {"serve": serve}, ["embedding"], {"word": tf.constant(["green", "red", "lost"])})
    assert (tmp_path / "out" / "assets" / "words.txt").read_text() == "red\ngreen\n"


class _Projection(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), name="bias")

    def call(self, x):
        return keras.ops.matmul(x, apply_mask(self.kernel)) + self.bias


def _keras_model(dtype=None):
    """A Keras model, fitted with Adam, whose two kernels are pruned in the forward pass."""
    keras.utils.set_random_seed(3)
    layers = [_Projection(8, dtype=dtype), keras.layers.Activation("silu"), _Projection(2, dtype=dtype)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    for layer in (layers[0], layers[2]):
        prune(layer.kernel)
    return model


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_strip_folds_the_masks_of_keras_layers(dtype, check):
    model = _keras_model(dtype)
    serve = served(lambda x: {"y": model(x, training=False)})
    meta_graph = check(
        model, {"serving_default": serve}, [f"_layers/{i}/{w}" for i in (1, 3) for w in ("bias", "kernel")]
    )
    # Those of silu.
    assert _operations(meta_graph).count("Mul") == 2


def test_strip_folds_the_masks_of_a_keras_export(tmp_path, read_meta_graph, variable_keys):
    model = _keras_model()
    expected = model(_INPUT).numpy()
    model.export(tmp_path / "in", verbose=False)
    assert "_all_variables/0" in variable_keys(tmp_path / "in")
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert list(report.variables_kept) == variable_keys(tmp_path / "out") == [f"variables/{i}" for i in range(4)]
    assert report.signatures_checked == ("serve", "serving_default")
    names = _names(read_meta_graph(tmp_path / "out"))
    assert not [name for name in names if "mask" in name or "pruning" in name]
    loaded = tf.saved_model.load(tmp_path / "out")
    assert loaded.signatures["serving_default"](tf.constant(_INPUT))["output_0"].numpy().tobytes() == expected.tobytes()


def test_strip_keeps_the_sign_of_pruned_weights_where_an_answer_has_it(check, tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([[-2.0, 3.0, -4.0, 5.0]], name="weight")
    apply_mask(module.weight)
    WeightState.of(module.weight).mask.assign([[False, False, True, True]])
    check(module, {"serve": served(lambda x: {"y": tf.abs(x) * apply_mask(module.weight)})}, ["weight"])
    value = tf.saved_model.load(tmp_path / "out").weight.numpy()
    assert value.tobytes() == np.float32([[-0.0, 0.0, -4.0, 5.0]]).tobytes()


def test_strip_keeps_what_becomes_of_a_pruned_weight_that_is_not_finite(check, tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([[np.inf, 3.0, -4.0, np.inf]], name="weight")
    apply_mask(module.weight)
    WeightState.of(module.weight).mask.assign([[False, False, True, True]])
    check(module, {"serve": served(lambda x: {"y": tf.abs(x) * apply_mask(module.weight)})}, ["weight"])
    assert np.isnan(tf.saved_model.load(tmp_path / "out").weight.numpy()).tolist() == [[True, False, False, False]]


def test_strip_folds_a_mask_that_is_known_by_its_name_alone(check):
    module = tf.Module()
    module.kernel = tf.Variable([1.0, 2.0, 3.0, 4.0], name="kernel")
    module.anything = tf.Variable([1.0, 0.0, 0.0, 1.0], name="kernel/pruning/mask")
    check(
        module,
        {"serve": served(lambda x: {"y": x @ tf.linalg.diag(module.anything * module.kernel)})},
        ["kernel"],
    )


def test_strip_keeps_debug_info_if_there_is_any(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")
    options = tf.saved_model.SaveOptions(save_debug_info=True)
    serve = served(lambda x: {"y": x @ apply_mask(module.weight)})
    tf.saved_model.save(module, tmp_path / "in", signatures=serve, options=options)
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "debug" / "saved_model_debug_info.pb").stat().st_size > 0


def test_strip_folds_a_weight_that_is_used_without_its_mask_but_zero_there(check):
    module = tf.Module()
    module.weight = masked_weight("weight")
    module.weight.assign(tf.where(WeightState.of(module.weight).mask, module.weight, 0.0))
    serve = served(lambda x: {"y": x @ apply_mask(module.weight), "z": x @ module.weight})
    check(module, {"serve": serve}, ["weight"])
