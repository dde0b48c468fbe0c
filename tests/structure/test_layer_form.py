"""Products of activations and weights, brought into the form of matrices."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.structure.flat_function import FlatFunction
from tfx_pruning.structure.layer_form import LayerForm, NoLayerFormError
from tfx_pruning.structure.weight_uses import WeightUses

RANDOM = np.random.default_rng(0)


def _library(concrete: tf.types.experimental.ConcreteFunction) -> FlatFunction:
    graph_def = concrete.graph.as_graph_def()
    functions = {each.signature.name: each for each in graph_def.library.function}
    definition = concrete.function_def
    return FlatFunction.of({**functions, definition.signature.name: definition}, definition.signature.name)


def _uses(function, activation, weight):
    """The uses of a weight in a function of (activation, weight), and what the function gives."""
    variable = tf.Variable(weight)
    traced = tf.function(lambda given: function(given, variable), autograph=False)
    concrete = traced.get_concrete_function(tf.TensorSpec([None, *activation.shape[1:]], tf.float32))
    flat = _library(concrete)
    return WeightUses.of(flat, {flat.arguments[-1]: ("weight", weight.shape)}), concrete(tf.constant(activation))


def _array(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def _conv(strides, padding, **more):
    return lambda x, w: tf.nn.conv2d(x, w, strides, padding, **more)


PRODUCTS = {
    "matmul": (lambda x, w: x @ w, (5, 4), (4, 3), 1),
    "transposed": (lambda x, w: tf.matmul(x, w, transpose_b=True), (5, 4), (3, 4), 1),
    "transpose of a view": (lambda x, w: x @ tf.transpose(w), (5, 4), (3, 4), 1),
    "part of a weight": (lambda x, w: x @ tf.split(w, 2, axis=1)[1], (5, 4), (4, 6), 1),
    "sequence": (lambda x, w: tf.matmul(x, w[None]), (5, 7, 4), (4, 3), 1),
    "tensordot": (lambda x, w: tf.tensordot(x, w, 1), (5, 7, 4), (4, 3), 1),
    "heads": (lambda x, w: tf.einsum("btd,dhk->bthk", x, w), (5, 7, 4), (4, 2, 3), 1),
    "heads joined": (lambda x, w: tf.einsum("bthk,hkd->btd", x, w), (5, 7, 2, 3), (2, 3, 4), 1),
    "experts": (lambda x, w: tf.einsum("bed,edf->bef", x, w), (5, 2, 4), (2, 4, 3), 2),
    "convolution": (_conv(1, "SAME"), (2, 6, 6, 3), (3, 3, 3, 4), 1),
    "strided": (_conv(2, "VALID"), (2, 7, 6, 3), (3, 2, 3, 4), 1),
    "dilated": (_conv(1, "VALID", dilations=2), (2, 7, 7, 3), (3, 3, 3, 4), 1),
    "padded": (_conv(1, [[0, 0], [1, 0], [2, 1], [0, 0]]), (2, 5, 5, 3), (3, 3, 3, 4), 1),
    "grouped": (_conv(1, "SAME"), (2, 5, 5, 6), (3, 3, 3, 4), 2),
    "depthwise": (
        lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME"),
        (2, 5, 5, 3),
        (3, 3, 3, 2),
        3,
    ),
    "of one dimension": (lambda x, w: tf.nn.conv1d(x, w, 2, "SAME"), (2, 9, 3), (3, 3, 4), 1),
    "of three dimensions": (
        lambda x, w: tf.nn.conv3d(x, w, [1, 1, 1, 1, 1], "SAME"),
        (2, 4, 5, 3, 2),
        (2, 3, 2, 2, 3),
        1,
    ),
}


@pytest.mark.parametrize(("function", "active", "shape", "groups"), PRODUCTS.values(), ids=PRODUCTS)
def test_form_gives_what_the_operation_gives(function, active, shape, groups):
    activation, weight = _array(*active), _array(*shape)
    uses, output = _uses(function, activation, weight)
    (use,) = uses.products
    if use.activation.startswith("given"):
        source = activation
    else:
        # A view of the activation: the operation's own input is computed by the graph. Here only axes are put in.
        source = activation.reshape(-1, *activation.shape[-1:]) if use.node.op == "MatMul" else activation[:, None]
    form = LayerForm.of(use, tf.constant(source))
    assert form.elements.shape[0] == groups
    products = np.einsum("gni,gio->gno", form.inputs.numpy(), weight.ravel()[form.elements])
    # Sums of the same products in another order of axes: compare them as sets, and norms in all.
    np.testing.assert_allclose(np.sort(products.ravel()), np.sort(output.numpy().ravel()), rtol=1e-4, atol=1e-4)


def test_elements_say_which_weight_stands_where():
    uses, _ = _uses(lambda x, w: x @ tf.split(w, 2, axis=1)[1], _array(5, 4), _array(4, 6))
    (use,) = uses.products
    np.testing.assert_array_equal(use.elements(), np.arange(24).reshape(4, 6)[:, 3:])


def test_a_weight_that_is_changed_before_it_is_used_has_no_use():
    uses, _ = _uses(lambda x, w: x @ (w * 2.0), _array(5, 4), _array(4, 3))
    assert uses.products == ()


def test_a_weight_in_a_loop_is_told():
    def loop(x, w):
        return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, y @ w), (0, x))[1]

    uses, _ = _uses(loop, _array(5, 4), _array(4, 4))
    assert uses.products == ()
    assert uses.inside == {"weight"}


def test_weight_as_an_image_has_no_form():
    uses, _ = _uses(lambda x, w: tf.nn.conv2d(w, x[:2, :2], 1, "VALID"), _array(3, 2, 4, 5), _array(1, 6, 6, 4))
    (use,) = uses.products
    with pytest.raises(NoLayerFormError, match="for an image"):
        LayerForm.of(use, tf.constant(_array(2, 2, 4, 5)))


def test_flat_function_answers_as_the_function_with_its_calls():
    weight = tf.Variable(_array(4, 3))

    @tf.function(autograph=False)
    def inner(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x @ weight, lambda: -x @ weight), x + 1.0

    @tf.function(autograph=False)
    def outer(x):
        first, second = inner(x)
        return first + inner(second)[0]

    concrete = outer.get_concrete_function(tf.TensorSpec([None, 4]))
    flat = _library(concrete)
    assert not any("PartitionedCall" in node.op for node in flat.nodes.values())

    @tf.function(autograph=False)
    def again(x):
        handle = tf.compat.v1.get_default_graph().capture(weight.handle)
        return flat.import_into_graph([x, handle], flat.outputs)[0]

    given = tf.constant(_array(5, 4))
    np.testing.assert_array_equal(again(given), concrete(given))
