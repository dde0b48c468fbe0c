"""Checkpoints of models with masks of google-research `model_pruning`, and what its strip_pruning_vars makes of them.

It runs in a process of its own; see benchmarks/reference.py.

    found = in_own_process(reference_checkpoints.__file__, "write", {}, {"folder": "/tmp/models"})

leaves in each `/tmp/models/NAME` a checkpoint, a `saved_model` and, where the reference's tool does not fail, its
`stripped.pb`. `found` holds for each model its `NAME/x`, the `NAME/y` that a session answers on that, and
`NAME/failed`.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))

from _process import run_task
from reference import reference_modules

OPTION = "first_order_gradient"


def _layer(tf, pruning, top, name, units, activation=None, **variable):
    with tf.variable_scope(name) as scope:
        weights = tf.get_variable("weights", [top.shape[-1], units], **variable)
        biases = tf.get_variable("biases", [units], initializer=tf.random_normal_initializer(), partitioner=None)
        top = tf.nn.bias_add(tf.matmul(top, pruning.apply_mask(weights, scope, OPTION)), biases)
        return activation(top) if activation else top


def _dense(tf, pruning, cells, x):
    return _layer(tf, pruning, _layer(tf, pruning, x, "first", 6, tf.nn.relu), "second", 3)


def _resource(tf, pruning, cells, x):
    with tf.variable_scope("", use_resource=True):
        return _dense(tf, pruning, cells, x)


def _partitioned(tf, pruning, cells, x):
    with tf.variable_scope("parts", partitioner=tf.fixed_size_partitioner(2)):
        return _dense(tf, pruning, cells, x)


def _convolutional(tf, pruning, cells, x):
    top = tf.reshape(x, [-1, 2, 2, 2])
    with tf.variable_scope("conv") as scope:
        weights = tf.get_variable("weights", [2, 2, 2, 5])
        top = tf.nn.conv2d(top, pruning.apply_mask(weights, scope, OPTION), [1, 1, 1, 1], padding="SAME")
    return _layer(tf, pruning, tf.reshape(tf.nn.relu(top), [-1, 20]), "out", 2)


def _quantized(tf, pruning, cells, x):
    """With the names that TensorFlow's quantization of graphs gave."""
    with tf.variable_scope("layer") as scope:
        weights = tf.get_variable("weights", [8, 3])
        masked = pruning.apply_mask(weights, scope, OPTION)
        low = tf.get_variable("weights_quant/min", initializer=-1.0)
        high = tf.get_variable("weights_quant/max", initializer=1.0)
        name = "weights_quant/FakeQuantWithMinMaxVars"
        return tf.matmul(x, tf.quantization.fake_quant_with_min_max_vars(masked, low, high, name=name))


def _static_lstm(tf, pruning, cells, x):
    cell = tf.nn.rnn_cell.MultiRNNCell([cells.MaskedBasicLSTMCell(3), cells.MaskedLSTMCell(4, use_peepholes=True)])
    outputs, _ = tf.nn.static_rnn(cell, tf.split(x, 2, axis=1), dtype=tf.float32)
    return outputs[-1]


def _dynamic_lstm(tf, pruning, cells, x):
    outputs, _ = tf.nn.dynamic_rnn(cells.MaskedBasicLSTMCell(3), tf.reshape(x, [-1, 4, 2]), dtype=tf.float32)
    return outputs[:, -1]


def _branches(tf, pruning, cells, x):
    """One masked layer in each branch of a tf.cond."""
    positive = tf.reduce_sum(x) > 0
    branches = [lambda name=name: _layer(tf, pruning, x, name, 3) for name in ("positive", "negative")]
    return tf.cond(positive, *branches)


def _unpruned(tf, pruning, cells, x):
    return tf.matmul(x, tf.get_variable("weights", [8, 3]))


MODELS = {
    "dense": _dense,
    "resource": _resource,
    "partitioned": _partitioned,
    "convolutional": _convolutional,
    "quantized": _quantized,
    "static_lstm": _static_lstm,
    "dynamic_lstm": _dynamic_lstm,
    "branches": _branches,
    "unpruned": _unpruned,
}


def _write(arrays, options):
    tf, pruning = reference_modules()
    from model_pruning.python import strip_pruning_vars
    from model_pruning.python.layers import rnn_cells

    found = {}
    for name, model in MODELS.items():
        folder = pathlib.Path(options["folder"], name)
        folder.mkdir(parents=True)
        random = np.random.default_rng(3)
        x_value = random.standard_normal((5, 8)).astype(np.float32)
        with tf.Graph().as_default():
            tf.set_random_seed(7)
            x = tf.placeholder(tf.float32, [None, 8], name="x")
            y = tf.identity(model(tf, pruning, rnn_cells, x), name="y")
            step = tf.train.get_or_create_global_step()
            train = tf.train.AdamOptimizer().minimize(tf.reduce_mean(y**2), global_step=step)
            saver = tf.train.Saver()
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(train, {x: x_value})
                for variable in tf.global_variables():
                    if "mask" in variable.op.name.split("/"):
                        variable.load(random.random(variable.shape) < 0.5, session)
                saver.save(session, str(folder / "model.ckpt"), global_step=step)
                tf.saved_model.simple_save(session, str(folder / "saved_model"), {"x": x}, {"y": y})
                found[f"{name}/x"], found[f"{name}/y"] = session.run((x, y), {x: x_value})
        with tf.Graph().as_default():
            found[f"{name}/failed"] = np.array("")
            try:
                strip_pruning_vars.strip_pruning_vars(str(folder), "y", str(folder), "stripped.pb")
            except Exception as error:
                found[f"{name}/failed"] = np.array(str(error))
    return found


if __name__ == "__main__":
    run_task({"write": _write})
