"""Models of TensorFlow 1 with the masks, collections and names of google-research's `model_pruning`."""

import contextlib
import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

tf1 = tf.compat.v1

KINDS = ("plain", "partitioned", "loop", "branch")
X = np.random.default_rng(9).standard_normal((6, 4)).astype(np.float32)


def masked(weights, scope):
    """The product of weights and a mask of theirs, with all that belongs to it."""
    state = {}
    with tf1.variable_scope(scope):
        for name in ("mask", "threshold", "gradient", "old_weight", "old_old_weight"):
            shape = [] if name == "threshold" else weights.shape.as_list()
            partitioner = None if name == "threshold" else tf1.get_variable_scope().partitioner
            state[name] = tf1.get_variable(
                name, shape, initializer=tf1.ones_initializer(), trainable=False, partitioner=partitioner
            )
    product = tf.multiply(state["mask"], weights, name="weights/masked_weight")
    for key, name in (("masks", "mask"), ("thresholds", "threshold"), ("gradient_weights", "gradient")):
        tf1.add_to_collection(key, state[name])
    tf1.add_to_collection("masked_weights", product)
    tf1.add_to_collection("kernel", weights)
    return product


def layer(x, name, units=3, multiply=masked):
    with tf1.variable_scope(name) as scope:
        weights = tf1.get_variable("weights", [x.shape[-1], units], initializer=tf1.random_normal_initializer())
        return tf.matmul(x, multiply(weights, scope))


def answer(kind, x):
    """The answer of a model of one of `KINDS`, with two masked weights."""
    if kind == "partitioned":
        with tf1.variable_scope("parts", partitioner=tf1.fixed_size_partitioner(2)):
            return layer(tf.nn.relu(layer(x, "first", 4)), "second")
    if kind == "loop":
        with tf1.variable_scope("cell") as scope:
            weights = tf1.get_variable("weights", [4, 4], initializer=tf1.random_normal_initializer())

            def step(index, state):
                with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
                    return index + 1, tf.tanh(tf.matmul(state, masked(weights, scope)))

            return layer(tf1.while_loop(lambda index, _: index < 3, step, (0, x))[1], "out")
    if kind == "branch":
        return tf1.cond(tf.reduce_sum(x) > 0, lambda: layer(x, "positive"), lambda: layer(x, "negative"))
    return layer(tf.nn.relu(layer(x, "first", 5)), "second")


@contextlib.contextmanager
def graph(use_resource=True):
    """A graph to build a model in as TensorFlow 1 did, with loops and branches of its own kind."""
    tf1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as built, tf1.variable_scope("", use_resource=use_resource):
            tf1.set_random_seed(5)
            yield built
    finally:
        tf1.enable_control_flow_v2()


def trained(session, loss=None, x=None):
    """Sets every variable to what a training might have left: one step of Adam, and masks that prune half."""
    step = tf1.train.get_or_create_global_step()
    train = tf1.train.AdamOptimizer().minimize(loss, global_step=step) if loss is not None else tf.no_op()
    session.run(tf1.global_variables_initializer())
    session.run(train, {x: X} if x is not None else {})
    random = np.random.default_rng(11)
    for variable in tf1.global_variables():
        if "mask" in variable.op.name.split("/"):
            variable.load(random.random(variable.shape) < 0.5, session)


def save_model(path, kind="plain", use_resource=True, **options):
    """Saves a trained SavedModel of one of `KINDS` with the signature 'serving_default'; returns its answer to `X`."""
    with graph(use_resource), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = tf.identity(answer(kind, x), name="y")
        trained(session, tf.reduce_mean(y**2), x)
        save(path, session, {"serving_default": ({"x": x}, {"y": y})}, **options)
        return session.run(y, {x: X})


def signature_def(inputs, outputs):
    infos = [
        {name: tf1.saved_model.build_tensor_info(each) for name, each in side.items()} for side in (inputs, outputs)
    ]
    return tf1.saved_model.build_signature_def(*infos, method_name="tensorflow/serving/predict")


def save(path, session, signatures, tags=("serve",), **options):
    """Saves the graph of a session as a SavedModel with one MetaGraph."""
    builder = tf1.saved_model.Builder(str(path))
    signature_defs = {name: signature_def(*each) for name, each in signatures.items()}
    builder.add_meta_graph_and_variables(session, list(tags), signature_def_map=signature_defs, **options)
    builder.save()


def save_checkpoint(folder, kind="plain", use_resource=True):
    """Saves a trained checkpoint with its meta graph; returns its answer, the node 'y', to `X`, the placeholder 'x'."""
    pathlib.Path(folder).mkdir(exist_ok=True)
    with graph(use_resource), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = tf.identity(answer(kind, x), name="y")
        trained(session, tf.reduce_mean(y**2), x)
        tf1.train.Saver().save(session, str(pathlib.Path(folder) / "model.ckpt"), global_step=7)
        return session.run(y, {x: X})


def run(path, inputs, signature="serving_default", tags=("serve",)):
    """The answer of a SavedModel in a session, as TensorFlow 1 ran it."""
    with tf.Graph().as_default(), tf1.Session() as session:
        meta_graph = tf1.saved_model.load(session, list(tags), str(path))
        infos = meta_graph.signature_def[signature]
        feeds = {infos.inputs[name].name: value for name, value in inputs.items()}
        return session.run({name: info.name for name, info in infos.outputs.items()}, feeds)


def run_graph(graph_def, inputs, output):
    """The answer of a frozen graph in a session."""
    with tf.Graph().as_default(), tf1.Session() as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        return session.run(output, inputs)


def meta_graphs(path):
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((pathlib.Path(path) / "saved_model.pb").read_bytes())
    return list(saved_model.meta_graphs)


def variables(path):
    """The values in the checkpoint of a SavedModel, by their keys; none if it has no checkpoint."""
    prefix = str(pathlib.Path(path) / "variables" / "variables")
    if not tf.io.gfile.exists(prefix + ".index"):
        return {}
    reader = tf.train.load_checkpoint(prefix)
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
