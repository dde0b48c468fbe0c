"""Computes the values of weights that take in their masks."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from ...saved_model.saved_objects import SavedObjects
from .folded_value import FoldedValue
from .graph_rewrite import Fold, Rewrite


def folded_weights(source: SavedObjects, rewrite: Rewrite) -> dict[int, FoldedValue]:
    """Computes the products of weights and masks from the variables of a SavedModel.

    Args:
        source: The SavedModel.
        rewrite: Which products are needed.

    Returns:
        The values of the weights, by object, in ascending order. A weight that is also used without its mask keeps its
        own value.

    Raises:
        ValueError: A value is missing or cannot be read; a mask has other values than 0 and 1; or one value cannot
            stand for all uses of a weight, because two masks differ, or because it is also used without its mask and is
            not zero where it is pruned.
    """
    graph = source.graph

    def value(node: int) -> tf.Tensor:
        saved = source.checkpoint.variable(graph.key(node))
        if saved is None:
            raise ValueError(
                f"The SavedModel at {source.folder!r} has no value for its variable {graph.key(node)!r}; save the "
                "model again."
            )
        return tf.constant(saved)

    found: dict[int, FoldedValue] = {}
    for node in sorted(rewrite.bare_uses):
        folds = sorted((fold for fold in rewrite.folds if fold.weight == node), key=dataclasses.astuple)
        weight = value(node)
        masks = [value(fold.mask) for fold in folds]
        for fold, mask in zip(folds, masks, strict=True):
            if not np.isin(mask, (0, 1)).all():
                raise ValueError(
                    f"The mask {graph.key(fold.mask)!r} of {source.folder!r} has values other than 0 and 1, so its "
                    "product with the weight cannot take the weight's place. Save the model with a mask of zeros and "
                    "ones."
                )
        products = [_product(weight, mask, fold.casts) for fold, mask in zip(folds, masks, strict=True)]
        product = _one_for_all_uses(source, rewrite, folds, weight.numpy(), products)
        positive = product
        if not rewrite.bare_uses[node]:
            signed = np.logical_and(np.signbit(product), np.logical_and(product == 0, np.logical_not(masks[0])))
            # No second array unless it is another.
            positive = np.where(signed, np.zeros_like(product), product) if signed.any() else product
        found[node] = FoldedValue(product, positive)
    return found


def _product(weight: tf.Tensor, mask: tf.Tensor, casts: Iterable[int]) -> np.ndarray:
    """The product in the weight's dtype, which gives what the model computes wherever the model casts it."""
    factor = weight
    for dtype in casts:
        factor = tf.cast(factor, tf.dtypes.as_dtype(dtype))
    pruned = tf.cast(factor * tf.cast(mask, factor.dtype), weight.dtype)
    return tf.where(tf.cast(mask, tf.bool), weight, pruned).numpy()


def _one_for_all_uses(
    source: SavedObjects,
    rewrite: Rewrite,
    folds: list[Fold],
    weight: np.ndarray,
    products: list[np.ndarray],
) -> np.ndarray:
    """The one value that all uses of a weight agree on."""
    graph = source.graph
    node = folds[0].weight
    product = products[0]
    for fold, other in zip(folds[1:], products[1:], strict=True):
        if other.tobytes() != product.tobytes():
            raise ValueError(
                f"The weight {graph.key(node)!r} of {source.folder!r} is multiplied by {graph.key(folds[0].mask)!r} "
                f"and by {graph.key(fold.mask)!r}, whose products differ, so neither can take the weight's place. "
                "Give each use a weight of its own."
            )
    uses = rewrite.bare_uses[node]
    changes = next((use for use in uses if use.changes), None)
    if changes is not None or (uses and product.tobytes() != weight.tobytes()):
        verb = "changed" if changes is not None else "used without its mask"
        raise ValueError(
            f"The weight {graph.key(node)!r} of {source.folder!r} is multiplied by its mask, and {verb} too: "
            f"{changes or uses[0]}. Save the model with signatures that use the masked weight only."
        )
    return product
