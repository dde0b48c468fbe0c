"""ExampleGradients: the gradients of the loss of single examples, and what criteria make of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from ..engine.ranking import block_fisher
from ..engine.ranking.criteria import BlockFisher, Criterion, GradientCriterion
from .calibration import Calibration
from .loss import Loss
from .saved_weights import SavedWeight
from .traced_signature import TracedSignature

# Gradients of so many bytes are held at once.
_MOST_BYTES = 1 << 28
_MOST_EXAMPLES = 64


class ExampleGradients:
    """The gradients of single examples with respect to some weights.

    If the signature takes batches of a fixed size, the gradient of a batch stands for that of an example.
    """

    def __init__(
        self,
        signature: TracedSignature,
        calibration: Calibration,
        loss: Loss,
        weights: Sequence[SavedWeight],
        criterion: Criterion,
        changed: Mapping[int, tf.Variable],
    ) -> None:
        """Takes the model.

        Args:
            signature: The signature.
            calibration: The examples.
            loss: Whose gradients are taken.
            weights: The weights.
            criterion: `BlockFisher` or a `GradientCriterion`.
            changed: Variables that stand in for the weights, by object; their values may change.
        """
        self._signature = signature
        self._calibration = calibration
        self._loss = loss
        self._weights = weights
        self._criterion = criterion
        self._changed = changed
        specs = signature.specs.values()
        self._by_example = all(spec.shape.rank and spec.shape[0] is None for spec in specs)
        self._sums = tf.function(self._sums_of_batch, autograph=False, reduce_retracing=True)

    def means(self) -> list[tf.Tensor]:
        """Runs all examples.

        Returns:
            For each weight the mean over the examples of the criterion's samples, float32 of the weight's shape; or of
            g g^T in blocks, float32 [blocks, BLOCK, BLOCK], if the criterion is `BlockFisher`.

        Raises:
            ValueError: A weight has no gradient, or one that is not finite.
        """
        elements = sum(int(np.prod(each.shape)) for each in self._weights)
        size = max(1, min(_MOST_EXAMPLES, _MOST_BYTES // (4 * elements)))
        totals: list[tf.Variable] = []
        count = 0
        for inputs, labels in self._calibration.batches(size):
            sums = self._sums(inputs, labels)
            count += len(inputs[0]) if self._by_example else 1
            if not totals:
                totals = [tf.Variable(each) for each in sums]
            else:
                for total, each in zip(totals, sums, strict=True):
                    total.assign_add(each)
        for weight, total in zip(self._weights, totals, strict=True):
            if not tf.reduce_all(tf.math.is_finite(total)):
                raise ValueError(
                    f"The examples give {weight.name} gradients that are not finite. Give examples with finite "
                    "numbers, as the model was trained on; or check the labels and the loss."
                )
        return [total / float(count) for total in totals]

    def _sums_of_batch(self, inputs: list[tf.Tensor], labels: tf.Tensor | None) -> list[tf.Tensor]:
        if not self._by_example:
            samples = [each[None] for each in self._samples(inputs, labels)]
        else:

            def of_example(example: tuple[list[tf.Tensor], list[tf.Tensor]]) -> list[tf.Tensor]:
                given, label = ([each[None] for each in part] for part in example)
                return self._samples(given, label[0] if label else None)

            specs = [tf.TensorSpec(each.shape, tf.float32) for each in self._weights]
            given = (inputs, [] if labels is None else [labels])
            scope = tf.compat.v1.get_variable_scope()
            caching_device = scope.caching_device
            try:
                samples = tf.map_fn(of_example, given, fn_output_signature=specs, parallel_iterations=1)
            finally:
                # map_fn leaves its own behind after an error, and then no distribution strategy can be entered.
                scope.set_caching_device(caching_device)
        if isinstance(self._criterion, BlockFisher):
            return [block_fisher.outer_products(each) for each in samples]
        return [tf.reduce_sum(each, 0) for each in samples]

    def _samples(self, inputs: Sequence[tf.Tensor], labels: tf.Tensor | None) -> list[tf.Tensor]:
        """What is summed up: the gradients, or what the criterion makes of them."""
        reads = [[f"{read}:0" for read in self._signature.uses.reads.get(each.node, ())] for each in self._weights]
        wanted = [self._loss.tensor, *(read for each in reads for read in each)]
        lookup = self._signature.lookup(inputs, wanted, self._changed)
        try:
            found = tf.gradients(self._loss.value(lookup, labels), [lookup(read) for read in wanted[1:]])
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"The loss of the signature {self._signature.name!r} has no gradients: {error}. Use a criterion of the "
                "inputs, prune_option='wanda' or 'obc'."
            ) from error
        following = iter(found)
        gradients = [
            _total(weight, [next(following) for _ in each]) for weight, each in zip(self._weights, reads, strict=True)
        ]
        criterion = self._criterion
        return [criterion.sample(each) for each in gradients] if isinstance(criterion, GradientCriterion) else gradients


def _total(weight: SavedWeight, found: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """The gradient of a weight from those of all places where it is read."""
    known = [tf.convert_to_tensor(each) for each in found if each is not None]
    if not known:
        raise ValueError(
            f"The loss has no gradient with respect to {weight.name}. Take it out with exclude, or name an output that "
            "depends on it."
        )
    return tf.ensure_shape(tf.cast(tf.add_n(known), tf.float32), weight.shape)
