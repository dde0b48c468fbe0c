"""Re-estimates the statistics of batch normalizations after what is below them was pruned."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from ..structure.normalizations import Normalization
from .calibration import Calibration
from .saved_weights import SavedWeight
from .traced_signature import TracedSignature

_MEAN, _VARIANCE = "moving_mean", "moving_variance"
_BATCH_SIZE = 32


def statistics_of(variables: Sequence[SavedWeight]) -> list[tuple[SavedWeight, SavedWeight]]:
    """The means and variances of batch normalizations among variables, by their names.

    Args:
        variables: The variables that are not trained.

    Returns:
        Pairs of mean and variance.
    """
    means = {each.name: each for each in variables}
    found = []
    for variance in variables:
        head, _, tail = variance.name.rpartition("/")
        if tail.startswith(_VARIANCE):
            mean = means.get(f"{head}/{tail.replace(_VARIANCE, _MEAN)}" if head else tail.replace(_VARIANCE, _MEAN))
            if mean is not None and mean.shape == variance.shape and len(mean.shape) == 1:
                found.append((mean, variance))
    return found


def recalibrated(
    signature: TracedSignature,
    calibration: Calibration,
    statistics: Sequence[tuple[SavedWeight, SavedWeight]],
    values: Mapping[int, np.ndarray],
) -> dict[int, np.ndarray]:
    """Takes the means and variances of what batch normalizations are given now, over all examples.

    One after the other, in the order in which they run, for each changes what comes after it.

    Args:
        signature: The signature.
        calibration: The examples.
        statistics: Pairs of mean and variance.
        values: The values that other variables have now, by object.

    Returns:
        New values of the means and variances, by object.

    Raises:
        ValueError: There is no batch normalization; or the place of one is not seen.
    """
    pairs = {variance.node: (mean, variance) for mean, variance in statistics}
    places = signature.normalizations(pairs)
    seen = {each.variance for each in places}
    unseen = sorted(variance.name for node, (_, variance) in pairs.items() if node not in seen)
    if not pairs or unseen:
        what = f"these are not seen: {', '.join(unseen)}" if unseen else "it has none"
        raise ValueError(
            f"recalibrate_bn=True re-estimates the batch normalizations of the signature {signature.name!r}, but "
            f"{what}. Leave it out."
        )
    changed = {node: tf.Variable(value, trainable=False) for node, value in values.items()}
    found: dict[int, np.ndarray] = {}
    for place in places:
        for weight, value in zip(pairs[place.variance], _moments(signature, calibration, place, changed), strict=True):
            found[weight.node] = value.astype(weight.dtype.as_numpy_dtype)
            changed[weight.node] = tf.Variable(found[weight.node], trainable=False)
        logging.info("Re-estimated %s.", pairs[place.variance][1].name)
    return found


def _moments(
    signature: TracedSignature, calibration: Calibration, place: Normalization, changed: Mapping[int, tf.Variable]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of what is normalized, by channel, float64."""
    wanted = [place.activation, *([place.factor] if place.factor is not None else [])]

    @tf.function(autograph=False, reduce_retracing=True)
    def sums(given: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        lookup = signature.lookup(given, wanted, changed)
        values = tf.cast(lookup(place.activation), tf.float64)
        axis = 1 if place.channels_first else values.shape.rank - 1
        shape = [] if place.factor is None else lookup(place.factor).shape.as_list()
        if len(shape) == values.shape.rank:
            axis = max(range(len(shape)), key=lambda at: shape[at])
        others = [at for at in range(values.shape.rank) if at != axis]
        count = tf.size(values) // tf.shape(values)[axis]
        return tf.reduce_sum(values, others), tf.reduce_sum(tf.square(values), others), tf.cast(count, tf.float64)

    total, squares, count = (
        sum(each) for each in zip(*(sums(inputs) for inputs, _ in calibration.batches(_BATCH_SIZE)), strict=True)
    )
    mean = (total / count).numpy()
    return mean, np.maximum((squares / count).numpy() - np.square(mean), 0.0)
