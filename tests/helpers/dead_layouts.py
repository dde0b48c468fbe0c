"""Models that reorder, cut and join tensors, with units that were killed by hand."""

import tensorflow as tf

from helpers.specimen import Specimen, adding_to, drawn, without

LAYOUTS: dict[str, Specimen] = {}
_add = adding_to(LAYOUTS)


def _attention(w, x):
    query, key, value = (tf.einsum("btd,dhk->bthk", x, w[name]) for name in "qkv")
    scores = tf.nn.softmax(tf.einsum("bthk,bshk->bhts", query, key))
    return tf.einsum("bthk,hkd->btd", tf.einsum("bhts,bshk->bthk", scores, value), w["o"])


@_add
def _attention_by_einsum() -> Specimen:
    q = drawn(6, 2, 5)
    q[:, :, 1] = 0  # no query has this part, so that the keys' does not matter
    q[:, 0, 2] = 0  # one head's has not, the other's has
    o = drawn(2, 5, 6)
    o[:, 3] = 0
    weights = {"q": q, "k": drawn(6, 2, 5), "v": drawn(6, 2, 5), "o": o}
    after = {"q": (6, 2, 4), "k": (6, 2, 4), "v": (6, 2, 4), "o": (2, 4, 6)}
    return Specimen(weights, _attention, (None, 4, 6), after)


@_add
def _attention_by_batch_matmul() -> Specimen:
    def call(w, x):
        scores = tf.nn.softmax(tf.matmul(tf.matmul(x, w["q"]), tf.matmul(x, w["k"]), transpose_b=True))
        return tf.matmul(tf.matmul(scores, tf.matmul(x, w["v"])), w["o"])

    weights = {"q": drawn(6, 5), "k": without(drawn(6, 5), 1, 1, 2), "v": without(drawn(6, 7), 1, 0), "o": drawn(7, 6)}
    after = {"q": (6, 3), "k": (6, 3), "v": (6, 6), "o": (6, 6)}
    return Specimen(weights, call, (None, 4, 6), after)


@_add
def _layouts() -> Specimen:
    def call(w, x):
        x = tf.expand_dims(x @ w["a"], 1)
        x = tf.transpose(tf.tile(tf.squeeze(x, 1)[:, tf.newaxis, :, tf.newaxis], [1, 1, 1, 1]), [0, 3, 1, 2])
        x = tf.squeeze(x)
        return tf.reshape(x, [-1, 8]) @ w["b"]

    return Specimen({"a": drawn(6, 8), "b": drawn(8, 2)}, call, (None, 6), {})


@_add
def _transposed_and_squeezed() -> Specimen:
    def call(w, x):
        x = tf.transpose(tf.expand_dims(x @ w["a"], 1), [2, 1, 0])
        x = tf.squeeze(tf.transpose(x, [2, 0, 1]), -1)
        return tf.matmul(x, w["b"], transpose_b=True)

    weights = {"a": drawn(6, 8), "b": without(drawn(2, 8), 1, 3, 4)}
    return Specimen(weights, call, (None, 6), {"a": (6, 6), "b": (2, 6)})


@_add
def _squeezed_to_one() -> Specimen:
    # One unit is left, whose axis must not be squeezed for that.
    def call(w, x):
        return tf.squeeze(tf.reshape(w["a"], [1, 1, 6, 8])) + tf.zeros([6, 8])

    def whole(w, x):
        return tf.matmul(x, call(w, x)) @ w["b"]

    weights = {"a": drawn(6, 8), "b": without(drawn(8, 2), 0, *range(1, 8))}
    return Specimen(weights, whole, (None, 6), {"a": (6, 1), "b": (1, 2)})


@_add
def _split() -> Specimen:
    def call(w, x):
        one, two = tf.split(x @ w["a"], 2, axis=-1)
        return tf.concat([tf.nn.relu(one), tf.tanh(two)], -1) @ w["b"]

    weights = {"a": drawn(6, 8), "b": without(drawn(8, 2), 0, 0, 1, 6)}
    return Specimen(weights, call, (None, 6), {"a": (6, 5), "b": (5, 2)})


@_add
def _split_to_several_sizes() -> Specimen:
    def call(w, x):
        one, two = tf.split(x @ w["a"], [3, 5], axis=-1)
        return one @ w["b"] + two @ w["c"]

    weights = {"a": drawn(6, 8), "b": without(drawn(3, 2), 0, 0), "c": without(drawn(5, 2), 0, 2, 3)}
    return Specimen(weights, call, (None, 6), {"a": (6, 5), "b": (2, 2), "c": (3, 2)})


