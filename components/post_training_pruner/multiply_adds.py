"""The multiply-adds of a model's weights."""

from collections.abc import Sequence

import tensorflow as tf

from .calibration import Calibration
from .saved_weights import SavedWeight
from .traced_signature import TracedSignature, form_of


def multiply_adds(
    signature: TracedSignature, calibration: Calibration, weights: Sequence[SavedWeight]
) -> list[int | None]:
    """How many multiply-adds each weight takes for an example, in matrix products and convolutions.

    Args:
        signature: The signature.
        calibration: The examples; the first is looked at.
        weights: The weights.

    Returns:
        For each weight the sum over its uses; None if it is used within a loop or a branch, or in another way.
    """
    counts: dict[int, int | None] = {node: None for node in signature.uses.inside}
    uses = [use for use in signature.uses.products if use.weight not in counts]
    elements: list[int | None] = []

    @tf.function(autograph=False)
    def samples(given: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        lookup = signature.lookup(given, list(dict.fromkeys(use.activation for use in uses)))
        forms = [form_of(use, lookup(use.activation)) for use in uses]
        elements[:] = [None if form is None else form.elements.size for form in forms]
        return [tf.zeros([], tf.int32) if form is None else tf.shape(form.inputs)[1] for form in forms]

    inputs, _ = next(calibration.batches(1))
    fixed = {spec.shape[0] for spec in signature.specs.values() if spec.shape.rank}
    examples = next((size for size in fixed if size is not None), 1)
    if uses:
        for use, count, size in zip(uses, samples(inputs), elements, strict=True):
            before = counts.get(use.weight, 0)
            counts[use.weight] = None if size is None or before is None else before + int(count) * size // examples
    return [counts.get(each.node) for each in weights]
