#!/usr/bin/env bash
# TensorFlow 2.21.0: a tf.function that was traced with a custom gradient stays in memory, graph and all, until the process ends.
#
# tf.custom_gradient registers the gradient under a name of its own each time that it is traced, and nothing takes it out of the
# registry again. The gradient holds tensors, these hold the graph, and the graph holds all functions that it calls. tf.nn.silu, which
# is Keras's "silu" and "swish", is such a function. So a process that trains one such model after the other, as a search does, grows by
# the graph of every training step, although models, functions and variables are deleted. The same formula without it leaves nothing.
#
# Seen: graphs left of 5 trained functions: x * sigmoid(x) 0, tf.nn.silu 5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 keras==3.15.1
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import gc

import tensorflow as tf

GRAPH = type(tf.function(lambda: tf.zeros([])).get_concrete_function().graph)


def graphs() -> int:
    gc.collect()
    return sum(isinstance(each, GRAPH) for each in gc.get_objects())


def graphs_left(activation, times: int) -> int:
    before = graphs()
    for _ in range(times):
        weight = tf.Variable(tf.ones([8, 8]))

        @tf.function
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(activation(x @ weight))
            weight.assign_sub(tape.gradient(loss, weight))

        step(tf.ones([4, 8]))
        del step, weight
    return graphs() - before


found = {}
for name, activation in (("x * sigmoid(x)", lambda x: x * tf.sigmoid(x)), ("tf.nn.silu", tf.nn.silu)):
    graphs_left(activation, 1)
    found[name] = graphs_left(activation, 5)
print("graphs left of 5 trained functions:", ", ".join(f"{name} {count}" for name, count in found.items()))
assert list(found.values()) == [0, 5], "changed"
PYTHON