@_add
def _slices() -> Specimen:
    # What no slice takes is not read.
    def call(w, x):
        x = x @ w["a"]
        return x[:, :3] @ w["b"] + tf.slice(x, [0, 5], [-1, 4]) @ w["c"] + tf.nn.relu(x[..., 7:9]) @ w["d"]

    weights = {"a": drawn(6, 10), "b": drawn(3, 2), "c": without(drawn(4, 2), 0, 0, 3), "d": drawn(2, 2)}
    # 3, 4 and 9 are in no slice; 5 is multiplied by 0; so is 8, which another slice reads.
    return Specimen(weights, call, (None, 6), {"a": (6, 6), "c": (3, 2)})


@_add
def _stacked() -> Specimen:
    def call(w, x):
        both = tf.stack([x @ w["a"], x @ w["b"]], axis=1)
        return tf.reduce_sum(tf.matmul(tf.nn.relu(both), w["c"]), 1)

    weights = {"a": drawn(6, 8), "b": without(drawn(6, 8), 1, 1), "c": without(drawn(8, 2), 0, 2)}
    return Specimen(weights, call, (None, 6), {"a": (6, 7), "b": (6, 7), "c": (7, 2)})


@_add
def _embedding() -> Specimen:
    weights = {"table": without(drawn(7, 8), 1, 4), "b": without(drawn(8, 2), 0, 1)}
    return Specimen(
        weights,
        lambda w, x: tf.reduce_mean(tf.nn.embedding_lookup(w["table"], x), 1) @ w["b"],
        (None, 3),
        {"table": (7, 6), "b": (6, 2)},
        tf.int64,
    )


@_add
def _tied_embedding() -> Specimen:
    # Its columns are the units; its rows are words, which the answer has.
    weights = {"table": without(drawn(7, 8), 1, 4), "b": drawn(8, 8)}
    return Specimen(
        weights,
        lambda w, x: tf.matmul(tf.reduce_mean(tf.gather(w["table"], x), 1) @ w["b"], w["table"], transpose_b=True),
        (None, 3),
        {"table": (7, 7), "b": (7, 7)},
        tf.int64,
    )


@_add
def _branches() -> Specimen:
    def call(w, x):
        hidden = tf.nn.relu(x @ w["a"])
        return tf.cond(tf.reduce_sum(x) > 0, lambda: hidden @ w["b"], lambda: tf.tanh(hidden) @ w["c"])

    weights = {"a": drawn(6, 8), "b": without(drawn(8, 2), 0, 1, 2), "c": without(drawn(8, 2), 0, 2, 3)}
    return Specimen(weights, call, (None, 6), {"a": (6, 7), "b": (7, 2), "c": (7, 2)})


@_add
def _sequence_of_any_length() -> Specimen:
    def call(w, x):
        x = tf.tensordot(x, w["a"], 1)
        return tf.reduce_mean(tf.tensordot(tf.nn.gelu(x + w["ba"]), w["b"], 1), 1)

    weights = {"a": without(drawn(6, 8), 1, 0), "ba": drawn(8), "b": without(drawn(8, 3), 0, 1)}
    return Specimen(weights, call, (None, None, 6), {"a": (6, 6), "ba": (6,), "b": (6, 3)})


@_add
def _recurrent_cell() -> Specimen:
    # An LSTM of three steps, unrolled: a unit is one column in each of four gates, and one row.
    def call(w, x):
        h, c = tf.zeros([tf.shape(x)[0], 5]), tf.zeros([tf.shape(x)[0], 5])
        for step in range(3):
            z = tf.nn.bias_add(x[:, step] @ w["kernel"] + h @ w["recurrent"], w["bias"])
            i, f, g, o = tf.split(z, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return h @ w["score"]

    weights = {
        "kernel": drawn(4, 20),
        "recurrent": without(drawn(5, 20), 0, 1),
        "bias": drawn(20),
        "score": without(drawn(5, 2), 0, 1, 3),
    }
    after = {"kernel": (4, 16), "recurrent": (4, 16), "bias": (16,), "score": (4, 2)}
    return Specimen(weights, call, (None, 3, 4), after)


@_add
def _bias_of_two_axes() -> Specimen:
    # A bias of heads and units: what is 0 in all heads is known along the units.
    weights = {"q": drawn(6, 2, 5), "bq": drawn(2, 5), "k": drawn(6, 2, 5)}
    weights["q"][:, :, 1], weights["bq"][:, 1] = 0, 0
    return Specimen(
        weights,
        lambda w, x: tf.einsum(
            "bthk,bshk->bhts", tf.einsum("btd,dhk->bthk", x, w["q"]) + w["bq"], tf.einsum("btd,dhk->bthk", x, w["k"])
        ),
        (None, 4, 6),
        {"q": (6, 2, 4), "bq": (2, 4), "k": (6, 2, 4)},
    )
