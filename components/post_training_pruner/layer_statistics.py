"""LayerStatistics: what examples tell of the inputs of a layer."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from ..structure.weight_uses import WeightUse
from .calibration import Calibration
from .traced_signature import TracedSignature, form_of

# Convolutions have one sample for each place of each image.
_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class LayerStatistics:
    """Sums over the samples of a layer Y[g] = X[g] W[g] (`LayerForm`), before and after what is below was pruned.

    Attributes:
        elements: Which element of the weight stands in W, int64 [groups, inputs, outputs].
        samples: How many there are.
        hessian: X^T X of the inputs now, float64 [groups, inputs, inputs].
        cross: X^T X0 with the inputs X0 of the model as it was, float64 [groups, inputs, inputs].
        mean: The mean of X, float64 [groups, inputs].
        mean_before: The mean of X0, float64 [groups, inputs].
    """

    elements: np.ndarray
    samples: int
    hessian: np.ndarray
    cross: np.ndarray
    mean: np.ndarray
    mean_before: np.ndarray

    @classmethod
    def of(
        cls,
        signature: TracedSignature,
        calibration: Calibration,
        use: WeightUse,
        changed: Mapping[int, tf.Variable],
        samples_an_input: int | None = None,
    ) -> "LayerStatistics | None":
        """Runs examples; None if the product has a form for which there is no rule.

        Args:
            signature: The signature.
            calibration: The examples.
            use: The layer.
            changed: Variables that stand in for weights that are pruned already, by object.
            samples_an_input: How many samples for each input are enough: then batches are left out evenly. None for all
                examples.
        """
        elements: list[np.ndarray] = []

        @tf.function(autograph=False, reduce_retracing=True)
        def sums_of(given: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
            form = form_of(use, signature.lookup(given, [use.activation], changed)(use.activation))
            form_before = form
            if changed:
                form_before = form_of(use, signature.lookup(given, [use.activation])(use.activation))
            if form is None or form_before is None:
                return ()
            elements[:] = [form.elements]
            inputs, inputs_before = (tf.cast(each.inputs, tf.float32) for each in (form, form_before))
            return (
                tf.matmul(inputs, inputs, transpose_a=True),
                tf.matmul(inputs, inputs_before, transpose_a=True),
                tf.reduce_sum(inputs, 1),
                tf.reduce_sum(inputs_before, 1),
                tf.shape(inputs)[1],
            )

        sums: list[np.ndarray] = []
        stride = 1
        for number, (inputs, _) in enumerate(calibration.batches(_BATCH_SIZE)):
            if number % stride:
                continue
            found = sums_of(inputs)
            if not found:
                return None
            if not sums:
                if samples_an_input is not None:
                    batches = -(-calibration.count // _BATCH_SIZE)
                    enough = samples_an_input * elements[0].shape[1]
                    stride = max(1, int(found[-1]) * batches // enough)
                sums = [np.array(each, np.float64) for each in found]
            else:
                for total, each in zip(sums, found, strict=True):
                    np.add(total, each, out=total)
        hessian, cross, total, total_before, count = sums
        _check_finite(use, hessian)
        return cls(elements[0], int(count), hessian, cross, total / count, total_before / count)

    @classmethod
    def joined(cls, found: Sequence["LayerStatistics"]) -> "LayerStatistics | None":
        """The statistics of all uses of a weight, summed up; None if they do not use its elements alike."""
        first = found[0]
        for each in found[1:]:
            if each.elements.shape != first.elements.shape or not np.array_equal(each.elements, first.elements):
                return None
        samples = sum(each.samples for each in found)
        return cls(
            first.elements,
            samples,
            sum(each.hessian for each in found),
            sum(each.cross for each in found),
            sum(each.mean * each.samples for each in found) / samples,
            sum(each.mean_before * each.samples for each in found) / samples,
        )


def input_norms(
    signature: TracedSignature, calibration: Calibration, uses: Sequence[WeightUse]
) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """The squared L2 norms of the inputs of layers over all examples, from one run of them.

    Args:
        signature: The signature.
        calibration: The examples.
        uses: The layers.

    Returns:
        For each layer the norms, float64 [groups, inputs], and which element of the weight is multiplied by which,
        int64 [groups, inputs, outputs]; None for a product of a form for which there is no rule.
    """
    elements: dict[int, np.ndarray] = {}

    @tf.function(autograph=False, reduce_retracing=True)
    def squares(given: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        lookup = signature.lookup(given, list(dict.fromkeys(use.activation for use in uses)))
        forms = [form_of(use, lookup(use.activation)) for use in uses]
        elements.update({at: form.elements for at, form in enumerate(forms) if form is not None})
        return [tf.reduce_sum(tf.square(tf.cast(each.inputs, tf.float32)), 1) for each in forms if each is not None]

    totals: list[np.ndarray] = []
    for inputs, _ in calibration.batches(_BATCH_SIZE):
        found = [each.numpy().astype(np.float64) for each in squares(inputs)]
        totals = found if not totals else [total + each for total, each in zip(totals, found, strict=True)]
    for use, total in zip((use for at, use in enumerate(uses) if at in elements), totals, strict=True):
        _check_finite(use, total)
    norms = iter(totals)
    return [(next(norms), elements[at]) if at in elements else None for at in range(len(uses))]


def _check_finite(use: WeightUse, sums: np.ndarray) -> None:
    if not np.isfinite(sums).all():
        raise ValueError(
            f"The examples give the operation {use.node.name!r} inputs that are not finite, or too large. Give "
            "examples with finite numbers, as the model was trained on."
        )
