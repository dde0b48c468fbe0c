"""The Fisher matrix of a weight in blocks, the saliency that it gives, and the update of the weights that are kept.

The empirical Fisher matrix F = mean(g g^T) of the gradients g stands for the Hessian of the loss. Of it only square
blocks on the diagonal are held, each of `BLOCK` consecutive weights, as the weight's elements are stored (Singh and
Alistarh, 2020, "WoodFisher", https://arxiv.org/abs/2004.14340; Kuznedelev et al., 2022, "CAP",
https://arxiv.org/abs/2210.09223). That is 4 * BLOCK bytes a weight.
"""

import tensorflow as tf

BLOCK = 16
_LEAST = 1e-30


def blocks(values: tf.Tensor) -> tf.Tensor:
    """Divides weights, or what there is one of for each, into blocks; the last is filled up with zeros.

    Args:
        values: Of any shape.

    Returns:
        Shape [blocks, BLOCK].
    """
    flat = tf.reshape(values, [-1])
    return tf.reshape(tf.pad(flat, [[0, -tf.size(flat) % BLOCK]]), [-1, BLOCK])


def elements(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """The contrary of `blocks`: values in the shape of a weight.

    Args:
        values: Shape [blocks, BLOCK].
        like: A tensor of the weight's shape.
    """
    return tf.reshape(tf.reshape(values, [-1])[: tf.size(like)], tf.shape(like))


def outer_products(gradients: tf.Tensor) -> tf.Tensor:
    """The sum of g g^T in blocks.

    Args:
        gradients: Some gradients of one weight, float32 [samples, ...].

    Returns:
        float32 [blocks, BLOCK, BLOCK].
    """
    samples = tf.shape(gradients)[0]
    flat = tf.reshape(gradients, [samples, -1])
    padded = tf.pad(flat, [[0, 0], [0, -tf.shape(flat)[1] % BLOCK]])
    by_block = tf.transpose(tf.reshape(padded, [samples, -1, BLOCK]), [1, 0, 2])
    return tf.matmul(by_block, by_block, transpose_a=True)


def damping_of(fisher: tf.Tensor, share: float) -> tf.Tensor:
    """What has to be added to the diagonal of a weight's blocks, so that all of them can be inverted.

    Args:
        fisher: float32 [blocks, BLOCK, BLOCK].
        share: As a fraction of the mean of the diagonal.

    Returns:
        float64 scalar, above 0.
    """
    mean = tf.reduce_mean(tf.linalg.diag_part(fisher))
    # At least something, for a weight that no gradient reached.
    return tf.cast(share * mean, tf.float64) + _LEAST


def damped(fisher: tf.Tensor, added: tf.Tensor) -> tf.Tensor:
    """Adds to the diagonal.

    Args:
        fisher: [blocks, BLOCK, BLOCK].
        added: Scalar of its dtype.
    """
    return fisher + added * tf.eye(BLOCK, dtype=fisher.dtype)


def curvature(fisher: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """1 / [F^-1]_ii of the weights that are left, where those that are gone stay at zero.

    Args:
        fisher: Damped, [blocks, BLOCK, BLOCK].
        mask: 1 where a weight is left, else 0; [blocks, BLOCK] of the same dtype.

    Returns:
        [blocks, BLOCK]; what it is for weights that are gone means nothing.
    """
    return 1.0 / tf.linalg.diag_part(tf.linalg.inv(_restricted(fisher, mask)))


def updated(fisher: tf.Tensor, weight: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The weights that are kept, after they made up for those that go (Optimal Brain Surgeon, in each block).

    With K the kept weights and Q the others, w_K + (F_KK)^-1 F_KQ w_Q minimises the second-order change of the loss.

    Args:
        fisher: Damped, [blocks, BLOCK, BLOCK].
        weight: [blocks, BLOCK].
        mask: 1 where a weight is kept, else 0; as `weight`.

    Returns:
        [blocks, BLOCK], zero where the mask is.
    """
    pull = mask * tf.linalg.matvec(fisher, weight * (1.0 - mask))
    change = tf.linalg.solve(_restricted(fisher, mask), pull[..., None])[..., 0]
    return mask * (weight + change)


def _restricted(fisher: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The blocks of the weights that are left, with ones on the diagonal for the others."""
    return tf.linalg.set_diag(
        fisher * mask[:, :, None] * mask[:, None, :], tf.linalg.diag_part(fisher) * mask + (1.0 - mask)
    )
