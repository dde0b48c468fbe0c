"""Models that a careless rule would break: the answers are the same, and nothing is cut on a guess."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from helpers.specimen import Specimen, drawn, without
from tfx_pruning import strip_saved_model

CASES: dict[str, Specimen] = {}
# Those that compute in float16.
NARROW = ("half_precision_behind_batch_normalization",)


def _add(build: Callable[[], Specimen]) -> Callable[[], Specimen]:
    CASES[build.__name__.strip("_")] = build()
    return build


@_add
def _squeeze_of_what_has_no_axis_of_size_1():
    weights = {"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1, 2, 3)}
    return Specimen(weights, lambda w, x: tf.nn.relu(x @ w["a"]) @ tf.squeeze(w["b"]), (None, 6), {})


@_add
def _bias_that_a_loop_reads_too():
    def call(w, x):
        y = tf.nn.relu(x @ w["a"] + w["ba"]) @ w["b"] + w["bb"]
        return tf.while_loop(lambda i, _: i < 2, lambda i, each: (i + 1, each + w["bb"]), [0, y])[1]

    weights = {"a": without(drawn(6, 4), 1, 2), "ba": np.full(4, 0.5, np.float32), "b": drawn(4, 3), "bb": drawn(3)}
    return Specimen(weights, call, (None, 6), {"a": (6, 3), "ba": (3,), "b": (3, 3)})


@_add
def _index_that_is_a_number_of_units():
    def call(w, x):
        hidden = tf.nn.relu(x @ w["a"])
        return hidden @ w["b"] + tf.gather(tf.tanh(w["table"]), tf.shape(hidden)[1])

    weights = {"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1), "table": drawn(7, 3)}
    return Specimen(weights, call, (None, 6), {})


@_add
def _function_that_a_loop_calls_too():
    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def shifted(h):
        return tf.nn.relu(h + tf.constant([0.1, 0.2, 0.3, 0.4]))

    def call(w, x):
        y = shifted(x @ w["a"]) @ w["b"]
        loop = tf.while_loop(lambda i, _: i < 2, lambda i, each: (i + 1, shifted(each)), [0, x[:, :4]])[1]
        return y + tf.reduce_sum(loop, 1, keepdims=True)

    return Specimen({"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}, call, (None, 6), {"a": (6, 3), "b": (3, 3)})


@_add
def _branches_that_are_cut():
    def call(w, x):
        hidden = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.nn.relu(x @ w["a"]), lambda: tf.tanh(x @ w["c"]))
        return hidden @ w["b"]

    weights = {"a": drawn(6, 4), "c": drawn(6, 4, seed=1), "b": without(drawn(4, 3), 0, 1)}
    return Specimen(weights, call, (None, 6), {"a": (6, 3), "c": (6, 3), "b": (3, 3)})


def _unit_times_what_depends_on_the_input(bias, after):
    """The third unit of `h` is relu(bias), and is multiplied by numbers that no bias can stand for."""

    def call(w, x):
        h = tf.nn.relu(x @ w["a"] + w["ba"])
        return tf.einsum("bi,bji->bj", h, tf.reshape(x @ w["c"], [-1, 3, 4]))

    biases = np.array([0.5, 0.5, bias, 0.5], np.float32)
    return Specimen({"a": without(drawn(6, 4), 1, 2), "ba": biases, "c": drawn(6, 12)}, call, (None, 6), after)


@_add
def _constant_times_what_depends_on_the_input():
    return _unit_times_what_depends_on_the_input(0.5, {})


@_add
def _zero_times_what_depends_on_the_input():
    return _unit_times_what_depends_on_the_input(-0.5, {"a": (6, 3), "ba": (3,), "c": (6, 9)})


@_add
def _switch_of_three_branches():
    def call(w, x):
        which = tf.cast(tf.abs(x[0, 0]) * 2, tf.int32)
        hidden = tf.switch_case(which, [lambda: x @ w["a"], lambda: -x @ w["a"], lambda: tf.tanh(x @ w["a"])])
        return hidden @ w["b"]

    return Specimen({"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}, call, (None, 6), {"a": (6, 3), "b": (3, 3)})


def _cut_in_a_function_of_any_size(cut):
    part = tf.function(lambda h: cut(tf.nn.relu(h)), input_signature=[tf.TensorSpec([None, None])])
    weights = {"a": drawn(6, 8), "b": without(drawn(4, 3), 0, 1)}
    return Specimen(weights, lambda w, x: part(x @ w["a"]) @ w["b"], (None, 6), None)


@_add
def _slice_in_a_function_of_any_size():
    return _cut_in_a_function_of_any_size(lambda h: h[:, 1:5])


@_add
def _slice_of_given_size_in_a_function_of_any_size():
    return _cut_in_a_function_of_any_size(lambda h: tf.slice(h, [0, 1], [-1, 4]))


@_add
def _number_of_units_in_a_function_of_any_size():
    @tf.function(input_signature=[tf.TensorSpec([None, None])])
    def mean(h):
        h = tf.nn.relu(h)
        return h / tf.cast(tf.shape(h)[1], tf.float32)

    weights = {"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}
    return Specimen(weights, lambda w, x: mean(x @ w["a"]) @ w["b"], (None, 6), {})


@_add
def _reshape_in_a_function_of_any_size():
    @tf.function(input_signature=[tf.TensorSpec([None, None])])
    def doubled(h):
        h = tf.nn.relu(h)
        h = tf.reshape(h, [-1, tf.shape(h)[1], 1]) * tf.constant([1.0, 2.0])
        return tf.reshape(h, [tf.shape(h)[0], -1])

    weights = {"a": drawn(6, 4), "b": without(drawn(8, 3), 0, 0, 1, 4)}
    return Specimen(weights, lambda w, x: doubled(x @ w["a"]) @ w["b"], (None, 6), None)


@_add
def _softmax_in_a_function_of_any_rank():
    @tf.function(input_signature=[tf.TensorSpec(None)])
    def normalized(h):
        return tf.nn.softmax(h)

    weights = {"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}
    return Specimen(weights, lambda w, x: normalized(x @ w["a"]) @ w["b"], (None, 6), {})


@_add
def _argument_of_unknown_rank():
    def call(w, x):
        shape = tf.cond(tf.shape(x)[0] > 0, lambda: tf.constant([-1, 4]), lambda: tf.constant([-1]))
        hidden = tf.reshape(x @ w["a"], shape)
        return tf.ensure_shape(tf.nn.softmax(hidden) + w["ba"], [None, 4]) @ w["b"]

    weights = {"a": drawn(6, 4), "ba": drawn(4), "b": without(drawn(4, 3), 0, 1)}
    return Specimen(weights, call, (None, 6), {})


@_add
def _slices_with_masks():
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        parts = [h[:, -3:] @ w["b"], h[..., 2:6] @ w["c"], h[:, tf.newaxis, 1:][:, 0] @ w["d"], h[:, ::2] @ w["c"]]
        return tf.add_n(parts) + h[:, 3, tf.newaxis] + h[:, ::-1] @ w["e"]

    weights = {
        "a": drawn(6, 8),
        "b": without(drawn(3, 2), 0, 1),
        "c": without(drawn(4, 2), 0, 1),
        "d": without(drawn(7, 2), 0, 1, 3),
        "e": without(drawn(8, 2), 0, 1, 3),
    }
    return Specimen(weights, call, (None, 6), {})


@_add
def _half_precision_behind_batch_normalization():
    def call(w, x):
        h = tf.cast(tf.reshape(x, [-1, 1, 1, 6]), tf.float16)
        h = tf.nn.conv2d(h, tf.cast(w["a"], tf.float16), 1, "VALID")
        h = tf.raw_ops.FusedBatchNormV3(
            x=h, scale=w["scale"], offset=w["offset"], mean=w["mean"], variance=w["variance"], is_training=False
        ).y
        return tf.cast(tf.nn.relu(h)[:, 0, 0], tf.float32) @ w["b"]

    vectors = {name: np.abs(drawn(4, seed=at)) for at, name in enumerate(("scale", "offset", "mean", "variance"))}
    weights = {"a": without(drawn(1, 1, 6, 4), 3, 2), "b": drawn(4, 3), **vectors}
    after = {"a": (1, 1, 6, 3), "b": (3, 3), **dict.fromkeys(vectors, (3,))}
    return Specimen(weights, call, (None, 6), after)


@_add
def _transposed_convolution_of_any_batch():
    def call(w, x):
        x = tf.reshape(x, [-1, 2, 3, 1])
        h = tf.nn.relu(tf.nn.conv2d(x, w["a"], 1, "SAME"))
        h = tf.nn.conv2d_transpose(h, w["b"], tf.stack([tf.shape(h)[0], 4, 6, 4]), 2, "SAME")
        return tf.reduce_mean(tf.nn.conv2d(tf.nn.relu(h), w["c"], 1, "SAME"), [1, 2])

    weights = {
        "a": drawn(3, 3, 1, 4),
        "b": without(drawn(3, 3, 4, 4), 3, 2),
        "c": without(drawn(3, 3, 4, 2), 2, 0),
    }
    return Specimen(weights, call, (None, 6), {"a": (3, 3, 1, 3), "b": (3, 3, 3, 3), "c": (3, 3, 3, 2)})


@_add
def _transposed_convolution_with_the_shape_of_another():
    def call(w, x):
        x = tf.reshape(x, [-1, 2, 3, 1])
        h = tf.nn.relu(tf.nn.conv2d(x, w["a"], 1, "SAME"))
        up = tf.nn.conv2d_transpose(x, tf.reshape(tf.range(4.0), [1, 1, 4, 1]), tf.shape(h), 1)
        return tf.reduce_mean(tf.nn.conv2d(h, w["c"], 1, "SAME"), [1, 2]) + tf.reduce_sum(up, [1, 2])[:, :2]

    weights = {"a": drawn(3, 3, 1, 4), "c": without(drawn(3, 3, 4, 2), 2, 0)}
    return Specimen(weights, call, (None, 6), None)


@_add
def _integers():
    def call(w, x):
        h = tf.maximum(tf.cast(x, tf.int32) @ tf.cast(w["a"], tf.int32) + 3, 0)
        return h @ tf.cast(w["b"], tf.int32)

    weights = {"a": without(drawn(6, 4) * 10, 1, 2), "b": without(drawn(4, 3) * 10, 0, 1)}
    return Specimen(weights, call, (None, 6), {"a": (6, 2), "b": (2, 3)})


@_add
def _weights_that_are_integers():
    def call(w, x):
        h = tf.maximum(tf.cast(x, tf.int32) @ w["a"] + w["ba"], 0)
        return h @ w["b"]

    weights = {
        "a": without(drawn(6, 4) * 10, 1, 2).astype(np.int32),
        "ba": np.full(4, 3, np.int32),
        "b": without(drawn(4, 3) * 10, 0, 1).astype(np.int32),
    }
    return Specimen(weights, call, (None, 6), None)


@_add
def _sum_of_what_is_all_constant():
    def call(w, x):
        return x @ w["a"] + tf.einsum("ij,ijk->k", tf.ones([4, 5]), w["b"])

    return Specimen({"a": drawn(6, 3), "b": drawn(4, 5, 3)}, call, (None, 6), None)


@_add
def _image_that_is_a_constant():
    def call(w, x):
        kernel = tf.reshape(x @ w["a"] + w["ba"], [2, 2, 4, 3])
        image = np.zeros((1, 5, 5, 4), np.float32)
        image[..., 1] = drawn(1, 5, 5)
        return tf.nn.conv2d(tf.constant(image), kernel, 1, "VALID") @ w["b"] + tf.reduce_sum(x)

    columns = np.reshape(np.arange(48), (2, 2, 4, 3))[:, :, 1].ravel()
    ba = drawn(48)
    ba[columns] = 0.5
    return Specimen({"a": without(drawn(6, 48), 1, *columns), "ba": ba, "b": drawn(3, 2)}, call, (1, 6), None)


@_add
def _weights_that_are_infinite():
    weights = {"a": without(drawn(6, 4), 1, 2), "b": drawn(4, 3)}
    weights["b"][2, 1] = np.inf
    return Specimen(weights, lambda w, x: tf.nn.relu(x @ w["a"]) @ w["b"], (None, 6), {})


@_add
def _column_of_size_1_that_is_spread():
    weights = {"a": without(drawn(6, 1), 1, 0), "ba": drawn(4), "b": drawn(4, 3), "c": drawn(6, 3)}
    return Specimen(weights, lambda w, x: (x @ w["a"] + w["ba"]) @ w["b"] + x @ w["c"], (None, 6), None)


@_add
def _sum_over_a_spread_unit():
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        return tf.reduce_sum(h[:, :, tf.newaxis] * tf.reduce_sum(h, 1)[:, tf.newaxis, tf.newaxis] * w["b"], 1)

    return Specimen({"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}, call, (None, 6), {})


@_add
def _attention_with_units_of_its_own():
    def call(w, x):
        x = tf.reshape(x, [-1, 3, 2])
        q, k, v = (tf.einsum("btd,dhk->bthk", x, w[name]) for name in "qkv")
        scores = tf.nn.softmax(tf.einsum("bthk,bshk->bhts", q, k) / tf.sqrt(tf.cast(tf.shape(k)[-1], tf.float32)))
        return tf.reduce_mean(tf.einsum("bhts,bshk,hko->bto", scores, v, w["o"]), 1)

    weights = {name: drawn(2, 2, 4, seed=at) for at, name in enumerate("qkv")}
    weights["q"] = without(weights["q"], 2, 1)
    return Specimen({**weights, "o": without(drawn(2, 4, 3), 1, 2)}, call, (None, 6), None)


@_add
def _size_in_a_sum():
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        return h @ w["b"] / tf.cast(tf.size(h), tf.float32) + tf.cast(tf.shape(h)[1], tf.float32)

    return Specimen({"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}, call, (None, 6), {})


@_add
def _normalization_over_units():
    def call(w, x):
        h = tf.nn.l2_normalize(tf.nn.relu(x @ w["a"]), 1)
        h = tf.math.cumsum(h @ w["b"], 1)
        h = tf.nn.log_softmax(h @ w["c"])
        return tf.sort(h @ w["d"], 1) @ w["e"]

    weights = {
        "a": drawn(6, 4),
        **{name: without(drawn(4, 4, seed=at), 0, 1) for at, name in enumerate("bcd")},
        "e": without(drawn(4, 3), 0, 2),
    }
    return Specimen(weights, call, (None, 6), {})


@_add
def _ragged_rows():
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        ragged = tf.RaggedTensor.from_tensor(h, lengths=tf.cast(tf.abs(x[:, 0]) * 3, tf.int64))
        return ragged.to_tensor(shape=[None, 4]) @ w["b"]

    return Specimen({"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}, call, (None, 6), {})


@_add
def _gradients():
    def call(w, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.tanh(x @ w["a"]) @ w["b"]
        return tf.concat([y, tape.gradient(y, x)], 1)

    return Specimen({"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}, call, (None, 6), None)


@_add
def _function_with_two_dead_sets():
    @tf.function(input_signature=[tf.TensorSpec([None, 4])] * 2)
    def gated(h, g):
        return tf.nn.relu(h * tf.constant([0.5, 1.0, 2.0, 3.0])) + g

    def call(w, x):
        return gated(x @ w["a"], x @ w["c"]) @ w["b"] + gated(x @ w["d"], x @ w["c"][:, ::-1]) @ w["e"]

    weights = {
        "a": drawn(6, 4),
        "b": without(drawn(4, 3), 0, 1),
        "c": drawn(6, 4, seed=1),
        "d": drawn(6, 4, seed=2),
        "e": without(drawn(4, 3), 0, 2, 3),
    }
    return Specimen(weights, call, (None, 6), None)


@_add
def _groups_of_channels():
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        groups = tf.reshape(h, [-1, 2, 4])
        groups -= tf.reduce_mean(groups, 2, keepdims=True)
        return tf.reshape(groups, [-1, 8]) @ w["b"]

    return Specimen({"a": drawn(6, 8), "b": without(drawn(8, 3), 0, 1, 5)}, call, (None, 6), {})


@_add
def _tiled_and_padded_units():
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        return tf.tile(h, [1, 2]) @ w["b"] + tf.pad(h, [[0, 0], [2, 2]]) @ w["b"]

    return Specimen({"a": drawn(6, 4), "b": without(drawn(8, 3), 0, 1, 5, 3)}, call, (None, 6), {})


@_add
def _state_of_an_int64_shape():
    def call(w, x):
        shape = tf.stack([tf.shape(x, tf.int64)[0], tf.constant(4, tf.int64)])
        return (tf.tanh(tf.fill(shape, 0.5) + x @ w["a"])) @ w["b"]

    return Specimen({"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}, call, (None, 6), {"a": (6, 3), "b": (3, 3)})


@_add
def _mask_of_ones():
    def call(w, x):
        return tf.nn.relu(x @ (w["a"] * tf.fill([6, 4], 2.0))) @ w["b"]

    return Specimen({"a": without(drawn(6, 4), 1, 2), "b": drawn(4, 3)}, call, (None, 6), {"a": (6, 3), "b": (3, 3)})


@_add
def _integers_that_are_resized():
    def call(w, x):
        h = tf.nn.conv2d(tf.reshape(x, [-1, 2, 3, 1]), w["a"], 1, "VALID") + w["ba"]
        h = tf.image.resize(tf.cast(h * 10, tf.int32), [4, 6])
        return tf.reduce_mean(tf.nn.conv2d(tf.nn.relu(h), w["b"], 1, "VALID"), [1, 2])

    weights = {"a": without(drawn(1, 1, 1, 4), 3, 2), "ba": np.full(4, 0.35, np.float32), "b": drawn(2, 2, 4, 3)}
    return Specimen(weights, call, (None, 6), {"a": (1, 1, 1, 3), "ba": (3,), "b": (2, 2, 3, 3)})


@_add
def _loop_of_tensorflow_1():
    def call(w, x):
        hidden = tf.nn.relu(x @ w["a"]) @ w["b"]
        graph = _looping()

        def loop(h):
            return tf.graph_util.import_graph_def(graph, {"h": h}, ["y:0"])[0]

        return tf.compat.v1.wrap_function(loop, [tf.TensorSpec([None, 4])])(hidden) @ w["c"]

    weights = {"a": drawn(6, 4), "b": without(drawn(4, 4), 0, 1), "c": without(drawn(4, 3), 0, 2)}
    return Specimen(weights, call, (None, 6), {"a": (6, 3), "b": (3, 4)})


def _looping():
    """A graph with a loop of the nodes Enter, Merge, Switch, NextIteration and Exit."""
    tf.compat.v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            h = tf.compat.v1.placeholder(tf.float32, [None, 4], "h")
            y = tf.while_loop(lambda i, _: i < 2, lambda i, each: (i + 1, tf.tanh(each)), [0, h])[1]
            tf.identity(y, "y")
        return graph.as_graph_def()
    finally:
        tf.compat.v1.enable_control_flow_v2()


@pytest.mark.parametrize("name", CASES)
def test_shrink_does_not_cut_on_a_guess(name, tmp_path):
    specimen = CASES[name]
    specimen.save(str(tmp_path / "model"))
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    if specimen.after is not None:
        assert {each.key: each.shape_after for each in report.shrink.variables} == specimen.after
    before = tf.saved_model.load(tmp_path / "model").signatures["serving_default"]
    after = tf.saved_model.load(tmp_path / "shrunk").signatures["serving_default"]
    for batch in (1, 5):
        x = specimen.inputs(batch)
        expected, actual = before(x=x)["y"], after(x=x)["y"]
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-2 if name in NARROW else 1e-5, atol=1e-5)
